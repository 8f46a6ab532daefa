"""S_rel along gradient flow in closed form: ReLU gate, homogeneous and deep linear predictors.

All for one output and the loss (1/2n) Σ_i (y_i − f(x_i))². In the limit of a small step
``S_rel(x, x′) = |Θ(x, x′)| / Θ(x, x)`` with Θ(x, x′) = ∇f(x)·∇f(x′), so a formula for Θ is one for
S_rel, and S_rel(x, x) = 1 in all of them. Theorems of Dan et al. (2021) are about models of these
kinds; what stands here is derived anew. Linear regression is :mod:`lecore.theory.ridge_flow`.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from scipy.special import exprel

from lecore.errors import LecoreError
from lecore.theory.ridge_flow import ridge_flow

Array = NDArray[np.float64]


def gate_similarity(weights: Array, x: Array, other: Array) -> Array:
    """S_rel of f(x) = max(0, w·x): ``1{w·x′ > 0} |x·x′| / ‖x‖²`` where w·x > 0.

    Args:
        weights: w, shape (…, d).
        x: Where the step is, shape (d,).
        other: x′, shape (d,).

    Returns:
        Shape (…); NaN where the gate is closed at x, and a step does nothing.
    """
    ratio = abs(float(x @ other)) / float(x @ x)
    similarity: Array = np.where(weights @ other > 0, ratio, 0.0)
    return np.where(weights @ x > 0, similarity, np.nan)


def gate_flow(times: ArrayLike, initial: Array, points: Array, targets: Array) -> Array:
    """Weights of a ReLU gate along gradient flow: linear regression on the open gates, in pieces.

    Between two flips the flow is :func:`~lecore.theory.ridge_flow.ridge_flow` on the points whose
    gate is open; a flip is a root of w(t)·x_i.

    Args:
        times: t ≥ 0, increasing, shape (T,).
        initial: w(0), shape (d,).
        points: x_i, shape (n, d).
        targets: y_i ≥ 0, shape (n,). A negative one could hold the weights on a gate's edge.

    Returns:
        Shape (T, d).

    Raises:
        LecoreError: If a target is negative, or a gate stands on its edge at the start.
    """
    times = np.asarray(times, dtype=np.float64)
    if (targets < 0).any() or (points @ initial == 0).any():
        raise LecoreError("targets must not be negative, and no w(0)·x may be 0")
    weights, start, gates = initial, 0.0, points @ initial > 0
    path = np.empty((len(times), len(initial)))
    while True:
        open_points = points * gates[:, None]

        def piece(
            t: ArrayLike, start: float = start, weights: Array = weights, h: Array = open_points
        ) -> Array:
            since = np.atleast_1d(t) - start
            return ridge_flow(since, weights[None], h, targets[:, None], penalty=0.0)[:, 0]

        path[times >= start] = piece(times[times >= start])
        fastest = np.linalg.norm(open_points, 2) ** 2 / len(points)
        grid = np.linspace(start, times[-1], 2 + int(20 * fastest * (times[-1] - start)))
        outputs = piece(grid) @ points.T
        # an output that decays to 0, and never gets there, ends as rounding of either sign
        edge = np.where(gates, -1e-13, 1e-13) * np.abs(outputs).max()
        flipped = np.where(gates, outputs < edge, outputs > edge)
        flipped[0] = False  # where the last flip was
        if not flipped.any():
            return path
        k = int(np.argmax(flipped.any(axis=1)))
        roots = {
            int(i): brentq(
                lambda t, x=points[i], at=edge[i], w=piece: w(t)[0] @ x - at,
                *grid[k - 1 : k + 1],
                xtol=1e-15,
            )
            for i in np.flatnonzero(flipped[k])
        }
        start = min(roots.values())
        weights = piece(start)[0]
        gates = gates ^ np.array([roots.get(i) == start for i in range(len(gates))])


def homogeneous_similarity(weights: Array, x: Array, other: Array, *, degree: int) -> Array:
    """``S_rel = |Σ_j w_j^(2d−2) x_j x′_j| / Σ_j w_j^(2d−2) x_j²`` of f(x) = Σ_j w_j^d x_j.

    Such a predictor is homogeneous of degree d in its weights and linear in its features.

    Args:
        weights: w, shape (…, p).
        x: Features where the step is, shape (p,).
        other: x′, shape (p,).
        degree: d ≥ 1.

    Returns:
        Shape (…).
    """
    importance = weights ** (2 * degree - 2)
    similarity: Array = np.abs(importance @ (x * other)) / (importance @ x**2)
    return similarity


def homogeneous_flow(
    times: ArrayLike, initial: Array, features: Array, targets: Array, *, degree: int
) -> Array:
    """Weights of Σ_j w_j^d x_j along gradient flow.

    Degree 1 is linear regression. Features with a diagonal second moment do not see one another,
    and for degree 2 each u_j = w_j² then follows a logistic curve,
    1/u(t) = exp(−4 b t)/u(0) + (m/b) (1 − exp(−4 b t)) with b = (1/n) Σ_i y_i x_ij and
    m = (1/n) Σ_i x_ij². Everything else is integrated numerically, to 1e-12.

    Args:
        times: t ≥ 0, increasing, shape (T,).
        initial: w(0), shape (p,), positive.
        features: x, shape (n, p).
        targets: y, shape (n,).
        degree: d ≥ 1.

    Returns:
        Shape (T, p).
    """
    times = np.asarray(times, dtype=np.float64)
    if degree == 1:
        return ridge_flow(times, initial[None], features, targets[:, None], penalty=0.0)[:, 0]
    moment, mean = features.T @ features / len(features), features.T @ targets / len(features)
    own = moment.diagonal()
    if degree == 2 and np.abs(moment - np.diag(own)).max() <= 1e-14 * own.max():
        z = 4 * np.multiply.outer(times, mean)  # exprel(−z) = (1 − exp(−z)) / z
        inverse = np.exp(-z) / initial**2 + 4 * np.multiply.outer(times, own) * exprel(-z)
        path: Array = 1 / np.sqrt(inverse)
        return path

    def velocity(_: float, w: Array) -> Array:
        result: Array = degree * w ** (degree - 1) * (mean - moment @ w**degree)
        return result

    return _integrate(velocity, times, initial)


def deep_linear_similarity(slope: Array, x: Array, other: Array, *, depth: int) -> Array:
    """S_rel of a balanced deep linear network f(x) = β·x = W_L … W_1 x with one output.

    Θ(x, x′) = ‖β‖^(2−2/L) (x·x′ + (L−1) (b·x)(b·x′)) with b = β/‖β‖, so that S_rel depends on the
    direction of β alone, and not at all for L = 1. Balanced means W_(l+1)ᵀ W_(l+1) = W_l W_lᵀ,
    which gradient flow preserves (Arora, Cohen & Hazan, 2018). Independent random weights are not
    balanced, and their S_rel is another one, however small they are. What they lack stays as it
    was while the weights grow, so that the formula holds at the end of training from small ones.

    Args:
        slope: β, shape (…, d).
        x: Where the step is, shape (d,).
        other: x′, shape (d,).
        depth: L ≥ 1, the number of weight matrices.

    Returns:
        Shape (…).
    """
    unit = slope / np.linalg.norm(slope, axis=-1, keepdims=True)
    above = x @ other + (depth - 1) * (unit @ x) * (unit @ other)
    similarity: Array = np.abs(above) / (x @ x + (depth - 1) * (unit @ x) ** 2)
    return similarity


def deep_linear_flow(
    times: ArrayLike, initial: Array, points: Array, targets: Array, *, depth: int
) -> Array:
    """β of a balanced deep linear network along gradient flow, whatever its widths.

    dβ/dt = −‖β‖^(2−2/L) (g + (L−1) (b·g) b) with g = (1/n) Σ_i (β·x_i − y_i) x_i and b = β/‖β‖
    (Arora, Cohen & Hazan, 2018), integrated numerically to 1e-12; exact for L = 1.

    Args:
        times: t ≥ 0, increasing, shape (T,).
        initial: β(0) ≠ 0, shape (d,).
        points: x_i, shape (n, d).
        targets: y_i, shape (n,).
        depth: L ≥ 1.

    Returns:
        Shape (T, d).
    """
    times = np.asarray(times, dtype=np.float64)
    if depth == 1:
        return ridge_flow(times, initial[None], points, targets[:, None], penalty=0.0)[:, 0]
    moment, mean = points.T @ points / len(points), points.T @ targets / len(points)

    def velocity(_: float, slope: Array) -> Array:
        size, gradient = np.linalg.norm(slope), moment @ slope - mean
        along = (depth - 1) * (slope @ gradient) * slope / size**2
        result: Array = -(size ** (2 - 2 / depth)) * (gradient + along)
        return result

    return _integrate(velocity, times, initial)


def _integrate(velocity: Callable[[float, Array], Array], times: Array, initial: Array) -> Array:
    solution = solve_ivp(
        velocity, (0.0, times[-1]), initial, "DOP853", times, rtol=1e-12, atol=1e-14
    )
    if not solution.success:
        raise ArithmeticError(f"the flow could not be followed: {solution.message}")
    path: Array = solution.y.T
    return path
