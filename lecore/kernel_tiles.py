"""One tile of a tangent kernel: which route computes it, and what it costs in memory."""

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from lecore.dense_steps import dense_form
from lecore.gradients import Factors, Structure, find_structure, gradient_factors
from lecore.identity import identify
from lecore.layer_kernels import Extent, layer_kernel, only_output, traced, written_out
from lecore.losses import Loss
from lecore.precision import all_finite, float32_products
from lecore.snapshot import Snapshot, check_loss, labels, points
from lecore.tiles import Tiles, compute_tiles
from lecore.two_layer import TwoLayer, two_layer_form, two_layer_kernel, two_layer_prediction

Form = Literal["full", "trace", "diagonal"]


class Side(NamedTuple):
    """Row or column points; with a loss, their gradients are those of the loss.

    Attributes:
        inputs: Shape (n, …).
        targets: Shape (n, …), for the loss.
        loss: Loss of one prediction.
    """

    inputs: Tensor
    targets: Tensor | None = None
    loss: Loss | None = None

    def loss_gradient(self, part: slice, prediction: Tensor) -> Tensor:
        """∂L/∂f at some of the points, shape (n, outputs)."""
        assert self.targets is not None
        assert self.loss is not None
        gradient: Tensor = vmap(grad(self.loss))(prediction, self.targets[part])
        return gradient


def labelled(network: Snapshot, inputs: Tensor, targets: Tensor, loss: Loss) -> Side:
    """Points whose gradients are those of a loss, checked."""
    inputs = points(network, inputs)
    targets = labels(network, targets, inputs)
    check_loss(network, loss, inputs, targets)
    return Side(inputs, targets, loss)


@dataclass
class KernelTile:
    """Computes tiles of a tangent kernel; :func:`kernel_tile` makes it.

    Attributes:
        network: The network.
        structure: How its parameters are used.
        rows: Row points.
        columns: Column points, with the very same ``inputs`` for a square kernel.
        form: Which entries to keep of the outputs × outputs block.
        two_layer: The network in that form, if it has it.
        scale: Factor of the result.
    """

    network: Snapshot
    structure: Structure
    rows: Side
    columns: Side
    form: Form
    two_layer: TwoLayer | None
    scale: float = 1.0
    _last: tuple[slice, Factors] | None = field(default=None, repr=False)

    def compute(self, tiles: Tiles) -> Any:
        """The whole matrix."""
        n, m = len(self.rows.inputs), len(self.columns.inputs)
        per_point, per_pair = self._bytes()
        identity = None
        if tiles.store is not None:
            identity = identify(
                by=__name__, key=tiles.key, model=self.network.skeleton,
                parameters=self.network.parameters, buffers=self.network.fixed,
                loss=[side.loss for side in self._sides()],
                data=[side[:2] for side in self._sides()],
                settings=(self.network.products, self.form, self.scale),
            )  # fmt: skip
        return compute_tiles(
            self,
            n,
            m,
            tiles=tiles,
            dtype=self.network.dtype,
            trailing=self._trailing(),
            device=self.network.device,
            row_bytes=per_point,
            column_bytes=per_point,
            pair_bytes=per_pair,
            symmetric=self.rows is self.columns,
            identity=identity,
        )

    def __call__(self, rows: slice, columns: slice) -> Tensor:
        """The tile of these rows and columns."""
        with torch.no_grad(), float32_products(self.network.products):
            same = self.rows.inputs is self.columns.inputs and rows == columns
            one_output = self.structure.outputs == 1
            block = (self._one_output if one_output else self._several)(rows, columns, same)
            if not all_finite(block):
                raise ValueError(
                    f"rows {rows.start} to {rows.stop - 1} have entries that are not finite: "
                    "gradients overflow; take a larger dtype, or a network that has not diverged"
                )
            return block if self.scale == 1 else block.mul_(self.scale)

    def _one_output(self, rows: slice, columns: slice, same: bool) -> Tensor:
        """The kernel, times the loss gradients: a symmetric product even if only rows have one."""
        if self.two_layer:
            x = self.rows.inputs[rows].flatten(1)
            other = None if same else self.columns.inputs[columns].flatten(1)
            kernel, predicted = two_layer_kernel(self.two_layer, x, other)
            prediction = predicted[:, None]
            if self.columns.loss is not None:
                other = x if other is None else other
                other_prediction = two_layer_prediction(self.two_layer, other)[:, None]
        else:
            extents = self._extents(rows.stop - rows.start, columns.stop - columns.start)
            left = self._row_factors(rows, extents)
            right = left if same else self._factors(Side(self.columns.inputs), columns, extents)
            kernel = layer_kernel(left, right, self._names(left))[:, :, 0, 0]
            prediction, other_prediction = left.prediction, right.prediction
        if self.rows.loss is not None:
            kernel *= self.rows.loss_gradient(rows, prediction)
        if self.columns.loss is not None:
            kernel *= self.columns.loss_gradient(columns, other_prediction).T
        return kernel.view(*kernel.shape, *(1 for _ in self._trailing()))

    def _several(self, rows: slice, columns: slice, same: bool) -> Tensor:
        extents = self._extents(rows.stop - rows.start, columns.stop - columns.start)
        left = self._row_factors(rows, extents)
        same = same and self.rows.loss is self.columns.loss
        right = left if same else self._factors(self.columns, columns, extents)
        if self.form == "diagonal":
            blocks = []
            for output in range(self.structure.outputs):
                a = only_output(left, output)
                b = a if same else only_output(right, output)
                blocks.append(layer_kernel(a, b, self._names(a))[:, :, 0, 0])
            return torch.stack(blocks, dim=2)
        kernel = layer_kernel(left, right, self._names(left))
        return (
            kernel[:, :, 0, 0]
            if self.form == "trace"
            else kernel.view(*kernel.shape[:2], *self._trailing())
        )

    def _row_factors(self, rows: slice, extents: tuple[Extent, Extent]) -> Factors:
        # tiles come row by row, so a row block's factors serve for all its columns
        if self._last is None or self._last[0] != rows:
            side = self.rows if self.structure.outputs > 1 else Side(self.rows.inputs)
            self._last = rows, self._factors(side, rows, extents)
        return self._last[1]

    def _factors(
        self, side: Side, part: slice, extents: tuple[Extent, Extent] | None = None
    ) -> Factors:
        """Factors of some of the points, written out where that pays in a tile so large."""

        def form(factors: Factors) -> Factors:
            factors = traced(factors) if self.form == "trace" else factors
            return written_out(factors, *extents) if extents else factors

        targets = None if side.targets is None else side.targets[part]
        return gradient_factors(
            self.network.copy(), self.structure, side.inputs[part], targets, side.loss, form
        )

    def _extents(self, n: int, m: int) -> tuple[Extent, Extent]:
        outputs = self.structure.outputs if self.form == "full" else 1
        rows, columns = (1 if side.loss else outputs for side in self._sides())
        return (n, rows), (m, columns)

    def _trailing(self) -> tuple[int, ...]:
        outputs = self.structure.outputs
        if self.form == "trace":
            return ()
        if self.form == "diagonal":
            return (outputs,)
        return tuple(outputs for side in self._sides() if side.loss is None)

    def _sides(self) -> tuple[Side, Side]:
        return self.rows, self.columns

    def _bytes(self) -> tuple[int, int]:
        """Working memory of a point and of a pair of points."""
        size = self.network.dtype.itemsize
        pair = 4 * size * max(1, torch.Size(self._trailing()).numel())
        if self.two_layer:
            return size * self.rows.inputs[0].numel() * 2, pair
        whole = self._extents(len(self.rows.inputs), len(self.columns.inputs))
        point = max(
            sum(outer.read.nbytes + outer.signal.nbytes for outer in factors.outer.values())
            + sum(gradient.nbytes for gradient in factors.direct.values())
            for extents in (whole, None)
            for factors in [self._factors(self.columns, slice(0, 1), extents)]
        )
        return 2 * point, pair

    @staticmethod
    def _names(factors: Factors) -> list[str]:
        return [*factors.outer, *factors.direct]


def kernel_tile(
    model: nn.Module,
    network: Snapshot,
    rows: Side,
    columns: Side,
    form: Form = "full",
    scale: float = 1.0,
) -> KernelTile:
    """Choose the route for a model: matrix products for two layers, else structured gradients."""
    two_layer = two_layer_form(dense_form(model, network.parameters, network.fixed))
    if two_layer is not None:
        return KernelTile(
            network, Structure([], [], 1, True, 0), rows, columns, form, two_layer, scale
        )
    structure = find_structure(network, rows.inputs[:1])
    return KernelTile(network, structure, rows, columns, form, None, scale)
