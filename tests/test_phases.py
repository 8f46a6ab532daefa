"""Curves with known phases."""

import numpy as np
import pytest

from lecore.studies.dan.phases import broken_line, phases


def test_a_rise_and_a_plateau():
    times = np.array([0.0, 10.0, 20.0, 100.0])
    found = phases(times, [1.0, 2.0, 3.0, 3.0])
    assert found.plateau_height == 1
    assert found.change == pytest.approx(2)
    assert found.rate_ratio > 1e10
    assert found.change_point == pytest.approx(0.2)
    assert found.explained == pytest.approx(1)


def test_an_even_rise_has_no_phases():
    found = phases(np.arange(11), np.arange(1.0, 12.0))
    assert found.rate_ratio == pytest.approx(1)
    assert found.plateau_height == pytest.approx(8.5 / 11, abs=0.01)


@pytest.mark.parametrize("looks", [np.linspace(0, 2000, 40), np.r_[0, np.geomspace(1, 2000, 39)]])
def test_noise_is_judged_alike_wherever_it_is_looked_at(looks):
    rng = np.random.default_rng(0)
    ratios = [phases(looks, rng.uniform(1, 2, len(looks))).rate_ratio for _ in range(300)]
    assert 3 < np.median(ratios) < 8


def test_a_constant_has_no_phases():
    found = phases([0, 3, 7], [2.0, 2.0, 2.0 + 1e-12])
    assert found[:3] == pytest.approx((1, 1, 0))
    assert np.isnan(found.change_point)
    assert found.explained == 1


def test_scale_and_unit_of_time_play_no_part():
    rng = np.random.default_rng(0)
    times, values = np.sort(rng.uniform(0, 1, 20)), rng.uniform(1, 2, 20)
    times[0] = 0
    assert phases(7 * times, 3 * values) == pytest.approx(phases(times, values))


def test_uneven_times_do_not_weigh_more():
    even = phases(np.linspace(0, 10, 101), np.minimum(np.linspace(0, 10, 101), 3) + 1)
    uneven = np.concatenate([np.linspace(0, 1, 50), np.linspace(1.1, 10, 90)])
    assert phases(uneven, np.minimum(uneven, 3) + 1) == pytest.approx(even, rel=0.02)


@pytest.mark.parametrize("where", [0.2, 0.5, 0.7])
def test_broken_line_finds_the_corner(where):
    rng = np.random.default_rng(1)
    x = np.linspace(0, 1, 101)
    y = 3 - 2 * x + 5 * np.maximum(x - where, 0)
    assert broken_line(x, y) == pytest.approx((where, 1.0))
    meet, explained = broken_line(x, y + 0.05 * rng.normal(size=101))
    assert meet == pytest.approx(where, abs=0.05)
    assert 0.9 < explained < 1


@pytest.mark.parametrize(
    ("times", "values"), [([1, 2], [1, 1]), ([0, 0], [1, 1]), ([0, 1], [1, 0])]
)
def test_unfit_curves_are_refused(times, values):
    with pytest.raises(ValueError, match="increase from 0"):
        phases(times, values)
