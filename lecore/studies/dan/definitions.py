"""Relative similarities of classifiers: as Dan et al. define them, and as their code computes."""

import math
from collections.abc import Callable

from torch import Tensor

from lecore.arguments.finite import check_finite
from lecore.errors import LecoreError
from lecore.probabilities import prediction_divergence, softmax_change
from lecore.similarity import own_change as change_of_update_points
from lecore.similarity import relative_similarity, size_of


def relative_similarity_as_coded(
    change: Tensor, own_change: Tensor | None = None, *, epsilon: float = 1e-8
) -> Tensor:
    """S_rel as Dan et al. compute "SuHe": unlike norms above and below, and an ε.

    ``(‖Δ[i, j]‖₁ / K) / (‖Δ[i, i]‖₂ / √K + ε)`` on softmax probabilities of K classes. To itself an
    update point has a similarity in [1/√K, 1] and not 1; where probabilities saturate, ε decides.

    Args:
        change: Change of the probabilities, shape (n, m, K); see
            :func:`lecore.probabilities.softmax_change`.
        own_change: As in :func:`lecore.similarity.relative_similarity`.
        epsilon: ε.

    Returns:
        Shape (n, m), ≥ 0.
    """
    check_finite(change, "change")
    own_change = _own(change) if own_change is None else own_change
    own = size_of(own_change) / math.sqrt(change.shape[2]) + epsilon
    return relative_similarity(change.abs().mean(dim=2, keepdim=True), own[:, None])


def divergence_similarity(
    logits: Tensor,
    change: Tensor,
    own_logits: Tensor | None = None,
    own_change: Tensor | None = None,
    *,
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
        epsilon: ε ≥ 0.

    Returns:
        Shape (n, m), ≥ 0. The row of an update point that did not move its own prediction is NaN.

    Raises:
        LecoreError: If no update point moved its own prediction, an entry is not finite, or the
            shapes do not fit.

    Warns:
        UndefinedRowsWarning: If some rows are undefined.
    """
    size, own = _with_own(prediction_divergence, logits, change, own_logits, own_change)
    return relative_similarity(size[..., None], (own + epsilon)[:, None])


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
        return size, _own(size)
    if own_logits is None or own_change is None or len(own_change) != len(change):
        raise LecoreError("give own_logits and own_change of all n update points, or neither")
    return size, divergence(own_logits, own_change[None])[0]


def _own(change: Tensor) -> Tensor:
    """Change at the update points, which are the test points."""
    if change.shape[0] != change.shape[1]:
        raise LecoreError(f"need a square matrix or own_change, got shape {tuple(change.shape)}")
    return change_of_update_points(change)
