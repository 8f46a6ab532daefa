"""Rank correlation with other quantities held fixed, and its interval over points."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from lecore.errors import LecoreError
from lecore.uncertainty import Interval


def partial_spearman(x: ArrayLike, y: ArrayLike, *given: ArrayLike) -> float:
    """Correlation of ranks, with what ranks of other quantities explain linearly taken out.

    Args:
        x: Shape (n,).
        y: Shape (n,).
        given: Other quantities, shape (n,) each.

    Returns:
        A number in [−1, 1]; NaN if one side is constant, or the others explain all of it.
    """
    ranks = stats.rankdata([x, y, *given], axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    left = ranks[:2]
    if given:
        design = ranks[2:].T
        left = left - (design @ np.linalg.lstsq(design, left.T, rcond=None)[0]).T
    norms = np.linalg.norm(left, axis=1)
    if (norms <= 1e-9 * len(ranks[0]) ** 1.5).any():
        return float("nan")
    return float(left[0] @ left[1] / norms.prod())


def partial_interval(
    x: ArrayLike, y: ArrayLike, *given: ArrayLike, seed: int = 0, resamples: int = 500
) -> Interval:
    """:func:`partial_spearman` with a 95 % interval over points, by the percentile bootstrap.

    Args:
        x: Shape (n,).
        y: Shape (n,).
        given: Other quantities, shape (n,) each.
        seed: Of the resamples.
        resamples: Of the points; one that leaves nothing to correlate counts as 0.

    Raises:
        LecoreError: If the points themselves leave nothing to correlate.
    """
    value = partial_spearman(x, y, *given)
    if np.isnan(value):
        cure = "take radii at which some images are robust and some are not, and more images"
        raise LecoreError("the correlation of a constant is undefined", cure)
    points = np.stack([np.asarray(one, dtype=float) for one in (x, y, *given)])
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, points.shape[1], size=(resamples, points.shape[1]))
    found = np.nan_to_num([partial_spearman(*points[:, some]) for some in rows])
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(value, float(low), float(high), points.shape[1])
