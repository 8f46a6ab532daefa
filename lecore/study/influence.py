"""What a step on one example does to the loss of another, to first order."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lecore.arguments.finite import all_finite
from lecore.engine.choosing import kernel_route, structures
from lecore.engine.gradients.layer_kernels import squared_norms
from lecore.engine.gradients.memory import chunk_size
from lecore.engine.gradients.per_example import gradient_factors
from lecore.engine.kernel_matrix import KernelMatrix
from lecore.engine.layer_shares import layer_shares
from lecore.engine.loss_checks import rows_named
from lecore.engine.network.failures import of_rows
from lecore.engine.network.flags import Precision
from lecore.engine.opening import Measured, check_points, opened, with_columns
from lecore.engine.points import Side, labelled
from lecore.engine.tiling.tiles import Tiles
from lecore.errors import LecoreError
from lecore.losses import Loss


def loss_kernel(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    test_inputs: Tensor | None = None,
    test_targets: Tensor | None = None,
    *,
    loss: Loss | None = None,
    dtype: Precision | None = None,
    tiles: Tiles = Tiles(),  # noqa: B008 - frozen
    check: bool = True,
) -> Any:
    """⟨∂L_i/∂w, ∂L_j/∂w⟩: the kernel contracted with the loss gradient at both points.

    Minus η times it is the first-order change of the loss at x_j after a step on x_i, the
    quantity of TracIn (Pruthi et al., 2020) and of stiffness (Fort et al., 2019).

    Args:
        model: As in :func:`~lecore.tangent_kernel.empirical_ntk`.
        inputs: Row points, shape (n, …).
        targets: Their targets.
        test_inputs: Column points, shape (m, …); the row points if left out.
        test_targets: Their targets.
        loss: Loss of one prediction, see :mod:`lecore.losses`.
        dtype: Precision of the calculation; float64 if left out. ``tf32`` (on CUDA) and
            ``bf16`` (on CPUs) are float32 with shorter products: see
            :func:`~lecore.tangent_kernel.precision_error`.
        tiles: How the work is cut up, where it runs and where the result goes.
        check: Whether to look at two points first: see :mod:`lecore.engine.checks.gradients`.

    Returns:
        Shape (n, m).
    """
    with opened(model, inputs, dtype) as (measured, inputs):
        sides = _sides(measured, inputs, targets, test_inputs, test_targets, loss)
        return KernelMatrix(kernel_route(*sides, check), "trace").compute(tiles)


def loss_kernel_by_layer(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    test_inputs: Tensor | None = None,
    test_targets: Tensor | None = None,
    *,
    loss: Loss | None = None,
    dtype: Precision | None = None,
    check: bool = True,
) -> Mapping[str, Tensor]:
    """The share of each layer in :func:`loss_kernel`; the shares sum to the whole.

    Args:
        model: As in :func:`loss_kernel`, and so all other arguments.
        inputs: Row points, shape (n, …).
        targets: Their targets.
        test_inputs: Column points, shape (m, …); the row points if left out.
        test_targets: Their targets.
        loss: Loss of one prediction, see :mod:`lecore.losses`.
        dtype: Precision of the calculation; float64 if left out.
        check: Whether to look at two points first.

    Returns:
        By the name of the module that holds the parameters ("" for the model itself), shape (n, m).
    """
    with opened(model, inputs, dtype) as (measured, inputs):
        sides = _sides(measured, inputs, targets, test_inputs, test_targets, loss)
        shares = layer_shares(*sides, check)
    return {name: share[:, :, 0, 0] for name, share in shares.items()}


def self_influence(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    loss: Loss | None = None,
    dtype: Precision | None = None,
    check: bool = True,
) -> Tensor:
    """‖∂L_i/∂w‖², the diagonal of :func:`loss_kernel`, in one pass over the points.

    η times it is how far, to first order, a step on x_i lowers its own loss. It is TracIn's
    self-influence (Pruthi et al., 2020), by which mislabelled and atypical examples stand out.

    Args:
        model: As in :func:`~lecore.tangent_kernel.empirical_ntk`.
        inputs: Shape (n, …).
        targets: Their targets.
        loss: Loss of one prediction, see :mod:`lecore.losses`; as in
            :func:`~lecore.changes.prediction_change` if left out.
        dtype: Precision of the calculation; float64 if left out.
        check: Whether to look at two points first: see :mod:`lecore.engine.checks.gradients`.

    Returns:
        Shape (n,).

    Raises:
        LecoreError: If the model, the data or the result are unfit; see the message.
    """
    with opened(model, inputs, dtype) as (measured, inputs):
        points = labelled(measured, inputs, targets, loss)
        check_points(measured, points.inputs, points.inputs, check)
        structure, _ = structures(measured, points.inputs, points.inputs, check)
        network = measured[1]
        step, norms = chunk_size(network, structure, points.loss), []
        for start in range(0, len(inputs), step):
            part = slice(start, min(start + step, len(inputs)))
            with torch.no_grad(), of_rows(part):
                some = points.signals(network, part)
                norms.append(squared_norms(gradient_factors(network, structure, *some[:3]))[:, 0])
        influence = torch.cat(norms)
        if not all_finite(influence):
            bad = (~torch.isfinite(influence)).nonzero()[:, 0].tolist()
            raise LecoreError(
                f"the self-influence of {rows_named(bad)} is not finite",
                "look at these examples if they are few; else the network has diverged",
            )
        return influence


def _sides(
    measured: Measured,
    inputs: Tensor,
    targets: Tensor,
    test_inputs: Tensor | None,
    test_targets: Tensor | None,
    loss: Loss | None,
) -> tuple[Measured, Side, Side]:
    """Row and column points with their loss, and the network as it behaves on both."""
    if (test_inputs is None) != (test_targets is None):
        raise LecoreError("give test_inputs and test_targets together, or neither")
    rows = columns = labelled(measured, inputs, targets, loss)
    if test_inputs is not None:
        measured, test_inputs = with_columns(measured, test_inputs, inputs)
        columns = labelled(measured, test_inputs, test_targets, loss)
    return measured, rows, columns
