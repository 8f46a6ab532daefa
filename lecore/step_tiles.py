"""Steps of update points, and the changes that they make: which route, and in what tiles."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import grad, jvp, vmap

from lecore.dense_steps import Dense, dense_change, dense_form
from lecore.identity import identify
from lecore.kernel_tiles import Side
from lecore.optimizer_steps import WeightChange
from lecore.precision import PRODUCT_DTYPES, all_finite, float32_products, warn_below_rounding
from lecore.snapshot import Parameters, Snapshot, check_loss, points
from lecore.tiles import Tiles, compute_tiles
from lecore.two_layer import TwoLayer, two_layer_change, two_layer_form, two_layer_prediction

STEP_BYTES = 2**28
"""Memory that the changed weights of the update points in hand may take."""

VECTORIZED_BYTES = 2**19
"""Weights up to which a CPU evaluates several changed networks at once."""


class Routes(NamedTuple):
    """Forms of a network that a plain SGD step needs no changed weights for.

    Attributes:
        learning_rate: η.
        two_layer: One ReLU layer and one output.
        layers: Any fully connected network.
    """

    learning_rate: float | None = None
    two_layer: TwoLayer | None = None
    layers: list[Dense] | None = None

    def __bool__(self) -> bool:
        return self.two_layer is not None or self.layers is not None

    @property
    def width(self) -> int:
        """Values of one point in all layers, if these are held."""
        if self.layers is None or self.two_layer is not None:
            return 0
        return sum(len(layer.weight) for layer in self.layers)

    @property
    def keeps_digits(self) -> bool:
        """Whether no two nearly equal numbers are subtracted."""
        if self.layers is None:
            return self.two_layer is not None
        plain = (nn.ReLU, nn.Identity, type(None))
        return all(isinstance(layer.activation, plain) for layer in self.layers)


def step_routes(model: nn.Module, network: Snapshot, learning_rate: float) -> Routes:
    """The routes that a plain SGD step of a model can take."""
    layers = dense_form(model, network.parameters, network.fixed)
    two_layer = two_layer_form(layers)
    if two_layer is not None and type(two_layer.activation) is not nn.ReLU:
        two_layer = None
    return Routes(learning_rate, two_layer, layers)


@dataclass
class StepTile:
    """Takes the steps of some update points and evaluates the test points after each.

    Attributes:
        network: The network.
        rows: Update points.
        columns: Test points, shape (m, …).
        step: Weight change of one gradient.
        routes: Forms of the network that need no changed weights.
        linearized: Whether to differentiate along the step instead.
        vectorized: Whether several steps are evaluated at once.
    """

    network: Snapshot
    rows: Side
    columns: Tensor
    step: WeightChange
    routes: Routes
    linearized: bool
    vectorized: bool

    def __call__(self, rows: slice, columns: slice) -> Tensor:
        """Δ of these rows and columns."""
        with torch.no_grad(), float32_products(self.network.products):
            if self.routes.two_layer is not None:
                change = self._two_layer(self.routes.two_layer, rows, columns)
            elif self.routes.layers is not None:
                change = self._dense(self.routes.layers, rows, columns)
            else:
                change = self._generic(rows, columns)
        if not all_finite(change):
            raise ValueError(
                f"steps on rows {rows.start} to {rows.stop - 1} give changes that are not finite; "
                "take a smaller learning rate"
            )
        return change

    def _two_layer(self, network: TwoLayer, rows: slice, columns: slice) -> Tensor:
        assert self.routes.learning_rate is not None
        x = self.rows.inputs[rows].flatten(1)
        same = self.columns is self.rows.inputs and rows == columns
        gradient = self.rows.loss_gradient(rows, two_layer_prediction(network, x)[:, None])
        test_x = None if same else self.columns[columns].flatten(1)
        step = -self.routes.learning_rate * gradient[:, 0]
        return two_layer_change(network, x, step, test_x)[:, :, None]

    def _dense(self, layers: list[Dense], rows: slice, columns: slice) -> Tensor:
        assert self.routes.learning_rate is not None
        x, test_x = self.rows.inputs[rows].flatten(1), self.columns[columns].flatten(1)

        def loss_gradient(prediction: Tensor) -> Tensor:
            return self.rows.loss_gradient(rows, prediction)

        return dense_change(layers, x, loss_gradient, self.routes.learning_rate, test_x)

    def _generic(self, rows: slice, columns: slice) -> Tensor:
        network, test_inputs = self.network.copy(), self.columns[columns]
        loss, targets = self.rows.loss, self.rows.targets
        assert loss is not None
        assert targets is not None
        before = network.predict(test_inputs)

        def loss_of(weights: Parameters, x: Tensor, y: Tensor) -> Tensor:
            return loss(network.predict(x[None], weights)[0], y)

        def change(x: Tensor, y: Tensor) -> Tensor:
            step = self.step(grad(loss_of)(network.parameters, x, y))
            if self.linearized:
                tangent: Tensor = jvp(
                    lambda weights: network.predict(test_inputs, weights),
                    (network.parameters,),
                    (step,),
                )[1]
                return tangent
            stepped = {name: w + step[name] for name, w in network.parameters.items()}
            return network.predict(test_inputs, stepped) - before

        x, y = self.rows.inputs[rows], targets[rows]
        if not self.vectorized:
            with torch.enable_grad():  # fused recurrent layers need it on the way back
                return torch.stack([change(a, b) for a, b in zip(x, y, strict=True)])
        chunk = max(1, STEP_BYTES // network.parameter_bytes)
        return torch.cat(
            [
                vmap(change)(x[start : start + chunk], y[start : start + chunk])
                for start in range(0, len(x), chunk)
            ]
        )


def compute_steps(
    network: Snapshot,
    rows: Side,
    test_inputs: Tensor | None,
    step: WeightChange,
    routes: Routes,
    linearized: bool,
    tiles: Tiles,
) -> Any:
    """All changes Δ; arguments as in :class:`StepTile` and :mod:`lecore.changes`."""
    columns = rows.inputs if test_inputs is None else points(network, test_inputs, "test_inputs")
    assert rows.loss is not None
    assert rows.targets is not None
    outputs = check_loss(network, rows.loss, rows.inputs, rows.targets)
    vectorized = bool(routes) or _runs_vectorized(network, rows, columns, step)
    tile = StepTile(network, rows, columns, step, routes, linearized, vectorized)
    size = columns.element_size() if columns.is_floating_point() else 8
    identity = None
    if tiles.store is not None:
        identity = identify(
            by=__name__, key=tiles.key, model=network.skeleton, parameters=network.parameters,
            buffers=network.fixed, loss=rows.loss, optimizer=step,
            data=[rows.inputs, rows.targets, columns], settings=(network.products, linearized),
        )  # fmt: skip
    change = compute_tiles(
        tile,
        len(rows.inputs),
        len(columns),
        tiles=tiles,
        dtype=network.dtype,
        trailing=(outputs,),
        device=network.device,
        row_bytes=size * (rows.inputs[0].numel() + 2 * routes.width),
        column_bytes=size * (columns[0].numel() + 3 * routes.width),
        pair_bytes=size * (6 if routes.two_layer else 3) * outputs,
        identity=identity,
    )
    if not routes.keeps_digits and not linearized and isinstance(change, Tensor):
        with torch.no_grad():
            prediction = network.predict(columns)
        warn_below_rounding(change, prediction, PRODUCT_DTYPES.get(network.products))
    return change


def _runs_vectorized(network: Snapshot, rows: Side, columns: Tensor, step: WeightChange) -> bool:
    """Whether several changed networks run at once under vmap, and whether that pays.

    On a CPU, convolutions and large layers with weights of their own for each example are slower
    than a loop.
    """
    if network.device.type == "cpu" and (
        network.parameter_bytes > VECTORIZED_BYTES
        or any(isinstance(m, nn.modules.conv._ConvNd) for m in network.skeleton.modules())
    ):
        return False
    one = slice(0, 1)
    try:
        StepTile(network, rows, columns[one], step, Routes(), False, True)(one, one)
    except (RuntimeError, NotImplementedError):
        return False
    return True
