"""Matrices in tiles against entry-by-entry loops, however they are cut and wherever they run."""

import errno
import importlib
import itertools
import os
import signal
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lecore.engine.tiling.tiles
import lecore.engine.tiling.workers
from lecore.engine.tiling.budgets import tile_shape
from lecore.engine.tiling.cuts import TileCost, largest_tile
from lecore.engine.tiling.tiles import Tiles, compute_tiles
from lecore.errors import LecoreError
from tests.examples import examples
from tests.forked import forked


@dataclass(frozen=True)
class Products:
    """Integer entries u(i, c) · v(j, k), exact in float64; symmetric as a tangent kernel is."""

    trailing: tuple[int, ...] = ()
    symmetric: bool = False
    calls: Path | None = None
    seconds: float = 0
    fails_at: tuple[int, int] | None = None
    failure: type[BaseException] = ZeroDivisionError

    def entry(self, i, j, *output):
        c, k = (*output, 0, 0)[:2]
        row = 7 * i + 3 * c + 1
        return row * (7 * j + 3 * k + 1 if self.symmetric else 11 * j + 5 * k + 2)

    def loop(self, rows, columns):
        shape = (rows, columns, *self.trailing)
        entries = [self.entry(*index) for index in itertools.product(*map(range, shape))]
        return torch.tensor(entries, dtype=torch.float64).view(shape)

    def __call__(self, rows, columns):
        if self.calls is not None:
            (self.calls / f"{rows.start}-{columns.start} {os.getpid()} {uuid4()}").touch()
        time.sleep(self.seconds)
        if (rows.start, columns.start) == self.fails_at:
            raise self.failure("this tile fails")
        sizes = (rows.stop - rows.start, columns.stop - columns.start, *self.trailing)
        offset = (rows.start, columns.start, *(0 for _ in self.trailing))
        shape = (s + o for s, o in zip(sizes, offset, strict=True))
        index = np.indices(tuple(shape))[:, rows.start :, columns.start :]
        return torch.from_numpy(np.broadcast_to(self.entry(*index), sizes).astype(float))


def compute(tile, rows, columns, tiles, **options):
    defaults = {
        "dtype": torch.float64,
        "trailing": tile.trailing,
        "symmetric": tile.symmetric,
        "cost": TileCost(8, 8, 8),
        "identity": {"loss": "products", "data": "1"},
    }
    return compute_tiles(tile, rows, columns, tiles=tiles, **defaults | options)


def calls(folder):
    """Which tiles were computed, once for each call."""
    return sorted(file.name.split()[0] for file in folder.iterdir())


SIZES = st.integers(1, 9)


@given(SIZES, SIZES, st.tuples(SIZES, SIZES), st.sampled_from([(), (3,), (2, 3)]))
def test_any_cut_gives_the_same_matrix(rows, columns, shape, trailing):
    tile = Products(trailing)
    assert torch.equal(compute(tile, rows, columns, Tiles(shape=shape)), tile.loop(rows, columns))


@given(SIZES, st.tuples(SIZES, SIZES), st.sampled_from([(), (3, 3)]))
def test_a_symmetric_matrix_is_computed_on_and_above_the_diagonal(rows, shape, trailing):
    tile, seen = Products(trailing, symmetric=True), []

    def watched(row_part, column_part):
        assert column_part.start >= row_part.start
        seen.append(row_part.start)
        return tile(row_part, column_part)

    watched.trailing, watched.symmetric = trailing, True
    matrix = compute(watched, rows, rows, Tiles(shape=shape))
    assert torch.equal(matrix, tile.loop(rows, rows))
    assert seen == sorted(seen)  # row by row
    cuts = -(-rows // min(shape))
    assert len(seen) == cuts * (cuts + 1) // 2


COSTS = st.builds(
    TileCost,
    st.integers(0, 50), st.integers(0, 50), st.integers(1, 50),
    st.integers(0, 90), st.integers(0, 50), st.integers(1, 9),
)  # fmt: skip


def needed(cost, r, c):
    """Bytes of a tile, with as many points passing as pass at a time."""
    passing = cost.passing * min(max(r, c), cost.together)
    return cost.fixed + r * cost.row + c * cost.column + r * c * cost.pair + passing


@settings(max_examples=examples(40), deadline=None)  # it starts threads
@given(
    st.integers(1, 60),
    st.integers(1, 60),
    COSTS,
    st.integers(0, 5000),
    st.integers(1, 4),
    st.booleans(),
)
def test_tiles_keep_to_the_budget(rows, columns, cost, extra, jobs, symmetric):
    columns = rows if symmetric else columns
    budget, covered = needed(cost, 1, 1) + extra, torch.zeros(rows, columns)

    def tile(row_part, column_part):
        r, c = row_part.stop - row_part.start, column_part.stop - column_part.start
        assert needed(cost, r, c) <= budget
        covered[row_part, column_part] += 1
        return torch.zeros(r, c)

    compute_tiles(
        tile,
        rows,
        columns,
        tiles=Tiles(memory=budget * jobs, jobs=jobs),
        dtype=torch.float32,
        cost=cost,
        symmetric=symmetric,
    )
    assert bool((covered.maximum(covered.T) if symmetric else covered).eq(1).all())


@pytest.mark.parametrize("jobs", [1, 3])
def test_tiles_take_half_of_what_is_free_beside_the_result(monkeypatch, jobs):
    free = 800 + 2 * 8 * 12
    monkeypatch.setattr(lecore.engine.tiling.budgets, "free_memory", lambda device: free)
    sizes = []

    def tile(rows, columns):
        sizes.append((rows.stop - rows.start) * (columns.stop - columns.start))
        return torch.zeros(rows.stop - rows.start, columns.stop - columns.start)

    options = {"dtype": torch.float64, "cost": TileCost(0, 0, 8)}
    compute_tiles(tile, 10, 10, tiles=Tiles(jobs=jobs), **options)
    assert 12 / jobs / 2 < max(sizes) <= 12 / jobs


@given(SIZES, SIZES, st.tuples(SIZES, SIZES, SIZES), st.integers(0, 900))
def test_the_largest_tile_is_as_large_as_it_can_be(rows, columns, cost, extra):
    cost = TileCost(*cost)
    budget = needed(cost, 1, 1) + extra

    def fits(r, c):
        return needed(cost, r, c) <= budget

    r, c = largest_tile(rows, columns, budget, cost)
    assert fits(r, c)
    assert r <= rows
    assert c <= columns
    if r == rows:
        assert c == columns or not fits(r, c + 1)
    elif c == columns:
        assert not fits(r + 1, c)
    else:
        assert r == c
        assert not fits(r + 1, c + 1)


@example(7, 50, TileCost(0, 7, 9, 0, 1, 1), 3043)  # 6 × 50, though 7 × 43 would fit
@given(st.integers(1, 60), st.integers(1, 60), COSTS, st.integers(0, 9000))
def test_a_tile_has_all_columns_where_there_is_room_for_an_eighth_as_many_rows(
    rows, columns, cost, extra
):
    """Then a row of tiles needs them once."""
    budget = needed(cost, 1, 1) + extra
    fewest = min(rows, max(1, columns // 8))
    passing = cost.passing * cost.together  # however few pass at a time
    room = needed(cost._replace(passing=0), fewest, columns) + passing <= budget
    r, c = largest_tile(rows, columns, budget, cost)
    assert not room or (r >= fewest and c == columns)
    assert needed(cost, r, c) <= budget


@pytest.mark.parametrize(
    ("columns", "symmetric", "watched", "pieces"),
    [(4, False, True, 13), (4, False, False, 1), (100, True, True, 1), (400, False, True, 2)],
)
def test_work_that_is_shown_comes_in_pieces(columns, symmetric, watched, pieces):
    """For an interrupted store and a bar alike; a symmetric one would see points again."""
    tiles = Tiles(memory=10**9, progress=watched)
    r, c = tile_shape(100, columns, tiles, 10**9, TileCost(8, 8, 8), symmetric)
    assert -(-100 // r) == pieces
    assert c == columns


def test_one_tile_is_handed_through():
    block = torch.zeros(3, 4, dtype=torch.float64)

    def tile(rows, columns):
        assert (rows, columns) == (slice(0, 3), slice(0, 4))
        return block

    tile.trailing, tile.symmetric = (), False
    assert compute(tile, 3, 4, Tiles()) is block


@pytest.mark.parametrize("symmetric", [False, True])
def test_every_job_has_tiles_even_if_one_would_hold_all(tmp_path, symmetric):
    tile = Products(symmetric=symmetric, calls=tmp_path)
    assert torch.equal(compute(tile, 9, 9, Tiles(jobs=2)), tile.loop(9, 9))
    assert 4 <= len(calls(tmp_path)) <= 6


def where_jobs_compute(folder, backend):
    """Which processes computed the tiles, once the matrix was found right."""
    tile = Products((2, 2), symmetric=True, calls=folder)
    matrix = compute(tile, 10, 10, Tiles(jobs=2, backend=backend, shape=(3, 3)))
    assert torch.equal(matrix, tile.loop(10, 10))
    assert len(calls(folder)) == 10
    return {int(file.name.split()[1]) for file in folder.iterdir()}


def test_threads_give_the_same_matrix(tmp_path):
    assert where_jobs_compute(tmp_path, "threads") == {os.getpid()}


@pytest.mark.processes
def test_processes_give_the_same_matrix(forks, tmp_path):
    assert os.getpid() not in where_jobs_compute(tmp_path, "processes")


@pytest.mark.parametrize(
    "tiles",
    [
        Tiles(),
        Tiles(jobs=2),
        pytest.param(Tiles(jobs=2, backend="processes"), marks=pytest.mark.processes),
    ],
)
def test_errors_keep_their_type(tiles):
    with pytest.raises(ZeroDivisionError, match="this tile fails"):
        compute(Products(fails_at=(0, 0)), 4, 4, tiles)


@dataclass(frozen=True)
class Deadly:
    """Takes its process along."""

    trailing: tuple[int, ...] = ()
    symmetric: bool = False

    def __call__(self, rows, columns):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.filterwarnings("ignore:A worker stopped while some jobs:UserWarning")
@pytest.mark.processes
def test_dead_processes_are_explained(forks):
    with pytest.raises(LecoreError, match=r"for lack of memory; .*take fewer jobs"):
        compute(Deadly(), 4, 4, Tiles(jobs=2, backend="processes"))


def die_in_a_task_folder(temporary):
    tempfile.tempdir = temporary
    with lecore.engine.tiling.workers.task_folder():
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.processes
def test_folders_of_killed_processes_are_removed_by_the_next_run(forks, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    forked(forks, tmp_path / "said", die_in_a_task_folder, str(tmp_path)).join()
    (left,) = tmp_path.glob("lecore-*")
    host, _, started = left.name.split("-")[1:4]
    kept = {
        "lecore-of-somebody-else-x", "lecore-mine", f"lecore-{host}x-1-1-a",
        f"lecore-{host}-{os.getpid()}-{lecore.engine.tiling.workers._started(os.getpid())}-b",
    }  # fmt: skip
    for name in kept:
        (tmp_path / name).mkdir()
    (tmp_path / f"lecore-{host}-{os.getpid()}-{started}0-c").mkdir()  # of another with its number
    with lecore.engine.tiling.workers.task_folder() as mine:
        assert {folder.name for folder in tmp_path.glob("lecore-*")} == kept | {Path(mine).name}
    assert {folder.name for folder in tmp_path.glob("lecore-*")} == kept


def test_a_full_temporary_folder_is_told_as_such(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(LecoreError, match=r"TMPDIR names.*No space.*lecore-.*let TMPDIR"):
            compute(Products(), 4, 4, Tiles(jobs=2, backend="processes", shape=(2, 2)))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(LecoreError, match=r"missing.*let TMPDIR name another"):
        compute(Products(), 4, 4, Tiles(jobs=2, backend="processes", shape=(2, 2)))


def test_progress_counts_pairs(capsys):
    compute(Products(seconds=0.15), 10, 10, Tiles(shape=(5, 5), progress=True))
    assert "75.0/100" in capsys.readouterr().err
    compute(Products(), 10, 10, Tiles(shape=(5, 5)))
    assert capsys.readouterr().err == ""


def test_bad_input_is_refused(monkeypatch):
    for bad in ({"jobs": 0}, {"backend": "fork"}, {"memory": 0}, {"shape": (0, 3)}):
        with pytest.raises(ValueError, match=r"must be|no backend"):
            Tiles(**bad)
    tile = Products()
    with pytest.raises(ValueError, match=r"needs 24 bytes and the budget is 23; raise memory$"):
        compute(tile, 2, 2, Tiles(memory=23))
    with pytest.raises(ValueError, match="budget is 23; raise memory or take fewer jobs"):
        compute(tile, 2, 2, Tiles(memory=46, jobs=2))
    with pytest.raises(ValueError, match="at least one row"):
        compute(tile, 0, 2, Tiles())
    with pytest.raises(ValueError, match="as many of both if symmetric; got 3 and 2"):
        compute(Products(symmetric=True), 3, 2, Tiles())
    with pytest.raises(ValueError, match=r"a tile has shape \(1, 1\), not \(1, 1, 2\)"):
        compute(tile, 2, 2, Tiles(shape=(1, 1)), trailing=(2,))
    monkeypatch.setattr(lecore.engine.tiling.budgets, "free_memory", lambda device: 799)
    with pytest.raises(ValueError, match=r"GiB are free; write it to disk .*store="):
        compute(tile, 10, 10, Tiles(shape=(5, 5)))
    assert compute(tile, 3, 3, Tiles()).shape == (3, 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_results_on_the_gpu():
    tile = Products((2,))
    options = {"device": torch.device("cuda")}
    for tiles in (Tiles(shape=(2, 3)), Tiles(shape=(2, 3), jobs=2, backend="processes")):
        matrix = compute(tile, 5, 7, tiles, **options)
        assert matrix.is_cuda
        assert torch.equal(matrix.cpu(), tile.loop(5, 7))


@pytest.fixture(scope="module")
def client(forks):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            memory_limit="1GiB",
            dashboard_address=":0",
            silence_logs="CRITICAL",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.processes
def test_a_cluster_gives_the_same_matrix(client, tmp_path):
    tile = Products((2, 2), symmetric=True, calls=tmp_path, seconds=0.05)
    matrix = compute(tile, 8, 8, Tiles(client=client))
    assert torch.equal(matrix, tile.loop(8, 8))
    processes = {file.name.split()[1] for file in tmp_path.iterdir()}
    assert len(processes) == 2  # few tiles, but both workers have some
    with pytest.raises(ZeroDivisionError, match="this tile fails"):
        compute(Products(fails_at=(0, 0)), 4, 4, Tiles(client=client, shape=(2, 2)))


@pytest.mark.processes
def test_a_cluster_writes_to_the_store_itself(client, tmp_path):
    pytest.importorskip("zarr")
    tile = Products(symmetric=True)
    matrix = compute(tile, 8, 8, Tiles(client=client, store=tmp_path / "matrix", shape=(3, 3)))
    assert np.array_equal(matrix[:], tile.loop(8, 8).numpy())


@pytest.mark.processes
def test_killed_workers_lose_only_their_tiles(client, tmp_path):
    tile = Products(calls=tmp_path, seconds=0.1)
    tiles = Tiles(client=client, shape=(2, 2))
    victims = list(client.run(os.getpid).values())

    class KillsThemAll(lecore.engine.tiling.tiles.TensorMatrix):
        def put(self, rows, columns, block):
            super().put(rows, columns, block)
            while victims and len(calls(tmp_path)) >= 10:
                os.kill(victims.pop(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lecore.engine.tiling.tiles, "TensorMatrix", KillsThemAll)
        matrix = compute(tile, 8, 8, tiles)
    assert not victims
    assert torch.equal(matrix, tile.loop(8, 8))
    # 16 tiles, of which each worker had one in hand and a few not fetched; all lost would be 26
    assert set(calls(tmp_path)) == {f"{i}-{j}" for i in range(0, 8, 2) for j in range(0, 8, 2)}
    assert len(calls(tmp_path)) <= 16 + 6


@pytest.mark.processes
def test_a_tile_that_kills_its_workers_is_explained(client):
    client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))
    with pytest.raises(LecoreError, match="workers died computing tiles"):
        compute(Deadly(), 4, 4, Tiles(client=client, shape=(4, 4)))


def test_a_result_that_died_with_its_worker_is_waited_for():
    class Future:
        status = "lost"

    with pytest.raises(lecore.engine.tiling.workers._LostAgain):
        lecore.engine.tiling.workers._result(Future())


def run_of_dask(name, *options):
    """What ``dask scheduler`` and ``dask worker`` do."""
    command = importlib.import_module(f"distributed.cli.dask_{name}").main
    command(options, standalone_mode=False)


@pytest.fixture
def own_cluster(forks, tmp_path, monkeypatch):
    """One that a test may kill: a scheduler and a worker without a nanny."""
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(lecore.engine.tiling.workers, "PATIENCE", 2.0)
    file = tmp_path / "scheduler.json"

    def start(name, *options):
        options = ["--scheduler-file", str(file), "--no-dashboard", *options]
        return forked(forks, tmp_path / f"{name}.txt", run_of_dask, name, *options)

    scheduler = start("scheduler", "--port", "0")
    worker = start("worker", "--no-nanny", "--nthreads", "1", "--local-directory", str(tmp_path))
    while not file.exists():
        time.sleep(0.05)
    client = distributed.Client(scheduler_file=str(file), timeout=5)
    client.wait_for_workers(1)
    try:
        yield client, {"scheduler": scheduler, "worker": worker}
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.join()
        client.close(timeout=1)


@pytest.mark.parametrize(
    ("victim", "said"),
    [
        ("worker", "no workers for 2 seconds"),
        pytest.param("scheduler", "scheduler .* gone", marks=pytest.mark.thorough),  # a minute
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::RuntimeWarning")
@pytest.mark.processes
def test_a_cluster_that_died_is_an_error_and_finished_tiles_stay(
    own_cluster, tmp_path, victim, said
):
    pytest.importorskip("zarr")
    client, processes = own_cluster
    (folder := tmp_path / "calls").mkdir()
    tile, finished = Products(calls=folder, seconds=0.3), tmp_path / "m" / "finished"

    def kill():
        while len(list(finished.glob("[0-9]*"))) < 3 and time.monotonic() - started < 30:
            time.sleep(0.02)
        processes[victim].kill()

    started = time.monotonic()
    with ThreadPoolExecutor() as pool:
        pool.submit(kill)
        with pytest.raises(LecoreError, match=f"{said}.*the tiles that are missing"):
            compute(tile, 8, 8, Tiles(client=client, store=tmp_path / "m", shape=(2, 2)))
    assert time.monotonic() - started < 60
    before = len(calls(folder))
    with pytest.raises(LecoreError, match=said):  # at once, too
        compute(tile, 8, 8, Tiles(client=client, store=tmp_path / "m", shape=(2, 2)))
    matrix = compute(tile, 8, 8, Tiles(store=tmp_path / "m"))
    assert np.array_equal(matrix[:], tile.loop(8, 8).numpy())
    assert len(calls(folder)) - before <= 16 - 3
