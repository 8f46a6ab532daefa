"""Intervals hold what they say they cover, as often as they say; the full table is a benchmark."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.coverage import coverage, of_runs
from lecore.uncertainty import over_points, proportion

CASES = {(case.interval, case.data, case.n): case for case in of_runs()}


@pytest.mark.thorough
@pytest.mark.parametrize("n", [3, 5])
@pytest.mark.parametrize(
    ("interval", "data"), [("over_runs", "normal"), ("over_ratios", "lognormal, σ = 1")]
)
def test_means_and_ratios_are_covered_in_95_of_100(interval, data, n):
    assert coverage(CASES[interval, data, n], 600) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("chance", [0.05, 0.5, 0.8, 0.95])
def test_a_chance_is_covered_at_least_so_often(chance, n):
    held = [low <= chance <= high for _, low, high, _ in (proportion(k, n) for k in range(n + 1))]
    assert stats.binom.pmf(range(n + 1), n, chance) @ held >= 0.95


@pytest.mark.thorough
@pytest.mark.parametrize("data", ["six alike, 0.95", "sure and doubtful pairs"])
def test_a_number_of_pairs_is_covered(data):
    assert coverage(CASES["total_of_shares", data, 5], 80) > 0.86  # 0.93 and more, of 80


@pytest.mark.thorough
def test_two_modes_are_not_covered_by_the_mean_of_three():
    case = CASES["over_runs", "two modes, 60 and 95 in one of two", 3]
    assert coverage(case, 500) == pytest.approx(0.75, abs=0.06)


def test_a_statistic_of_pairs_is_covered_where_pairs_share_points():
    hits = 0
    for seed in range(120):
        x = np.random.default_rng(seed).normal(size=20)
        _, low, high, _ = over_points(lambda m: m.mean(), [x[:, None] + x])
        hits += low <= 0 <= high
    assert hits / 120 == pytest.approx(0.95, abs=0.05)
