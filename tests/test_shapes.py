"""Two lines against one smooth curve, on curves of known shape."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from lecore.studies.dan.shapes import fitted, smooth_explained, two_lines

TIME = np.linspace(0, 1, 101)


@pytest.mark.parametrize("where", [0.2, 0.5, 0.7])
def test_two_lines_find_the_corner(where):
    y = 3 - 2 * TIME + 2.5 * np.maximum(TIME - where, 0)
    assert two_lines(y) == pytest.approx((where, 4, 1))
    noise = np.random.default_rng(1).normal(size=101)
    noisy = two_lines(y + 0.02 * noise)
    assert noisy.corner == pytest.approx(where, abs=0.05)
    assert noisy.slope_ratio == pytest.approx(4, rel=0.5)
    assert 0.9 < noisy.explained < 1


def test_two_lines_by_a_loop_of_least_squares():
    y = np.random.default_rng(0).normal(size=101).cumsum()
    left = []
    for at in TIME[1:-1]:
        design = np.stack([np.ones(101), TIME, np.maximum(TIME - at, 0)], axis=1)
        left.append(((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2).sum())
    found = two_lines(y)
    assert found.corner == pytest.approx(TIME[1 + int(np.argmin(left))])
    assert found.explained == pytest.approx(1 - min(left) / ((y - y.mean()) ** 2).sum())


@pytest.mark.parametrize(
    "curve",
    [
        np.log1p(500 * TIME), np.exp(-TIME / 0.07), np.exp(-TIME / 0.07) - 0.3 * TIME,
        (1 + TIME / 0.03) ** -0.7, np.exp(-((TIME / 0.07) ** 2)), np.exp(-((TIME / 0.1) ** 0.5)),
        1 / (1 + np.exp((0.33 - TIME) / 0.04)),
    ],
)  # fmt: skip
def test_curves_without_a_corner_are_explained_by_one(curve):
    assert smooth_explained(curve) > 0.999
    assert smooth_explained(curve) > two_lines(curve).explained


def test_a_corner_is_explained_by_two_lines_alone():
    curve = np.maximum(0, 1 - TIME / 0.2)
    assert two_lines(curve).explained == pytest.approx(1)
    assert smooth_explained(curve) < 0.999


@pytest.mark.parametrize("seed", range(5))
def test_no_start_of_an_optimiser_does_better_than_the_grid(seed):
    rng = np.random.default_rng(seed)
    y = rng.normal() * np.exp(-TIME / rng.uniform(0.02, 1)) + rng.normal() * TIME
    y += 0.1 * y.std() * rng.normal(size=101)
    families = [
        lambda t, a, b, c, tau: a + b * t + c * np.exp(-t / np.exp(tau)),
        lambda t, a, b, tau: a + b * np.log1p(t / np.exp(tau)),
    ]
    for family, parameters in zip(families, (4, 3), strict=True):
        for start in (-3.0, -1.0, 0.0):
            first = [*np.ones(parameters - 1), start]
            low = [*[-np.inf] * (parameters - 1), np.log(0.003)]
            high = [*[np.inf] * (parameters - 1), np.log(3)]
            fitted, _ = curve_fit(family, TIME, y, first, bounds=(low, high), max_nfev=5000)
            left = ((y - family(TIME, *fitted)) ** 2).sum() / ((y - y.mean()) ** 2).sum()
            assert smooth_explained(y) > 1 - left - 1e-3


def test_scale_and_offset_play_no_part():
    y = np.random.default_rng(3).normal(size=101)
    assert two_lines(7 - 3 * y) == pytest.approx(two_lines(y))
    assert smooth_explained(7 - 3 * y) == pytest.approx(smooth_explained(y))


def test_fits_explain_what_is_said_of_them():
    curve = np.exp(-np.linspace(0, 3, 41)) + 0.01 * np.random.default_rng(0).normal(size=41)
    explained = [1 - (curve - fit).var() / curve.var() for fit in fitted(curve)]
    assert explained == pytest.approx([two_lines(curve).explained, smooth_explained(curve)])
