"""Dan et al.'s two phases of regression: a phase of change, then a plateau?"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lecore.errors import LecoreError
from lecore.studies.dan.shapes import smooth_explained, two_lines

Array = NDArray[np.float64]

GRID = 201
"""Points of the even grid in time on which curves are compared."""


class Phases(NamedTuple):
    """What "elastic, then inelastic" says about a curve, in numbers.

    Attributes:
        change: Largest less smallest value, over the first one.
        plateau_height: Median of the last half over the maximum.
        change_point: Where two lines meet that fit it best, as a part of the time; NaN for a curve
            that does not change.
        slope_ratio: Rate of change before that over the one after; 1 for a curve that does not
            change.
        lines_explain: Part of the variance that these lines explain; 1 without variance.
        smooth_explains: The part that the best curve without a corner explains, which has as many
            free parameters; 1 without variance.
    """

    change: float
    plateau_height: float
    change_point: float
    slope_ratio: float
    lines_explain: float
    smooth_explains: float

    @property
    def levels_off(self) -> bool:
        """Whether the curve moves first, then stays, and stays high.

        It changes by a tenth or more, two lines explain 90 % of its variance, the second has at
        most a tenth of the first one's slope, and the last half is above half the maximum. A
        smooth relaxation to a plateau passes.
        """
        return (
            self.change >= 0.1
            and self.plateau_height >= 0.5
            and self.slope_ratio >= 10
            and self.lines_explain >= 0.9
        )

    @property
    def two_phases(self) -> bool:
        """Whether, besides, two lines leave less unexplained than the best smooth curve."""
        return self.levels_off and self.lines_explain > self.smooth_explains

    @property
    def left_ratio(self) -> float:
        """What two lines leave unexplained over what the smooth curve does; below 1 for a corner.

        Both are at least 1e-6; 1 without variance.
        """
        return max(1 - self.lines_explain, 1e-6) / max(1 - self.smooth_explains, 1e-6)


def phases(times: ArrayLike, values: ArrayLike) -> Phases:
    """Judge one curve.

    Args:
        times: Increasing from 0, not necessarily even, shape (T,).
        values: Positive, shape (T,).

    Raises:
        LecoreError: If the times do not increase from 0, or a value is not positive.
    """
    times, values = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if times[0] != 0 or (np.diff(times) <= 0).any() or not (values > 0).all():
        raise LecoreError("need times that increase from 0, and positive values")
    curve = np.interp(np.linspace(0, 1, GRID), times / times[-1], values)
    change = float(np.ptp(curve) / curve[0])
    height = float(np.median(curve[GRID // 2 :]) / curve.max())
    if np.ptp(curve) <= 1e-9 * curve.max():  # rounding
        return Phases(change, height, np.nan, 1.0, 1.0, 1.0)
    return Phases(change, height, *two_lines(curve), smooth_explained(curve))
