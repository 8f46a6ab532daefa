"""Rank correlation with other quantities held fixed, and its interval over points."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lecore.arguments.settings import whole
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

    Raises:
        LecoreError: If there is nothing, shapes do not fit, or a number is missing.
    """
    return float(_of_ranks(_points(x, y, *given)))


def partial_interval(
    x: ArrayLike, y: ArrayLike, *given: ArrayLike, seed: int = 0, resamples: int = 1000
) -> Interval:
    """:func:`partial_spearman` with a 95 % interval over points, by the percentile bootstrap.

    Args:
        x: Shape (n,).
        y: Shape (n,).
        given: Other quantities, shape (n,) each.
        seed: Of the resamples.
        resamples: Of the points; one that leaves nothing to correlate counts as 0.

    Raises:
        LecoreError: If the points themselves leave nothing to correlate, or are unfit.
    """
    whole("resamples", resamples)
    value = partial_spearman(x, y, *given)
    if np.isnan(value):
        cure = "take radii at which some images are robust and some are not, and more images"
        raise LecoreError("the correlation of a constant is undefined", cure)
    points = _points(x, y, *given)
    n = points.shape[1]
    rows = np.random.default_rng(seed).integers(0, n, size=(resamples, n))
    drawn = np.moveaxis(points[:, rows], 0, 1)
    low, high = np.quantile(np.nan_to_num(_of_ranks(drawn)), [0.025, 0.975])
    return Interval(value, float(low), float(high), n)


def _points(*sides: ArrayLike) -> NDArray[np.float64]:
    """All quantities, shape (k, n)."""
    shapes = {np.shape(side) for side in sides}
    if len(shapes) > 1 or any(len(shape) != 1 or not shape[0] for shape in shapes):
        told = ", ".join(map(str, sorted(shapes)))
        raise LecoreError(f"need quantities of one shape (n,), got {told}")
    points = np.array(sides, dtype=float)
    if np.isnan(points).any():
        raise LecoreError("a quantity is NaN at some point", "leave that point out")
    return points


def _of_ranks(points: NDArray[np.float64]) -> Any:
    """Partial correlation of the first two of k quantities, shape (…, k, n) to (…)."""
    ranks = stats.rankdata(points, axis=-1)
    ranks -= ranks.mean(axis=-1, keepdims=True)
    products = ranks @ np.swapaxes(ranks, -1, -2)
    whole, across = products[..., :2, :2], products[..., :2, 2:]
    inverse = np.linalg.pinv(products[..., 2:, 2:], hermitian=True)
    left = whole - across @ inverse @ np.swapaxes(across, -1, -2)
    sizes = left[..., 0, 0], left[..., 1, 1]
    constant = np.minimum(*sizes) <= 1e-9 * points.shape[-1] ** 3
    with np.errstate(invalid="ignore", divide="ignore"):
        found = left[..., 0, 1] / np.sqrt(sizes[0] * sizes[1])
    return np.where(constant, np.nan, found)
