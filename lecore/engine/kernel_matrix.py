"""A tangent kernel over pairs of points: which route computes it, and what its tiles cost."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from lecore.arguments.finite import all_finite
from lecore.engine.gradients.factors import Factors
from lecore.engine.gradients.layer_kernels import (
    Extent,
    gram_alone,
    layer_bytes,
    layer_kernel,
    only_output,
    traced,
    written_out,
)
from lecore.engine.gradients.memory import chunk_size, factors_of_one, pass_bytes
from lecore.engine.gradients.per_example import factors_by_chunks, gradient_factors
from lecore.engine.gradients.structure import Structure
from lecore.engine.network.failures import of_rows
from lecore.engine.network.snapshot import Snapshot
from lecore.engine.points import Side, not_finite, only, witness
from lecore.engine.routes.two_layer import TwoLayer, two_layer_kernel, two_layer_prediction
from lecore.engine.tiling.cuts import TileCost
from lecore.engine.tiling.tiles import Tiles, check_tiles, compute_tiles
from lecore.errors import LecoreError
from lecore.identity.finished_work import identify

Form = Literal["full", "trace", "diagonal"]


class _Kept(threading.local):
    """A thread's own copy of the network, and the factors that it saw last.

    Attributes:
        network: The copy.
        factors: Of row points (0) and of column points (1), with their place and form.
    """

    network: Snapshot | None = None

    def __init__(self) -> None:
        self.factors: dict[int, tuple[slice, Form, Factors]] = {}

    def __reduce__(self) -> Any:
        return _Kept, ()


@dataclass
class StructuredRoute:
    """By factored gradients, for any network.

    Attributes:
        network: The network.
        structures: How its parameters are used by row points and by column points.
        rows: Row points.
        columns: Column points, with the very same ``inputs`` for a square kernel.
    """

    network: Snapshot
    structures: tuple[Structure, Structure]
    rows: Side
    columns: Side
    _last: _Kept = field(default_factory=_Kept, init=False, repr=False, compare=False)

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return self.structures[0].outputs

    def block(self, rows: slice, columns: slice, form: Form) -> Tensor:
        """⟨∂f_c(x_i)/∂w, ∂f_k(x_j)/∂w⟩, of the loss in place of f for a side that has one."""
        same = self.rows.inputs is self.columns.inputs and rows == columns
        if self.outputs == 1 and not self.network.manners.bent:
            return self._one_output(rows, columns, same)
        same = same and self.rows.loss is self.columns.loss
        if form != "diagonal" and not same and columns == slice(0, len(self.columns.inputs)):
            right = self._factors(1, columns, form)
            if gram_alone(right, *self._extents(form)):  # rows are not needed again
                chunks = self._found(0, rows, form, factors_by_chunks)
                return torch.cat([layer_kernel(left, right, left.names) for _, left in chunks])
        left = self._factors(0, rows, form)
        right = left if same else self._factors(1, columns, form)
        if form == "diagonal":
            blocks = []
            for output in range(self.outputs):
                a = only_output(left, output)
                b = a if same else only_output(right, output)
                blocks.append(layer_kernel(a, b, a.names)[:, :, 0, 0])
            return torch.stack(blocks, dim=2)
        return layer_kernel(left, right, left.names)

    @property
    def words(self) -> str:
        """How it computes."""
        (left, _) = self.structures
        if left.route == "plain":
            return "plain autograd, point by point"
        by = "factors of the layers' gradients"
        return f"{by}; {len(left.direct)} parameters written out" if left.direct else by

    def cost(self, form: Form) -> TileCost:
        """Working memory."""
        extents = self._extents(form)
        each, passing, together = [], [], []
        for structure, side in zip(self.structures, (self.rows, self.columns), strict=True):
            found = factors_of_one(self.network, structure, side.loss)
            kept = self._formed(form)(found)
            each.append(kept.nbytes + layer_bytes(kept, *extents))
            passing.append(pass_bytes(self.network, structure, side.loss) + found.nbytes)
            chunk = chunk_size(self.network, structure, side.loss)
            together.append(min(len(side.inputs), chunk))
        pair = 4 * self.network.dtype.itemsize * max(1, torch.Size(_trailing(self, form)).numel())
        row, column = each
        return TileCost(row, column, pair, passing=max(passing), together=max(together))

    def _one_output(self, rows: slice, columns: slice, same: bool) -> Tensor:
        """The kernel, times the loss gradients: a symmetric product even if only rows have one."""
        left = self._factors(0, rows, "full")
        right = left if same else self._factors(1, columns, "full")
        kernel = layer_kernel(left, right, left.names)[:, :, 0, 0]
        if self.rows.loss is not None:
            kernel *= self.rows.loss_gradient(rows, left.prediction)
        if self.columns.loss is not None:
            kernel *= self.columns.loss_gradient(columns, right.prediction).T
        return kernel

    def _factors(self, place: int, part: slice, form: Form) -> Factors:
        """Factors of some of the points, which the next tile may need again."""
        known = self._last.factors.pop(place, None)
        if known is None or known[:2] != (part, form):
            known = None  # no room for both
            known = part, form, self._found(place, part, form, gradient_factors)
        self._last.factors[place] = known
        return known[2]

    def _found(self, place: int, part: slice, form: Form, by: Callable[..., Any]) -> Any:
        side = (self.rows, self.columns)[place]
        network = self._last.network = self._last.network or self.network.copy()
        multiplied = self.outputs == 1 and not network.manners.bent
        side = Side(side.inputs[part]) if multiplied else side.signals(network, part)
        return by(
            network,
            self.structures[place],
            side.inputs,
            side.targets,
            side.loss,
            self._formed(form),
        )

    def _formed(self, form: Form) -> Callable[[Factors], Factors]:
        """What is kept of factors that are found: gradients where these are quick and small."""

        def formed(factors: Factors) -> Factors:
            factors = traced(factors) if form == "trace" else factors
            return written_out(factors, *self._extents(form))

        return formed

    def _extents(self, form: Form) -> tuple[Extent, Extent]:
        """Numbers of points and of outputs on both sides of the whole matrix."""
        outputs = self.outputs if form == "full" else 1
        n, m = len(self.rows.inputs), len(self.columns.inputs)
        rows, columns = (1 if side.loss else outputs for side in (self.rows, self.columns))
        return (n, rows), (m, columns)


@dataclass
class TwoLayerRoute:
    """By matrix products alone, for one hidden layer and one output.

    Attributes:
        network: The network.
        two_layer: The network in that form.
        rows: Row points.
        columns: Column points, with the very same ``inputs`` for a square kernel.
    """

    network: Snapshot
    two_layer: TwoLayer
    rows: Side
    columns: Side
    outputs: int = 1

    def block(self, rows: slice, columns: slice, form: Form) -> Tensor:
        """⟨∂f_c(x_i)/∂w, ∂f_k(x_j)/∂w⟩, of the loss in place of f for a side that has one."""
        same = self.rows.inputs is self.columns.inputs and rows == columns
        x = self.rows.inputs[rows].flatten(1)
        other = None if same else self.columns.inputs[columns].flatten(1)
        kernel, prediction = two_layer_kernel(self.two_layer, x, other)
        if self.rows.loss is not None:
            kernel *= self.rows.loss_gradient(rows, prediction[:, None])
        if self.columns.loss is not None:
            if other is not None:
                prediction = two_layer_prediction(self.two_layer, other)
            kernel *= self.columns.loss_gradient(columns, prediction[:, None]).T
        return kernel

    @property
    def words(self) -> str:
        """How it computes."""
        return "matrix products of a two-layer network"

    def cost(self, form: Form) -> TileCost:
        """Working memory."""
        size = self.network.dtype.itemsize
        point = size * self.rows.inputs[0].numel() * 2
        return TileCost(point, point, 4 * size)


KernelRoute = StructuredRoute | TwoLayerRoute


@dataclass
class KernelMatrix:
    """A tangent kernel over all pairs of points, which a route computes tile by tile.

    Attributes:
        route: How.
        form: Which entries to keep of the outputs × outputs block.
        scale: Factor of the result.
        kept: The outputs of column points that are kept, of a loss at row points; all if there
            are none.
    """

    route: KernelRoute
    form: Form = "full"
    scale: float = 1.0
    kept: tuple[int, ...] = ()

    def compute(self, tiles: Tiles) -> Any:
        """The whole matrix."""
        check_tiles(tiles, self.route.network.manners.draws)
        route, cost = self.route, self.route.cost(self.form)
        identity = None
        if tiles.store is not None:
            network, sides = route.network, (route.rows, route.columns)
            identity = identify(
                by=__name__, key=tiles.key, model=network.module, parameters=network.parameters,
                buffers=network.fixed, loss=[side.loss for side in sides],
                data=[side[:2] for side in sides],
                settings=(network.products, self.form, self.scale, *self.kept),
            )  # fmt: skip
        return compute_tiles(
            self,
            len(route.rows.inputs),
            len(route.columns.inputs),
            tiles=tiles,
            dtype=route.network.dtype,
            trailing=(len(self.kept),) if self.kept else _trailing(route, self.form),
            device=route.network.device,
            cost=cost,
            symmetric=route.rows is route.columns,
            identity=identity,
        )

    def witness(self) -> Tensor:
        """By which another process shows that it has the same network and loss."""
        return witness(self.route.network, self.route.rows)

    def __call__(self, rows: slice, columns: slice) -> Tensor:
        """The tile of these rows and columns."""
        network = self.route.network
        with torch.no_grad(), network.flags(), of_rows(rows):
            block = self.route.block(rows, columns, self.form)
            if not all_finite(block):
                raise LecoreError(
                    f"entries of {not_finite(block, rows, columns)} are not finite",
                    "look at these examples if they are few; else take a larger dtype, or a "
                    "network that has not diverged",
                )
            block = block if self.scale == 1 else block.mul_(self.scale)
            block = block.view(*block.shape[:2], *_trailing(self.route, self.form))
            return only(block, self.kept)


def _trailing(route: KernelRoute, form: Form) -> tuple[int, ...]:
    if form == "trace":
        return ()
    if form == "diagonal":
        return (route.outputs,)
    return tuple(route.outputs for side in (route.rows, route.columns) if side.loss is None)
