"""Matrices on disk: interrupted, resumed, damaged, refused."""

import errno
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tiles import SIZES, Products, calls, compute

zarr = pytest.importorskip("zarr")

import lecore.stores  # noqa: E402 - needs zarr
from lecore.stores import open_matrix  # noqa: E402
from lecore.tiles import Tiles  # noqa: E402

FULL = Products().loop(9, 9).numpy()


def marks(store):
    return sorted(mark.name for mark in (store / "finished").iterdir() if mark.name[0] != ".")


def chunks(store):
    return sorted(p.relative_to(store).as_posix() for p in (store / "c").rglob("*") if p.is_file())


@pytest.fixture
def folder(tmp_path):
    """For one file a call."""
    path = tmp_path / "calls"
    path.mkdir()
    return path


@pytest.fixture
def store(tmp_path):
    return tmp_path / "results" / "matrix"


@settings(max_examples=25, deadline=None)
@given(
    SIZES, SIZES, st.tuples(SIZES, SIZES), st.sampled_from([(), (3,), (2, 3)]), st.integers(1, 200)
)
def test_any_cut_gives_the_same_matrix(tmp_path_factory, rows, columns, shape, trailing, chunk):
    store, tile = tmp_path_factory.mktemp("cut") / "matrix", Products(trailing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lecore.stores, "CHUNK_BYTES", chunk)  # chunks smaller than tiles
        matrix = compute(tile, rows, columns, Tiles(store=store, shape=shape))
    assert np.array_equal(matrix[:], tile.loop(rows, columns).numpy())
    assert all(t % c == 0 for t, c in zip(matrix.attrs["tile"], matrix.chunks, strict=False))


@pytest.mark.parametrize("tiles", [{}, {"jobs": 2}, {"jobs": 2, "backend": "processes"}])
def test_every_way_to_compute_gives_the_same_matrix(store, tiles):
    tile = Products((2, 2), symmetric=True)
    matrix = compute(tile, 9, 9, Tiles(store=store, shape=(4, 4), **tiles))
    assert np.array_equal(matrix[:], tile.loop(9, 9).numpy())
    assert marks(store) == ["0-0", "0-4", "0-8", "4-4", "4-8", "8-8"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_the_result_is_a_plain_zarr_array(store, dtype):
    matrix = compute(Products(), 9, 9, Tiles(store=store), dtype=dtype)
    assert isinstance(matrix, zarr.Array)
    assert matrix.dtype == np.dtype(str(dtype).removeprefix("torch."))
    with pytest.raises(ValueError, match="read-only"):
        matrix[0, 0] = 1
    for reader in (open_matrix(store), pickle.loads(pickle.dumps(matrix)), zarr.open_array(store)):
        assert np.array_equal(reader[:], FULL.astype(matrix.dtype))
        assert reader.attrs["complete"] is True
        assert reader.attrs["lecore"] == lecore.__version__


def test_nan_is_kept(store):
    matrix = compute(Products(), 4, 4, Tiles(store=store, shape=(2, 2)))
    assert len(chunks(store)) == 4

    def nan(rows, columns):
        return torch.full((rows.stop - rows.start, columns.stop - columns.start), torch.nan)

    nan.trailing, nan.symmetric = (), False
    matrix = compute(nan, 4, 4, Tiles(store=store.with_name("nan"), shape=(2, 2)))
    assert np.isnan(matrix[:]).all()


def test_an_error_or_an_interrupt_loses_only_the_tile_in_hand(store, folder):
    for exception, fails_at in ((ZeroDivisionError, (3, 0)), (KeyboardInterrupt, (6, 3))):
        tile = Products(calls=folder, fails_at=fails_at, failure=exception)
        with pytest.raises(exception):
            compute(tile, 9, 9, Tiles(store=store, shape=(3, 3)))
        with pytest.raises(ValueError, match=r"lacks \d of 9 tiles; repeat the call"):
            open_matrix(store)
    # the cuts in the store win over those of another budget
    matrix = compute(Products(calls=folder), 9, 9, Tiles(store=store, memory=100))
    assert np.array_equal(matrix[:], FULL)
    tiles = [f"{i}-{j}" for i in (0, 3, 6) for j in (0, 3, 6)]
    assert calls(folder) == sorted([*tiles, "3-0", "6-3"])
    compute(Products(calls=folder), 9, 9, Tiles(store=store))
    assert len(calls(folder)) == 11


RUN = """
import os, sys, time
from pathlib import Path
from test_tiles import Products, compute
from lecore.tiles import Tiles

flushes, flush = 0, os.fsync

def hang(file):
    global flushes
    flushes += 1
    if flushes == 14:  # files of chunks and marks in turn, after that of the array
        Path(sys.argv[3]).touch()
        time.sleep(3)
    flush(file)

if sys.argv[3] != "-":
    os.fsync = hang
compute(Products(calls=Path(sys.argv[2])), 9, 9, Tiles(store=sys.argv[1], shape=(3, 3)))
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_goes_on_where_it_was(tmp_path, store, folder, end):
    hanging = tmp_path / "hanging"
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, store, folder, hanging],
        cwd=Path(__file__).parent,
        stderr=subprocess.PIPE,
    )
    while not hanging.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(end)
    errors = process.communicate()[1].decode()
    assert process.returncode == -end
    assert ("KeyboardInterrupt" in errors) == (end == signal.SIGINT)
    done = marks(store)
    assert 0 < len(done) < 9
    before = calls(folder)

    matrix = compute(Products(calls=folder), 9, 9, Tiles(store=store, shape=(3, 3)))
    assert np.array_equal(matrix[:], FULL)
    assert len(calls(folder)) - len(before) == 9 - len(done)
    assert not list(store.rglob(".*"))  # what the killed process was writing


@pytest.mark.parametrize("harm", ["flip", "truncate", "empty", "lose"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_damage_is_noticed_and_repaired(store, folder, harm, symmetric):
    tile = Products(symmetric=symmetric, calls=folder)
    compute(tile, 9, 9, Tiles(store=store, shape=(4, 4)))
    whole, victim = tile.loop(9, 9).numpy(), store / "c" / "2" / "1"  # rows 8:9, columns 4:8
    content = victim.read_bytes()
    if harm == "lose":
        victim.unlink()
    else:
        flipped = content[:5] + bytes([content[5] ^ 4]) + content[6:]
        victim.write_bytes({"flip": flipped, "truncate": content[:-3], "empty": b""}[harm])
    matrix = open_matrix(store)
    assert np.array_equal(matrix[:, :4], whole[:, :4])
    first = "4-8" if symmetric else "8-4"
    row, column = first.split("-")
    with pytest.raises(ValueError, match=f"row {row} and column {column} is damaged") as error:
        matrix[:]
    mark = store / "finished" / first
    assert f"delete {mark} " in str(error.value)
    mark.unlink()
    with pytest.raises(ValueError, match="lacks 1 of"):
        open_matrix(store)
    before = calls(folder)
    assert np.array_equal(compute(tile, 9, 9, Tiles(store=store))[:], whole)
    assert calls(folder) == sorted([*before, first])
    assert open_matrix(store).attrs["complete"]


def test_another_matrix_is_refused(store, monkeypatch):
    def again(rows=9, tile=None, shape=(3, 3), **options):
        return compute(tile or Products(), rows, 9, Tiles(store=store, shape=shape), **options)

    again()
    files = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    for options, difference in (
        ({"fingerprint": "other"}, "model, data or settings;"),
        ({"rows": 8}, r"shape \(\[9, 9\] there, \[8, 9\] here\)"),
        ({"trailing": (2,), "tile": Products((2,))}, "shape"),
        ({"dtype": torch.float32}, r"dtype \(float64 there, float32 here\)"),
        ({"tile": Products(symmetric=True)}, "symmetric"),
        ({"shape": (2, 3)}, r"tile \(\[3, 3\] there, \[2, 3\] here\)"),
    ):
        with pytest.raises(ValueError, match=f"{difference}.*choose another store or delete it"):
            again(**options)
    monkeypatch.setattr(lecore.stores, "version", lambda name: "99")
    with pytest.raises(ValueError, match=r"lecore version .* 99 here"):
        again()
    assert files == {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}


def test_what_is_not_ours_is_left_alone(tmp_path, store):
    foreign = tmp_path / "array"
    zarr.create_array(foreign, shape=(9, 9), dtype="float64")
    (tmp_path / "file").write_text("mine")
    for path in (foreign, tmp_path / "file", tmp_path):
        with pytest.raises(ValueError, match="does not hold a matrix of lecore's"):
            compute(Products(), 9, 9, Tiles(store=path))
    for path in (foreign, tmp_path / "file", store):
        with pytest.raises(ValueError, match="does not hold a matrix of lecore's"):
            open_matrix(path)
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(ValueError, match=r"cannot hold torch.bfloat16; take float16, float32"):
        compute(Products(), 9, 9, Tiles(store=store), dtype=torch.bfloat16)
    store.mkdir(parents=True)  # an empty folder may be filled
    assert compute(Products(), 9, 9, Tiles(store=store)).shape == (9, 9)


@pytest.mark.parametrize("flushes", [0, 1, 6])
def test_a_full_disk_is_explained(store, folder, monkeypatch, flushes):
    left, flush = [None] * flushes, os.fsync

    def full(file):
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        left.pop()
        flush(file)

    tile = Products(calls=folder)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="is full; finished tiles stay there") as error:
            compute(tile, 9, 9, Tiles(store=store, shape=(3, 3)))
    assert error.value.errno == errno.ENOSPC
    done = len(marks(store)) if (store / "finished").exists() else 0
    before = len(calls(folder))
    assert np.array_equal(compute(tile, 9, 9, Tiles(store=store, shape=(3, 3)))[:], FULL)
    assert len(calls(folder)) - before == 9 - done


def test_a_missing_zarr_is_explained():
    script = "import sys; sys.modules['zarr'] = None; import lecore.stores"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.stderr.strip().endswith('needs Zarr: pip install "lecore[scale]"')
