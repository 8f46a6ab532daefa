"""Intervals, each for one kind of number: means, ratios, shares, counts, statistics of pairs.

Each says what it covers; ``python -m benchmarks.coverage`` simulates how often. Fewer than three
runs have no interval: its ends are NaN.
"""

import math
import reprlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lecore.arguments.settings import function, number, numbers
from lecore.errors import LecoreError

FEWEST = 3
"""Runs that an interval takes at least."""


class Interval(NamedTuple):
    """A number with its interval; ``_asdict()`` fits :func:`lecore.companion.records.record`.

    Attributes:
        value: The number.
        low: Lower end; NaN if there are too few runs for an interval.
        high: Upper end, likewise.
        n: Runs, or points, that the interval is from.
    """

    value: float
    low: float
    high: float
    n: int


def over_runs(
    values: ArrayLike, confidence: float = 0.95, *, bounds: tuple[float, float] | None = None
) -> Interval:
    """Mean of repeated runs with Student's t interval.

    Covers the expectation of a run, if runs are independent and about normal. For ratios take
    :func:`over_ratios`, for shares of runs :func:`proportion`.

    Args:
        values: One number a run, shape (runs,).
        confidence: Coverage in (0, 1).
        bounds: Range of the quantity, to which the interval is cut, such as (0, 100) for per cent.

    Raises:
        LecoreError: If there are no runs, a value is not finite, the confidence is no chance, or
            the bounds are no range.
    """
    runs, chance = _runs(values), _chance(confidence)
    low, high = (-np.inf, np.inf) if bounds is None else _pair(bounds)
    mean = float(runs.mean())
    if len(runs) < FEWEST:
        return Interval(mean, math.nan, math.nan, len(runs))
    half = float(_quantile(chance, len(runs) - 1) * stats.sem(runs))
    return Interval(mean, max(mean - half, low), min(mean + half, high), len(runs))


def over_ratios(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Geometric mean of repeated runs, with Student's t interval of their logarithms.

    Covers the median of a ratio or factor whose logarithm is about normal.

    Args:
        values: One positive number a run, shape (runs,).
        confidence: Coverage in (0, 1).

    Raises:
        LecoreError: If there are no runs, or a value is not finite and positive.
    """
    runs = _runs(values)
    if not (runs > 0).all():
        raise LecoreError(f"need positive numbers, got {reprlib.repr(values)}")
    *logarithms, n = over_runs(np.log(runs), confidence)
    value, low, high = np.exp(np.clip(logarithms, -700.0, 700.0)).tolist()  # finite
    return Interval(value, low, high, n)


def proportion(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Share of successes in independent trials with the exact interval of Clopper & Pearson (1934).

    Covers the chance of a success at least as often as it says; of 0 or n, too, it has a width.

    Args:
        successes: 0 to n.
        n: Trials.
        confidence: Coverage in (0, 1).

    Raises:
        LecoreError: If there are no trials, or there are more successes.
    """
    chance = _chance(confidence)
    n = int(number("n", n, lambda k: k >= 1 and k.is_integer(), "a whole number above 0"))
    wanted = f"a whole number from 0 to {n}"
    fits = lambda k: 0 <= k <= n and k.is_integer()  # noqa: E731
    successes = int(number("successes", successes, fits, wanted))
    if n < FEWEST:
        return Interval(successes / n, math.nan, math.nan, n)
    found = stats.binomtest(successes, n)
    low, high = found.proportion_ci(chance)
    return Interval(float(found.statistic), float(low), float(high), n)


def median_range(values: ArrayLike) -> Interval:
    """Median of repeated runs with their range, from one number a run, shape (runs,).

    The range is no interval: one more run falls inside with probability (n − 1)/(n + 1).
    """
    runs = _runs(values)
    median = float(np.median(runs))
    if len(runs) < FEWEST:
        return Interval(median, math.nan, math.nan, len(runs))
    return Interval(median, float(runs.min()), float(runs.max()), len(runs))


def over_points(
    statistic: Callable[..., float],
    matrices: Sequence[NDArray[np.float64]],
    *,
    confidence: float = 0.95,
) -> Interval:
    """Interval over points of a statistic of pairwise matrices, by the jackknife.

    Pairs that share a point are not independent, so points are left out one by one, rows and
    columns together, and never pairs (Tukey, 1958; Arvesen, 1969, for statistics of pairs). It
    covers the expectation over sets of n points drawn anew, rather too often than too rarely. Pairs
    of a point with itself are one in n: without them it is about that of the population.

    Args:
        statistic: Function of the matrices.
        matrices: Square matrices of one shape (n, n).
        confidence: Coverage in (0, 1).

    Raises:
        LecoreError: If the matrices are not of one square shape, of 6 points or more, or the
            confidence is no chance.
    """
    function("statistic", statistic)
    chance = _chance(confidence)
    try:
        shapes = {tuple(m.shape) for m in matrices}
    except (TypeError, AttributeError) as reason:
        raise LecoreError("matrices are no arrays", "give a list of square ones") from reason
    n = len(matrices[0]) if shapes else 0
    if n < 6 or shapes != {(n, n)}:
        raise LecoreError("need square matrices of one shape, of at least 6 points")
    value = float(statistic(*matrices))
    kept = [np.flatnonzero(np.arange(n) != i) for i in range(n)]
    left_out = [statistic(*(m[np.ix_(rows, rows)] for m in matrices)) for rows in kept]
    error = math.sqrt((n - 1) * np.var(left_out))
    half = _quantile(chance, n - 1) * error
    return Interval(value, value - half, value + half, n)


def _runs(values: ArrayLike) -> NDArray[np.float64]:
    runs = numbers("values", values, "runs").double().numpy(force=True)
    if len(runs) == 0 or not np.isfinite(runs).all():
        raise LecoreError(f"need one finite number a run, got {reprlib.repr(values)}")
    return runs


def _quantile(confidence: float, freedom: int) -> float:
    """Of Student's t, for an interval with two ends."""
    return float(stats.t.ppf((1 + confidence) / 2, freedom))


def _chance(confidence: float) -> float:
    return number("confidence", confidence, lambda chance: 0 < chance < 1, "between 0 and 1")


def _pair(bounds: tuple[float, float]) -> tuple[float, float]:
    ends = numbers("bounds", bounds, "ends").tolist()
    if len(ends) != 2 or not ends[0] <= ends[1]:
        raise LecoreError(f"bounds must be (lowest, highest), not {reprlib.repr(bounds)}")
    return ends[0], ends[1]
