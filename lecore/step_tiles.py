"""Steps of update points, and the changes that they make: by which route, and in what tiles."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import grad, jvp, vmap

from lecore.dense_steps import Dense, dense_change
from lecore.errors import LecoreError
from lecore.failures import layer_of, told
from lecore.flags import fixed_flags
from lecore.gradients import flat, gradient_factors, plain_gradient
from lecore.identity import identify
from lecore.optimizer_steps import WeightChange
from lecore.points import Side, witness
from lecore.precision import PRODUCT_DTYPES, all_finite, warn_below_rounding
from lecore.snapshot import Parameters, Snapshot
from lecore.tiles import TileCost, Tiles, check_tiles, compute_tiles
from lecore.two_layer import TwoLayer, two_layer_change, two_layer_prediction
from lecore.watching import Route, Structure

STEP_BYTES = 2**28
"""Memory that the changed weights of the update points in hand may take."""

SAMPLED_ROWS = 64
"""Rows of a matrix on disk that are looked at for rounding."""

VECTORIZED_BYTES = 2**19
"""Weights up to which a CPU evaluates several changed networks at once."""


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

    def cost(self, outputs: int) -> TileCost:
        """Working memory."""
        size, numbers = self.columns.element_size(), self.columns[0].numel()
        width = sum(len(layer.weight) for layer in self.layers)
        return TileCost(
            size * (numbers + 2 * width), size * (numbers + 3 * width), 3 * size * outputs
        )


@dataclass(frozen=True)
class ChangedWeights:
    """Steps of any optimiser on any network, by evaluating the network at the changed weights.

    Attributes:
        network: The network.
        rows: Update points.
        columns: Test points, shape (m, …).
        step: Weight change of one gradient.
        how: Several steps at once, one by one, or one by one by plain autograd.
        linearized: Whether to differentiate along the step instead of taking it.
        failing: The layer for which it has to be plain autograd, if it is known.
    """

    network: Snapshot
    rows: Side
    columns: Tensor
    step: WeightChange
    how: Route
    linearized: bool = False
    failing: str = ""

    @property
    def keeps_digits(self) -> bool:
        """Whether no two nearly equal numbers are subtracted."""
        return self.linearized

    def change(self, rows: slice, columns: slice) -> Tensor:
        """Δ of these rows and columns."""
        assert self.rows.targets is not None
        x, y, test_inputs = self.rows.inputs[rows], self.rows.targets[rows], self.columns[columns]
        if self.how == "plain":
            along = self._plain_derivatives if self.linearized else self._plain_changes
            return along(x, y, test_inputs)
        network = self.network.copy()
        before = network.predict(test_inputs)

        def change(x: Tensor, y: Tensor) -> Tensor:
            step = self.step(self._gradient(network, x, y))
            if self.linearized:
                tangent: Tensor = jvp(
                    lambda weights: network.predict(test_inputs, weights),
                    (network.parameters,),
                    (step,),
                )[1]
                return tangent
            stepped = {name: w + step[name] for name, w in network.parameters.items()}
            return network.predict(test_inputs, stepped) - before

        if self.how == "looped":
            with torch.enable_grad():  # fused recurrent layers need it on the way back
                return torch.stack([change(a, b).detach() for a, b in zip(x, y, strict=True)])
        chunk = max(1, STEP_BYTES // network.parameter_bytes)
        parts = zip(x.split(chunk), y.split(chunk), strict=True)
        return torch.cat([vmap(change)(a, b) for a, b in parts])

    def _plain_changes(self, x: Tensor, y: Tensor, test_inputs: Tensor) -> Tensor:
        """A real step on a copy, and back."""
        before = self.network.copy().predict(test_inputs)
        network = self.network.copy(lambda tensor: tensor.clone())
        # what a forward pass writes to weights lasts until the step, as in training
        lasting = network.manners.written & network.parameters.keys()
        network = replace(network, manners=replace(network.manners, lasting=lasting))
        changes = []
        for a, b in zip(x, y, strict=True):
            step = self.step(self._plain_gradient(network, a, b))
            for name, weight in network.parameters.items():
                weight += step[name]
            changes.append(network.predict(test_inputs) - before)
            for name, weight in network.parameters.items():
                weight.copy_(self.network.parameters[name])
        return torch.stack(changes)

    def _plain_derivatives(self, x: Tensor, y: Tensor, test_inputs: Tensor) -> Tensor:
        """Gradients at the test points, times each step."""
        network = self.network.copy()
        outputs = network.predict(test_inputs[:1]).shape[1]
        structure = Structure((), tuple(network.parameters), outputs, "plain")
        factors = gradient_factors(network, structure, test_inputs)
        changes = []
        for a, b in zip(x, y, strict=True):
            step = self.step(self._plain_gradient(network, a, b))
            changes.append(sum(factors.direct[name] @ flat(step[name]) for name in step))
        return torch.stack(changes)  # type: ignore[arg-type]

    def loss_gradient(self, network: Snapshot, row: int) -> Parameters:
        """∂L/∂w at an update point."""
        assert self.rows.targets is not None
        gradient = self._plain_gradient if self.how == "plain" else self._gradient
        return gradient(network, self.rows.inputs[row], self.rows.targets[row])

    def _gradient(self, network: Snapshot, x: Tensor, y: Tensor) -> Parameters:
        loss = self.rows.loss
        assert loss is not None

        def loss_of(weights: Parameters) -> Tensor:
            return loss(network.predict(x[None], weights)[0], y)

        gradient = grad(loss_of)(network.parameters)
        return {k: g.to_dense() if g.is_sparse else g for k, g in gradient.items()}

    def _plain_gradient(self, network: Snapshot, x: Tensor, y: Tensor) -> Parameters:
        loss = self.rows.loss
        assert loss is not None

        def value() -> Tensor:
            return loss(network.predict(x[None], dict(network.leaves))[0], y)

        return plain_gradient(network, value)

    def cost(self, outputs: int) -> TileCost:
        """Working memory."""
        size, passes = self.network.dtype.itemsize, self.network.manners.activation_bytes
        passes *= 2 if self.linearized else 1
        weights = 3 * self.network.parameter_bytes
        if self.how == "vectorized":
            return TileCost(weights, 0, passes + 3 * size * outputs, 0)
        jacobian = self.network.parameter_bytes * outputs if self.how == "plain" else 0
        column = passes + (jacobian if self.linearized else 0)
        return TileCost(0, column, 3 * size * outputs, weights)


StepRoute = TwoLayerSteps | DenseSteps | ChangedWeights


def changed_weights(
    network: Snapshot, rows: Side, columns: Tensor, step: WeightChange, linearized: bool
) -> ChangedWeights:
    """The route by changed weights, in the quickest way that works.

    On a CPU, convolutions and large layers with weights of their own for each example are slower
    at once than one by one.
    """
    convolutions = any(isinstance(m, nn.modules.conv._ConvNd) for m in network.module.modules())
    slow = network.device.type == "cpu" and (
        network.parameter_bytes > VECTORIZED_BYTES or convolutions
    )
    manners = network.manners
    unusual = bool(manners.bypassed) or bool(manners.written & network.parameters.keys())
    unusual = unusual or any(p.is_complex() for p in network.parameters.values())
    route = ChangedWeights(network, rows, columns, step, "plain", linearized)
    ways: list[Literal["vectorized", "looped"]] = [] if unusual else ["looped"]
    if ways and not slow:
        ways.insert(0, "vectorized")
    one = slice(0, 1)
    for how in ways:
        trial = replace(route, how=how, columns=columns[one])
        try:
            with torch.no_grad():
                trial.change(one, one)
        except Exception as error:
            route = replace(route, failing=layer_of(error))
            continue
        return replace(route, how=how)
    return route


@dataclass
class StepTile:
    """Computes tiles of changes by a route."""

    route: StepRoute

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
                settings=(network.products, linearized),
            )  # fmt: skip
        change = compute_tiles(
            self,
            len(route.rows.inputs),
            len(route.columns),
            tiles=tiles,
            dtype=network.dtype,
            trailing=(outputs,),
            device=network.device,
            row_bytes=cost.row,
            column_bytes=cost.column,
            pair_bytes=cost.pair,
            fixed_bytes=cost.fixed,
            identity=identity,
        )
        if not route.keeps_digits:
            self._warn_below_rounding(change)
        return change

    def _warn_below_rounding(self, change: Any) -> None:
        route, network = self.route, self.route.network
        shorter = PRODUCT_DTYPES.get(network.products, network.manners.lowest)
        with torch.no_grad(), fixed_flags(network.products, network.device.type):
            prediction = network.copy().predict(route.columns)
        if isinstance(change, Tensor):
            warn_below_rounding(change, prediction, shorter)
            return
        n, square = len(route.rows.inputs), route.columns is route.rows.inputs
        rows = range(0, n, -(-n // SAMPLED_ROWS))  # of a matrix on disk
        sample = torch.stack([torch.as_tensor(change[i]) for i in rows]).to(prediction)
        if square:
            own = torch.stack([moved[i] for i, moved in zip(rows, sample, strict=True)])
            warn_below_rounding(sample, prediction[list(rows)], shorter, own_change=own)
        else:
            warn_below_rounding(sample, prediction, shorter)

    def witness(self) -> Tensor:
        """By which another process shows that it has the same network and loss."""
        return witness(self.route.network, self.route.rows)

    def __call__(self, rows: slice, columns: slice) -> Tensor:
        """Δ of these rows and columns."""
        network = self.route.network
        with torch.no_grad(), fixed_flags(network.products, network.device.type), told(rows):
            change = self.route.change(rows, columns)
            if not all_finite(change):
                raise LecoreError(
                    f"steps on rows {rows.start} to {rows.stop - 1} give changes that are not "
                    "finite",
                    "take a smaller learning rate",
                )
            return change
