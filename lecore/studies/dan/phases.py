"""Dan et al.'s two phases of regression: a phase of change, then a plateau?"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

GRID = 201
"""Points of the even grid in time on which curves are compared."""


class Phases(NamedTuple):
    """What "elastic, then inelastic" says about a curve, in numbers.

    Attributes:
        rate_ratio: Net rate of change in the first tenth of the time over that in the last half; 1
            for a curve that does not change at all, and 5 is usual for noise.
        plateau_height: Median of the last half over the maximum.
        change: Largest less smallest value, over the first one.
        change_point: Where the two lines of :func:`broken_line` meet, as a part of the time; NaN
            for a curve that does not change.
        explained: Part of the variance that the broken line explains; 1 without variance.
    """

    rate_ratio: float
    plateau_height: float
    change: float
    change_point: float
    explained: float


def phases(times: ArrayLike, values: ArrayLike) -> Phases:
    """Judge one curve.

    Args:
        times: Increasing from 0, not necessarily even, shape (T,).
        values: Positive, shape (T,).

    Raises:
        ValueError: If the times do not increase from 0, or a value is not positive.
    """
    times, values = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if times[0] != 0 or (np.diff(times) <= 0).any() or not (values > 0).all():
        raise ValueError("need times that increase from 0, and positive values")
    grid = np.linspace(0, 1, GRID)
    curve = np.interp(grid, times / times[-1], values)
    first = abs(curve[GRID // 10] - curve[0]) / 0.1
    last = abs(curve[-1] - curve[GRID // 2]) / 0.5
    still = np.ptp(curve) <= 1e-9 * curve.max()  # rounding
    meet, explained = (np.nan, 1.0) if still else broken_line(grid, curve)
    return Phases(
        1.0 if still else float(first / max(last, 1e-300)),
        float(np.median(curve[GRID // 2 :]) / curve.max()),
        float(np.ptp(curve) / curve[0]),
        meet,
        explained,
    )


def broken_line(x: ArrayLike, y: ArrayLike) -> tuple[float, float]:
    """Fit two lines that meet, by least squares over all inner points as their meeting point.

    Args:
        x: Increasing, shape (n,).
        y: Shape (n,).

    Returns:
        Where they meet, and the part of the variance that they explain.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    best, where = np.inf, float(x[1])
    for at in x[1:-1]:
        design = np.stack([np.ones_like(x), x, np.maximum(x - at, 0)], axis=1)
        residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
        if residual @ residual < best:
            best, where = float(residual @ residual), float(at)
    return where, 1 - best / float(((y - y.mean()) ** 2).sum())
