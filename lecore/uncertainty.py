"""Intervals: over repeated runs, and over points for statistics of a matrix of pairs."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lecore.seeding import seeded


class Interval(NamedTuple):
    """A number with its interval; ``_asdict()`` fits :func:`lecore.companion.records.record`."""

    value: float
    low: float
    high: float


def over_runs(
    values: ArrayLike, confidence: float = 0.95, *, bounds: tuple[float, float] | None = None
) -> Interval:
    """Mean of repeated runs with Student's t interval.

    Args:
        values: One number a run, shape (runs,); a single run gives an interval of zero width.
        confidence: Coverage in (0, 1).
        bounds: Range of the quantity, to which the interval is cut, such as (0, 100) for per cent.

    Raises:
        ValueError: If there are no runs, or a value is not finite.
    """
    runs = np.asarray(values, dtype=np.float64)
    if runs.ndim != 1 or len(runs) == 0 or not np.isfinite(runs).all():
        raise ValueError(f"need one finite number a run, got {values!r}")
    mean = float(runs.mean())
    if len(runs) == 1:
        return Interval(mean, mean, mean)
    half = float(stats.t.ppf((1 + confidence) / 2, len(runs) - 1) * stats.sem(runs))
    low, high = bounds or (-np.inf, np.inf)
    return Interval(mean, max(mean - half, low), min(mean + half, high))


def median_range(values: ArrayLike) -> Interval:
    """Median of repeated runs with their range, from one number a run, shape (runs,)."""
    runs = np.asarray(values, dtype=np.float64)
    return Interval(float(np.median(runs)), float(runs.min()), float(runs.max()))


def over_points(
    statistic: Callable[..., float],
    matrices: Sequence[NDArray[np.float64]],
    *,
    resamples: int = 500,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Interval over points of a statistic of pairwise matrices, by half-samples.

    Pairs that share a point are not independent, so points are resampled, rows and columns
    together, and never pairs. A bootstrap would put copies of a point off the diagonal; random
    halves without replacement have no copies, and vary around the whole as the whole does around
    the truth, since 1/(n/2) − 1/n = 1/n (the delete-half jackknife of Shao & Wu, 1989).

    Args:
        statistic: Function of the resampled matrices.
        matrices: Square matrices of one shape (n, n).
        resamples: Number of halves.
        confidence: Coverage in (0, 1).
        seed: Seed of the resampling.

    Returns:
        The statistic of the full matrices with its percentile interval.
    """
    n = len(matrices[0])
    if n < 6 or any(m.shape != (n, n) for m in matrices):
        raise ValueError("need square matrices of one shape, of at least 6 points")
    with seeded(seed) as rng:
        samples = [rng.permutation(n)[: n // 2] for _ in range(resamples)]
    values = [statistic(*(m[np.ix_(rows, rows)] for m in matrices)) for rows in samples]
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(statistic(*matrices)), float(low), float(high))
