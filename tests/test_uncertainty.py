"""Intervals against textbook values, and their coverage on data with a known answer."""

import numpy as np
import pytest
from scipy import stats

from lecore.uncertainty import over_points, over_runs


def test_over_runs_is_students_interval():
    values = [1.0, 2.0, 4.0, 5.0]
    interval = over_runs(values)
    low, high = stats.t.interval(0.95, 3, loc=3.0, scale=stats.sem(values))
    assert interval == pytest.approx((3.0, low, high))
    assert over_runs([2.0]) == (2.0, 2.0, 2.0)
    assert over_runs([0.0, 1.0], bounds=(0, 1))[1:] == (0.0, 1.0)


@pytest.mark.parametrize("values", [[], [np.nan], [[1.0]]])
def test_over_runs_refuses_nonsense(values):
    with pytest.raises(ValueError, match="one finite number a run"):
        over_runs(values)


def test_over_points_covers_the_truth_as_often_as_it_says():
    # pairs (i, j) of x_i + x_j: their mean is 2 E[x], and pairs that share a point are dependent
    hits = 0
    for seed in range(120):
        x = np.random.default_rng(seed).normal(size=40)
        interval = over_points(lambda m: m.mean(), [x[:, None] + x], resamples=300, seed=seed)
        hits += interval.low <= 0 <= interval.high
    assert 0.88 <= hits / 120 <= 0.99
    naive = stats.sem((x[:, None] + x).ravel())
    assert interval.high - interval.low > 4 * 1.96 * naive


def test_over_points_repeats_and_checks_shapes():
    m = np.random.default_rng(0).random((12, 12))
    assert over_points(np.mean, [m], seed=1) == over_points(np.mean, [m], seed=1)
    assert over_points(np.mean, [m]).value == pytest.approx(m.mean())
    with pytest.raises(ValueError, match="square"):
        over_points(np.mean, [m[:, :5]])


@pytest.mark.parametrize("n", [6, 7, 12])
def test_half_samples_are_halves_without_copies(n):
    seen = []

    def looked_at(matrix):
        seen.append(matrix.diagonal().tolist())
        return 0.0

    over_points(looked_at, [np.diag(np.arange(n, dtype=float))], resamples=5)
    *halves, whole = seen
    assert [len(set(half)) for half in halves] == [n // 2] * 5
    assert [len(half) for half in halves] == [n // 2] * 5
    assert whole == [*range(n)]
