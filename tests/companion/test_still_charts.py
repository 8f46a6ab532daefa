"""Still pictures of the charts draw what the charts begin with."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from lecore.studies.dan.figures.two_ratios import AFTER, two_ratios_figure
from lecore.studies.he_su.figures.luck import luck_figure
from lecore.studies.he_su.figures.past_the_edge import past_the_edge_figure
from lecore.studies.he_su.figures.pulled_torus import pulled_torus_figure
from lecore.studies.he_su.figures.step_sizes import step_sizes_figure
from lecore.studies.he_su.past_the_edge import Path
from lecore.studies.he_su.pulled_torus import pulled_torus, wide_similarity
from lecore.studies.he_su.step_sizes import StepSizes
from lecore.studies.neighbours import polynomial_elasticity
from lecore.studies.neighbours.calibration_error import Scores, cumulative_gap
from lecore.studies.neighbours.figures.polynomial_torus import SIZES, polynomial_torus_figure
from lecore.studies.neighbours.figures.temperature import gap_figure


@pytest.fixture(autouse=True)
def closed() -> Any:
    yield
    plt.close("all")


def test_the_torus_is_coloured_by_what_its_middle_point_moves() -> None:
    torus = pulled_torus(20, 0, sizes=[1.0], shifts=[0.0, 8.0])
    left, middle, *others = pulled_torus_figure(torus).axes
    (right,) = (ax for ax in others if ax.get_legend())
    for ax, units in ((left, "ReLU"), (middle, "linear")):
        expected = wide_similarity(torus.points, units)[5]
        assert_allclose(ax.collections[0].get_array(), expected)
    curves = {line.get_label(): line.get_ydata() for line in right.lines}
    table = torus.correlations
    assert_allclose(curves["tanh"], table[table.units == "tanh"].correlation)


def test_steps_are_drawn_at_the_smallest_and_the_largest_rate() -> None:
    found = StepSizes(
        np.array([1e-3, 1.0]), np.array([1.0, 0.5]), np.array([[1.0, 0.5], [1.0, 0.75]]),
        np.array([0.0, 0.1]),
    )  # fmt: skip
    left, right = step_sizes_figure(found).axes
    assert_allclose(left.lines[1].get_ydata(), [1.0, 0.5])
    assert_allclose(left.lines[2].get_ydata(), [1.0, 0.75])
    distance, flipped = right.lines
    assert distance.get_xydata().tolist() == [[1.0, 0.25]]  # nothing at the first rate
    assert flipped.get_xydata().tolist() == [[1.0, 0.1]]


def test_luck_is_shown_for_the_pair_that_it_moves_most() -> None:
    rows = [("4v9", "trained", 1, 60.0), ("4v9", "trained", 2, 61.0)]
    rows += [("5v9", "trained", 1, 57.0), ("5v9", "trained", 2, 95.0)]
    starts = pd.DataFrame(rows, columns=["pair", "weights", "start", "accuracy"])
    trained, _ = luck_figure(starts, {"4v9": 63.8, "5v9": 67.8}, "a run").axes
    assert trained.get_title() == "5 against 9, trained"
    assert trained.lines[0].get_xdata()[0] == 67.8
    assert sum(bar.get_height() for bar in trained.patches) == 2


def test_maps_are_of_the_smallest_and_the_largest_rate_with_living_units() -> None:
    def path(share: float, silent: float, diverged: bool = False) -> Path:
        places = np.full((2, 3, 2), share)
        return Path(share, np.array([0, 1]), np.ones(2), np.array([0, silent]), places, diverged)

    paths = [path(0.5, 3.0), path(2, 50.0), path(4, 100.0), path(8, 10.0, True)]
    fig = past_the_edge_figure(paths, np.array([0, 1, 1]), ("5", "9"), "a run")
    _, first, last = fig.axes
    assert (first.get_title(), last.get_title()) == ("rate 0.5\n3 % silent", "rate 2\n50 % silent")
    assert_allclose(last.collections[1].get_offsets(), [[2, 2], [2, 2]])


def test_the_cross_is_where_the_prediction_went() -> None:
    left, *_ = two_ratios_figure().axes
    (across,), (up,) = left.lines[1].get_data()
    assert (across, up) == pytest.approx((AFTER[2] + AFTER[0] / 2, 0.866 * AFTER[0]))


def test_gaps_are_drawn_for_three_ways_to_be_sure() -> None:
    sure = Scores(np.array([0.5, 0.9, 0.99]), np.array([0.0, 1.0, 0.0]))
    other = Scores(np.array([0.3, 0.4, 0.5]), sure.hits)
    ax = gap_figure({"raw": sure, "temperature": other, "spline": other}).axes[0]
    share, gap = cumulative_gap(*sure)
    assert_allclose(ax.lines[0].get_xydata(), 100 * np.column_stack([share, gap]))
    assert ax.lines[0].get_label() == "as trained: KS error 46.33 %"


def test_a_torus_is_coloured_for_three_degrees_and_each_size_has_its_curve() -> None:
    found = polynomial_elasticity.polynomial_torus(
        20, 0, degrees=(1, 2, 3, 4), sizes=SIZES.values()
    )
    *three, _, right = polynomial_torus_figure(found).axes
    for ax, degree in zip(three, (1, 2, 4), strict=True):
        expected = polynomial_elasticity.wide_similarity(found.points, degree)[5]
        assert_allclose(ax.collections[0].get_array(), expected)
    table = found.correlations
    curves = {line.get_label(): line.get_ydata() for line in right.lines}
    assert_allclose(curves["size ⅛"], table[table["size"] == 0.125].correlation)
