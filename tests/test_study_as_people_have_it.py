"""Data and outputs as people have them: read as they are, or refused in one line."""

from collections import UserDict
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    default_collate,
)

from lecore import LecoreError, Study, prediction_change
from lecore.study.examples import examples
from tests.oracle import seed
from tests.test_study_attacked import GIVEN, N, X, Y


def unwritable(array):
    array = array.copy()
    array.flags.writeable = False
    return array


ARRAYS = {
    "bytes in another order": lambda a: a.astype(a.dtype.newbyteorder()),
    "rows from last to first": lambda a: a[::-1].copy()[::-1],
    "columns as rows": lambda a: np.asfortranarray(a),
    "not to be written": unwritable,
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_any_order_are_read(name):
    found = examples(tuple(ARRAYS[name](side.numpy()) for side in (X, Y)))
    assert torch.equal(found.tables[0], X)
    assert torch.equal(found.targets, Y)


def test_an_array_is_not_copied_without_need():
    array = X.numpy()
    assert examples(array).tables[0].data_ptr() == X.data_ptr()


class Rows(Dataset):
    """Inputs backwards in memory; ``fails`` at the fifth."""

    def __init__(self, fails=None):
        self.fails = fails

    def __len__(self):
        return N

    def __getitem__(self, i):
        if i == 4 and self.fails is not None:
            raise self.fails
        backwards = X[i].numpy()[::-1].copy()[::-1]
        return (backwards if self.fails is None else X[i]), Y[i]


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(X, Y, strict=True)


FORMS = {
    "rows": Rows,
    "stream": Stream,
    "stream in batches": lambda: DataLoader(Stream(), 4),
    "stream whose last batch is dropped": lambda: DataLoader(Stream(), 4, drop_last=True),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_example_is_read_once(name):
    found = examples(FORMS[name]())
    assert torch.equal(found.tables[0], X)
    assert torch.equal(found.targets, Y)


def test_a_sampler_of_whole_batches_counts():
    batches = TensorDataset(X.reshape(3, 2, 4), Y.reshape(3, 2))
    found = examples(DataLoader(batches, batch_size=None, sampler=SubsetRandomSampler([2, 0])))
    assert torch.equal(found.tables[0], X[[4, 5, 0, 1]])
    every = TensorDataset(X, Y)
    for sampler in (BatchSampler(SequentialSampler(every), 2, drop_last=False), [1, 0]):
        with pytest.raises(LecoreError, match="the loader draws its data by a"):
            examples(DataLoader(every, batch_size=None, sampler=sampler))


class Doubles(DataLoader):
    """Changes its batches itself."""

    def __iter__(self):
        yield from ((2 * x, y) for x, y in super().__iter__())


class Evens(RandomSampler):
    """Draws only some."""

    def __iter__(self):
        return iter(range(0, N, 2))


def longest_first(items):
    return default_collate(sorted(items, key=lambda item: -float(item[0].abs().sum())))


def without_zeros(items):
    return default_collate([item for item in items if item[1] > 0])


LOADERS = {
    "a class with its own batches": (
        lambda data: Doubles(data, 2), "the loader is a Doubles, which makes batches in its own",
    ),
    "a sampler of fewer": (
        lambda data: DataLoader(data, 2, sampler=SequentialSampler(range(4))), "by a Sequential",
    ),
    "a sampler of its own": (
        lambda data: DataLoader(data, 2, sampler=Evens(data)), "draws its data by a Evens",
    ),
    "batches in order of length": (
        lambda data: DataLoader(data, 3, collate_fn=longest_first), "in an order of its own",
    ),
    "batches without some": (
        lambda data: DataLoader(data, 3, collate_fn=without_zeros), "leaves examples out",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOADERS)
def test_a_loader_whose_rows_are_not_those_of_its_data_is_refused(name):
    build, words = LOADERS[name]
    with pytest.raises(LecoreError, match=words) as caught:
        examples(build(TensorDataset(X, torch.arange(N))))
    assert "\n" not in str(caught.value)


def test_a_sampler_in_batches_counts():
    batches = BatchSampler(SubsetRandomSampler([4, 0, 3]), 2, drop_last=True)
    sizes = []
    collate = lambda items: (sizes.append(len(items)), default_collate(items))[1]  # noqa: E731
    found = examples(DataLoader(TensorDataset(X, Y), batch_sampler=batches, collate_fn=collate))
    assert torch.equal(found.tables[0], X[[4, 0, 3]])
    assert set(sizes) == {2, 1}


def takes_labels_out(items):
    labels = torch.tensor([item.pop("labels") for item in items])
    weights = torch.arange(len(items))  # the same in each batch
    return UserDict(default_collate(items)) | {"labels": labels, "weights": weights}


def noisy(items):
    batch = default_collate(items)
    return [batch[0] + torch.rand(len(items), 1), batch[1]]


def in_the_order_of_the_data(items):
    assert not torch.equal(items[-1][0], X[0])
    return default_collate(items)


KEEP = {
    "takes parts out": (
        [{"x": x, "labels": int(y)} for x, y in zip(X, Y, strict=True)], takes_labels_out,
    ),
    "draws": (TensorDataset(X, Y), noisy),
    "wants an order": (TensorDataset(X, Y), in_the_order_of_the_data),
}  # fmt: skip


@pytest.mark.parametrize("name", KEEP)
def test_a_collate_fn_that_keeps_rows_is_taken(name):
    data, collate = KEEP[name]
    found = examples(DataLoader(data, 3, collate_fn=collate))
    assert torch.equal(found.targets, Y)


class Flips(Dataset):
    """Turns half of its examples around, as they are asked for."""

    def __len__(self):
        return N

    def __getitem__(self, i):
        return X[i] * (1 if torch.rand(()) < 0.5 else -1), Y[i]


@pytest.mark.parametrize("form", [Flips, lambda: DataLoader(Flips(), 2)])
def test_a_data_set_that_draws_is_told(form):
    with seed(3), pytest.warns(UserWarning, match="another example each time"):
        examples(form())


UNFIT = {
    "words": ((X.numpy(), np.array(["cat"] * N)), "type <U3, which are no numbers"),
    "a column": ({"x": X, "text": ["a"] * N}, "column 'text': the data hold values of type str"),
    "rows": ({"x": [[1, 2], [3]]}, "column 'x': rows of numbers have different lengths; pad them"),
    "objects": ((X.numpy(), np.array([1] * N, dtype=object)), "type object, which are no numbers"),
    "a mask": ((np.ma.masked_less(X.numpy(), 0), Y), "an array has a mask; fill or drop"),
    "a sparse matrix": (csr_matrix(X.numpy()), "the data are a csr_matrix; give a tensor"),
    "a sparse tensor": ((X.to_sparse(), Y), r"sparse or nested; .* \.to_dense\(\)"),
    "a file that is gone": (Rows(OSError("gone")), r"fails after 4 items .*\(OSError: gone\)"),
    "no words": (Rows(KeyError()), r"fails after 4 items or batches \(KeyError\); mend it"),
    "two lines": (Rows(ValueError("one\ntwo")), r"\(ValueError: one\)"),
    "batches": (DataLoader(Rows(ValueError("odd")), 2), r"fails after 2 items .*: odd\)"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_cannot_be_read_is_refused_in_one_line(name):
    data, words = UNFIT[name]
    with pytest.raises(LecoreError, match=words) as caught:
        examples(data)
    assert "\n" not in str(caught.value)


@dataclass
class Output:
    logits: torch.Tensor
    hidden: torch.Tensor


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return Output(self.head(x), x)


def test_the_parts_of_a_data_class_are_offered():
    with pytest.raises(LecoreError, match=r"has no 'scores'; name a part of it \(logits, hidden\)"):
        Study(Named(), (X, Y), output="scores", **GIVEN).change()


MISFITS = {
    "a column too many": (
        {"train": (X, Y, torch.ones(N))},
        r"inputs of \[0\] shape \(n, 4\) and type float32, \[1\] shape \(n\) and type int64 \(Type",
    ),
    "an input for the targets": (
        {"train": (torch.ones(N).long(), Y)},
        "or all of its arguments; the last of a tuple is taken",
    ),
    "another name": (
        {"train": {"y": X, "labels": Y}},
        r"inputs of \['y'\] shape \(n, 4\) and type float32 \(TypeError",
    ),
    "another type": (
        {"train": (X.to(torch.uint8), Y)},
        r"inputs of shape \(n, 4\) and type uint8 \(RuntimeError",
    ),
    "another test": (
        {"train": {"x": X, "labels": Y}, "test": {"z": X, "labels": Y}},
        r"^test: the model does not take inputs of \['z'\] shape \(n, 4\)",
    ),
    "targets of another name": (
        {"train": {"x": X, "y": Y}},
        "alone, and the targets' column as target=$",
    ),
    "no number in test": ({"test": (X / 0, Y)}, "^test: .* rows of inputs are not finite"),
    "no number in train": ({"train": (X / 0, Y), "test": (X, Y)}, "^train: .* are not finite"),
    "an empty test": ({"test": (X[:0], Y[:0])}, "^test: the data hold no example"),
    "no such part": (
        {"output": lambda out: out["logits"]},
        r"output= fails on a Output \(TypeError.*; name a part of it \(logits, hidden\)",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_the_model_does_not_take_is_told_by_its_columns(name):
    given, words = MISFITS[name]
    with pytest.raises(LecoreError, match=words) as caught:
        Study(Named(), **({"train": (X, Y)} | GIVEN | given))
    assert "\n" not in str(caught.value)


def test_it_is_said_which_side_has_no_targets():
    study = Study(nn.Linear(4, 3), (X, Y), X, **GIVEN)
    with pytest.raises(LecoreError, match=r"^test: the data have no targets"):
        study.influence()


def test_a_part_that_is_missing_is_told_at_once():
    with pytest.raises(LecoreError, match="has no 'scores'"):
        Study(Named(), (X, Y), output="scores", **GIVEN)


def test_missing_targets_count_for_nothing():
    """As the docstring of ``lecore.losses`` has it."""
    values = X[:, :3].clone()
    values[0, 1] = values[2, 0] = torch.nan
    model = nn.Linear(4, 3).double()
    with pytest.raises(LecoreError, match=r"of rows 0, 2; .*; lecore.losses shows a loss of some"):
        Study(model, (X, values)).self_influence()
    loss = lambda f, y: ((f - y.nan_to_num()) ** 2 * ~y.isnan()).sum()  # noqa: E731
    study = Study(model, (X, values), loss=loss)
    for i, found in enumerate(study.self_influence()):
        known = ~values[i].isnan()
        value = ((model(X[i].double()) - values[i])[known] ** 2).sum()
        slopes = torch.autograd.grad(value, [*model.parameters()])
        assert found == pytest.approx(sum(float((s**2).sum()) for s in slopes), rel=1e-10)


def test_numbers_of_numpy_are_counts():
    study = Study(nn.Linear(4, 3), (X, Y), **GIVEN)
    assert study.influence(top=np.int64(2)).equals(study.influence(top=2))


class Masks(nn.Module):
    """Takes a second input, or none."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x, mask=None):
        return self.head(x if mask is None else x * mask)


def test_an_input_of_the_test_examples_is_not_taken_for_their_targets():
    mask = (X > 0).float()
    with pytest.raises(LecoreError, match=r"train has 2 inputs and test 1; .* for the targets"):
        Study(Masks(), (X, mask, Y), (X, mask), **GIVEN)
    found = Study(Masks(), (X, mask, Y), {"x": X, "mask": mask}, **GIVEN).change()
    assert found.shape == (N, N, 4)


def test_missing_labels_are_left_to_the_loss():
    def loss(f, y):
        return (f - y)[~y.isnan()].square().sum()

    model, x = nn.Linear(3, 2).double(), torch.eye(3).double()
    y = torch.tensor([[1.0, torch.nan], [0.0, 1.0], [torch.nan, 2.0]]).double()
    found = Study(model, (x, y), loss=loss, learning_rate=0.1).change()
    expected = prediction_change(model, x, y, loss=loss, learning_rate=0.1)
    torch.testing.assert_close(found, expected)


def test_missing_labels_that_a_loss_does_not_take_are_refused_by_their_row():
    study = Study(
        nn.Linear(3, 1), (torch.eye(3), torch.tensor([1.0, torch.nan, 2.0])), learning_rate=0.1
    )
    with pytest.raises(LecoreError, match="no finite gradient for the targets of row 1"):
        study.change()
