"""Equivalent ReLU networks: what can go, or be written otherwise, without changing the function.

Serra, Kumar, Ramalingam, "Lossless Compression of Deep Neural Networks" (CPAIOR 2020): a unit whose
preactivation is never positive on the domain is stably off and can be removed; one whose
preactivation is never negative is stably on, hence linear, and several such can be merged. Serra,
Yu, Kumar, Ramalingam (NeurIPS 2021) find them faster. Here the domain is a box, bounds are found by
intervals, and where these do not decide by :mod:`~lecore.studies.neighbours.stable_units`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from lecore.arguments.finite import check_finite
from lecore.errors import LecoreError

Array = NDArray[np.float64]
WHERE = "equivalent networks"


class Affine(NamedTuple):
    """A linear layer: weight (outputs, inputs) and bias (outputs,), float64."""

    weight: Array
    bias: Array


class Box(NamedTuple):
    """Lower and upper ends of each input, shape (inputs,) each."""

    low: Array
    high: Array


class Bounds(NamedTuple):
    """What the preactivations of a layer can be, shape (units,) each.

    Attributes:
        low: Never below it.
        high: Never above it.
        open: Units whose programme ran out of time before their sign was known.
    """

    low: Array
    high: Array
    open: NDArray[np.bool_]

    @property
    def off(self) -> NDArray[np.bool_]:
        """Units that are zero on the whole box."""
        return self.high <= 0

    @property
    def on(self) -> NDArray[np.bool_]:
        """Units that are linear on the whole box, and not off."""
        return (self.low >= 0) & ~self.off


def box(low: ArrayLike, high: ArrayLike, inputs: int) -> Box:
    """A domain of inputs.

    Args:
        low: Lower end, one number or one for each input.
        high: Upper end, likewise.
        inputs: How many.

    Raises:
        LecoreError: If an end is not finite, a lower one above its upper one, or the inputs are
            others.
    """
    given = [np.asarray(end, dtype=np.float64) for end in (low, high)]
    if any(end.shape not in ((), (inputs,)) for end in given):
        raise LecoreError("an end has not one number for each input", f"give {inputs}", WHERE)
    ends = [np.broadcast_to(end, (inputs,)) for end in given]
    if not np.isfinite(ends).all():
        raise LecoreError("the box is unbounded", "give finite ends for every input", WHERE)
    if (ends[0] > ends[1]).any():
        raise LecoreError("the box is empty: a lower end lies above its upper one", "", WHERE)
    return Box(*ends)


def layers_of(network: nn.Module) -> list[Affine]:
    """The linear layers of a ReLU network, in float64.

    Args:
        network: ``nn.Sequential`` of an optional flattening, then linear layers with a ReLU
            between any two, as from :func:`lecore.models.fully_connected`.

    Raises:
        LecoreError: If it has layers that the method does not know, or in another order, or weights
            that are not finite.
    """
    if not isinstance(network, nn.Sequential):
        raise LecoreError(
            f"{type(network).__name__} is no nn.Sequential of linear layers and ReLUs",
            "write it as one", WHERE,
        )  # fmt: skip
    modules: list[Any] = [m for m in network if not isinstance(m, nn.Flatten)]
    for place, module in enumerate(modules):
        if type(module) is not (nn.ReLU if place % 2 else nn.Linear):
            raise LecoreError(
                f"layer {place} is {type(module).__name__}, which the method does not know there",
                "take linear layers with a ReLU between any two", WHERE,
            )  # fmt: skip
    if len(modules) < 3 or len(modules) % 2 == 0:
        raise LecoreError("no hidden layer with a ReLU before a linear output", "", WHERE)
    layers = [_affine(module) for module in modules[::2]]
    _check_weights(layers)
    return layers


def _affine(layer: nn.Linear) -> Affine:
    weight = layer.weight.detach().cpu().double()
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach().cpu()
    return Affine(weight.numpy().copy(), bias.double().numpy().copy())


def _check_weights(layers: Sequence[Affine]) -> None:
    for place, layer in enumerate(layers, 1):
        for part, values in layer._asdict().items():
            check_finite(torch.from_numpy(values), f"the {part} of linear layer {place}")


def check_fit(
    layers: Sequence[Affine], domain: Box, bounds: Sequence[Bounds] | None = None
) -> None:
    """Refuse a box or bounds of another network, and weights that are not finite.

    Raises:
        LecoreError: With the numbers of both.
    """
    _check_weights(layers)
    inputs, units = layers[0].weight.shape[1], [len(layer.bias) for layer in layers[:-1]]
    if len(domain.low) != inputs:
        raise LecoreError(
            f"the box has {len(domain.low)} inputs, the network {inputs}", "give one end for each",
            WHERE,
        )  # fmt: skip
    bounded = units if bounds is None else [len(known.low) for known in bounds]
    if bounded != units:
        raise LecoreError(
            f"there are bounds of {bounded} units", f"give those of each hidden layer, {units}",
            WHERE,
        )  # fmt: skip


def network_of(layers: Sequence[Affine]) -> nn.Sequential:
    """The ReLU network of such layers, in float64, with a flattening in front."""
    modules: list[nn.Module] = [nn.Flatten()]
    for weight, bias in layers:
        layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.copy_(torch.from_numpy(bias))
        modules += [layer, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def interval_bounds(layers: Sequence[Affine], domain: Box) -> list[Bounds]:
    """Bounds of all hidden layers by interval arithmetic: exact in the first, safe in all.

    Raises:
        LecoreError: If the box has other inputs than the network, or a weight is not finite.
    """
    check_fit(layers, domain)
    low, high = domain
    found = []
    for weight, bias in layers[:-1]:
        low, high = _through(weight, bias, low, high)
        found.append(Bounds(low, high, np.zeros(len(low), dtype=bool)))
        low, high = np.maximum(low, 0), np.maximum(high, 0)
    return found


def _through(weight: Array, bias: Array, low: Array, high: Array) -> tuple[Array, Array]:
    middle, radius = (low + high) / 2, (high - low) / 2
    centre, spread = weight @ middle + bias, np.abs(weight) @ radius
    return centre - spread, centre + spread


class Compressed(NamedTuple):
    """A network of fewer units with the same function on a box.

    Attributes:
        layers: Its linear layers.
        off: How many units were removed in each hidden layer because they are always off.
        merged: How many fewer there are because always linear ones were merged.
    """

    layers: list[Affine]
    off: list[int]
    merged: list[int]

    @property
    def removed(self) -> int:
        """Units fewer than before, in all layers."""
        return sum(self.off) + sum(self.merged)


def compress(
    layers: Sequence[Affine], bounds: Sequence[Bounds], domain: Box, *, merge: bool = True
) -> Compressed:
    """Remove the units that are always off, and merge those that are always on.

    Stably on units S of a layer reach the next one as V W x + V b, with V their columns there. If
    the rank r of V W is smaller than their number, r units with its singular vectors do the same,
    with biases that keep them on. (The paper keeps r of the old ones where the rank of W alone is
    smaller.) Of a layer that is off as a whole, or on but unread, one unit is kept.

    Args:
        layers: Of a ReLU network.
        bounds: Of its hidden layers on the box.
        domain: The box.
        merge: Whether to merge; else units are removed only.

    Raises:
        LecoreError: If bounds or box are of another network, or a weight is not finite.
    """
    check_fit(layers, domain, bounds)
    done, off, merged = [layers[0]], [], []
    low, high = domain
    for known, following in zip(bounds, layers[1:], strict=True):
        here = done.pop()
        kept = ~known.off
        if not kept.any():
            kept[0] = True
        on = known.on[kept]
        here = Affine(here.weight[kept], here.bias[kept])
        following = Affine(following.weight[:, kept], following.bias)
        off.append(int((~kept).sum()))
        before = len(here.bias)
        if merge and on.any():
            here, following = _merged(here, following, on, low, high)
        merged.append(before - len(here.bias))
        done += [here, following]
        low, high = (np.maximum(end, 0) for end in _through(*here, low, high))
    return Compressed(done, off, merged)


def _merged(
    here: Affine, following: Affine, on: NDArray[np.bool_], low: Array, high: Array
) -> tuple[Affine, Affine]:
    """Units that are always on written as few as their joint effect has dimensions."""
    out = following.weight[:, on]
    left, sizes, right = np.linalg.svd(out @ here.weight[on], full_matrices=False)
    rank = int((sizes > 1e-13 * sizes.max(initial=0.0)).sum())
    rank = max(rank, int(on.all()))  # a layer needs a unit, even if nothing reads it
    if rank >= on.sum():
        return here, following
    weight = right[:rank]
    least, _ = _through(weight, np.zeros(rank), low, high)
    bias = 1 - least  # on, with a margin for rounding
    back = left[:, :rank] * sizes[:rank]
    return (
        Affine(
            np.vstack([here.weight[~on], weight]),
            np.concatenate([here.bias[~on], bias]),
        ),
        Affine(
            np.hstack([following.weight[:, ~on], back]),
            following.bias + out @ here.bias[on] - back @ bias,
        ),
    )


def rescaled(layers: Sequence[Affine], factors: Sequence[ArrayLike]) -> list[Affine]:
    """The same function from units that read more and are read less.

    Args:
        layers: Of a ReLU network.
        factors: For each hidden layer, positive, one number or one for each unit: what its unit
            reads is multiplied by it, and what reads the unit is divided by it.

    Raises:
        LecoreError: If a factor is not positive and finite, or there are more or fewer.
    """
    done = [*layers]
    units = [layer.bias.shape for layer in layers[:-1]]
    if len(factors) != len(units) or any(
        np.shape(factor) not in ((), unit) for factor, unit in zip(factors, units, strict=True)
    ):
        raise LecoreError(
            "factors do not fit the hidden layers", "give each one number, or one a unit", WHERE
        )
    for number, factor in enumerate(factors):
        (weight, bias), (following, after) = done[number : number + 2]
        by = np.broadcast_to(np.asarray(factor, dtype=np.float64), bias.shape)
        if not ((by > 0) & np.isfinite(by)).all():
            raise LecoreError(
                "factors must be positive and finite", "a ReLU passes only these through", WHERE
            )
        done[number] = Affine(weight * by[:, None], bias * by)
        done[number + 1] = Affine(following / by, after)
    return done
