"""Phases over targets and seeds, on known curves."""

import numpy as np
import pytest

from lecore.studies.dan.regression import RegressionPath
from lecore.studies.dan.two_phases import corner_numbers, phase_numbers

STEPS = np.arange(101)


def path(corner=30, rise=1.0, loss_corner=10):
    """S_rel that rises until its corner, and a loss that falls until its own."""
    curve = 1 + rise * np.minimum(STEPS, corner) / corner
    losses = 2 - np.minimum(STEPS, loss_corner) / loss_corner
    return RegressionPath(STEPS, curve, 2 / curve, losses)


def test_means_are_over_targets_and_intervals_over_seeds():
    paths = [[path(k, rise) for k in (20, 30, 40)] for rise in (1.0, 3.0)]
    numbers = phase_numbers(paths)
    assert numbers["change"] == pytest.approx({"value": 2, "low": 2, "high": 2, "n": 3})
    corner = numbers["change point"]
    assert corner["value"] == pytest.approx(0.3)
    assert corner["low"] == pytest.approx(0.3 - 4.303 * 0.1 / 3**0.5, abs=1e-3)
    assert numbers["plateau height"]["value"] == 1
    ends = [numbers[f"{name} end over start"]["value"] for name in ("trained", "held out")]
    assert ends == pytest.approx([8**0.5, 8**-0.5])
    assert numbers["slope ratio"]["value"] > 1e4
    assert numbers["left ratio"]["high"] < 1


def test_shares_are_of_all_runs():
    straight = path(100)
    numbers = phase_numbers([[path()] * 3, [path(), straight, straight]])
    assert numbers["two phases"]["value"] == pytest.approx(4 / 6)
    assert numbers["levels off"]["n"] == 6


def test_curves_without_a_corner_have_no_change_point():
    still = path()._replace(trained=np.ones(101))
    numbers = phase_numbers([[path()] * 3, [still] * 3])
    assert "change point" not in numbers
    assert numbers["two phases"]["value"] == 0.5


def test_the_corner_of_similarity_is_set_against_that_of_the_loss():
    paths = [
        [path(30, 1.0, 10), path(50, 1.0, 20), path(50, 1.0, 20)],
        [path(40, 1.0, 20), path(60, 1.0, 20), path(60, 1.0, 20)],
    ]
    found = corner_numbers(paths)
    expected = np.mean([0.2, 0.3, 0.3, 0.2, 0.4, 0.4])
    assert found["corner difference"]["value"] == pytest.approx(expected, abs=0.01)
    assert found["corner difference"]["n"] == 3
    assert found["loss lines explain"]["value"] == pytest.approx(1)
    exponential = path()._replace(losses=1 + np.exp(-STEPS / 20))
    assert 0.5 < corner_numbers([[exponential] * 3])["loss lines explain"]["value"] < 0.99
