"""Matrices on disk: interrupted, resumed, damaged, refused."""

import errno
import importlib
import json
import os
import pickle
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tiles import SIZES, Products, calls, compute
from torch import nn

zarr = pytest.importorskip("zarr")

import lecore.engine.tiling.stores  # noqa: E402 - needs zarr
from lecore import empirical_ntk, linearized_change, prediction_change  # noqa: E402
from lecore.engine.tiling.stores import open_matrix  # noqa: E402
from lecore.engine.tiling.tiles import Tiles  # noqa: E402
from lecore.errors import LecoreError  # noqa: E402
from tests.examples import examples  # noqa: E402
from tests.forked import forked  # noqa: E402

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


@settings(max_examples=examples(25), deadline=None)
@given(
    SIZES, SIZES, st.tuples(SIZES, SIZES), st.sampled_from([(), (3,), (2, 3)]), st.integers(1, 200)
)
def test_any_cut_gives_the_same_matrix(tmp_path_factory, rows, columns, shape, trailing, chunk):
    store, tile = tmp_path_factory.mktemp("cut") / "matrix", Products(trailing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            lecore.engine.tiling.stores, "CHUNK_BYTES", chunk
        )  # chunks smaller than tiles
        matrix = compute(tile, rows, columns, Tiles(store=store, shape=shape))
    assert np.array_equal(matrix[:], tile.loop(rows, columns).numpy())
    assert all(t % c == 0 for t, c in zip(matrix.attrs["tile"], matrix.chunks, strict=False))


@pytest.mark.parametrize("tiles", [{}, {"jobs": 2}, {"jobs": 2, "backend": "processes"}])
@pytest.mark.processes
@pytest.mark.usefixtures("forks")
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


def write(store, folder, hanging):
    """Compute into a store; with a file to touch, hang in the middle of it."""
    flushes, flush = 0, os.fsync

    def hang(file):
        nonlocal flushes
        flushes += 1
        if flushes == 15:  # checksums, chunks and marks in turn, after those of the array
            hanging.touch()
            time.sleep(3)  # an interrupt waits for the thread that writes
        flush(file)

    if hanging is not None:
        os.fsync = hang
    compute(Products(calls=folder), 9, 9, Tiles(store=store, shape=(3, 3)))


@pytest.mark.parametrize(("end", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 1)])
@pytest.mark.processes
def test_a_killed_run_goes_on_where_it_was(forks, tmp_path, store, folder, end, code):
    hanging, said = tmp_path / "hanging", tmp_path / "said"
    process = forked(forks, said, write, store, folder, hanging)
    while not hanging.exists():
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, end)
    process.join()
    assert process.exitcode == code
    assert ("KeyboardInterrupt" in said.read_text()) == (end == signal.SIGINT)
    done = marks(store)
    assert 0 < len(done) < 9
    before = calls(folder)

    matrix = compute(Products(calls=folder), 9, 9, Tiles(store=store, shape=(3, 3)))
    assert np.array_equal(matrix[:], FULL)
    assert len(calls(folder)) - len(before) == 9 - len(done)
    assert not list(store.rglob(".*"))  # what the killed process was writing


@pytest.mark.parametrize("harm", ["flip", "truncate", "empty", "lose", "swap"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_damage_is_noticed_and_repaired(store, folder, harm, symmetric):
    tile = Products(symmetric=symmetric, calls=folder)
    compute(tile, 9, 9, Tiles(store=store, shape=(4, 4)))
    whole, victim = tile.loop(9, 9).numpy(), store / "c" / "2" / "1"  # rows 8:9, columns 4:8
    content = victim.read_bytes()
    if harm == "lose":
        victim.unlink()
    elif harm == "swap":  # with another whole chunk
        victim.write_bytes((store / "c" / "0" / "0").read_bytes())
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


def test_another_matrix_is_refused(store):
    def again(rows=9, tile=None, shape=(3, 3), **options):
        return compute(tile or Products(), rows, 9, Tiles(store=store, shape=shape), **options)

    again()
    files = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    for options, difference in (
        ({"identity": {"loss": "other", "data": "1"}}, "the work of another loss;"),
        ({"identity": {"loss": "products"}}, "the work of other data;"),
        ({"rows": 8}, r"shape \(\[9, 9\] there, \[8, 9\] here\)"),
        ({"trailing": (2,), "tile": Products((2,))}, "shape"),
        ({"dtype": torch.float32}, r"dtype \(float64 there, float32 here\)"),
        ({"tile": Products(symmetric=True)}, "symmetric"),
        ({"shape": (2, 3)}, r"tile \(\[3, 3\] there, \[2, 3\] here\)"),
    ):
        with pytest.raises(ValueError, match=f"{difference}.*choose another store, or delete it"):
            again(**options)
    assert files == {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}


def network(buffer=0.0, frozen=1.0):
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1, bias=False)
            self.layer.weight.data.fill_(2.0)
            self.scale = nn.Parameter(torch.tensor([frozen]), requires_grad=False)
            self.register_buffer("shift", torch.tensor([buffer]))

        def forward(self, x):
            return self.scale * (self.layer(x) + self.shift).square()

    return Shifted()


@pytest.mark.every(6)
@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"model": network(buffer=1.0)}, "other buffers"),
        ({"model": network(frozen=2.0)}, "other buffers"),
        ({"model": network().eval()}, "other model attributes"),
        ({"loss": lambda f, t: 3 * (f - t).square().sum()}, "another loss"),
        ({"inputs": torch.ones(2, 1)}, "other data"),
        ({"targets": torch.ones(2, 1)}, "other data"),
        ({"test_inputs": torch.ones(3, 1)}, "other data"),
        ({"dtype": torch.float32}, "other parameters"),
        ({"learning_rate": 0.2}, "another optimizer"),
        ({"tiles": {"key": "b"}}, r"another key \(a there, b here\)"),
    ],
)
def test_a_step_on_anything_else_is_refused_by_name(store, changed, difference):
    known = {
        "model": network(), "inputs": torch.arange(1.0, 3.0)[:, None], "targets": torch.zeros(2, 1),
        "test_inputs": torch.arange(3.0)[:, None], "learning_rate": 0.1, "tiles": {"key": "a"},
        "loss": lambda f, t: 2 * (f - t).square().sum(), "dtype": torch.float64,
    }  # fmt: skip

    def change(tiles, **given):
        return prediction_change(**given, tiles=Tiles(store=store, **tiles))

    first = change(**known)[:]
    with pytest.raises(LecoreError, match=f"holds the work of .*{difference}.*; choose another"):
        change(**known | changed)
    assert np.array_equal(change(**known)[:], first)


class Tripling(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        return 3 * result if function is torch.Tensor.square else result


def test_a_kernel_under_another_mode_of_torch_is_refused(store):
    x = torch.arange(1.0, 3.0)[:, None]
    with torch.device("cpu"):  # this one changes no numbers
        empirical_ntk(network(), x, tiles=Tiles(store=store))
    empirical_ntk(network(), x, tiles=Tiles(store=store))
    with Tripling(), pytest.raises(LecoreError, match="the work of other function modes;"):
        empirical_ntk(network(), x, tiles=Tiles(store=store))


def test_a_kernel_of_another_scale_loss_or_optimizer_state_is_refused(store):
    x, y = torch.arange(1.0, 4.0)[:, None], torch.zeros(3, 1)
    linearized_change(network(), x, y, learning_rate=0.1, tiles=Tiles(store=store / "a"))
    for other in (network(buffer=1.0), network(frozen=2.0)):
        with pytest.raises(LecoreError, match="other buffers"):
            linearized_change(other, x, y, learning_rate=0.1, tiles=Tiles(store=store / "a"))
    with pytest.raises(LecoreError, match="other settings"):
        linearized_change(network(), x, y, learning_rate=0.2, tiles=Tiles(store=store / "a"))

    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    prediction_change(model, x, y, optimizer=optimizer, tiles=Tiles(store=store / "b"))
    weight = model.layer.weight.detach().clone()
    model(x).sum().backward()
    optimizer.step()
    model.layer.weight.data.copy_(weight)
    with pytest.raises(LecoreError, match="the work of another optimizer;"):
        prediction_change(model, x, y, optimizer=optimizer, tiles=Tiles(store=store / "b"))


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


def test_a_missing_zarr_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    for name in ("stores", "store_files"):
        monkeypatch.delitem(sys.modules, f"lecore.engine.tiling.{name}")
    with pytest.raises(ImportError, match=r'needs Zarr: pip install "lecore\[scale\]"$'):
        importlib.import_module("lecore.engine.tiling.stores")


def test_exchanged_chunks_of_one_tile_are_noticed(store, monkeypatch):
    monkeypatch.setattr(lecore.engine.tiling.stores, "CHUNK_BYTES", 100)
    compute(Products(), 9, 9, Tiles(store=store))
    one, other = store / chunks(store)[0], store / chunks(store)[1]
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    with pytest.raises(LecoreError, match="row 0 and column 0 is damaged"):
        open_matrix(store)[:]


def is_json(content):
    try:
        return json.loads(content)
    except ValueError:
        return None


def test_any_flip_in_what_a_store_says_of_itself_is_noticed(store):
    compute(Products(), 9, 9, Tiles(store=store, shape=(3, 3)))
    file = store / "zarr.json"
    content = file.read_bytes()
    known, refused = json.loads(content), 0
    for place in range(0, len(content), 7):
        flipped = content[:place] + bytes([content[place] ^ 2]) + content[place + 1 :]
        file.write_bytes(flipped)
        for use in (open_matrix, lambda path: compute(Products(), 9, 9, Tiles(store=path))):
            if is_json(flipped) == known:  # a blank
                use(store)
                continue
            with pytest.raises(LecoreError, match=r"zarr.json is damaged.*put a copy"):
                use(store)
            refused += 1
    assert refused > 200
    file.write_bytes(content)
    assert np.array_equal(open_matrix(store)[:], FULL)


def test_a_matrix_in_work_is_not_called_complete(store):
    compute(Products(), 9, 9, Tiles(store=store, shape=(3, 3)))
    (store / "finished" / "3-3").unlink()
    with pytest.raises(LecoreError, match="lacks 1 of 9 tiles; repeat the call"):
        open_matrix(store)
    with pytest.raises(ZeroDivisionError):
        compute(Products(fails_at=(3, 3)), 9, 9, Tiles(store=store))
    assert zarr.open_array(store, mode="r").attrs["complete"] is False
    assert np.array_equal(compute(Products(), 9, 9, Tiles(store=store))[:], FULL)
    assert zarr.open_array(store, mode="r").attrs["complete"] is True


@pytest.mark.every(6)
@pytest.mark.parametrize("trial", range(6))
@pytest.mark.processes
def test_several_writers_begin_and_fill_one_store(tmp_path, trial):
    def write(store):
        return compute(Products(seconds=0.001), 9, 9, Tiles(store=store, shape=(2, 2)))[:]

    store = tmp_path / "results" / "matrix"
    with ThreadPoolExecutor(6) as pool:
        for matrix in pool.map(write, [store] * 6):
            assert np.array_equal(matrix, FULL)
    assert np.array_equal(open_matrix(store)[:], FULL)
    assert [path.name for path in store.parent.iterdir()] == ["matrix"]
    assert not list(store.rglob(".*"))


def test_of_writers_of_different_matrices_one_wins(tmp_path):
    def write(number):
        options = {"identity": {"loss": str(number % 2)}}
        try:
            compute(Products(), 9, 9, Tiles(store=tmp_path / "matrix", shape=(4, 4)), **options)
        except LecoreError as error:
            return str(error)
        return number % 2

    with ThreadPoolExecutor(6) as pool:
        ends = set(pool.map(write, range(6)))
    refused = {end for end in ends if isinstance(end, str)}
    assert len(ends - refused) == 1
    assert ["holds the work of another loss" in end for end in refused] == [True]


@pytest.mark.processes
def test_processes_share_a_new_store(forks, tmp_path, store, folder):
    runs = [forked(forks, tmp_path / f"{i}.txt", write, store, folder, None) for i in range(2)]
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0]
    assert np.array_equal(open_matrix(store)[:], FULL)
