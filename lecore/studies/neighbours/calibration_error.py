"""How far stated probabilities are from what comes true: the KS error, and the measures beside it.

A *score* is a probability that a network states, and a *hit* says whether what it states is so.
Scores are calibrated if, among all predictions with a score of s, a part s are hits.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lecore.arguments.settings import whole
from lecore.errors import LecoreError

Array = NDArray[np.float64]

ROUNDING = 1e-2
"""By how much probabilities may add up to more than 1, in half precision say."""
LARGEST = 1e50
"""Size of logits whose powers can still be computed with."""


class Scores(NamedTuple):
    """What a network states, and what is so.

    Attributes:
        scores: Stated probabilities, shape (n,), 0 to 1.
        hits: Whether each is so, shape (n,), 0 or 1.
    """

    scores: Array
    hits: Array


def top(probabilities: ArrayLike, labels: ArrayLike, r: int = 1) -> Scores:
    """The probability of the r-th choice, and whether it is the class (Gupta et al.: top-r).

    Args:
        probabilities: Shape (n, C).
        labels: Classes 0 to C − 1, shape (n,).
        r: 1 for the first choice, up to C.

    Raises:
        LecoreError: If shapes do not fit, labels are no classes, these are no probabilities, or r
            is no place among the classes.
    """
    p, right = _sorted(probabilities, labels, r)
    return Scores(p[:, r - 1], right[:, r - 1])


def within_top(probabilities: ArrayLike, labels: ArrayLike, r: int) -> Scores:
    """Probability that the class is among the first r choices, and whether it is (within-top-r).

    Args:
        probabilities: Shape (n, C).
        labels: Classes 0 to C − 1, shape (n,).
        r: How many choices.

    Raises:
        LecoreError: As in :func:`top`.
    """
    p, right = _sorted(probabilities, labels, r)
    return Scores(np.minimum(p[:, :r].sum(axis=1), 1.0), right[:, :r].sum(axis=1))


def cumulative_gap(scores: ArrayLike, hits: ArrayLike) -> tuple[Array, Array]:
    """How far the scores run ahead of the hits, added up from the smallest score on.

    h_k = (1/n) Σ_{i ≤ k} (score_i − hit_i), in the order of the scores, which is the integral
    ∫₀^σ (z − P(hit | z)) dP(z) of Gupta et al. over the empirical distribution. Equal scores have
    no order, so it is given behind the last of them only.

    Args:
        scores: Shape (n,), 0 to 1.
        hits: Shape (n,), 0 or 1.

    Returns:
        Share of the predictions up to there, and h, shape (distinct scores + 1,) each; both begin
        at 0.

    Raises:
        LecoreError: If there is nothing, or numbers are out of range.
    """
    scores, hits = checked(scores, hits)
    order = np.argsort(scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])) + 1, len(scores))
    added = np.cumsum(scores[order] - hits[order]) / len(scores)
    return np.append(0.0, ends / len(scores)), np.append(0.0, added[ends - 1])


def ks_error(scores: ArrayLike, hits: ArrayLike) -> float:
    """Largest size of h in :func:`cumulative_gap`: calibration error without bins (Gupta et al.).

    0 if scores are calibrated, at most 1, and at least how far mean score and hit rate differ.
    """
    return float(np.abs(cumulative_gap(scores, hits)[1]).max())


def binned_error(scores: ArrayLike, hits: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error: how far mean score and hits differ in bins of equal width.

    The common measure beside :func:`ks_error`; it depends on the bins.

    Args:
        scores: Shape (n,), 0 to 1.
        hits: Shape (n,), 0 or 1.
        bins: How many, ≥ 1.

    Raises:
        LecoreError: If there is nothing, or numbers are out of range.
    """
    scores, hits = checked(scores, hits)
    whole("bins", bins)
    place = np.minimum((scores * bins).astype(int), bins - 1)
    return float(np.abs(np.bincount(place, scores - hits, bins)).sum() / len(scores))


def brier(scores: ArrayLike, hits: ArrayLike) -> float:
    """Mean (score − hit)²: small only if scores are calibrated and tell hits from misses."""
    scores, hits = checked(scores, hits)
    return float(((scores - hits) ** 2).mean())


def chance_error(scores: ArrayLike, seed: int = 0, draws: int = 200) -> float:
    """Mean KS error of hits that are drawn with these scores: what calibrated ones have by chance.

    Args:
        scores: Shape (n,).
        seed: Of the draws.
        draws: How many, ≥ 1.

    Raises:
        LecoreError: If there is nothing, or numbers are out of range.
    """
    whole("draws", draws)
    scores, _ = checked(scores, np.zeros(np.shape(scores)))
    hits = np.random.default_rng(seed).random((draws, len(scores))) < scores
    return float(np.mean([ks_error(scores, one) for one in hits]))


def _sorted(probabilities: ArrayLike, labels: ArrayLike, r: int) -> tuple[Array, Array]:
    """Probabilities from the largest down, and which of them is that of the label."""
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    check_logits(p, y)
    if (p < 0).any() or (p.sum(axis=1) > 1 + ROUNDING).any():
        raise LecoreError("these are no probabilities", "take the softmax of logits first")
    if r not in range(1, p.shape[1] + 1):
        raise LecoreError(f"r must be 1 to {p.shape[1]}, the number of classes, not {r}")
    order = np.argsort(-p, axis=1, kind="stable")
    return np.take_along_axis(p, order, axis=1), (order == y[:, None]).astype(np.float64)


def check_logits(values: Array, labels: NDArray[np.int64]) -> None:
    """Refuse all but one number of usable size a class, (n, C), and labels (n,) from 0 to C − 1."""
    if values.ndim != 2 or labels.shape != values.shape[:1] or values.size == 0:
        raise LecoreError(
            f"need one number a class, (n, C), and labels (n,), got {values.shape} and "
            f"{labels.shape}"
        )
    if not (np.abs(values) <= LARGEST).all():
        what = f"some of these numbers are not finite, or beyond {LARGEST:g}"
        raise LecoreError(what, "look at the network's outputs")
    check_labels(labels, values.shape[1])


def check_labels(labels: NDArray[Any] | Tensor, classes: int) -> None:
    """Refuse labels that are not whole numbers from 0 to the number of classes less 1."""
    given = labels.numpy(force=True) if isinstance(labels, Tensor) else labels
    if given.dtype.kind not in "iu" or (given < 0).any() or (given >= classes).any():
        raise LecoreError(
            f"labels are no classes of {classes}", f"give whole numbers from 0 to {classes - 1}"
        )


def checked(scores: ArrayLike, hits: ArrayLike) -> tuple[Array, Array]:
    """Scores and hits as arrays, or a refusal."""
    scores, hits = (np.asarray(values, dtype=np.float64) for values in (scores, hits))
    if scores.ndim != 1 or scores.shape != hits.shape or len(scores) == 0:
        raise LecoreError(f"need n scores and n hits, got {scores.shape} and {hits.shape}")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise LecoreError("scores must lie between 0 and 1", "give probabilities, not logits")
    if not np.isin(hits, (0, 1)).all():
        raise LecoreError("hits must be 0 or 1")
    return scores, hits
