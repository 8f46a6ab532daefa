"""Costs and losses of large matrices."""

import multiprocessing
from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from lecore import Tiles, empirical_ntk, open_matrix
from lecore.engine.sketches import Sketch
from lecore.errors import LecoreError
from lecore.models import two_layer
from lecore.seeding import seeded
from lecore.studies.own import figures
from lecore.studies.own import large_matrices as study

pytestmark = pytest.mark.usefixtures("closed")

NETWORK = two_layer(3, 8)
with seeded(0):
    X = torch.randn(30, 3)


@pytest.fixture
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def test_the_exponent_of_a_power_whatever_one_slow_run_does():
    sizes = [10, 20, 40]
    values = 0.1 * np.array([sizes] * 3) ** 1.5
    values[1, 2] *= 7
    assert study.growth_exponent(sizes, values) == pytest.approx(1.5)


def test_every_size_is_timed_every_time(monkeypatch):
    called = []
    monkeypatch.setattr(study, "empirical_ntk", lambda model, x, **_: called.append(len(x)))
    assert study.kernel_seconds(NETWORK, X, [10, 20], repeats=3).shape == (3, 2)
    assert called == [10] + 3 * [10, 20]


def test_differences_are_relative_to_the_largest_entry():
    exact = torch.tensor([[1.0, -4.0]])
    for matrix in (exact + torch.tensor([[0.0, 1.0]]), np.array([[0.0, -4.0]])):
        assert study.relative_difference(matrix, exact) == 0.25


def test_a_tile_that_is_being_written_is_not_finished(tmp_path):
    (tmp_path / "finished").mkdir()
    for mark in ("0-0", "0-10", ".10-10.f67a40b2213c4de19eb320ecfd2a8038"):
        (tmp_path / "finished" / mark).touch()
    assert study.finished_tiles(tmp_path) == 2


@pytest.mark.thorough
@pytest.mark.processes
def test_a_killed_run_leaves_tiles_that_the_next_one_keeps(forks, tmp_path, monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: forks)  # not started anew
    tiles = Tiles(store=tmp_path / "kernel", shape=(2, 2))
    kept = study.killed_run(NETWORK, X, tiles, after=3)
    assert 3 <= kept == study.finished_tiles(tiles.store) < 120
    marks = {p: p.stat().st_mtime_ns for p in (tmp_path / "kernel" / "finished").glob("[0-9]*")}
    empirical_ntk(NETWORK, X, form="trace", tiles=tiles)
    assert study.finished_tiles(tiles.store) == 120
    assert all(p.stat().st_mtime_ns == written for p, written in marks.items())
    whole = empirical_ntk(NETWORK, X, form="trace")
    assert study.relative_difference(open_matrix(tiles.store), whole) < 1e-12


def test_a_run_in_memory_is_not_killed():
    with pytest.raises(LecoreError, match="give tiles a store"):
        study.killed_run(NETWORK, X, Tiles(), after=3)


def test_errors_of_sketches_by_hand():
    exact = torch.tensor([[3.0, 1.0], [1.0, 5.0]])[..., None, None]  # mean of the diagonal: 4
    errors = torch.tensor([[2.0, 0.0], [0.0, 2.0]])[..., None, None]  # root mean square: √2
    sketches = [[Sketch(exact + c * errors, c * torch.ones(2, 2, 1, 1)) for c in (1, 2)]]
    measured, stated = study.sketch_errors(sketches, exact)
    np.testing.assert_allclose(measured, [[2**0.5 / 4, 2**0.5 / 2]], rtol=1e-6)
    np.testing.assert_allclose(stated, [[0.25, 0.5]])


def bars(ax):
    """Middles, lower and upper ends of the errors in a figure."""
    (drawn,) = ax.containers
    (lines,) = drawn.lines[2]
    return drawn.lines[0].get_ydata(), *np.array(lines.get_segments())[:, :, 1].T


def test_times_are_medians_from_fastest_to_slowest_beside_a_square():
    seconds = np.array([[1.0, 4.0], [2.0, 6.0], [9.0, 8.0]])
    (ax,) = figures.time_figure([10, 20], seconds).axes
    np.testing.assert_allclose(bars(ax), [[2, 6], [1, 4], [9, 8]])
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), [1.5, 6])


def test_errors_of_sketches_are_means_with_intervals():
    measured, stated = (
        np.array([[1.0, 2.0, 3.0], [0.5, 0.5, 0.5]]),
        np.array([[2.0, 2.25, 2.5], [1.0, 1.0, 1.0]]),
    )
    (ax,) = figures.sketch_figure([64, 256], measured, stated).axes
    value, low, high = bars(ax)
    np.testing.assert_allclose(value, [2, 0.5])
    half = 4.30265 / 3**0.5  # Student's t, two degrees
    np.testing.assert_allclose(high - value, [half, 0], rtol=1e-4)
    np.testing.assert_allclose(low, [0.2, 0.5])  # cut at a tenth, on a logarithmic axis
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), [2.25, 1])
