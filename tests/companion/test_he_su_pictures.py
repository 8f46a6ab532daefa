"""Pictures of He & Su's chapters draw what they are given."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from lecore.studies.he_su.figure1 import Measured, correlation_table
from lecore.studies.he_su.figures import algorithm1, figure1, limits, pixels
from lecore.uncertainty import Interval, over_runs

DISTANCE = np.abs(np.subtract.outer(np.arange(8.0), np.arange(8.0))) / 7 * np.pi
FALLING = 1 - DISTANCE / 4


@pytest.fixture(autouse=True)
def closed() -> Any:
    yield
    plt.close("all")


def test_the_star_is_the_point_that_was_stepped_on() -> None:
    points = np.random.default_rng(0).normal(size=(8, 3))
    fig = figure1.one_step_figure(points, {"relu": FALLING, "linear": DISTANCE}, 2)
    left, right, _ = fig.axes
    assert (left.get_title(), right.get_title()) == ("ReLU units", "linear units")
    assert_allclose(left.collections[0].get_array(), FALLING[2])
    assert_allclose(np.ravel(left.collections[1]._offsets3d), points[2])


def test_the_median_follows_the_similarity() -> None:
    rows = {"relu": FALLING, "linear": np.ones((8, 8))}
    r = dict.fromkeys(rows, Interval(-0.5, -0.625, -0.25, 8))
    fig = figure1.similarity_figure(DISTANCE, rows, r)
    assert fig.axes[0].get_title() == "ReLU units\nr = −0.500 [−0.625, −0.250]"
    assert np.nanmin(fig.axes[1].lines[0].get_ydata()) == 1.0
    x, y = fig.axes[0].lines[0].get_data()
    there = np.isfinite(y)  # no pair lies between some edges
    assert 5 < there.sum() < len(x)
    assert np.abs(y - (1 - x / 4))[there].max() < 0.1
    assert len(fig.axes[0].collections[0].get_offsets()) == 64


def test_each_panel_of_figure_one_names_both_correlations() -> None:
    found = Measured(FALLING, DISTANCE, DISTANCE, 1.0)
    panels = {("torus", "relu"): found, ("boxes", "relu"): found}
    fig = figure1.figure1_again(panels, {("torus", "relu"): -0.97, ("boxes", "relu"): -0.5})
    torus, boxes = fig.axes
    assert torus.get_title() == "torus, ReLU\nhere −1.00, paper −0.97"
    assert (torus.get_xlabel(), boxes.get_xlabel()) == (
        "geodesic distance (radians)", "geodesic distance (length)",
    )  # fmt: skip


def test_the_paper_is_drawn_beside_its_own_case() -> None:
    cases = [("torus", "relu"), ("torus", "linear")]
    found = Measured(FALLING, DISTANCE, DISTANCE, 1.0)
    seeds, weights = (0, 1), ("random", "trained")
    table = correlation_table({(*c, s, w): found for c in cases for s in seeds for w in weights})
    fig = figure1.all_sets_figure(table, cases, {("torus", "linear"): -0.25})
    (ax,) = fig.axes
    bars = [c for c in ax.collections if c.get_label() == "paper"]
    assert_allclose(bars[0].get_offsets(), [[-0.25, 1]])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["torus, ReLU", "torus, linear"]


def test_runs_that_diverged_are_left_out_and_those_at_the_paper_rate_are_squares() -> None:
    rows = [
        ("linear", False, 0.5, -0.1, 1.0), ("linear", False, 1.5, -0.5, 9.0),
        ("linear", False, 1.5, np.nan, np.inf), ("linear", True, 1.2, -0.3, 4.0),
    ]  # fmt: skip
    sweep = pd.DataFrame(rows, columns=["activation", "paper", "share", "correlation", "peak"])
    earlier = {
        "paper-rate-share-linear": {"runs": [1.6, 1.7]},
        "paper-rate-correlation-linear": {"runs": [-0.2, -0.3]},
    }
    left, right = figure1.rates_figure(sweep, -0.37, earlier).axes
    assert left.lines[0].get_xydata().tolist() == [[0.5, -0.1], [1.5, -0.5]]
    assert (left.lines[1].get_marker(), left.lines[1].get_xydata().tolist()) == ("s", [[1.2, -0.3]])
    assert right.lines[0].get_ydata().tolist() == [1, 9]
    assert [line.get_xdata()[0] for line in left.lines[3:5]] == [1, 1.2]
    assert left.lines[-2].get_xydata().tolist() == [[1.2, -0.37]]
    assert left.lines[-1].get_xydata().tolist() == [[1.6, -0.2], [1.7, -0.3]]


def test_power_laws_go_through_the_first_value() -> None:
    fig = limits.finite_step_figure([1e-3, 1e-2], [2.0, 30.0])
    assert_allclose(fig.axes[0].lines[1].get_ydata(), [2, 20])
    errors = np.array([[8.0, 9.0, 10.0], [4.0, 4.5, 5.0]])
    for ax in (
        limits.equation4_figure([1, 4], errors).axes[0],
        limits.infinite_width_figure([1, 4], errors, DISTANCE, FALLING).axes[0],
    ):
        assert_allclose(ax.lines[-1].get_ydata(), [9, 4.5])
        assert_allclose(ax.lines[0].get_ydata(), [9, 4.5])
        assert ax.get_xscale() == ax.get_yscale() == "log"
        ends = np.array(ax.containers[0].lines[2][0].get_segments())[:, :, 1]
        assert_allclose(ends[:, 1], [over_runs(row).high for row in errors])
        assert_allclose(ends[:, 0], [over_runs(row).low for row in errors])


def test_overlap_is_drawn_against_distance() -> None:
    (ax,) = limits.overlap_figure(DISTANCE, FALLING).axes
    assert_allclose(ax.collections[0].get_offsets(), np.c_[DISTANCE.ravel(), FALLING.ravel()])


def test_heat_maps_are_ordered_by_class() -> None:
    subclass = np.array([1, 0, 1, 0, 0])
    same = (subclass[:, None] == subclass).astype(float)
    fig = algorithm1.heat_maps({"relative": same, "kernelized": 2 * same}, subclass, (5, 9))
    left = fig.axes[0]
    ordered = np.zeros((5, 5))
    ordered[:3, :3] = ordered[3:, 3:] = 1
    assert_allclose(left.images[0].get_array(), ordered)
    assert left.get_title() == "relative similarity"
    assert left.get_xticks().tolist() == [1.5, 4.0]
    assert [label.get_text() for label in left.get_yticklabels()] == ["5", "9"]


def test_maps_have_each_class_in_its_own_mark() -> None:
    points = np.array([[0.0, 0.0], [0.1, 0.0], [5.0, 0.0], [5.0, 0.1], [5.1, 0.0]])
    kernels = {"random weights": points @ points.T, "trained weights": 4 * points @ points.T}
    subclass = np.array([0, 0, 1, 1, 1])
    fig = algorithm1.maps_of_the_plane(kernels, subclass, (5, 9))
    five, nine = fig.axes[0].lines
    assert (five.get_label(), nine.get_label()) == ("images of 5", "images of 9")
    assert (len(five.get_xdata()), len(nine.get_xdata())) == (2, 3)
    apart = five.get_xydata().mean(0) - nine.get_xydata().mean(0)
    assert np.linalg.norm(apart) == pytest.approx(5, abs=0.2)


def test_cells_on_the_papers_images_are_compared_with_the_print() -> None:
    records = {
        "t-k-means-a-v-b": {"runs": [50.04, 60.0], "value": 55.0},
        "t-squared-relative-linear-c-v-d": {"runs": [51.26], "value": 51.26},
    }
    printed = dict.fromkeys(pixels.ROWS, (50.0, 51.0))
    off = pixels.off_the_print(records, "t", printed, ["a v b", "c v d"])
    assert off.to_dict("list") == {
        "row": ["K-means", "squared, relative (linear)"],
        "pair": ["a v b", "c v d"],
        "points": [0.0, 0.3],
    }


def test_each_suspect_has_a_mark_for_each_cell() -> None:
    cells = pd.DataFrame({"row": pixels.ROWS[:2], "pair": ["a v b"] * 2, "points": [1.0, 2.0]})
    off = {"red alone": cells, "all": cells.assign(points=0.0)}
    fig = pixels.suspects_figure(off, ["a v b", "c v d"], "a run")
    marks = [line.get_xydata() for line in fig.axes[0].lines if line.get_marker() in ("o", "s")]
    drawn = np.array([dots[0] for dots in marks if len(dots)])
    assert drawn[:, 1].tolist() == [1.0, 2.0, 0.0, 0.0]
    assert len(set(drawn[:, 0])) == 4, "no two at one place"
