"""The similarities of He & Su (2020) and Dan et al. (2021), as functions of prediction changes.

A similarity matrix has update points as rows and test points as columns. "As coded" is what the
papers' published code computes where that differs from the definition.
"""

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from lecore.names import check_name
from lecore.precision import Direction, check_finite, prediction_divergence, softmax_change

Array = NDArray[np.float64]
Norm = Literal["l1", "l2", "max"]


class UndefinedRowsWarning(UserWarning):
    """Some update points did not move their own prediction; their rows are NaN."""


def relative_similarity(
    change: Tensor, own_change: Tensor | None = None, *, norm: Norm = "l2"
) -> Tensor:
    """``S_rel(x_i, x_j) = |Δ[i, j]| / |Δ[i, i]|`` (He & Su, equation 2).

    Networks with several outputs are compared by a norm over outputs; for one output each norm is
    the absolute value.

    Args:
        change: Prediction change Δ, shape (n, m, outputs).
        own_change: Change at the update points themselves, shape (n, outputs); by default the
            diagonal of ``change``, which then must be square.
        norm: ``l1``, ``l2`` or ``max`` (largest absolute value).

    Returns:
        Shape (n, m), ≥ 0, with ones on the diagonal of a square matrix. The row of an update
        point that did not move its own prediction is NaN.

    Raises:
        ValueError: If no update point moved its own prediction, an entry is not finite, or
            ``own_change`` is missing for a rectangular change.

    Warns:
        UndefinedRowsWarning: If some rows are undefined.
    """
    _check_change(change, own_change)
    size = _norm(change, norm)
    return _ratio(size, _diagonal(size) if own_change is None else _norm(own_change, norm))


def relative_similarity_as_coded(
    change: Tensor, own_change: Tensor | None = None, *, epsilon: float = 1e-8
) -> Tensor:
    """S_rel as Dan et al. compute "SuHe": unlike norms above and below, and an ε.

    ``(‖Δ[i, j]‖₁ / K) / (‖Δ[i, i]‖₂ / √K + ε)`` on softmax probabilities of K classes. To itself an
    update point has a similarity in [1/√K, 1] and not 1; where probabilities saturate, ε decides.

    Args:
        change: Change of the probabilities, shape (n, m, K); see
            :func:`lecore.precision.softmax_change`.
        own_change: As in :func:`relative_similarity`.
        epsilon: ε.

    Returns:
        Shape (n, m), ≥ 0.
    """
    _check_change(change, own_change)
    own = _diagonal(_norm(change, "l2")) if own_change is None else _norm(own_change, "l2")
    classes = change.shape[2]
    return _ratio(_norm(change, "l1") / classes, own / math.sqrt(classes) + epsilon)


def divergence_similarity(
    logits: Tensor,
    change: Tensor,
    own_logits: Tensor | None = None,
    own_change: Tensor | None = None,
    *,
    direction: Direction = "forward",
    epsilon: float = 0.0,
) -> Tensor:
    """``KL(p⁺(x_j) ‖ p(x_j)) / (KL(p⁺(x_i) ‖ p(x_i)) + ε)`` of softmax outputs p, p⁺ = p(w_i⁺).

    The similarity that the comments in Dan et al.'s code describe; what it runs is
    :func:`divergence_similarity_as_coded`. Its ε = 10⁻⁸ dwarfs what a small step gives, Δz²/2.

    Args:
        logits: Logits z at the test points before the step, shape (m, classes).
        change: Their change Δz, shape (n, m, classes).
        own_logits: Logits at the update points, shape (n, classes); left out together with
            ``own_change`` where update and test points are the same.
        own_change: Their change after their own step, shape (n, classes).
        direction: ``forward`` as above, or ``reverse`` for KL(p ‖ p⁺) in both places.
        epsilon: ε ≥ 0.

    Returns:
        Shape (n, m), ≥ 0. The row of an update point that did not move its own prediction is NaN.

    Raises:
        ValueError: If no update point moved its own prediction, an entry is not finite, or the
            shapes do not fit.

    Warns:
        UndefinedRowsWarning: If some rows are undefined.
    """
    divergence = partial(prediction_divergence, direction=direction)
    size, own = _with_own(divergence, logits, change, own_logits, own_change)
    return _ratio(size, own + epsilon)


def divergence_similarity_as_coded(
    logits: Tensor,
    change: Tensor,
    own_logits: Tensor | None = None,
    own_change: Tensor | None = None,
    *,
    epsilon: float = 1e-8,
) -> Tensor:
    """What Dan et al.'s code runs for :func:`divergence_similarity`, with the same arguments.

    ``F.kl_div(p⁺, p)`` takes its first argument for log-probabilities, so what it averages over
    the K classes is ``D = Σ p (log p − p⁺) / K = −(H(p) + ⟨p, p⁺⟩) / K``. It is negative, not 0
    without a change, and the similarity D(x_j) / (D(x_i) + ε), shape (n, m), is near 1.
    """

    def divergence(z: Tensor, step: Tensor) -> Tensor:
        p = z.softmax(dim=1)
        return (p * (z.log_softmax(dim=1) - p - softmax_change(z, step))).mean(dim=2)

    size, own = _with_own(divergence, logits, change, own_logits, own_change)
    return size / (own + epsilon)[:, None]


def kernelized_similarity(change: Tensor, output_gradient: Tensor, learning_rate: float) -> Tensor:
    """S_ker(x_i, x_j) = −Δ[i, j] / (η ∂L/∂f(x_i)) (He & Su, equation 3), with its sign.

    For a small step it is the empirical tangent kernel ⟨∂f(x_i)/∂w, ∂f(x_j)/∂w⟩.

    Args:
        change: Prediction change Δ of a network with one output, shape (n, m, 1).
        output_gradient: ∂L/∂f at the update points, shape (n, 1).
        learning_rate: η of the step.

    Returns:
        Shape (n, m).

    Raises:
        ValueError: If the network has several outputs, or a gradient is exactly zero.
    """
    if change.shape[2] != 1:
        raise ValueError(f"S_ker is defined for one output, this network has {change.shape[2]}")
    if not bool((output_gradient != 0).all()):
        raise ValueError("the loss gradient is zero at an update point, so its row is undefined")
    return -change[:, :, 0] / (learning_rate * output_gradient)


def kernelized_similarity_as_coded(
    change: Tensor,
    prediction: Tensor,
    target: Tensor,
    learning_rate: Tensor | float,
    *,
    loss: Literal["MSE", "BCE"],
) -> Tensor:
    """S_ker as He & Su compute it: −Δ[i, j] / (2 η_i ∂L/∂f), with ∂L/∂f written out without a 2.

    ∂L/∂f is (f − y) for their "MSE", which is (f − y)², so that the 2 belongs and the result is
    equation (3); and (f − y) / (f (1 − f)) for "BCE", where the result is half of equation (3).

    Args:
        change: Prediction change of a network with one output, shape (n, m, 1).
        prediction: f at the update points before the step, shape (n, 1); probabilities for BCE.
        target: y, shape (n, 1).
        learning_rate: The η that each update point's step was taken with, shape (n,), or one for
            all. The code triples 10⁻⁶ until the point's own float32 prediction moves.
        loss: Their loss.

    Returns:
        Shape (n, m).

    Raises:
        ValueError: If a gradient is zero or, for BCE, a probability exactly 0 or 1.
    """
    check_name("loss", loss, ("MSE", "BCE"))
    gradient = prediction - target
    if loss == "BCE":
        gradient = gradient / (prediction * (1 - prediction))
        check_finite(gradient, "∂L/∂f, because a probability is exactly 0 or 1,")
    rate = torch.as_tensor(learning_rate, dtype=change.dtype, device=change.device)
    return kernelized_similarity(change / rate.reshape(-1, 1, 1), gradient, 2.0)


def normalized_similarity(kernel: Tensor) -> Tensor:
    """K[i, j] / √(K[i, i] K[j, j]) of a square kernelized similarity (He & Su, appendix).

    Raises:
        ValueError: If the matrix is not square, or its diagonal is not positive.
    """
    diagonal = _diagonal(kernel)
    if not bool((diagonal > 0).all()):
        raise ValueError("the diagonal of the kernel must be positive")
    return kernel / (diagonal[:, None] * diagonal).sqrt()


def symmetrized(similarity: Tensor) -> Tensor:
    """½(S + Sᵀ), the last step of He & Su's Algorithm 1 before clustering."""
    _diagonal(similarity)
    return (similarity + similarity.T) / 2


def correlation_with_distance(
    similarity: Tensor | Array,
    distance: Array,
    *,
    method: Literal["pearson", "spearman"] = "pearson",
    self_pairs: bool = True,
) -> float:
    """Correlation between similarity and distance over ordered pairs of points.

    He & Su's Figure 1 gives Pearson's coefficient over all ordered pairs with the self-pairs
    (similarity 1, distance 0) among them and without symmetrising. Pairs of undefined similarity
    (NaN, see :class:`UndefinedRowsWarning`) are left out.

    Args:
        similarity: Shape (n, n).
        distance: Shape (n, n), finite.
        method: ``pearson`` or ``spearman``.
        self_pairs: Whether the n self-pairs count.

    Returns:
        A number in [−1, 1].

    Raises:
        ValueError: If the shapes differ, a number is infinite, or either side is constant.
    """
    similarity = np.asarray(similarity, dtype=np.float64)
    if similarity.shape != distance.shape or similarity.shape[0] != similarity.shape[1]:
        raise ValueError(f"shapes differ: {similarity.shape} and {distance.shape}")
    if not np.isfinite(distance).all() or np.isinf(similarity).any():
        raise ValueError("distances and similarities must be finite; choose points of one class")
    pairs = ~np.isnan(similarity)
    if not self_pairs:
        pairs &= ~np.eye(len(distance), dtype=bool)
    s, d = similarity[pairs], distance[pairs]
    if len(s) == 0 or np.ptp(s) == 0 or np.ptp(d) == 0:
        raise ValueError("the correlation of a constant is undefined")
    check_name("method", method, ("pearson", "spearman"))
    correlation = stats.pearsonr if method == "pearson" else stats.spearmanr
    return float(correlation(s, d).statistic)


def _diagonal(matrix: Tensor) -> Tensor:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"need a square matrix, got shape {tuple(matrix.shape)}")
    return matrix.diagonal()


def _check_change(change: Tensor, own_change: Tensor | None) -> None:
    if change.ndim != 3:
        raise ValueError(f"change must be (n, m, outputs), got shape {tuple(change.shape)}")
    check_finite(change, "change")
    if own_change is not None:
        if own_change.shape != change.shape[::2]:
            raise ValueError(f"own_change must be (n, outputs), got {tuple(own_change.shape)}")
        check_finite(own_change, "own_change")


def _with_own(
    divergence: Callable[[Tensor, Tensor], Tensor],
    logits: Tensor,
    change: Tensor,
    own_logits: Tensor | None,
    own_change: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Divergences at all test points (n, m), and at the update points themselves (n,)."""
    size = divergence(logits, change)
    if own_logits is None and own_change is None:
        return size, _diagonal(size)
    if own_logits is None or own_change is None or len(own_change) != len(change):
        raise ValueError("give own_logits and own_change of all n update points, or neither")
    return size, divergence(own_logits, own_change[None])[0]


def _norm(change: Tensor, norm: Norm) -> Tensor:
    check_name("norm", norm, get_args(Norm))
    peak = change.abs().amax(dim=-1)
    if norm == "max" or change.shape[-1] == 1:
        return peak
    if norm == "l1":
        return change.abs().sum(dim=-1)
    # squares of the tiny changes of saturated probabilities would underflow
    unit = torch.where(peak > 0, peak, torch.ones_like(peak))
    return unit * (change / unit[..., None]).norm(dim=-1)


def _ratio(size: Tensor, own: Tensor) -> Tensor:
    """Size over own size, with undefined rows as NaN, never infinite."""
    ratio = size / own[:, None]
    undefined = (own == 0) | ~torch.isfinite(ratio).all(dim=1)
    still = int(undefined.sum())
    if still == 0:
        return ratio
    message = (
        f"{still} of {len(own)} update points did not move their own prediction; take a "
        "larger learning rate, more precision, or logits instead of saturated probabilities"
    )
    if still == len(own):
        raise ValueError(message)
    warnings.warn(f"{message} (their rows are NaN)", UndefinedRowsWarning, stacklevel=3)
    return ratio.masked_fill(undefined[:, None], float("nan"))
