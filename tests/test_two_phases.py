"""Phases over targets and seeds, on known curves."""

import numpy as np
import pytest

from lecore.studies.dan.regression import RegressionPath
from lecore.studies.dan.two_phases import corner_difference, phase_numbers

STEPS = np.arange(101)


def path(corner=30, rise=1.0, loss_corner=10):
    """S_rel that rises until its corner, and a loss that falls until its own."""
    curve = 1 + rise * np.minimum(STEPS, corner) / corner
    losses = 2 - np.minimum(STEPS, loss_corner) / loss_corner
    return RegressionPath(STEPS, curve, 2 / curve, losses)


def test_means_are_over_targets_and_intervals_over_seeds():
    paths = [[path(c, rise) for c in (20, 40, 60)] for rise in (1.0, 3.0)]
    numbers = phase_numbers(paths)
    assert numbers["change"] == pytest.approx({"value": 2, "low": 2, "high": 2, "n": 3})
    assert numbers["change point"]["value"] == pytest.approx(0.4)
    assert numbers["change point"]["low"] == 0  # of 0.2, 0.4 and 0.6, cut at 0
    assert numbers["plateau height"]["value"] == 1
    assert numbers["trained end over start"]["value"] == pytest.approx(3)
    assert numbers["held out end over start"]["value"] == pytest.approx((1 / 2 + 1 / 4) / 2)


def test_rates_are_averaged_as_logarithms():
    rises = [[path(100, 1.0)] * 3]
    assert phase_numbers(rises)["rate ratio"] == pytest.approx(
        {"value": 1, "low": 1, "high": 1, "n": 3}
    )
    slow = path(100)._replace(trained=1 + np.maximum(0, STEPS - 50) / 50 + np.minimum(STEPS, 10))
    ratio = phase_numbers([[slow]])["rate ratio"]["value"]  # 10 in a tenth, 1 in a half
    both = phase_numbers([[slow], [path(100)]])["rate ratio"]["value"]
    assert ratio == pytest.approx(50)
    assert both == pytest.approx(50**0.5)


def test_curves_without_a_corner_have_no_change_point():
    still = path()._replace(trained=np.ones(101))
    assert "change point" not in phase_numbers([[path()], [still]])


def test_the_corner_of_similarity_is_set_against_that_of_the_loss():
    paths = [
        [path(30, 1.0, 10), path(50, 1.0, 20), path(50, 1.0, 20)],
        [path(40, 1.0, 20), path(60, 1.0, 20), path(60, 1.0, 20)],
    ]
    found = corner_difference(paths)
    assert found.value == pytest.approx(np.mean([0.2, 0.3, 0.3, 0.2, 0.4, 0.4]), abs=0.01)
    assert found.low < found.value < found.high
