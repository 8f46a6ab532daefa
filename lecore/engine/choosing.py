"""From a model and its points to the quickest route that is right."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lecore.engine.change_matrix import DenseSteps, StepRoute, TwoLayerSteps
from lecore.engine.changed_weights import ChangedWeights, changed_weights
from lecore.engine.gradients.layer_kernels import ELEMENTWISE_COST
from lecore.engine.gradients.per_example import structures_of
from lecore.engine.gradients.watching import Structure, warn_plain
from lecore.engine.kernel_matrix import KernelRoute, StructuredRoute, TwoLayerRoute
from lecore.engine.network.flags import Precision, fixed_flags
from lecore.engine.network.model_copy import unwrapped
from lecore.engine.network.probing import look, together
from lecore.engine.network.random_states import generators_left_alone
from lecore.engine.network.remembering import remembered
from lecore.engine.network.snapshot import Snapshot, snapshot
from lecore.engine.optimizer_steps import WeightChange
from lecore.engine.points import Side, points
from lecore.engine.routes.chains import dense_form
from lecore.engine.routes.two_layer import two_layer_form
from lecore.engine.self_check import (
    agrees,
    check_batch,
    check_predictions,
    checked_steps,
    checked_structures,
)
from lecore.errors import LecoreError

Measured = tuple[nn.Module, Snapshot]
"""The caller's model without wrappers, and its snapshot."""


@contextmanager
def opened(
    model: nn.Module, inputs: Any, dtype: Precision | None
) -> Iterator[tuple[Measured, Tensor]]:
    """Begin a measurement: look at the network, and compute as asked for inside.

    Args:
        model: The caller's model.
        inputs: Its row points.
        dtype: Precision of the calculation.

    Yields:
        The model with its snapshot, and the row points as it takes them.

    Raises:
        LecoreError: If the model or the points are unfit; see the message.
    """
    _refuse_hooks_on_saved_tensors()
    network = snapshot(model, dtype)
    model = unwrapped(model)
    with fixed_flags(network.products, network.device.type):
        inputs = points(network, inputs)
        network = _looked_at(model, network, inputs)
        may_draw = network.manners.draws or network.manners.alone  # now, or on a way not yet seen
        with generators_left_alone() if may_draw else nullcontext():
            yield (model, network), inputs


def _refuse_hooks_on_saved_tensors() -> None:
    try:
        with torch.autograd.graph.disable_saved_tensors_hooks("a measurement"):
            pass
    except RuntimeError as error:
        raise LecoreError(
            "hooks on saved tensors are on, which torch.func does not know",
            "leave torch.autograd.graph.saved_tensors_hooks or save_on_cpu first",
        ) from error


def with_columns(measured: Measured, test_inputs: Any, rows: Tensor) -> tuple[Measured, Tensor]:
    """Test points as the network takes them, and the network as it behaves on them too.

    The row points themselves if there are none.
    """
    if test_inputs is None:
        return measured, rows
    model, network = measured
    columns = points(network, test_inputs, "test_inputs")
    try:
        on_columns = _looked_at(model, network, columns)
    except LecoreError as error:
        place = ", ".join(filter(None, ["test_inputs", error.where]))
        raise LecoreError(error.what, error.cure, place) from error
    manners = together([network.manners, on_columns.manners])
    return (model, replace(network, manners=manners)), columns


def structures(
    measured: Measured, rows: Tensor, columns: Tensor, check: bool
) -> tuple[Structure, Structure]:
    """How the parameters enter the forward pass of row points and of column points, checked."""
    model, network = measured

    def find() -> list[Structure]:
        found = structures_of(network, [rows, columns], both_ways=not check)
        if not check:
            return found
        samples = [_pair(rows, rows), _pair(columns, columns)]
        if rows.shape[1:] == columns.shape[1:]:  # a row and a column point, side by side
            samples = [_pair(rows, columns)] * 2
        with torch.no_grad():
            return checked_structures(network, found, samples)

    kinds = (*_kind(network, rows), *_kind(network, columns))
    left, right = remembered(
        model,
        ("structures", check, *kinds),
        find,
        lasts=lambda found: found[0].route == "vectorized",
    )
    return left, right


def kernel_route(measured: Measured, rows: Side, columns: Side, check: bool) -> KernelRoute:
    """Matrix products for two layers, else structured gradients."""
    model, network = measured
    check_points(measured, rows.inputs, columns.inputs, check)
    two_layer = two_layer_form(dense_form(network.module))
    if two_layer is not None:
        route = TwoLayerRoute(network, two_layer, rows, columns)
        key = ("two-layer kernel", *_kind(network, rows.inputs), *_kind(network, columns.inputs))

        def right() -> bool:
            with torch.no_grad():
                return agrees(route, _pair(rows.inputs, columns.inputs))

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
        measured: From :func:`opened`.
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
    kinds = (*_kind(network, rows.inputs), *_kind(network, columns))

    def right(route: StepRoute) -> bool:
        if not check:
            return True

        def compare() -> bool:
            with torch.no_grad():
                return checked_steps(route) is not None

        lasts = isinstance(route, TwoLayerSteps | DenseSteps) or route.how == "vectorized"
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
        route = replace(route, how="plain")
    if route.how == "plain":
        warn_plain(route.failing, "torch.func cannot differentiate it")
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
    route = changed_weights(measured[1], rows, columns, step, True)
    if route.how == "plain":
        return None
    if check:
        with torch.no_grad():
            if checked_steps(route) is None:
                return None
    return route


def _looked_at(model: nn.Module, network: Snapshot, side: Tensor) -> Snapshot:
    manners = remembered(
        model, ("look", *_kind(network, side)), lambda: look(network, side[:1]).manners
    )
    if manners.alone:  # each example may go another way, the first of other points too
        manners = together([manners, *(look(network, x[None]).manners for x in side)])
    return replace(network, manners=manners)


def check_points(measured: Measured, rows: Tensor, columns: Tensor, check: bool) -> None:
    """Whether predictions at some of the points depend on these points alone."""
    if not check:
        return
    model, network = measured
    samples = [_pair(rows, rows if len(rows) > 1 else columns)]
    if columns.shape[1:] != rows.shape[1:]:
        samples = [_pair(rows, rows), _pair(columns, columns)]
    if network.manners.alone:  # each of them, as each may go another way
        samples = [rows, columns]
    for sample in samples:

        def passes(sample: Tensor = sample) -> bool:
            with torch.no_grad():
                check_predictions(network, sample)
            return len(sample) > 1 and not torch.equal(sample[0], sample[1])

        key = ("predictions", *_kind(network, sample))
        remembered(model, key, passes, lasts=lambda found: found and not network.manners.alone)


def _pair(first: Tensor, last: Tensor) -> Tensor:
    """The first of some points and the last of others, where they have the same shape."""
    return torch.cat([first[:1], (last if last.shape[1:] == first.shape[1:] else first)[-1:]])


def _kind(network: Snapshot, side: Tensor) -> tuple[Any, ...]:
    """What the way of computing can depend on, apart from the model."""
    return tuple(side.shape[1:]), side.dtype, network.dtype, network.products
