"""How one optimiser step on one point changes the prediction at every other point.

Everywhere ``change[i, j, c]`` is the change of output ``c`` at test point ``j`` after one step on
update point ``i``: rows are update points.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lecore.arguments.finite import check_finite
from lecore.engine.change_matrix import ChangeMatrix
from lecore.engine.checks.predictions import check_batch
from lecore.engine.choosing import (
    along_steps,
    forward_mode_pays,
    kernel_route,
    step_route,
    structures,
)
from lecore.engine.kernel_matrix import KernelMatrix
from lecore.engine.layer_shares import layer_shares
from lecore.engine.network.failures import of_rows
from lecore.engine.network.flags import Precision
from lecore.engine.opening import Measured, check_points, opened, with_columns
from lecore.engine.optimizer_steps import (
    WeightChange,
    checked_rate,
    has_rule,
    sgd_change,
    weight_change,
)
from lecore.engine.points import Side, kept, labelled
from lecore.engine.real_steps import real_step
from lecore.engine.tiling.tiles import Tiles
from lecore.errors import LecoreError
from lecore.losses import Loss


def prediction_change(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    test_inputs: Tensor | None = None,
    *,
    learning_rate: float | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    loss: Loss | None = None,
    outputs: Iterable[int] | None = None,
    dtype: Precision | None = None,
    tiles: Tiles = Tiles(),  # noqa: B008 - frozen
    check: bool = True,
) -> Any:
    """Change of all predictions after one step on one point, exactly, for every update point.

    He & Su (2020), equation (1): w⁺ = w − η ∂L(f(x_i, w), y_i)/∂w, and
    Δ[i, j, c] = f_c(x_j, w⁺) − f_c(x_j, w). Every step starts from the same weights and the same
    optimiser state. Parameters with ``requires_grad=False`` stay fixed. Neither the model nor the
    optimiser is changed. Plain SGD steps of fully connected networks form no weights
    (:mod:`~lecore.engine.routes.two_layer`, :mod:`~lecore.engine.routes.dense_steps`).

    Args:
        model: Any module that maps (n, …) to (n, outputs), in eval mode if it has dropout or
            normalisation layers.
        inputs: Update points x_i, shape (n, …).
        targets: Their targets y_i, shape (n,) or (n, outputs), as the loss wants them.
        test_inputs: Test points x_j, shape (m, …); the update points if left out.
        learning_rate: η > 0 of a plain SGD step.
        optimizer: Instead of it, an optimiser of this model: the step is its next one. SGD, Adam
            and AdamW are known by their rules (:mod:`lecore.engine.optimizer_steps`), of any other
            a copy takes its real step (:mod:`lecore.engine.real_steps`).
        loss: Loss of one prediction, see :mod:`lecore.losses`; for targets that are numbers
            :func:`~lecore.losses.squared_error` if left out, for classes it has to be named.
        outputs: Numbers of the outputs whose changes are kept, such as some of 1000 classes; all if
            left out. The loss takes all in any case.
        dtype: Precision of the calculation; float64 if left out. The difference of two
            predictions loses digits, so a :class:`~lecore.engine.rounding.RoundingWarning` says
            when a lower precision is too low for the step.
        tiles: How the work is cut up, where it runs and where the result goes.
        check: Whether to look at two points first: see :mod:`lecore.engine.checks.gradients`.

    Returns:
        Δ of shape (n, m, outputs), as a tensor on the model's device, or as a Zarr array if
        ``tiles`` names a store.

    Raises:
        LecoreError: If the model, the data or the result are unfit; see the message.
    """
    with opened(model, inputs, dtype) as (measured, inputs):
        rows = labelled(measured, inputs, targets, loss)
        measured, columns = with_columns(measured, test_inputs, rows.inputs)
        step = _step(measured, learning_rate, optimizer, linear=False)
        rate = None if learning_rate is None else checked_rate(learning_rate)
        route = step_route(measured, rows, columns, step, rate, check)
        count = measured[1].manners.outputs
        return ChangeMatrix(route, kept(outputs, count)).compute(count, step, tiles)


def linearized_change(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    test_inputs: Tensor | None = None,
    *,
    learning_rate: float | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    loss: Loss | None = None,
    outputs: Iterable[int] | None = None,
    dtype: Precision | None = None,
    tiles: Tiles = Tiles(),  # noqa: B008 - frozen
    check: bool = True,
) -> Any:
    """First-order part of :func:`prediction_change`, with the same arguments and result.

    Δ[i, j, c] ≈ −η Σ_k ∂L_i/∂f_k Θ[i, j, k, c] (the expansion below He & Su's equation (3)),
    from the structured tangent kernel; for other optimisers the derivative of the predictions
    along the step, if it is SGD, Adam or AdamW. It has no rounding floor: the step is never taken,
    so η only scales it.
    """
    with opened(model, inputs, dtype) as (measured, inputs):
        rows = labelled(measured, inputs, targets, loss)
        measured, columns = with_columns(measured, test_inputs, rows.inputs)
        step = _step(measured, learning_rate, optimizer, linear=True)
        count = measured[1].manners.outputs
        only = kept(outputs, count)
        if learning_rate is None:
            along = step_route(measured, rows, columns, step, None, check, linearized=True)
            return ChangeMatrix(along, only).compute(count, step, tiles)
        if count > 1:
            found = structures(measured, rows.inputs, columns, check=False)
            if forward_mode_pays(found, len(rows.inputs), len(columns)):
                forward = along_steps(measured, rows, columns, step, check)
                if forward is not None:
                    return ChangeMatrix(forward, only).compute(count, step, tiles)
        route = kernel_route(measured, rows, Side(columns), check)
        return KernelMatrix(route, scale=-checked_rate(learning_rate), kept=only).compute(tiles)


def linearized_change_by_layer(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    test_inputs: Tensor | None = None,
    *,
    learning_rate: float,
    loss: Loss | None = None,
    dtype: Precision | None = None,
    check: bool = True,
) -> dict[str, Tensor]:
    """The share of each layer in :func:`linearized_change` by a plain SGD step.

    The change that a step on that layer alone would make, to first order; the shares sum to the
    whole.

    Args:
        model: As in :func:`prediction_change`, and so all other arguments.
        inputs: Update points x_i, shape (n, …).
        targets: Their targets y_i.
        test_inputs: Test points x_j, shape (m, …); the update points if left out.
        learning_rate: η > 0.
        loss: Loss of one prediction, see :mod:`lecore.losses`.
        dtype: Precision of the calculation; float64 if left out.
        check: Whether to look at two points first.

    Returns:
        By the name of the module that holds the parameters ("" for the model itself), shape
        (n, m, outputs).
    """
    with opened(model, inputs, dtype) as (measured, inputs):
        rows = labelled(measured, inputs, targets, loss)
        measured, columns = with_columns(measured, test_inputs, rows.inputs)
        rate = checked_rate(learning_rate)
        shares = layer_shares(measured, rows, Side(columns), check)
        return {name: -rate * share[:, :, 0] for name, share in shares.items()}


def output_gradient(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    loss: Loss | None = None,
    dtype: Precision | None = None,
    check: bool = True,
) -> Tensor:
    """∂L(f, y)/∂f at each point, shape (n, outputs): the denominator of He & Su's equation (3)."""
    with opened(model, inputs, dtype) as (measured, inputs):
        rows = labelled(measured, inputs, targets, loss)
        check_points(measured, rows.inputs, rows.inputs, check)
        with torch.no_grad(), of_rows(slice(0, len(inputs))):
            if check:
                check_batch(measured[1], rows.inputs)
            gradient = rows.loss_gradient(slice(None), measured[1].predict(rows.inputs))
        check_finite(gradient, "the loss gradient")
        return gradient


def _step(
    measured: Measured,
    learning_rate: float | None,
    optimizer: torch.optim.Optimizer | None,
    linear: bool,
) -> WeightChange:
    model, network = measured
    if (learning_rate is None) == (optimizer is None):
        raise LecoreError("give either learning_rate (a plain SGD step) or optimizer")
    if optimizer is not None:
        if linear or has_rule(optimizer):
            return weight_change(optimizer, model, network.dtype)
        return real_step(optimizer, model, network)
    return sgd_change(checked_rate(learning_rate))
