"""Whether factored gradients are those of plain autograd, layer by layer."""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple, cast

import torch
from torch import Tensor

from lecore.engine.checks.tolerances import peak, tolerance, unit
from lecore.engine.gradients.factors import Factors
from lecore.engine.gradients.layer_kernels import layer_kernel
from lecore.engine.gradients.per_example import factors_of_outputs
from lecore.engine.gradients.plain import flat, plain_gradient
from lecore.engine.gradients.structure import Structure, with_direct
from lecore.engine.gradients.watching import plainly
from lecore.engine.kernel_matrix import KernelRoute
from lecore.engine.network.snapshot import Snapshot
from lecore.engine.points import Side
from lecore.losses import Loss

Rows = list[Tensor]

ROUNDED = 1e-3
"""What single precision may do to a layer's share where double precision agrees."""


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
    left = right = combined_gradients(network, samples[0])
    if samples[1] is not samples[0]:
        right = combined_gradients(network, samples[1])
    plain = {name: _products(left[name], right[name]) for name in left}
    bad = _disagreeing(network, structures, samples, plain, tolerance(network))
    if not bad or (
        tolerance(network) < ROUNDED
        and not _disagreeing(network, structures, samples, plain, ROUNDED)
        and _agree_in_double(network, structures, samples)
    ):
        return structures
    looped = [replace(structure, route="looped") for structure in structures]
    for other in (structures, looped):
        direct = [with_direct(structure, bad) for structure in other]
        if not _disagreeing(network, direct, samples, plain, tolerance(network)):
            return direct
    where = min(bad, key=list(network.parameters).index).rpartition(".")[0]
    reason = "its factored gradients and those of autograd differ"
    return [plainly(network, structures[0], where, reason)] * len(structures)


def _agree_in_double(network: Snapshot, structures: list[Structure], samples: list[Tensor]) -> bool:
    """Whether single precision alone made the two differ, as where many words share a weight."""
    if network.dtype is not torch.float32 or network.manners.lowest not in (None, torch.float32):
        return False

    def double(tensor: Tensor) -> Tensor:
        return tensor.double() if tensor.is_floating_point() else tensor

    try:
        longer = network.copy(double)
        left = right = combined_gradients(longer, first := double(samples[0]))
        second = first if samples[1] is samples[0] else double(samples[1])
        if second is not first:
            right = combined_gradients(longer, second)
    except Exception:  # its code may be of single precision alone
        return False
    plain = {name: _products(left[name], right[name]) for name in left}
    return not _disagreeing(longer, structures, [first, second], plain, tolerance(longer))


def agrees(route: KernelRoute, sample: Tensor) -> bool:
    """Whether a kernel route gives what plain autograd gives, for a pair of points."""
    network = route.network
    plain = combined_gradients(network.copy(), sample)
    expected = _sum_of(_products(g, g) for g in plain.values()).between
    bare = replace(route, rows=Side(sample), columns=Side(sample))
    every = slice(0, len(sample))
    kernel = bare.block(every, every, "full").reshape(len(sample), len(sample))
    sizes = expected.diagonal().sqrt()
    allowed = tolerance(network) * sizes[:, None] * sizes + unit(network)
    return bool(((kernel - expected).abs() <= allowed).all())


def _disagreeing(
    network: Snapshot,
    structures: list[Structure],
    samples: list[Tensor],
    plain: dict[str, Products],
    allowed: float,
) -> set[str]:
    """Parameters whose share of the kernel differs; all of the factored ones if it fails."""
    bad: set[str] = set()
    # the two ways in which signals are sent back, in parts and at once; one output has but one
    whole = combination(network, structures[0].outputs)
    parts, ways = whole[None], [cast("Loss | None", None)]
    if len(whole) > 1:
        odd = torch.arange(len(whole), device=whole.device) % 2
        parts = torch.stack([whole * odd, whole * (1 - odd)])
    if len(whole) > 1 or network.manners.bent:
        ways.append(lambda prediction, target: _combined(network, prediction))
    for loss in ways:
        try:
            left = right = factors_of_outputs(network, structures[0], samples[0], parts, loss)
            if samples[1] is not samples[0] or structures[1] != structures[0]:
                right = factors_of_outputs(network, structures[1], samples[1], parts, loss)
        except Exception:
            return set(network.parameters)  # whatever it was, autograd has the last word
        bad |= _differing(network, structures[0], (left, right), plain, allowed)
    return bad


def _differing(
    network: Snapshot,
    structure: Structure,
    factors: tuple[Factors, Factors],
    plain: dict[str, Products],
    allowed: float,
) -> set[str]:
    left, right = factors
    bad: set[str] = set()
    floor = unit(network) ** 1.2 * peak(_sum_of(plain.values()).between)
    for name in left.names:
        names = [name, *_joined(structure, name)] if name in left.outer else [name]
        expected = _sum_of(plain[n] for n in names)
        kernel = layer_kernel(left, right, [name])
        measured = kernel.sum((2, 3))
        sizes = (expected.left[:, None] * expected.right).sqrt()
        if not bool(((measured - expected.between).abs() <= allowed * sizes + floor).all()):
            bad |= set(names)
    return bad


def _joined(structure: Structure, weight: str) -> set[str]:
    return {c.bias for c in structure.calls if c.weight == weight and c.bias_joins and c.bias}


def _products(left: Rows, right: Rows) -> Products:
    # one by one: to stack gradients of all weights would take longer than their products
    between = torch.stack([torch.stack([a.dot(b) for b in right]) for a in left])
    if left is right:
        return Products(between, between.diagonal(), between.diagonal())
    own = (torch.stack([a.dot(a) for a in rows]) for rows in (left, right))
    return Products(between, *own)


def _sum_of(parts: Iterable[Products]) -> Products:
    return Products(*(torch.stack(same).sum(0) for same in zip(*parts, strict=True)))


def combination(network: Snapshot, outputs: int) -> Tensor:
    """Weights of a sum in which all outputs are seen and told apart, shape (outputs,)."""
    places = torch.arange(outputs, dtype=network.dtype, device=network.device)
    return 1 + (0.618 * places) % 1


def _combined(network: Snapshot, prediction: Tensor) -> Tensor:
    return combination(network, len(prediction)) @ prediction


def combined_gradients(network: Snapshot, sample: Tensor) -> dict[str, Rows]:
    """Gradients of :func:`combination` at each of n points, n vectors for each parameter."""
    leaves: dict[str, Tensor] = dict(network.leaves)

    def gradient(x: Tensor) -> dict[str, Tensor]:
        return plain_gradient(
            network, lambda: _combined(network, network.predict(x[None], leaves)[0])
        )

    rows = [gradient(x) for x in sample]
    return {name: [flat(g[name]) for g in rows] for name in network.parameters}
