"""Prediction changes over pairs of points: which route computes them, and in what tiles."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lecore.arguments.finite import all_finite
from lecore.engine.changed_weights import ChangedWeights
from lecore.engine.checks.tolerances import peak
from lecore.engine.network.failures import of_rows
from lecore.engine.network.flags import PRODUCT_DTYPES
from lecore.engine.network.snapshot import Snapshot
from lecore.engine.optimizer_steps import WeightChange, sgd_change
from lecore.engine.points import Side, not_finite, only, witness
from lecore.engine.rounding import signal_to_rounding, warn_below_rounding
from lecore.engine.routes.chains import Dense
from lecore.engine.routes.dense_steps import dense_change
from lecore.engine.routes.two_layer import TwoLayer, two_layer_change, two_layer_prediction
from lecore.engine.tiling.cuts import TileCost
from lecore.engine.tiling.tiles import Tiles, check_tiles, compute_tiles
from lecore.errors import LecoreError
from lecore.identity.finished_work import identify

SAMPLED_ROWS = 64
"""Rows of a matrix on disk that are looked at for rounding."""

FLOOR = 10.0
"""Units in the last place that a step has to move a prediction by."""


@dataclass(frozen=True)
class TwoLayerSteps:
    """Plain SGD steps of one ReLU layer and one output, by matrix products.

    Attributes:
        network: The network.
        rows: Update points.
        columns: Test points, shape (m, …).
        two_layer: The network in that form.
        learning_rate: η.
    """

    network: Snapshot
    rows: Side
    columns: Tensor
    two_layer: TwoLayer
    learning_rate: float

    keeps_digits = True

    def change(self, rows: slice, columns: slice) -> Tensor:
        """Δ of these rows and columns."""
        x = self.rows.inputs[rows].flatten(1)
        same = self.columns is self.rows.inputs and rows == columns
        prediction = two_layer_prediction(self.two_layer, x)[:, None]
        step = -self.learning_rate * self.rows.loss_gradient(rows, prediction)[:, 0]
        test_x = None if same else self.columns[columns].flatten(1)
        return two_layer_change(self.two_layer, x, step, test_x)[:, :, None]

    @property
    def words(self) -> str:
        """How it computes."""
        return "matrix products of a two-layer network"

    def cost(self, outputs: int) -> TileCost:
        """Working memory."""
        size, numbers = self.columns.element_size(), self.columns[0].numel()
        return TileCost(size * numbers, size * numbers, 6 * size)


@dataclass(frozen=True)
class DenseSteps:
    """Plain SGD steps of fully connected networks, without changed weights.

    Attributes:
        network: The network.
        rows: Update points.
        columns: Test points, shape (m, …).
        layers: The network in that form.
        learning_rate: η.
    """

    network: Snapshot
    rows: Side
    columns: Tensor
    layers: list[Dense]
    learning_rate: float

    @property
    def keeps_digits(self) -> bool:
        """Whether no two nearly equal numbers are subtracted."""
        plain = (nn.ReLU, nn.Identity, type(None))
        return all(isinstance(layer.activation, plain) for layer in self.layers)

    def change(self, rows: slice, columns: slice) -> Tensor:
        """Δ of these rows and columns."""
        x, test_x = self.rows.inputs[rows].flatten(1), self.columns[columns].flatten(1)

        def loss_gradient(prediction: Tensor) -> Tensor:
            return self.rows.loss_gradient(rows, prediction)

        return dense_change(self.layers, x, loss_gradient, self.learning_rate, test_x)

    @property
    def words(self) -> str:
        """How it computes."""
        return "matrix products, layer by layer"

    def cost(self, outputs: int) -> TileCost:
        """Working memory."""
        size, numbers = self.columns.element_size(), self.columns[0].numel()
        width = sum(len(layer.weight) for layer in self.layers)
        return TileCost(
            size * (numbers + 2 * width), size * (numbers + 3 * width), 3 * size * outputs
        )


StepRoute = TwoLayerSteps | DenseSteps | ChangedWeights


@dataclass
class ChangeMatrix:
    """Prediction changes over all pairs of points, which a route computes tile by tile.

    Attributes:
        route: How.
        kept: The outputs whose changes are kept; all if there are none.
    """

    route: StepRoute
    kept: tuple[int, ...] = ()

    def compute(self, outputs: int, step: WeightChange, tiles: Tiles) -> Any:
        """The whole matrix Δ, of steps of an optimiser by which it is recognised in a store."""
        check_tiles(tiles, self.route.network.manners.draws)
        route = self.route
        network, cost = route.network, route.cost(outputs)
        identity = None
        if tiles.store is not None:
            linearized = isinstance(route, ChangedWeights) and route.linearized
            identity = identify(
                by=__name__, key=tiles.key, model=network.module, parameters=network.parameters,
                buffers=network.fixed, loss=route.rows.loss, optimizer=step,
                data=[route.rows.inputs, route.rows.targets, route.columns],
                settings=(network.products, linearized, *self.kept),
            )  # fmt: skip
        change = compute_tiles(
            self,
            len(route.rows.inputs),
            len(route.columns),
            tiles=tiles,
            dtype=network.dtype,
            trailing=(len(self.kept) or outputs,),
            device=network.device,
            cost=cost,
            identity=identity,
        )
        if not route.keeps_digits:
            self._warn_below_rounding(change)
        return change

    def _warn_below_rounding(self, change: Any) -> None:
        route, network = self.route, self.route.network
        shorter = PRODUCT_DTYPES.get(network.products, network.manners.lowest)
        n = len(route.rows.inputs)
        rows = torch.arange(0, n, 1 if isinstance(change, Tensor) else -(-n // SAMPLED_ROWS))
        with torch.no_grad(), network.flags():
            prediction = only(network.copy().predict(route.columns).detach(), self.kept)
            if not isinstance(change, Tensor):  # a matrix on disk
                sample = [torch.as_tensor(change[i]) for i in rows.tolist()]
                change = torch.stack(sample).to(prediction)
            # the update point itself, or the test point that a row moved most
            square = route.columns is route.rows.inputs
            at = rows.to(change.device) if square else change.norm(dim=2).argmax(1)
            own = change[torch.arange(len(change), device=at.device), at]
            precision = shorter or change.dtype
            signal = signal_to_rounding(change, prediction[at], own, dtype=precision)
            still = self._standing_still(rows[(signal < FLOOR).cpu()], prediction, precision)
            moves = ~torch.isin(rows, still).to(change.device)
        if bool(moves.any()):
            warn_below_rounding(
                change[moves] if len(still) else change, prediction[at][moves], shorter, FLOOR,
                own_change=own[moves],
            )  # fmt: skip

    def _standing_still(self, rows: Tensor, prediction: Tensor, precision: torch.dtype) -> Tensor:
        """Those of some rows whose steps would move nothing if they were longer, too.

        So it is where the loss has no gradient, or an example has no weights in common with others.
        Of many rows some are looked at.
        """
        route = self.route
        if isinstance(route, TwoLayerSteps | DenseSteps):
            step = sgd_change(route.learning_rate)
            route = ChangedWeights(route.network, route.rows, route.columns, step, "plain")
        some = rows[:: -(-len(rows) // SAMPLED_ROWS) or 1].tolist()
        nothing = 16 * torch.finfo(precision).eps * peak(prediction)
        still = [r for r in some if peak(only(route.far_change(r), self.kept)) <= nothing]
        return rows if len(still) == len(some) else torch.tensor(still, dtype=rows.dtype)

    def witness(self) -> Tensor:
        """By which another process shows that it has the same network and loss."""
        return witness(self.route.network, self.route.rows)

    def __call__(self, rows: slice, columns: slice) -> Tensor:
        """Δ of these rows and columns."""
        network = self.route.network
        with torch.no_grad(), network.flags(), of_rows(rows):
            change = only(self.route.change(rows, columns), self.kept)
            if not all_finite(change):
                raise LecoreError(
                    f"the changes of {not_finite(change, rows, columns)} are not finite",
                    "take a smaller learning rate, or look at these examples if they are few",
                )
            return change
