"""Sets of Figure 1 in other places: the closed form of linear networks, and invariances."""

from dataclasses import replace

import numpy as np
import pytest

from lecore.data.manifolds import MANIFOLDS, torus
from lecore.similarity import correlation_with_distance
from lecore.studies.he_su import figure1_placements as placements
from lecore.studies.he_su.figure1_runs import (
    Figure1Run,
    step_on_each_point,
    synthetic_problem,
)

SMALL = {"points": 20, "width": 4096, "boxes_width": 8}


def of_directions(points, distance):
    """Correlation of |x̄·x̄′|/‖x̄‖² with distance."""
    seen = np.c_[points, np.ones(len(points))]
    gram = np.abs(seen @ seen.T)
    return correlation_with_distance(gram / gram.diagonal()[:, None], distance)


@pytest.mark.parametrize("where", ["as it is", "moved", "shrunk"])
def test_a_linear_network_compares_directions_seen_from_the_bias(where):
    curve = torus(20, 0)
    own, r = curve.primary, np.linalg.norm(curve.points[curve.primary], axis=1).max()
    points = curve.points[own] / (8 if where == "shrunk" else 1)
    points = points + (np.array([0, 0, r]) if where == "moved" else 0)
    expected = of_directions(points, curve.distance[np.ix_(own, own)])
    table = placements.placed_correlations([("torus", "linear")], [0], **SMALL)
    (found,) = placements.of_place(table, ("torus", "linear"), where)
    assert found == pytest.approx(expected, abs=0.02)  # of width 4096


@pytest.mark.parametrize("name", MANIFOLDS)
def test_the_radius_is_that_of_the_primary_class(name):
    run = Figure1Run(name=name, activation="relu", **SMALL)
    curve = MANIFOLDS[name](20, 0)
    lengths = [np.linalg.norm(curve.points[i]) for i in curve.primary]
    assert placements.radius(run) == pytest.approx(max(lengths))


def test_each_place_has_a_column_for_each_seed():
    table = placements.placed_correlations(
        [("torus", "relu"), ("boxes", "tanh")], [3, 5], points=12, width=8, boxes_width=4
    )
    assert table.index.tolist() == [("torus", "relu"), ("boxes", "tanh")]
    assert sorted(table.columns) == sorted((w, s) for w in placements.PLACEMENTS for s in (3, 5))
    run = Figure1Run(
        name="boxes", activation="tanh", seed=5, points=12, width=8, boxes_width=4, steps=0
    )
    shifted = replace(run, shift=placements.radius(run))
    for where, one in (("as it is", run), ("moved", shifted)):
        found = step_on_each_point(synthetic_problem(one), run.probe_rate)
        alone = correlation_with_distance(found.similarity, found.distance)
        assert placements.of_place(table, ("boxes", "tanh"), where)[1] == pytest.approx(alone)


@pytest.mark.thorough
def test_along_starts_where_the_set_is():
    settings = {"points": 12, "width": 8, "boxes_width": 4}
    found = placements.along(("torus", "relu"), [0, 1], [0.5, 1], [0, 2], **settings)
    table = placements.placed_correlations([("torus", "relu")], [0, 2], **settings)
    for name, at in (("shift", 0), ("scale", 1)):
        as_it_is = placements.of_place(table, ("torus", "relu"), "as it is")
        np.testing.assert_array_equal(found[name].loc[at], as_it_is)
    moved = placements.of_place(table, ("torus", "relu"), "moved")
    np.testing.assert_array_equal(found["shift"].loc[1], moved)
