"""The neural tangent kernel: empirical, at infinite width, and what follows from it."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from lecore.changes import Parameters, chunks, trainable_parameters
from lecore.models import NTKLinear

Array = NDArray[np.float64]


def empirical_ntk(
    model: nn.Module,
    inputs: Tensor,
    test_inputs: Tensor | None = None,
    *,
    dtype: torch.dtype = torch.float64,
    chunk_size: int | None = None,
) -> Tensor:
    """Θ[i, j, c, k] = ⟨∂f_c(x_i)/∂w, ∂f_k(x_j)/∂w⟩ (Jacot et al., 2018).

    Inner products of per-example gradients, chunk by chunk; parameters with
    ``requires_grad=False`` do not count.

    Args:
        model: Any module that maps (n, …) to (n, outputs).
        inputs: Row points x_i, shape (n, …).
        test_inputs: Column points x_j, shape (m, …); the row points if left out.
        dtype: Precision of the calculation.
        chunk_size: Points whose gradients are held at a time, for rows and columns alike.

    Returns:
        Shape (n, m, outputs, outputs), on the model's device.

    Raises:
        ValueError: As :func:`lecore.changes.prediction_change` for the model.
    """
    parameters, fixed = trainable_parameters(model, dtype)
    device = next(iter(parameters.values())).device
    rows = inputs.to(device, dtype)
    columns = rows if test_inputs is None else test_inputs.to(device, dtype)

    def predict(weights: Parameters, x: Tensor) -> Tensor:
        prediction: Tensor = functional_call(model, (weights, fixed), (x[None],))[0]
        return prediction

    def gradients(x: Tensor) -> list[Tensor]:
        jacobian = vmap(jacrev(predict), in_dims=(None, 0))(parameters, x)
        return [j.flatten(start_dim=2) for j in jacobian.values()]

    blocks = []
    with torch.no_grad():
        for row_slice in chunks(len(rows), parameters, chunk_size):
            row_gradients = gradients(rows[row_slice])
            blocks.append(
                torch.cat(
                    [
                        sum(  # type: ignore[misc]
                            torch.einsum("icp,jkp->ijck", a, b)
                            for a, b in zip(
                                row_gradients, gradients(columns[column_slice]), strict=True
                            )
                        )
                        for column_slice in chunks(len(columns), parameters, chunk_size)
                    ],
                    dim=1,
                )
            )
    return torch.cat(blocks)


def two_layer_ntk(
    model: nn.Sequential, inputs: Tensor, *, dtype: torch.dtype = torch.float64
) -> Tensor:
    """The empirical kernel of a two-layer network with one output, from matrix products alone.

    Θ(x, x′) = (xᵀx′ + 1) Σ_r a_r² σ′_r(x) σ′_r(x′) + Σ_r σ_r(x) σ_r(x′) + 1: hidden weights and
    biases, output weights, output bias. The same as :func:`empirical_ntk`, at a small share of
    its cost: no gradient is ever formed.

    Args:
        model: From :func:`lecore.models.two_layer`, in standard parameterisation.
        inputs: Shape (n, …), flattened by the network.
        dtype: Precision of the calculation.

    Returns:
        Shape (n, n).

    Raises:
        ValueError: If the model is not such a network.
    """
    match list(model):
        case [nn.Flatten(), nn.Linear() as hidden, activation, nn.Linear() as output]:
            pass
        case _:
            raise ValueError("two_layer_ntk needs a network made by lecore.models.two_layer")
    if isinstance(hidden, NTKLinear) or output.out_features != 1:
        raise ValueError("two_layer_ntk needs standard parameterisation and one output")
    with torch.no_grad():
        x = inputs.flatten(1).to(hidden.weight.device, dtype)
        before = x @ hidden.weight.to(dtype).T + hidden.bias.to(dtype)
        after, slope = torch.func.jvp(activation, (before,), (torch.ones_like(before),))[:2]
        backward = slope * output.weight.to(dtype)
        return (x @ x.T + 1) * (backward @ backward.T) + after @ after.T + 1


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


def two_layer_relative_similarity(
    hidden_weight: Tensor, hidden_bias: Tensor, inputs: Tensor, test_inputs: Tensor | None = None
) -> Tensor:
    """Right-hand side of He & Su's equation (4), for a two-layer ReLU network with a_r = ±1.

    (xᵀx′ + 1) Σ_r 1{w_rᵀx̄ ≥ 0} 1{w_rᵀx̄′ ≥ 0} / ((‖x‖² + 1) Σ_r 1{w_rᵀx̄ ≥ 0}).

    Args:
        hidden_weight: Shape (width, d).
        hidden_bias: Shape (width,).
        inputs: Update points x, shape (n, d).
        test_inputs: Test points x′, shape (m, d); the update points if left out.

    Returns:
        Shape (n, m); its absolute value is the predicted S_rel.
    """
    test_inputs = inputs if test_inputs is None else test_inputs
    pattern = activation_pattern(hidden_weight, hidden_bias, inputs)
    test_pattern = activation_pattern(hidden_weight, hidden_bias, test_inputs)
    numerator = (inputs @ test_inputs.T + 1) * (pattern @ test_pattern.T)
    return numerator / ((inputs.square().sum(1) + 1) * pattern.sum(1))[:, None]


def activation_pattern(hidden_weight: Tensor, hidden_bias: Tensor, inputs: Tensor) -> Tensor:
    """1{w_rᵀx + b_r ≥ 0} for every point and hidden unit, shape (n, width), as 0. and 1."""
    return (inputs @ hidden_weight.T + hidden_bias >= 0).to(inputs.dtype)


def activation_overlap(pattern: Tensor) -> Tensor:
    """Cosine similarity of activation patterns, shape (n, n) (He & Su, Figure 7a)."""
    unit = pattern / pattern.norm(dim=1, keepdim=True)
    return unit @ unit.T


def infinite_width_ntk(inputs: Array, test_inputs: Array | None = None) -> Array:
    """Tangent kernel of a two-layer ReLU network in NTK parameterisation as the width grows.

    With K(x, x′) = xᵀx′/d + 1 the covariance of a hidden unit's input and θ its angle,
    Θ = K · E[σ′σ′] + E[σσ′] + 1, where E[σ′σ′] = (π − θ)/2π and
    E[σσ′] = √(K(x,x) K(x′,x′)) (sin θ + (π − θ) cos θ)/2π are the arc-cosine kernels of order
    0 and 1 (Cho & Saul, 2009). The three terms come from the hidden weights and biases, the
    output weights, and the output bias.

    Args:
        inputs: Shape (n, d).
        test_inputs: Shape (m, d); ``inputs`` if left out.

    Returns:
        Shape (n, m).
    """
    test_inputs = inputs if test_inputs is None else test_inputs
    d = inputs.shape[1]
    covariance = inputs @ test_inputs.T / d + 1
    norms = np.sqrt(np.outer((inputs**2).sum(1) / d + 1, (test_inputs**2).sum(1) / d + 1))
    cosine = np.clip(covariance / norms, -1.0, 1.0)
    angle = np.arccos(cosine)
    order_zero = (math.pi - angle) / (2 * math.pi)
    order_one = norms * (np.sin(angle) + (math.pi - angle) * cosine) / (2 * math.pi)
    kernel: Array = covariance * order_zero + order_one + 1
    return kernel
