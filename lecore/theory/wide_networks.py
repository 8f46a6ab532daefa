"""What theory says about wide networks with one hidden layer."""

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lecore.arguments.names import check_name

Array = NDArray[np.float64]


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


def wide_standard_kernel(inputs: Array, activation: str = "relu") -> Array:
    """Tangent kernel over width, as this grows, of a two-layer network as torch draws it.

    Only the part of the output weights grows with the width, Θ/m → E[σ(w·x̄) σ(w·x̄′)] with
    x̄ = (x, 1). Hidden weights and biases are normal with variance 1/3d, that of torch's uniform
    ones, so that w·x̄ has covariance K = x̄·x̄′/3d. With θ the angle between x̄ and x̄′:

    * ReLU: √(K(x,x) K(x′,x′)) (sin θ + (π − θ) cos θ)/2π (Cho & Saul, 2009);
    * linear: K;
    * erf(√π z/2), which has the limits of tanh and its slope at 0, in place of tanh, for which no
      closed form is known: (2/π) arcsin(c/√((1 + c(x,x)) (1 + c(x′,x′)))) with c = π K/2
      (Williams, 1997).

    Args:
        inputs: Shape (n, d).
        activation: ``relu``, ``linear`` or ``erf``.

    Returns:
        Shape (n, n).
    """
    check_name("activation", activation, ("relu", "linear", "erf"))
    covariance: Array = (inputs @ inputs.T + 1) / (3 * inputs.shape[1])
    if activation == "linear":
        return covariance
    if activation == "erf":
        part = math.pi / 2 * covariance
        own = 1 + part.diagonal()
        sine: Array = 2 / math.pi * np.arcsin(part / np.sqrt(np.outer(own, own)))
        return sine
    norms = np.sqrt(np.outer(covariance.diagonal(), covariance.diagonal()))
    angle = np.arccos(np.clip(covariance / norms, -1.0, 1.0))
    cosine: Array = norms * (np.sin(angle) + (math.pi - angle) * np.cos(angle)) / (2 * math.pi)
    return cosine
