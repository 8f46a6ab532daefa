"""From a model and its points to the quickest route that is right."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from lecore.engine.change_matrix import DenseSteps, StepRoute, TwoLayerSteps
from lecore.engine.changed_weights import ChangedWeights, changed_weights
from lecore.engine.checks.gradients import agrees, checked_structures
from lecore.engine.checks.predictions import check_batch
from lecore.engine.checks.steps import checked_steps
from lecore.engine.gradients.layer_kernels import ELEMENTWISE_COST
from lecore.engine.gradients.per_example import structures_of
from lecore.engine.gradients.structure import Structure
from lecore.engine.gradients.watching import warn_plain
from lecore.engine.kernel_matrix import KernelRoute, StructuredRoute, TwoLayerRoute
from lecore.engine.network.remembering import remembered
from lecore.engine.opening import Measured, check_points, kind_of, pair
from lecore.engine.optimizer_steps import WeightChange
from lecore.engine.points import Side
from lecore.engine.real_steps import RealStep
from lecore.engine.routes.chains import dense_form
from lecore.engine.routes.two_layer import two_layer_form


def structures(
    measured: Measured, rows: Tensor, columns: Tensor, check: bool
) -> tuple[Structure, Structure]:
    """How the parameters enter the forward pass of row points and of column points, checked."""
    model, network = measured

    def find() -> list[Structure]:
        found = structures_of(network, [rows, columns], both_ways=not check)
        if not check:
            return found
        samples = [pair(rows, rows), pair(columns, columns)]
        if rows.shape[1:] == columns.shape[1:]:  # a row and a column point, side by side
            samples = [pair(rows, columns)] * 2
        with torch.no_grad():
            return checked_structures(network, found, samples)

    kinds = (*kind_of(network, rows), *kind_of(network, columns))
    left, right = remembered(
        model,
        ("structures", check, *kinds),
        find,
        lasts=lambda found: found[0].route == "vectorized" and not network.manners.alone,
    )
    return left, right


def kernel_route(measured: Measured, rows: Side, columns: Side, check: bool) -> KernelRoute:
    """Matrix products for two layers, else structured gradients."""
    model, network = measured
    check_points(measured, rows.inputs, columns.inputs, check)
    two_layer = two_layer_form(dense_form(network.module))
    if two_layer is not None:
        route = TwoLayerRoute(network, two_layer, rows, columns)
        key = (
            "two-layer kernel",
            *kind_of(network, rows.inputs),
            *kind_of(network, columns.inputs),
        )

        def right() -> bool:
            with torch.no_grad():
                return agrees(route, pair(rows.inputs, columns.inputs))

        if not check or remembered(model, key, right):
            return route
    found = structures(measured, rows.inputs, columns.inputs, check)
    return StructuredRoute(network, found, rows, columns)


def step_route(
    measured: Measured,
    rows: Side,
    columns: Tensor,
    step: WeightChange,
    learning_rate: float | None,
    check: bool,
    linearized: bool = False,
) -> StepRoute:
    """Matrix products for plain SGD on chains of layers, else the network at changed weights.

    Args:
        measured: From :func:`lecore.engine.opening.opened`.
        rows: Update points.
        columns: Test points.
        step: Weight change of one gradient.
        learning_rate: η if it is a plain SGD step.
        check: Whether to compare with a real step.
        linearized: Whether to differentiate along the step instead of taking it.
    """
    model, network = measured
    check_points(measured, rows.inputs, columns, check)
    layers = None if learning_rate is None or linearized else dense_form(network.module)
    two_layer = two_layer_form(layers)
    kinds = (*kind_of(network, rows.inputs), *kind_of(network, columns))

    def right(route: StepRoute) -> bool:
        if not check:
            return True

        def compare() -> bool:
            with torch.no_grad():
                return checked_steps(route) is not None

        lasts = isinstance(route, TwoLayerSteps | DenseSteps) or route.how == "vectorized"
        lasts = lasts and not network.manners.alone
        key = ("steps", type(route), linearized, *kinds)
        return bool(remembered(model, key, compare, lasts=lambda found: lasts))

    if two_layer is not None and type(two_layer.activation) is nn.ReLU:
        assert learning_rate is not None
        quick = TwoLayerSteps(network, rows, columns, two_layer, learning_rate)
        if right(quick):
            return quick
    if layers is not None:
        assert learning_rate is not None
        dense = DenseSteps(network, rows, columns, layers, learning_rate)
        if right(dense):
            return dense
    if check:
        with torch.no_grad():
            check_batch(network, columns)
    route = changed_weights(network, rows, columns, step, linearized)
    if route.how != "plain" and not right(route):
        reason = "its steps at once and those of autograd differ"
        route = replace(route, how="plain", reason=reason)
    if isinstance(step, RealStep):
        with torch.no_grad():
            route.try_real_step(model)
        warn_plain("", f"{step.name} takes its steps on a copy")
    elif route.how == "plain":
        warn_plain(route.failing, route.reason)
    return route


def forward_mode_pays(found: tuple[Structure, Structure], n: int, m: int) -> bool:
    """Whether a linearised change by derivatives along each step beats the tangent kernel.

    The kernel takes a pass back for every output of every test point; the derivatives take a
    pass for every pair of points, whatever the number of outputs.
    """
    left, right = found
    if left.route != "vectorized":
        return False
    outputs = right.outputs
    products = sum(torch.Size(c.output_shape).numel() + ELEMENTWISE_COST for c in right.calls)
    kernel = 2 * n * left.operations + m * (1 + outputs) * right.operations
    kernel += n * m * outputs * products
    along = n * (3 * left.operations + 3 * m * right.operations)
    return 2 * along < kernel


def along_steps(
    measured: Measured, rows: Side, columns: Tensor, step: WeightChange, check: bool
) -> ChangedWeights | None:
    """The forward-mode route, or ``None`` if the network has no forward derivatives."""
    check_points(measured, rows.inputs, columns, check)
    if check:
        with torch.no_grad():
            check_batch(measured[1], columns)
    route = changed_weights(measured[1], rows, columns, step, linearized=True)
    if route.how == "plain":
        return None
    if check:
        with torch.no_grad():
            if checked_steps(route) is None:
                return None
    return route
