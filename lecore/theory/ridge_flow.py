"""Ridge regression of classes on fixed features by gradient flow, and S_rel along it.

Dan et al. (2021), the experiment behind their Figures 6 to 9. Predictions are f(h) = W h for
features h of shape (p,) and weights W of shape (K, p), one row a class. The flow is that of their
code,

    dw_k/dt = −r (M w_k − h̄_k),   M = λ I + (1/n) Σ_i h_i h_iᵀ,   h̄_k = (1/n) Σ_{i of class k} h_i,

which is solved in closed form, and S_rel(h, h′) = ‖Δf(h′)‖ / ‖Δf(h)‖ for a step at h on
½‖y − W h‖² + ½ λ‖W‖², whose change per unit of learning rate is

    Δf(h′) = (y − W h) (h·h′) − λ W h′.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class GaussianClasses(NamedTuple):
    """Features of two classes, and the random state after drawing them.

    Attributes:
        features: h = ReLU(A x), shape (2 · per_class, p); the near class first.
        labels: 0 near, 1 far.
        state: Draws the initial weights next.
    """

    features: Array
    labels: NDArray[np.int64]
    state: np.random.RandomState


def gaussian_classes(
    features: int, *, dimensions: int = 100, per_class: int = 1000, seed: int = 5
) -> GaussianClasses:
    """The data of Dan et al.'s code, number for number at its seed.

    Class 0 is x ~ N(1, 2² I), class 1 is x ~ N(9, I), and A has standard normal entries.

    Args:
        features: p.
        dimensions: Of x.
        per_class: Points of each class.
        seed: Of NumPy's old generator, which their code uses.
    """
    state = np.random.RandomState(seed)
    first = state.randn(features, dimensions)
    near = 1 + 2 * state.randn(per_class, dimensions)
    far = 9 + state.randn(per_class, dimensions)
    hidden = np.maximum(np.concatenate([near, far]) @ first.T, 0)
    return GaussianClasses(hidden, np.repeat([0, 1], per_class), state)


def ridge_flow(
    times: ArrayLike,
    initial: ArrayLike,
    features: Array,
    targets: Array,
    *,
    penalty: float,
    rate: float = 1.0,
) -> Array:
    """Weights along the flow, w_k(t) = exp(−r t M) (w_k(0) − M⁻¹ h̄_k) + M⁻¹ h̄_k.

    Args:
        times: t, shape (T,).
        initial: W(0), shape (…, K, p).
        features: h, shape (n, p).
        targets: y, one-hot for classes, shape (n, K).
        penalty: λ ≥ 0; their code has n times the penalty of its loss. Directions that neither
            features nor penalty reach stay as they are.
        rate: r > 0; θ² in their code.

    Returns:
        Shape (T, …, K, p).
    """
    moment = features.T @ features / len(features) + penalty * np.eye(features.shape[1])
    values, vectors = np.linalg.eigh(moment)
    reached = values > len(values) * np.finfo(float).eps * values[-1]
    inverse = np.where(reached, 1 / np.where(reached, values, 1), 0)
    limit = (targets.T @ features / len(features)) @ (vectors * inverse) @ vectors.T
    start = (np.asarray(initial, dtype=np.float64) - limit) @ vectors
    decay = np.exp(-rate * np.multiply.outer(np.asarray(times, dtype=np.float64), values * reached))
    decay = decay.reshape(len(decay), *[1] * (start.ndim - 1), -1)
    path: Array = (start * decay) @ vectors.T + limit
    return path


def ridge_change(
    weights: Array,
    feature: Array,
    target: Array,
    other: Array,
    *,
    penalty: float,
    share: float = 1.0,
) -> Array:
    """Δf(h′) = y (h·h′) − share · W h (h·h′) − λ W h′, per unit of learning rate.

    Args:
        weights: W, shape (…, K, p).
        feature: h, where the step is, shape (p,).
        target: y, shape (K,).
        other: h′, shape (p,).
        penalty: λ.
        share: 1 in a gradient step; 1/n in the numerator of Dan et al.'s code.

    Returns:
        Shape (…, K).
    """
    product = float(feature @ other)
    change: Array = (target - share * (weights @ feature)) * product - penalty * (weights @ other)
    return change


def ridge_similarity(
    weights: Array,
    feature: Array,
    target: Array,
    other: Array,
    *,
    penalty: float,
    share: float = 1.0,
) -> Array:
    """S_rel(h, h′) = ‖Δf(h′)‖ / ‖Δf(h)‖ of one step (their equation 8).

    Args:
        weights: W, shape (…, K, p).
        feature: h, where the step is, shape (p,).
        target: y, shape (K,).
        other: h′, shape (p,).
        penalty: λ.
        share: Of :func:`ridge_change` in the numerator alone. 1 is a step; Dan et al.'s code has
            1/n, so that its S_rel(h, h) is not 1.

    Returns:
        Shape (…).
    """
    above = ridge_change(weights, feature, target, other, penalty=penalty, share=share)
    below = ridge_change(weights, feature, target, feature, penalty=penalty)
    ratio: Array = np.linalg.norm(above, axis=-1) / np.linalg.norm(below, axis=-1)
    return ratio


def ridge_loss(weights: Array, features: Array, targets: Array, *, penalty: float) -> Array:
    """(1/2n) Σ_i ‖y_i − W h_i‖² + ½ λ ‖W‖², whose gradient flow :func:`ridge_flow` is.

    Args:
        weights: W, shape (…, K, p).
        features: h, shape (n, p).
        targets: y, shape (n, K).
        penalty: λ.

    Returns:
        Shape (…).
    """
    # from moments, so that no (…, n, K) array of predictions is needed
    n = len(features)
    moment, means = features.T @ features / n, targets.T @ features / n
    fit = np.einsum("...kp,pq,...kq->...", weights, moment, weights, optimize=True)
    fit -= 2 * (weights * means).sum((-2, -1))
    square = (weights**2).sum((-2, -1))
    loss: Array = 0.5 * (fit + (targets**2).sum() / n + penalty * square)
    return loss


def ridge_loss_as_coded(weights: Array, features: Array, *, penalty: float) -> Array:
    """The loss that Dan et al.'s code computes, (1/2n) Σ_i Σ_k Σ_j (j − w_k·h_i)² + ½ λ ‖W‖².

    A prediction of shape (2, 1, 1) meets a target of shape (2,), so each output is compared with
    both targets, j = 0 and j = 1, and the classes play no part.

    Args:
        weights: W, shape (…, 2, p).
        features: h, shape (n, p).
        penalty: λ; 1/K in their code.

    Returns:
        Shape (…).
    """
    n, classes = len(features), weights.shape[-2]
    zeros = np.zeros((n, classes))
    loss: Array = ridge_loss(weights, features, zeros, penalty=penalty)
    return loss + ridge_loss(weights, features, zeros + 1, penalty=0.0)
