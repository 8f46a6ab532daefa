"""The empirical tangent kernel of any network, exactly, from structured gradients."""

from typing import Any, get_args

import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor, nn

from lecore.arguments.names import check_name
from lecore.engine.choosing import kernel_route
from lecore.engine.kernel_matrix import Form, KernelMatrix
from lecore.engine.kernel_products import kernel_products
from lecore.engine.layer_shares import layer_shares
from lecore.engine.network.flags import Precision
from lecore.engine.opening import opened, with_columns
from lecore.engine.points import Side
from lecore.engine.tiling.tiles import Tiles


def empirical_ntk(
    model: nn.Module,
    inputs: Tensor,
    test_inputs: Tensor | None = None,
    *,
    form: Form = "full",
    dtype: Precision | None = None,
    tiles: Tiles = Tiles(),  # noqa: B008 - frozen
    check: bool = True,
) -> Any:
    """Θ[i, j, c, k] = ⟨∂f_c(x_i)/∂w, ∂f_k(x_j)/∂w⟩ (Jacot et al., 2018).

    No gradient of linear maps, convolutions and embeddings is written out where Gram matrices of
    their inputs and of the signals sent back to them are cheaper; parameters with
    ``requires_grad=False`` do not count. The model is not changed.

    Args:
        model: Any module that maps (n, …) to (n, outputs), in eval mode if it has dropout or
            normalisation layers.
        inputs: Row points x_i, shape (n, …).
        test_inputs: Column points x_j, shape (m, …); the row points if left out, which takes
            about half the time.
        form: ``full``; ``trace`` sums the entries with c = k; ``diagonal`` keeps only them.
        dtype: Precision of the calculation; float64 if left out. ``tf32`` (on CUDA) and
            ``bf16`` (on CPUs) are float32 with shorter products: see :func:`precision_error`.
        tiles: How the work is cut up, where it runs and where the result goes.
        check: Whether to look at two points first: see :mod:`lecore.engine.checks.gradients`.

    Returns:
        Shape (n, m, outputs, outputs), (n, m) or (n, m, outputs) by form, as a tensor on the
        model's device, or as a Zarr array if ``tiles`` names a store.

    Raises:
        LecoreError: If the model, the inputs or the result are unfit; see the message.
    """
    check_name("form", form, get_args(Form))
    with opened(model, inputs, dtype) as (measured, inputs):
        rows = columns = Side(inputs)
        if test_inputs is not None:
            measured, others = with_columns(measured, test_inputs, inputs)
            columns = Side(others)
        route = kernel_route(measured, rows, columns, check)
        return KernelMatrix(route, form).compute(tiles)


def empirical_ntk_by_layer(
    model: nn.Module,
    inputs: Tensor,
    test_inputs: Tensor | None = None,
    *,
    dtype: Precision | None = None,
    check: bool = True,
) -> dict[str, Tensor]:
    """The share of each layer in :func:`empirical_ntk`; the shares sum to the whole.

    Args:
        model: As in :func:`empirical_ntk`.
        inputs: Row points, shape (n, …).
        test_inputs: Column points, shape (m, …); the row points if left out.
        dtype: Precision of the calculation; float64 if left out.
        check: Whether to look at two points first: see :mod:`lecore.engine.checks.gradients`.

    Returns:
        By the name of the module that holds the parameters ("" for the model itself), shape
        (n, m, outputs, outputs).
    """
    with opened(model, inputs, dtype) as (measured, inputs):
        rows = columns = Side(inputs)
        if test_inputs is not None:
            measured, others = with_columns(measured, test_inputs, inputs)
            columns = Side(others)
        return layer_shares(measured, rows, columns, check)


def ntk_operator(
    model: nn.Module, inputs: Tensor, *, dtype: Precision | None = None, check: bool = True
) -> LinearOperator:
    """:func:`empirical_ntk` of some points as a square matrix that is never formed.

    A product with a vector is one pass back and one forward through the network, so the solvers of
    ``scipy.sparse.linalg`` work for kernels larger than memory. Parameters with
    ``requires_grad=False`` do not count, which gives a layer's share. The weights are copied.

    Args:
        model: As in :func:`empirical_ntk`.
        inputs: Points, shape (n, …).
        dtype: Precision of the calculation; float64 if left out.
        check: Whether to look at two points first: see :mod:`lecore.engine.checks.gradients`.

    Returns:
        Shape (n · outputs, n · outputs), symmetric, ``empirical_ntk(model, inputs).transpose(1, 2)
        .flatten(2).flatten(0, 1)``. A product that is not finite is refused.
    """
    with opened(model, inputs, dtype) as (measured, inputs):
        products = kernel_products(measured, inputs, check)
    shape = products.size, products.size
    return LinearOperator(shape, matvec=products, rmatvec=products, dtype=products.dtype)


def precision_error(
    model: nn.Module, inputs: Tensor, *, dtype: Precision, sample: int = 64
) -> float:
    """Largest error of the tangent kernel in a precision, as a part of its largest entry.

    Measured against float64 on the first points; a way to see what ``bf16`` or ``tf32`` cost
    before a large run.

    Args:
        model: As in :func:`empirical_ntk`.
        inputs: Shape (n, …).
        dtype: The precision.
        sample: How many points, at most.
    """
    few = inputs[:sample]
    exact = empirical_ntk(model, few)
    error = empirical_ntk(model, few, dtype=dtype).double() - exact
    return float(error.abs().max() / exact.abs().max())


def stability_limit(kernel: Tensor) -> float:
    """Largest stable learning rate of full-batch descent on the mean of (f − y)².

    Gradient descent on a model with tangent kernel Θ multiplies the residual by
    1 − (2η/n) Θ in each step, so it contracts while η < n/λ_max(Θ). Above the limit a wide
    network either diverges or passes through a "catapult" (Lewkowycz et al., 2020).

    Args:
        kernel: Θ of the training points, shape (n, n), symmetric.

    Returns:
        n/λ_max.
    """
    return len(kernel) / float(torch.linalg.eigvalsh(kernel)[-1])
