"""Answers with their names: the numbers of the plain questions, under the right ones."""

import warnings

import numpy as np
import pytest
import torch
from test_study_over_time import M, N, network, study

from lecore import LecoreError, Study, Tiles
from lecore.similarity import UndefinedRowsWarning

xarray = pytest.importorskip("xarray")

X = torch.randn(N + M, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(N + M) % 3
DATA = (X[:N], Y[:N]), (X[N:], Y[N:])
CLASSES = ["cat", "dog", "owl"]
QUESTIONS = "change", "similarity", "influence", "self_influence"
SHAPES = {
    "change": ("train", "test", "output"),
    "similarity": ("train", "test"),
    "influence": ("train", "test"),
    "self_influence": ("train",),
    "change_by_layer": ("layer", "train", "test", "output"),
    "influence_by_layer": ("layer", "train", "test"),
}


def influences(one):
    return torch.cat([block for _, block in one.influences()])


@pytest.mark.every(2)
@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("step", ["exact", "linear"])
def test_they_are_the_answers_of_the_study(sides, step):
    one = study(DATA[:sides])
    found = one.results(*QUESTIONS, step=step)
    np.testing.assert_array_equal(found.change, one.change(step))
    np.testing.assert_allclose(found.similarity, one.similarity(step), rtol=1e-9)
    np.testing.assert_allclose(found.influence, influences(one), rtol=1e-9)
    np.testing.assert_array_equal(found.self_influence, one.self_influence())
    assert list(found) == list(QUESTIONS)


def test_layers_add_up_under_the_names_of_the_model():
    found = study(DATA).results(*SHAPES, step="linear")
    assert {name: found[name].dims for name in found} == SHAPES
    assert set(found.layer.values) == {"1", "3", "5"}
    for name in ("change", "influence"):
        np.testing.assert_allclose(found[f"{name}_by_layer"].sum("layer"), found[name], rtol=1e-9)


def test_each_number_is_found_by_its_names():
    one = study(DATA)
    names = [f"image-{i}.png" for i in range(N)]
    found = one.results("change", train=names, output=CLASSES)
    there = found.change.sel(train="image-4.png", test=2, output="owl")
    assert float(there) == float(one.change()[4, 2, 2])
    assert found.train_target.sel(train="image-4.png") == DATA[0][1][4]
    by_class = found.change.groupby("test_target").mean().sizes["test_target"]
    assert by_class == len(DATA[1][1].unique())
    alone = study(DATA[:1]).results("influence", train=names)
    assert alone.test.values.tolist() == names


@pytest.mark.parametrize("sides", [1, 2])
def test_what_lies_in_a_store_is_read_when_it_is_used(tmp_path, sides):
    pytest.importorskip("zarr")
    one, tiles = study(DATA[:sides]), Tiles(store=tmp_path / "run", shape=(4, 3))
    found, whole = one.results(*QUESTIONS, tiles=tiles), one.results(*QUESTIONS)
    assert all(found[name].chunks for name in ("change", "similarity", "influence"))
    xarray.testing.assert_allclose(found.compute(), whole)
    chunk = next((tmp_path / "run" / "change" / "c").rglob("0"))
    before = chunk.stat().st_mtime_ns
    one.results("change", tiles=tiles)
    assert chunk.stat().st_mtime_ns == before, "it was computed again"


def test_weights_of_files_are_steps(tmp_path):
    for step in (9, 10):
        torch.save(network(seed=step).state_dict(), tmp_path / f"{step}.pt")
    tiles = Tiles(store=tmp_path / "run", shape=(N, M))
    found = study(DATA).results("change", "self_influence", "change_by_layer",
                                checkpoints=tmp_path / "*.pt", tiles=tiles)  # fmt: skip
    assert found.step.values.tolist() == ["9.pt", "10.pt"]
    assert found.change.sizes == {"step": 2, "train": N, "test": M, "output": 3}
    for step in (9, 10):
        then, right = found.sel(step=f"{step}.pt"), study(DATA, network(seed=step))
        np.testing.assert_array_equal(then.change, right.change())
        np.testing.assert_array_equal(then.self_influence, right.self_influence())


def test_some_outputs_keep_their_numbers():
    whole = study(DATA).results("change", "change_by_layer")
    found = study(DATA, outputs=[2, 0]).results("change", "change_by_layer")
    xarray.testing.assert_allclose(found, whole.sel(output=[2, 0]))


def test_layers_of_several_inputs_have_their_own_names():
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(8, 3)

        def forward(self, left, right):
            return self.head(torch.cat([left, right], 1))

    (x, y), _ = DATA
    one = Study(Two(), {"left": x, "right": x, "labels": y}, loss="cross_entropy", learning_rate=1)
    assert one.results("influence_by_layer").layer.values.tolist() == ["head"]


@pytest.mark.parametrize("lazily", [False, True])
def test_examples_that_do_not_move_are_undefined(tmp_path, lazily):
    (x, y), test = DATA
    still = torch.cat([torch.zeros(1, 4), x[1:]])
    model = torch.nn.Linear(4, 3, bias=False)
    tiles = Tiles(store=tmp_path / "run") if lazily else Tiles()
    with pytest.warns(UndefinedRowsWarning, match="1 of 9"):
        found = study(((still, y), test), model).results("similarity", step="linear", tiles=tiles)
    assert found.similarity.isnull().any("test").values.tolist() == [True] + [False] * (N - 1)


BAD = {
    "no question": ((), {}, "no question ''; choose from change"),
    "no such question": (("changes",), {}, "no question 'changes'"),
    "no such step": (("change",), {"step": "long"}, "no step 'long'"),
    "too few names": (("change",), {"output": ["cat"]}, r"output= has shape \(1,\), not \(3,\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_named_is_refused(name):
    questions, settings, words = BAD[name]
    with pytest.raises(LecoreError, match=words):
        study(DATA).results(*questions, **settings)


def test_they_can_be_saved(tmp_path):
    pytest.importorskip("zarr")
    found = study(DATA).results(*SHAPES, output=CLASSES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a format of strings
        found.to_zarr(tmp_path / "it.zarr", zarr_format=2)
        xarray.testing.assert_identical(xarray.open_zarr(tmp_path / "it.zarr").compute(), found)
