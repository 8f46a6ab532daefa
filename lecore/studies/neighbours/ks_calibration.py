"""Calibration by splines, after Gupta et al. (2021), and by a temperature, after Guo et al. (2017).

What scores and hits are, and how far apart, is in
:mod:`~lecore.studies.neighbours.calibration_error`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize
from scipy.interpolate import CubicSpline
from scipy.special import softmax

from lecore.arguments.names import Choices
from lecore.arguments.settings import whole
from lecore.errors import LecoreError
from lecore.studies.neighbours.calibration_error import (
    Array,
    Scores,
    check_logits,
    checked,
    cumulative_gap,
    ks_error,
    top,
    within_top,
)


def temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """T for which softmax(z / T) gives the labels the largest likelihood (Guo et al., 2017).

    The loss is convex in 1/T, and its slope there, the mean of Σ_k p_k z_k − z_y, has one zero.

    Args:
        logits: Shape (n, C).
        labels: Classes 0 to C − 1, shape (n,).

    Raises:
        LecoreError: If there are labels of one class only, or the likelihood grows without end: for
            ever smaller T if all predictions are right, for ever larger T if the logits of the
            labels are below average.
    """
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    _check_classes(z, y)
    z = z - z[np.arange(len(y)), y, None]
    highest, average = z.max(axis=1).mean(), z.mean()
    if highest == 0 or average >= 0:
        why = "no prediction is wrong" if highest == 0 else "labels have logits below average"
        raise LecoreError(
            f"the likelihood has no largest value at any temperature, since {why}",
            "calibrate on more images, with the network's own classes",
        )

    def slope(inverse: float) -> float:
        return float((softmax(inverse * z, axis=1) * z).sum(axis=1).mean())

    inverse = 1 / highest
    while slope(inverse) < 0:
        inverse *= 2
    return 1 / float(optimize.brentq(slope, 0, inverse, xtol=1e-300, rtol=1e-13))


@dataclass(frozen=True)
class Recalibration:
    """Maps scores to calibrated ones; between the scores it was fitted on, in straight lines.

    Attributes:
        scores: Ascending, shape (k,).
        values: What each becomes, shape (k,), 0 to 1.
        gap: The fitted spline, hits ahead of scores against the share of predictions.
    """

    scores: Array
    values: Array
    gap: Callable[[ArrayLike], Array]

    def __call__(self, scores: ArrayLike) -> Array:
        """Calibrated scores; beyond the fitted ones, the value of the nearest."""
        return np.interp(np.asarray(scores, dtype=np.float64), self.scores, self.values)


def fit_spline(
    scores: ArrayLike, hits: ArrayLike, knots: int = 6, *, monotone: bool = False
) -> Recalibration:
    """Recalibration by a spline, as Gupta et al. do it.

    A natural cubic spline with equally spaced knots is fitted by least squares to minus
    :func:`~lecore.studies.neighbours.calibration_error.cumulative_gap` as a function of the share
    t of predictions. Its slope is how far hits are ahead of scores near t, so a score s at share
    t(s) becomes s + slope(t(s)).

    Args:
        scores: On held-out predictions, shape (n,).
        hits: Shape (n,).
        knots: 2 or more; the released code has 6.
        monotone: Whether higher scores stay at least as high, by isotonic regression of the
            values. The released code does not ask for that.

    Raises:
        LecoreError: If hits are all alike, or there are fewer distinct scores than knots.
    """
    scores, hits = checked(scores, hits)
    distinct, counts = np.unique(scores, return_counts=True)
    whole("knots", knots, 2)
    if np.ptp(hits) == 0:
        raise LecoreError(
            f"all of these {len(hits)} predictions are {'hits' if hits[0] else 'misses'}",
            "calibrate on more images, with hits and misses",
        )
    if len(distinct) < knots:
        raise LecoreError(
            f"{len(distinct)} distinct scores are fewer than {knots} knots",
            "take fewer knots or more calibration images",
        )
    share, ahead = cumulative_gap(scores, hits)
    weight = np.sqrt(np.append(1.0, counts))  # as if each prediction were a point of its own
    at = np.linspace(0, 1, knots)
    shapes = CubicSpline(at, np.eye(knots), bc_type="natural")(share)
    heights = np.linalg.lstsq(weight[:, None] * shapes, -weight * ahead)[0]
    gap = CubicSpline(at, heights, bc_type="natural")
    values = distinct + gap((share[:-1] + share[1:]) / 2, 1)
    if monotone:
        values = optimize.isotonic_regression(values, weights=counts).x
    return Recalibration(distinct, np.clip(values, 0, 1), gap)


METHODS = ("raw", "temperature", "spline", "monotone spline", "shuffled hits")
"""What :func:`recalibrated` does to scores."""
CHOICES: dict[str, Callable[[ArrayLike, ArrayLike], Scores]] = Choices(
    "choice",
    {
        "first choice": top,
        "second choice": lambda p, y: top(p, y, 2),
        "first two": lambda p, y: within_top(p, y, 2),
    },
)
"""What scores and hits are about."""


def recalibrated(
    fitted_on: tuple[ArrayLike, ArrayLike],
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    choice: str = "first choice",
    knots: int = 6,
    seed: int = 0,
) -> dict[str, Scores]:
    """Test scores by each of :data:`METHODS`.

    Args:
        fitted_on: Logits (n, C) and labels (n,) of the calibration images.
        logits: Of the test images, shape (m, C).
        labels: Shape (m,).
        choice: A key of :data:`CHOICES`.
        knots: Of the splines.
        seed: Of the order in which hits are dealt out anew, for the control.

    Raises:
        LecoreError: If the choice is unknown, there are other classes in the test images, or the
            calibration images are unfit; see :func:`fit_spline` and :func:`temperature`.
    """
    scored, (z, y) = CHOICES[choice], fitted_on
    if np.shape(z)[1:] != np.shape(logits)[1:]:
        raise LecoreError(
            f"logits are of shapes {np.shape(z)} and {np.shape(logits)}", "give both of one network"
        )
    held, raw = scored(softmax(z, axis=1), y), scored(softmax(logits, axis=1), labels)
    cooled = np.asarray(logits, dtype=np.float64) / temperature(z, y)
    dealt = np.random.default_rng(seed).permutation(held.hits)
    splines = (
        fit_spline(*held, knots),
        fit_spline(*held, knots, monotone=True),
        fit_spline(held.scores, dealt, knots),
    )
    found = [raw, scored(softmax(cooled, axis=1), labels)]
    found += [Scores(spline(raw.scores), raw.hits) for spline in splines]
    return dict(zip(METHODS, found, strict=True))


def by_knots(held: Scores, test: Scores, knots: Sequence[int], count: int) -> list[float]:
    """KS errors of test scores after splines with more and more knots.

    Args:
        held: Of the calibration images.
        test: Of the test images.
        knots: How many, each.
        count: How many of the first calibration images are used.

    Raises:
        LecoreError: As in :func:`fit_spline`, or if there are fewer images.
    """
    whole("calibration images", count)
    if count > len(held.hits):
        raise LecoreError(f"{count} calibration images are wanted, and there are {len(held.hits)}")
    splines = [fit_spline(held.scores[:count], held.hits[:count], number) for number in knots]
    return [ks_error(spline(test.scores), test.hits) for spline in splines]


def _check_classes(values: Array, labels: NDArray[np.int64]) -> None:
    check_logits(values, labels)
    if (labels == labels[0]).all():
        raise LecoreError(
            f"all {len(labels)} labels are of class {labels[0]}",
            "calibrate on images of several classes",
        )
