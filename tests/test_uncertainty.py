"""Intervals against textbook values, and refusals; their coverage is in test_coverage."""

import math
from functools import partial

import numpy as np
import pytest
from scipy import stats

from lecore.errors import LecoreError
from lecore.studies.he_su.comparisons import total_of_shares
from lecore.uncertainty import (
    median_range,
    over_points,
    over_ratios,
    over_runs,
    proportion,
)


def test_a_mean_has_students_interval():
    values = [1.0, 2.0, 4.0, 5.0]
    low, high = stats.t.interval(0.95, 3, loc=3.0, scale=stats.sem(values))
    assert over_runs(values) == pytest.approx((3.0, low, high, 4))
    assert over_runs([0.0, 1.0, 1.0], bounds=(0, 1))[1:] == (0.0, 1.0, 3)


@pytest.mark.parametrize(
    "few",
    [
        over_runs([2.0, 2.0]), over_ratios([2.0]), proportion(1, 2), median_range([1.0, 2.0]),
        total_of_shares([1, 2], [2, 9]),
    ],
)  # fmt: skip
def test_fewer_than_three_runs_have_no_interval(few):
    assert math.isnan(few.low)
    assert math.isnan(few.high)
    assert few.n in (1, 2)


@pytest.mark.parametrize("values", [[], [np.nan], [[1.0]], "x", None, [[1.0], [1.0, 2.0]]])
@pytest.mark.parametrize("interval", [over_runs, over_ratios, median_range])
def test_nonsense_is_refused(interval, values):
    with pytest.raises(LecoreError, match=r"one finite number a run|^values"):
        interval(values)


@pytest.mark.parametrize("confidence", [0, 1, 95, -0.5, np.nan, True, "0.95", None])
@pytest.mark.parametrize(
    "interval",
    [
        partial(over_runs, [1.0, 2.0, 3.0]), partial(over_ratios, [1.0, 2.0, 3.0]),
        partial(proportion, 2, 5), partial(over_points, np.mean, [np.eye(7)]),
    ],
)  # fmt: skip
def test_a_confidence_that_is_no_chance_is_refused(interval, confidence):
    with pytest.raises(LecoreError, match=r"^confidence "):
        interval(confidence=confidence)


@pytest.mark.parametrize("bounds", [(1, 0), (0, np.nan), (0,), (0, 1, 2), 1.0, "01", []])
def test_bounds_that_are_no_range_are_refused(bounds):
    with pytest.raises(LecoreError, match=r"^bounds "):
        over_runs([1.0, 2.0, 3.0], bounds=bounds)


@pytest.mark.parametrize(("successes", "n"), [(3, 2), (-1, 2), (0, 0), (1.5, 3), (1, "3")])
def test_counts_that_are_none_are_refused(successes, n):
    with pytest.raises(LecoreError):
        proportion(successes, n)


def test_a_ratio_and_its_inverse_have_inverse_intervals():
    values = np.array([2.0, 3.0, 9.0, 4.0])
    value, low, high, n = over_ratios(values)
    assert over_ratios(1 / values) == pytest.approx((1 / value, 1 / high, 1 / low, n))
    assert value == pytest.approx(stats.gmean(values))
    with pytest.raises(ValueError, match="positive"):
        over_ratios([1.0, 0.0, 2.0])


def test_a_share_has_the_exact_interval():
    value, low, high, n = proportion(8, 10)
    assert (value, n) == (0.8, 10)
    assert stats.binom.sf(7, 10, low) == pytest.approx(0.025)  # as many or more
    assert stats.binom.cdf(8, 10, high) == pytest.approx(0.025)  # as many or fewer
    value, low, high, _ = proportion(5, 5)
    assert (value, high) == (1, 1)
    assert low == pytest.approx(0.025 ** (1 / 5))


def test_a_sum_of_one_share_is_the_share():
    assert total_of_shares([8], 10) == pytest.approx(proportion(8, 10))


def test_a_total_of_all_trials_still_has_a_width():
    value, low, high, n = total_of_shares([5] * 6, 5)
    assert (value, high, n) == (6, 6, 5)
    assert low == pytest.approx(6 - math.sqrt(6) * (1 - proportion(5, 5).low))


def test_totals_lie_between_none_and_all():
    value, low, high, _ = total_of_shares([1, 2, 3], [3, 3, 3])
    assert 0 <= low < value < high <= 3
    with pytest.raises(ValueError, match="at least one kind"):
        total_of_shares([], 3)


def test_the_jackknife_of_a_mean_of_sums_is_twice_that_of_the_points():
    # pairs (i, j) of x_i + x_j: their mean is 2 mean(x), and pairs that share a point depend
    x = np.random.default_rng(0).normal(size=40)
    found = over_points(lambda m: m.mean(), [x[:, None] + x])
    half = 2 * stats.t.ppf(0.975, 39) * stats.sem(x)
    assert found == pytest.approx((2 * x.mean(), 2 * x.mean() - half, 2 * x.mean() + half, 40))


@pytest.mark.parametrize("shape", [(12, 5), (5, 5)])
def test_other_matrices_are_refused(shape):
    with pytest.raises(ValueError, match=r"square matrices of one shape|\(n, n\)"):
        over_points(np.mean, [np.ones(shape)])


def test_points_are_left_out_one_by_one_rows_and_columns_together():
    seen = []

    def looked_at(a, b):
        seen.append((a.diagonal().tolist(), b.shape))
        return 0.0

    over_points(looked_at, [np.diag(np.arange(7.0)), np.ones((7, 7))])
    whole, *parts = seen
    assert whole == ([*range(7)], (7, 7))
    assert parts == [([j for j in range(7) if j != i], (6, 6)) for i in range(7)]
