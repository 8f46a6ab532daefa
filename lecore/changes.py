"""How one optimiser step on one point changes the prediction at every other point.

Everywhere ``change[i, j, c]`` is the change of output ``c`` at test point ``j`` after one step on
update point ``i``: rows are update points.
"""

from typing import Any

import torch
from torch import Tensor, nn

from lecore.kernel_tiles import Side, kernel_tile, labelled
from lecore.losses import Loss, squared_error
from lecore.optimizer_steps import WeightChange, sgd_change, weight_change
from lecore.precision import Precision, float32_products
from lecore.snapshot import Snapshot, points, snapshot
from lecore.step_tiles import Routes, compute_steps, step_routes
from lecore.tiles import Tiles


def prediction_change(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    test_inputs: Tensor | None = None,
    *,
    learning_rate: float | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    loss: Loss = squared_error,
    dtype: Precision | None = None,
    tiles: Tiles = Tiles(),  # noqa: B008 - frozen
) -> Any:
    """Change of all predictions after one step on one point, exactly, for every update point.

    He & Su (2020), equation (1): w⁺ = w − η ∂L(f(x_i, w), y_i)/∂w, and
    Δ[i, j, c] = f_c(x_j, w⁺) − f_c(x_j, w). Every step starts from the same weights and the same
    optimiser state. Parameters with ``requires_grad=False`` stay fixed. Neither the model nor the
    optimiser is changed. Plain SGD steps of fully connected networks take the routes of
    :mod:`lecore.two_layer` (one ReLU layer, one output) and :mod:`lecore.dense_steps`, which form
    no weights; all others evaluate the changed network.

    Args:
        model: Any module that maps (n, …) to (n, outputs), in eval mode if it has dropout or
            normalisation layers.
        inputs: Update points x_i, shape (n, …).
        targets: Their targets y_i, shape (n,) or (n, outputs), as the loss wants them.
        test_inputs: Test points x_j, shape (m, …); the update points if left out.
        learning_rate: η > 0 of a plain SGD step.
        optimizer: Instead of it, a ``torch.optim`` optimiser of this model: the step is the one
            that it would take next. See :mod:`lecore.optimizer_steps`.
        loss: Loss of one prediction, see :mod:`lecore.losses`.
        dtype: Precision of the calculation; float64 if left out. The difference of two
            predictions loses digits, so a :class:`~lecore.precision.RoundingWarning` says when
            a lower precision is too low for the step.
        tiles: How the work is cut up, where it runs and where the result goes.

    Returns:
        Δ of shape (n, m, outputs), as a tensor on the model's device, or as a Zarr array if
        ``tiles`` names a store.

    Raises:
        ValueError: If the model, the data or the result are unfit; see the message.
    """
    network = snapshot(model, dtype)
    rows = labelled(network, inputs, targets, loss)
    step = _step(model, network, learning_rate, optimizer)
    routes = Routes() if learning_rate is None else step_routes(model, network, learning_rate)
    return compute_steps(network, rows, test_inputs, step, routes, False, tiles)


def linearized_change(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    test_inputs: Tensor | None = None,
    *,
    learning_rate: float | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    loss: Loss = squared_error,
    dtype: Precision | None = None,
    tiles: Tiles = Tiles(),  # noqa: B008 - frozen
) -> Any:
    """First-order part of :func:`prediction_change`, with the same arguments and result.

    Δ[i, j, c] ≈ −η Σ_k ∂L_i/∂f_k Θ[i, j, k, c] (the expansion below He & Su's equation (3)),
    from the structured tangent kernel; for other optimisers the derivative of the predictions
    along the step. It has no rounding floor: the step is never taken, so η only scales it.
    """
    network = snapshot(model, dtype)
    rows = labelled(network, inputs, targets, loss)
    step = _step(model, network, learning_rate, optimizer)
    if learning_rate is None:
        return compute_steps(network, rows, test_inputs, step, Routes(), True, tiles)
    columns = rows.inputs if test_inputs is None else points(network, test_inputs, "test_inputs")
    tile = kernel_tile(model, network, rows, Side(columns), scale=-learning_rate)
    return tile.compute(tiles)


def output_gradient(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    loss: Loss = squared_error,
    dtype: Precision | None = None,
) -> Tensor:
    """∂L(f, y)/∂f at each point, shape (n, outputs): the denominator of He & Su's equation (3)."""
    network = snapshot(model, dtype)
    rows = labelled(network, inputs, targets, loss)
    with torch.no_grad(), float32_products(network.products):
        return rows.loss_gradient(slice(None), network.predict(rows.inputs))


def _step(
    model: nn.Module,
    network: Snapshot,
    learning_rate: float | None,
    optimizer: torch.optim.Optimizer | None,
) -> WeightChange:
    if (learning_rate is None) == (optimizer is None):
        raise ValueError("give either learning_rate (a plain SGD step) or optimizer")
    if optimizer is not None:
        return weight_change(optimizer, model, network.dtype)
    assert learning_rate is not None
    if not 0 < learning_rate < float("inf"):
        raise ValueError(f"learning_rate must be positive, not {learning_rate}")
    return sgd_change(learning_rate)
