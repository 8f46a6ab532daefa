"""Curves with known phases, and how often the criterion errs on those without."""

import numpy as np
import pytest

from lecore.studies.dan.phase_controls import CONTROLS, control_curves, control_shares
from lecore.studies.dan.phases import phases

LOOKS = np.unique(np.r_[np.linspace(0, 1000, 20), np.geomspace(1, 1000, 20)].astype(int))


def test_a_rise_and_a_plateau():
    found = phases([0.0, 10.0, 20.0, 100.0], [1.0, 2.0, 3.0, 3.0])
    assert found.plateau_height == 1
    assert found.change == pytest.approx(2)
    assert found.slope_ratio > 1e5
    assert found.change_point == pytest.approx(0.2)
    assert found.lines_explain == pytest.approx(1)
    assert found.left_ratio < 0.01
    assert found.two_phases


@pytest.mark.parametrize(
    "values",
    [
        [1.0, 1.0333, 1.0667, 1.0667],  # changes by 7 %
        [3.0, 2.0, 1.0, 1.0],  # falls to a third
        [1.0, 2.0, 3.0, 4.0],  # goes on at an eighth of the rate
    ],
)
def test_a_phase_too_few(values):
    found = phases([0.0, 10.0, 20.0, 100.0], values)
    assert found.lines_explain > found.smooth_explains
    assert not found.levels_off
    assert not found.two_phases


def test_an_even_rise_has_no_phases():
    found = phases(np.arange(11), np.arange(1.0, 12.0))
    assert found.slope_ratio == pytest.approx(1)
    assert found.plateau_height == pytest.approx(8.5 / 11, abs=0.01)
    assert not found.levels_off


def test_the_logarithm_of_the_time_levels_off_without_phases():
    found = phases(LOOKS, 1 + np.log1p(LOOKS))
    assert found.levels_off
    assert found.left_ratio > 100
    assert not found.two_phases


@pytest.fixture(scope="module")
def shares():
    return control_shares(LOOKS, 200, seed=1)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["white noise", "random walk", "logarithm", "exponential"])
def test_curves_without_two_phases_are_rarely_taken_for_them(shares, name):
    assert shares[name]["two phases"]["value"] <= 0.03


def test_most_curves_with_two_phases_are_found(shares):
    assert shares["two lines"]["two phases"]["value"] >= 0.9


def test_relaxations_without_a_corner_level_off(shares):
    assert shares["exponential"]["levels off"]["value"] > 0.5
    assert shares["white noise"]["levels off"]["value"] == 0


def test_controls_are_of_the_seed_and_change_by_half():
    for name in CONTROLS:
        curves = control_curves(name, LOOKS, 3, seed=2)
        assert curves.shape == (3, len(LOOKS))
        assert np.array_equal(curves, control_curves(name, LOOKS, 3, seed=2))
        assert not np.array_equal(curves, control_curves(name, LOOKS, 3, seed=3))
        assert 1.4 < curves.min() < curves.max() < 2.1


def test_a_constant_has_no_phases():
    found = phases([0, 3, 7], [2.0, 2.0, 2.0 + 1e-12])
    assert found.change == pytest.approx(0)
    assert found.plateau_height == pytest.approx(1)
    assert np.isnan(found.change_point)
    assert found[3:] == (1, 1, 1)
    assert found.left_ratio == 1
    assert not found.levels_off


def test_scale_and_unit_of_time_play_no_part():
    rng = np.random.default_rng(0)
    times, values = np.sort(rng.uniform(0, 1, 20)), rng.uniform(1, 2, 20)
    times[0] = 0
    assert phases(7 * times, 3 * values) == pytest.approx(phases(times, values))


def test_uneven_times_do_not_weigh_more():
    even = phases(np.linspace(0, 10, 101), np.minimum(np.linspace(0, 10, 101), 3) + 1)
    uneven = np.concatenate([np.linspace(0, 1, 50), np.linspace(1.1, 10, 90)])
    found = phases(uneven, np.minimum(uneven, 3) + 1)
    assert found[:3] == pytest.approx(even[:3], rel=0.02)
    assert found[4:] == pytest.approx(even[4:], rel=0.02)


@pytest.mark.parametrize(
    ("times", "values"), [([1, 2], [1, 1]), ([0, 0], [1, 1]), ([0, 1], [1, 0])]
)
def test_unfit_curves_are_refused(times, values):
    with pytest.raises(ValueError, match="increase from 0"):
        phases(times, values)
