"""A layer's share of the tangent kernel, from factored gradients.

For gradients G = Σ_t s_t ⊗ a_t the inner product is ⟨G, G′⟩ = Σ_tt′ (a_t·a′_t′)(s_t·s′_t′): two
small Gram matrices, multiplied and summed over positions. That beats the inner product of the
gradients themselves when positions are few; a count of operations chooses for each layer.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lecore.engine.at_once import at_once
from lecore.engine.gradients.factors import Factors, Outer
from lecore.errors import LecoreError

Extent = tuple[int, int]
"""Number of points and of outputs."""

SYMMETRIC_BLOCKS = 4
"""Row blocks of a symmetric kernel, of which only the upper triangle is computed."""

GRAM_BYTES = 2**25
"""Largest Gram matrix over positions held at a time."""

FEW_BYTES = 2**20
"""Products over several positions that are taken in one call."""

ELEMENTWISE_COST = 16
"""Multiply-adds of a matrix product that take as long as touching one number."""


class Room:
    """Memory that one layer's gradients after another's are written to, without page faults."""

    def __init__(self) -> None:
        self.memory: Tensor | None = None

    def of(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """An uninitialised tensor."""
        size = math.prod(shape)
        if self.memory is None or len(self.memory) < size or self.memory.dtype != like.dtype:
            self.memory = None  # no room for both
            self.memory = like.new_empty(size)
        return self.memory[:size].view(*shape)


def layer_kernel(rows: Factors, columns: Factors, names: list[str]) -> Tensor:
    """⟨∂f_c(x_i)/∂w, ∂f_k(x_j)/∂w⟩ over the named parameters w.

    Args:
        rows: Factors of the row points, with outputs c.
        columns: Factors of the column points, with outputs k; the same object for a symmetric
            kernel, which takes about half the time.
        names: Keys of ``rows.outer`` and ``rows.direct``.

    Returns:
        Shape (n, m, c, k).
    """
    (n, c), (m, k) = extents = _extent(rows), _extent(columns)
    total = rows.prediction.new_zeros(n * c, m * k)
    symmetric = rows is columns
    rooms = Room(), Room()
    for name in names:
        outers = rows.outer.get(name), columns.outer.get(name)
        if outers[0] and outers[1] and gram_is_cheaper(outers[0], *extents):
            _add_gram(total, outers[0], outers[1], symmetric)
            continue
        whole = name in rows.direct or name in columns.direct
        left = _gradients(rows, name, whole, rooms[0])
        right = left if symmetric else _gradients(columns, name, whole, rooms[1])
        for part, rest in _blocks(n, symmetric):
            i, j = _scaled(part, c), _scaled(rest, k)
            for a, b in zip(left, right, strict=True):
                total[i, j].addmm_(a[i], b[j].T)
    if symmetric:
        for part, rest in _blocks(n, symmetric):
            i, below = _scaled(part, c), slice(part.stop * c, None)
            total[below, i] = total[i, below].T
            del rest
    return total.view(n, c, m, k).transpose(1, 2)


def squared_norms(factors: Factors) -> Tensor:
    """‖∂f_c(x_i)/∂w‖² over all parameters, shape (n, outputs): the diagonal of the kernel."""
    total = factors.prediction.new_zeros(_extent(factors))
    room = Room()
    for gradient in factors.direct.values():
        total += gradient.square().sum(2)
    for outer in factors.outer.values():
        if _written_out_is_cheaper(outer):
            total += sum(part.square().sum(2) for part in _weight_and_bias(outer, room))
            continue
        # ⟨G, G⟩ = Σ_tt′ (a_t·a_t′)(s_t·s_t′), example by example
        signals = _own_products(outer.signal)
        whole = not outer.read.is_floating_point()  # indices, of an embedding
        reads = outer.read == outer.read.mT if whole else _own_products(outer.read)
        total += (signals * (reads + 1 if outer.bias else reads)[:, None]).sum((2, 3, 4))
    return total


def traced(factors: Factors) -> Factors:
    """Factors whose kernel is the trace Σ_c Θ[i, j, c, c] of that of the given ones."""
    return Factors(
        factors.prediction,
        {
            name: Outer(o.read, o.signal.permute(0, 2, 3, 1, 4).flatten(3)[:, None], o.bias)
            for name, o in factors.outer.items()
        },
        {name: d.flatten(1)[:, None] for name, d in factors.direct.items()},
    )


def only_output(factors: Factors, output: int) -> Factors:
    """Factors of the gradients of one output."""
    one = slice(output, output + 1)
    return Factors(
        factors.prediction,
        {name: Outer(o.read, o.signal[:, one], o.bias) for name, o in factors.outer.items()},
        {name: d[:, one] for name, d in factors.direct.items()},
    )


def written_out(factors: Factors, rows: Extent, columns: Extent) -> Factors:
    """The same with gradients in place of factors where these take more time and more memory.

    Args:
        factors: Of row or column points.
        rows: Number of row points and outputs.
        columns: Likewise.
    """
    direct = {
        name: dense_gradient(o)
        for name, o in factors.outer.items()
        if not gram_is_cheaper(o, rows, columns)
        and _gradient_size(o) <= o.read[:1].numel() + o.signal[:1].numel()
    }
    outer = {name: o for name, o in factors.outer.items() if name not in direct}
    return Factors(factors.prediction, outer, {**factors.direct, **direct})


def gram_alone(factors: Factors, rows: Extent, columns: Extent) -> bool:
    """Whether no kept factors are ever written out for a kernel so large."""
    return all(gram_is_cheaper(outer, rows, columns) for outer in factors.outer.values())


def layer_bytes(one: Factors, rows: Extent, columns: Extent) -> int:
    """Memory for an example in :func:`layer_kernel`, of whichever layer takes the most.

    Args:
        one: Factors of one example.
        rows: Number of row points and outputs.
        columns: Likewise.
    """

    def copies(outer: Outer) -> int:
        gradient = 0 if gram_is_cheaper(outer, rows, columns) else _gradient_size(outer)
        return outer.read.nbytes + outer.signal.nbytes + gradient * outer.signal.itemsize

    return max(map(copies, one.outer.values()), default=0)


def gram_is_cheaper(outer: Outer, rows: Extent, columns: Extent) -> bool:
    """Whether Gram matrices over positions beat gradients written out, by operations."""
    if not outer.read.is_floating_point():  # an embedding compares indices, its table is long
        return True
    _, groups, t, inputs = outer.read.shape
    units = outer.signal.shape[-1]
    left, right = rows[0] * rows[1], columns[0] * columns[1]
    gram = (
        groups * t * t * (rows[0] * columns[0] * inputs + left * right * (units + ELEMENTWISE_COST))
    )
    size = groups * inputs * units
    dense = (left * right + (left + right) * (t + ELEMENTWISE_COST)) * size
    return gram <= dense


def dense_gradient(outer: Outer, room: Room | None = None) -> Tensor:
    """Gradients written out, Σ_t signal ⊗ (read, 1), shape (n, outputs, size)."""
    parts = _weight_and_bias(outer, room or Room())
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _weight_and_bias(outer: Outer, room: Room) -> list[Tensor]:
    n, c, groups, t, units = outer.signal.shape
    left = outer.signal.permute(0, 2, 1, 4, 3).reshape(n * groups, c * units, t)
    right = outer.read.flatten(0, 1)
    gradient = torch.bmm(left, right, out=room.of((*left.shape[:2], right.shape[2]), right))
    weight = gradient.view(n, groups, c, -1).transpose(1, 2).flatten(2)
    return [weight, outer.signal.sum(3).flatten(2)] if outer.bias else [weight]


def _gradient_size(outer: Outer) -> int:
    """Numbers in the gradients of one example, written out."""
    _, outputs, groups, _, units = outer.signal.shape
    return outputs * groups * units * (outer.read.shape[3] + outer.bias)


def _gradients(factors: Factors, name: str, whole: bool, room: Room) -> list[Tensor]:
    """As one tensor for all its numbers, or as those of the weight and of the bias, uncopied."""
    if name in factors.direct:
        parts = [factors.direct[name]]
    else:
        outer = factors.outer[name]
        parts = [dense_gradient(outer, room)] if whole else _weight_and_bias(outer, room)
    return [part.flatten(0, 1) for part in parts]


def _add_gram(total: Tensor, left: Outer, right: Outer, symmetric: bool) -> None:
    n, c, groups, t, units = left.signal.shape
    m, k, _, s, _ = right.signal.shape
    if s == 0 or t == 0:  # no token went there
        return
    # positions first: sums over them then run over whole rows
    read = right.read.permute(1, 2, 0, 3)
    signal = right.signal.permute(2, 3, 0, 1, 4)
    limit = at_once(GRAM_BYTES, total.device)
    step = max(1, limit // (s * m * (1 + c * k) * total.element_size()))
    for whole, rest in _blocks(n, symmetric):
        for part in _cut(whole, step):
            block = total[_scaled(part, c), _scaled(rest, k)]
            for g in range(groups):
                other_read = read[g, :, rest].flatten(0, 1)
                other_signal = signal[g, :, rest].reshape(-1, units)
                for some in _cut(slice(0, t), _positions(part, len(other_signal), c, total)):
                    reads = left.read[part, g, some].flatten(0, 1)
                    reads = _read_products(reads, other_read, total.dtype)
                    if left.bias:
                        reads += 1
                    signals = left.signal[part, :, g, some]  # (points, c, positions, units)
                    some_points, _, here, _ = signals.shape
                    product = (signals.flatten(0, 2) @ other_signal.T).view(
                        some_points, c, here, s, -1, k
                    )
                    product *= reads.view(some_points, 1, here, s, -1, 1)
                    one = here == s == 1
                    block += (product[:, :, 0, 0] if one else product.sum((2, 3))).view(block.shape)


def _positions(points: slice, columns: int, outputs: int, total: Tensor) -> int:
    """Positions of so few points that a call for each would take longer than its products."""
    row = (points.stop - points.start) * outputs * columns * total.element_size()
    return max(1, FEW_BYTES // max(1, row))


def _read_products(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    if left.is_floating_point():
        return left @ right.T
    return (left == right.T).to(dtype)


def _own_products(vectors: Tensor) -> Tensor:
    """Products of the vectors of all positions, shape (…, positions, positions)."""
    if vectors.shape[-2] == 1:
        return vectors.square().sum(-1, keepdim=True)
    return vectors @ vectors.mT


def _written_out_is_cheaper(outer: Outer) -> bool:
    """Whether an example's gradient beats products of its positions, by operations."""
    if not outer.read.is_floating_point():
        return False
    outputs, _, t, units = outer.signal.shape[1:]
    inputs = outer.read.shape[3]
    return t * (inputs + outputs * units) > outputs * inputs * units


def _blocks(n: int, symmetric: bool) -> Iterator[tuple[slice, slice]]:
    """Row blocks, each with the columns that its rows are computed for."""
    step = -(-n // SYMMETRIC_BLOCKS) if symmetric else n
    for part in _cut(slice(0, n), step):
        yield part, slice(part.start if symmetric else 0, None)


def _cut(whole: slice, step: int) -> Iterator[slice]:
    for start in range(whole.start, whole.stop, step):
        yield slice(start, min(start + step, whole.stop))


def _scaled(part: slice, by: int) -> slice:
    return slice(part.start * by, None if part.stop is None else part.stop * by)


def _extent(factors: Factors) -> tuple[int, int]:
    for outer in factors.outer.values():
        return outer.signal.shape[0], outer.signal.shape[1]
    for gradient in factors.direct.values():
        return gradient.shape[0], gradient.shape[1]
    raise LecoreError("the model has no parameter with requires_grad=True")
