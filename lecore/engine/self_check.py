"""A look at two points before a measurement: is this a network that can be measured, and rightly?

It costs a few passes, and is remembered (:mod:`~lecore.engine.network.remembering`) while the
network stays as it is, weights aside.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

from lecore.engine.change_matrix import DenseSteps, StepRoute, TwoLayerSteps
from lecore.engine.changed_weights import ChangedWeights
from lecore.engine.diagnosis import mixing_layer, random_layer
from lecore.engine.gradients.layer_kernels import layer_kernel
from lecore.engine.gradients.per_example import Factors, factors_of_outputs, flat, plain_gradient
from lecore.engine.gradients.watching import Structure, plainly, with_direct
from lecore.engine.kernel_matrix import KernelRoute
from lecore.engine.network.flags import PRODUCT_DTYPES
from lecore.engine.network.random_states import generators_left_alone, random_states
from lecore.engine.network.snapshot import Snapshot
from lecore.engine.optimizer_steps import sgd_change
from lecore.engine.points import Side
from lecore.errors import LecoreError


class Products(NamedTuple):
    """Inner products of gradients, summed over some parameters.

    Attributes:
        between: Of row and column points, shape (n, m).
        left: Of row points with themselves, shape (n,).
        right: Of column points with themselves, shape (m,).
    """

    between: Tensor
    left: Tensor
    right: Tensor


def check_predictions(network: Snapshot, sample: Tensor) -> None:
    """Whether a prediction depends on its input alone.

    Args:
        network: The network.
        sample: A few points, shape (n, …).

    Raises:
        LecoreError: If two predictions under different seeds differ, or one point alone and the
            same point among others; it names the layer.
    """
    own, scale = network.copy(), _tolerance(network)
    sample = torch.cat([sample, sample[:1]])  # in no order, whatever may sort them
    together = _seeded(1, lambda: own.predict(sample))
    alone = _seeded(2, lambda: torch.cat([own.predict(x[None]) for x in sample[:-1]]))
    alone = torch.cat([alone[0], alone[0][:1]]), *alone[1:]
    # one that seeds itself ends in the same state whatever came before
    drawn = any(
        start != end and end != other
        for start, end, other in zip(together[1], together[2], alone[2], strict=True)
    )
    allowed = scale * float(together[0].abs().max()) + _unit(network)
    if not drawn and _close(together[0], alone[0], allowed):
        return
    again = _seeded(3, lambda: own.predict(sample))[0]
    if drawn or not _close(together[0], again, allowed):
        raise LecoreError(
            "the forward pass draws random numbers or changes from call to call",
            "call model.eval(), or take what is random out for the measurement",
            _where(random_layer(network, sample)),
        )
    raise LecoreError(
        "predictions depend on the other examples of a batch",
        "let the model treat every example by itself (normalise by running statistics, or over "
        "an example's own dimensions)",
        _where(mixing_layer(network, sample)),
    )


def check_batch(network: Snapshot, points: Tensor) -> None:
    """Whether points that are predicted at once are predicted as each alone.

    Args:
        network: The network.
        points: All that will be predicted at once, shape (n, …).

    Raises:
        LecoreError: If they depend on each other.
    """
    if len(points) == 1 or network.manners.alone:
        return
    own = network.copy()
    at_once = own.predict(points)
    try:
        alone = vmap(lambda x: own.predict(x[None])[0], chunk_size=len(points))(points)
    except Exception:
        alone = torch.cat([own.predict(x[None]) for x in points])
    if not _close(at_once, alone, _tolerance(network) * _peak(at_once) + _unit(network)):
        raise LecoreError(
            "predictions depend on the other examples of a batch",
            "let the model treat every example by itself",
        )


def checked_structures(
    network: Snapshot, structures: list[Structure], samples: list[Tensor]
) -> list[Structure]:
    """Structures whose factored gradients agree with plain autograd, layer by layer.

    Args:
        network: The network.
        structures: Of row points and of column points.
        samples: A few points of each, shape (n, …).

    Returns:
        The structures; or with the parameters that disagree written out, then one example at a
        time, then by plain autograd.
    """
    if structures[0].route == "plain":
        return structures
    outputs = sorted({0, structures[0].outputs - 1})
    network = network.copy()
    left = right = _combined_gradients(network, samples[0], outputs)
    if samples[1] is not samples[0]:
        right = _combined_gradients(network, samples[1], outputs)
    plain = {name: _products(left[name], right[name]) for name in left}
    bad = _disagreeing(network, structures, samples, outputs, plain)
    if not bad:
        return structures
    looped = [replace(structure, route="looped") for structure in structures]
    for other in (structures, looped):
        direct = [with_direct(structure, bad) for structure in other]
        if not _disagreeing(network, direct, samples, outputs, plain):
            return direct
    where = min(bad, key=list(network.parameters).index).rpartition(".")[0]
    reason = "its factored gradients and those of autograd differ"
    return [plainly(network, structures[0], where, reason)] * len(structures)


def agrees(route: KernelRoute, sample: Tensor) -> bool:
    """Whether a kernel route gives what plain autograd gives, for a pair of points."""
    network, outputs = route.network, sorted({0, route.outputs - 1})
    plain = _combined_gradients(network.copy(), sample, outputs)
    expected = _sum_of(_products(g, g) for g in plain.values()).between
    bare = replace(route, rows=Side(sample), columns=Side(sample))
    every = slice(0, len(sample))
    kernel = bare.block(every, every, "full").reshape(len(sample), len(sample))
    sizes = expected.diagonal().sqrt()
    allowed = _tolerance(network) * sizes[:, None] * sizes + _unit(network)
    return bool(((kernel - expected).abs() <= allowed).all())


def checked_steps(route: StepRoute) -> StepRoute | None:
    """The route if it gives what a real step on a copy gives, or ``None``."""
    if isinstance(route, ChangedWeights) and route.how == "plain":
        return route
    network, few = route.network, slice(0, min(2, len(route.rows.inputs)))
    assert route.rows.targets is not None
    rows = Side(route.rows.inputs[few], route.rows.targets[few], route.rows.loss)
    columns = torch.cat([route.columns[:1], route.columns[-1:]])
    small = replace(route, rows=rows, columns=columns)
    step = getattr(route, "step", None)
    if isinstance(route, TwoLayerSteps | DenseSteps):
        # a step that can be seen, whatever the rate: predictions lose digits in the oracle
        probe = ChangedWeights(network, rows, columns, sgd_change(1.0), "plain")
        gradient = probe.loss_gradient(network.copy(), 0)
        size = sum(float(flat(g).square().sum()) for g in gradient.values())
        rate = 1e-3 / size if size > 0 else route.learning_rate
        small, step = (
            replace(route, rows=rows, columns=columns, learning_rate=rate),
            sgd_change(rate),
        )
    assert step is not None
    every = slice(0, len(rows.inputs)), slice(0, len(columns))
    measured = small.change(*every)
    plain = ChangedWeights(network, rows, columns, step, "plain")
    if isinstance(small, ChangedWeights) and small.linearized:
        return route if _derivative_agrees(small, plain, measured) else None
    expected = plain.change(*every)
    rounding = 64 * _unit(network) * _peak(network.copy().predict(columns))
    allowed = _tolerance(network) * _peak(expected) + rounding
    if not _close(measured, expected, allowed):
        return None
    if isinstance(small, ChangedWeights) and not _same_gradient(small, plain):
        return None
    return route


def _derivative_agrees(route: ChangedWeights, plain: ChangedWeights, measured: Tensor) -> bool:
    """Whether derivatives along each step are those by plain autograd, for two outputs."""
    network = route.network
    outputs = sorted({0, measured.shape[2] - 1})
    gradients = _combined_gradients(network.copy(), route.columns, outputs)
    combined = sum(place * measured[:, :, c] for place, c in enumerate(outputs, start=1))
    for row, found in enumerate(combined):  # type: ignore[arg-type]
        step = route.step(plain.loss_gradient(network.copy(), row))
        along = [gradients[name] @ flat(change) for name, change in step.items()]
        sizes = [gradients[name].norm(dim=1) * flat(change).norm() for name, change in step.items()]
        if not _close(found, sum(along), _tolerance(network) * _peak(sum(sizes))):  # type: ignore[arg-type]
            return False
    return True


def _same_gradient(route: ChangedWeights, plain: ChangedWeights) -> bool:
    """Whether weight changes agree too: a small step hides in the rounding of predictions."""
    ours, theirs = (r.loss_gradient(r.network.copy(), 0) for r in (route, plain))
    scale = max(_peak(g) for g in theirs.values())
    floor = _unit(route.network) * scale
    return all(
        _close(ours[k], g, _tolerance(route.network) * _peak(g) + floor) for k, g in theirs.items()
    )


def _seeded(seed: int, predict: Callable[[], Tensor]) -> tuple[Tensor, Any, Any]:
    """A prediction under a seed, and the random states before and after it."""
    with generators_left_alone():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        before = random_states()
        prediction = predict()
        return prediction, before, random_states()


def _disagreeing(
    network: Snapshot,
    structures: list[Structure],
    samples: list[Tensor],
    outputs: list[int],
    plain: dict[str, Products],
) -> set[str]:
    """Parameters whose share of the kernel differs; all of the factored ones if it fails."""
    bad: set[str] = set()
    # the two ways in which signals are sent back; a single output has but one
    ways = (None, _combination(outputs)) if structures[0].outputs > 1 else (None,)
    for loss in ways:
        try:
            left = right = factors_of_outputs(network, structures[0], samples[0], outputs, loss)
            if samples[1] is not samples[0] or structures[1] != structures[0]:
                right = factors_of_outputs(network, structures[1], samples[1], outputs, loss)
        except Exception:
            return set(network.parameters)  # whatever it was, autograd has the last word
        bad |= _differing(network, structures[0], (left, right), plain)
    return bad


def _differing(
    network: Snapshot,
    structure: Structure,
    factors: tuple[Factors, Factors],
    plain: dict[str, Products],
) -> set[str]:
    left, right = factors
    bad: set[str] = set()
    floor = _unit(network) ** 1.2 * _peak(_sum_of(plain.values()).between)
    for name in left.names:
        names = [name, *_joined(structure, name)] if name in left.outer else [name]
        expected = _sum_of(plain[n] for n in names)
        kernel = layer_kernel(left, right, [name])
        c, k = (torch.arange(1.0, size + 1, dtype=kernel.dtype) for size in kernel.shape[2:])
        measured = torch.einsum("ijck,c,k->ij", kernel, c.to(kernel.device), k.to(kernel.device))
        sizes = (expected.left[:, None] * expected.right).sqrt()
        allowed = _tolerance(network) * sizes + floor
        if not bool(((measured - expected.between).abs() <= allowed).all()):
            bad |= set(names)
    return bad


def _joined(structure: Structure, weight: str) -> set[str]:
    return {c.bias for c in structure.calls if c.weight == weight and c.bias_joins and c.bias}


def _products(left: Tensor, right: Tensor) -> Products:
    between = left @ right.T
    if left is right:
        return Products(between, between.diagonal(), between.diagonal())
    return Products(between, left.square().sum(1), right.square().sum(1))


def _sum_of(parts: Iterable[Products]) -> Products:
    return Products(*(torch.stack(same).sum(0) for same in zip(*parts, strict=True)))


def _combination(outputs: list[int]) -> Callable[..., Tensor]:
    """f_a + 2 f_b of two outputs, in which both are seen and told apart."""

    def combined(prediction: Tensor, target: Any = None) -> Tensor:
        return sum(place * prediction[c] for place, c in enumerate(outputs, start=1))  # type: ignore[return-value]

    return combined


def _combined_gradients(network: Snapshot, sample: Tensor, outputs: list[int]) -> dict[str, Tensor]:
    """Gradients of :func:`_combination` at each point, shape (n, size) for each parameter."""
    combined = _combination(outputs)

    def gradient(x: Tensor) -> dict[str, Tensor]:
        leaves: dict[str, Tensor] = dict(network.leaves)
        return plain_gradient(network, lambda: combined(network.predict(x[None], leaves)[0]))

    rows = [gradient(x) for x in sample]
    return {name: torch.stack([flat(g[name]) for g in rows]) for name in network.parameters}


def _unit(network: Snapshot) -> float:
    lowest = PRODUCT_DTYPES.get(network.products, network.manners.lowest) or network.dtype
    return float(torch.finfo(lowest).eps)


def _tolerance(network: Snapshot) -> float:
    """What rounding may do in a network that loses some digits on the way."""
    return _unit(network) ** 0.6


def _peak(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0


def _close(a: Tensor, b: Tensor, allowed: float) -> bool:
    return bool(((a - b).abs() <= allowed).all())


def _where(layer: str | None) -> str:
    return "the model's own forward" if not layer else f"layer {layer!r}"
