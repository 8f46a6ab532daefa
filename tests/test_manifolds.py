"""Synthetic sets against their equations and against distances measured along fine polylines."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.spatial.distance import pdist

from lecore.data.manifolds import (
    MANIFOLDS,
    boxes,
    cosines,
    cycles,
    helix,
    placed,
    spheres,
    torus,
)
from tests.examples import examples


@pytest.mark.parametrize("name", MANIFOLDS)
@given(size=st.integers(4, 60), seed=st.integers(0, 10_000))
@settings(max_examples=examples(15), deadline=None)
def test_distances_are_metrics_within_a_class_and_infinite_between(name, size, seed):
    m = MANIFOLDS[name](size, seed)
    assert m.points.shape[0] == len(m.labels) == size
    assert abs(int(m.labels.sum()) * 2 - size) <= 1
    apart = m.labels[:, None] != m.labels
    for distance in (m.distance, m.arc_length):
        assert np.isinf(distance[apart]).all()
        assert np.isfinite(distance[~apart]).all()
        assert (distance[~apart] >= 0).all()
        np.testing.assert_allclose(distance.diagonal(), 0, atol=1e-12)
        np.testing.assert_allclose(distance, distance.T, atol=1e-9)
    own = m.primary
    true = m.arc_length[np.ix_(own, own)]
    through = (true[:, :, None] + true[None, :, :]).min(axis=1)
    assert (true <= through + 1e-6).all()  # triangle inequality
    straight = np.linalg.norm(m.points[own, None] - m.points[own], axis=-1)
    assert (true >= straight - 1e-6).all()


@pytest.mark.parametrize("name", MANIFOLDS)
def test_seeds_repeat_and_differ(name):
    a, b, c = (MANIFOLDS[name](20, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a.points, b.points)
    assert not np.allclose(a.points, c.points)


def test_torus_points_and_arc_length():
    m = torus(40, 3)
    angle = m.coordinates[:, 0]
    for i in m.primary:
        tube = 8 + np.sin(4 * angle[i])
        np.testing.assert_allclose(
            m.points[i, :2], tube * np.array([np.cos(angle[i]), np.sin(angle[i])])
        )
    i, j = m.primary[:2]
    speed = lambda t: np.hypot(4, 8 + np.sin(4 * t))  # noqa: E731
    one_way = abs(quad(speed, angle[i], angle[j], limit=200)[0])
    round_trip = quad(speed, -np.pi, np.pi, limit=200)[0]
    assert m.arc_length[i, j] == pytest.approx(min(one_way, round_trip - one_way), rel=1e-5)
    gap = abs(angle[i] - angle[j])
    assert m.distance[i, j] == pytest.approx(min(gap, 2 * np.pi - gap))


def test_boxes_lie_on_their_folds_and_the_corners_differ():
    m = boxes(40, 1)
    for i, label in enumerate(m.labels):
        x, y, _ = m.points[i]
        assert abs(y) + 1.2 * abs(x) == pytest.approx(13 if label else 11)
    same_half = m.coordinates[:, None, 1] == m.coordinates[:, 1]
    own = (m.labels[:, None] == 1) & (m.labels == 1)
    np.testing.assert_allclose(m.distance[own & same_half], m.arc_length[own & same_half])
    over = own & ~same_half
    gap = np.abs(m.distance[over] - m.arc_length[over])
    assert 0 < gap.max() <= 4 * (11 - 13 / 1.2) * np.hypot(1, 1.2) + 1e-9


def test_box_distance_unrolls_the_strip():
    m = boxes(40, 2)
    stretch = np.hypot(1, 1.2)
    corner = 13 / 1.2
    i = next(k for k in m.primary if m.coordinates[k, 1] == 1)
    j = next(k for k in m.primary if m.coordinates[k, 1] == -1)
    right = (corner - m.points[i, 0]) + (corner - m.points[j, 0])
    left = (corner + m.points[i, 0]) + (corner + m.points[j, 0])
    along = stretch * min(right, left)
    assert m.arc_length[i, j] == pytest.approx(np.hypot(along, m.points[i, 2] - m.points[j, 2]))


def test_curves_with_closed_forms():
    h = helix(20, 0)
    i, j = h.primary[:2]
    assert h.arc_length[i, j] == pytest.approx(np.sqrt(1 + 1.5**2) * h.distance[i, j])
    c = cosines(20, 0)
    a, b = sorted(c.coordinates[[i, j], 0])
    assert c.arc_length[i, j] == pytest.approx(
        quad(lambda t: np.hypot(1, np.sin(t)), a, b)[0], rel=1e-6
    )
    np.testing.assert_allclose(
        np.diff(c.points[[i, j], 1]), np.diff(np.cos(c.coordinates[[i, j], 0]))
    )
    s = spheres(20, 0)
    cosine = s.points[i] @ s.points[j] / 100
    assert s.distance[i, j] == pytest.approx(np.arccos(cosine))
    assert s.arc_length[i, j] == pytest.approx(10 * s.distance[i, j])
    r = cycles(20, 0)
    np.testing.assert_allclose(np.linalg.norm(r.points, axis=1), np.where(r.labels == 1, 10, 50))


def test_too_few_points():
    with pytest.raises(ValueError, match="size must be a whole number from 4 on"):
        torus(3)


@pytest.mark.parametrize("name", MANIFOLDS)
def test_a_placed_set_keeps_its_shape(name):
    before = MANIFOLDS[name](20, 3)
    after = placed(before, scale=0.5, shift=7.0, turn=1)
    np.testing.assert_allclose(pdist(after.points), 0.5 * pdist(before.points))
    centred = after.points - 7.0 * np.eye(after.points.shape[1])[-1]
    lengths = np.linalg.norm(centred, axis=1)
    np.testing.assert_allclose(lengths, 0.5 * np.linalg.norm(before.points, axis=1))
    np.testing.assert_array_equal(after.distance, before.distance)
    np.testing.assert_array_equal(after.arc_length, 0.5 * before.arc_length)


def test_a_set_that_is_not_placed_is_the_same():
    before = torus(20, 3)
    np.testing.assert_array_equal(placed(before).points, before.points)


def test_turns_differ_by_seed_and_do_not_reflect():
    before = torus(20, 3)
    a, b = (placed(before, turn=turn).points for turn in (0, 1))
    assert np.abs(a - b).max() > 1
    turn = np.linalg.lstsq(before.points, a, rcond=None)[0]
    assert np.linalg.det(turn) == pytest.approx(1)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_scale_is_positive(scale):
    with pytest.raises(ValueError, match="scale must be positive"):
        placed(torus(20), scale=scale)
