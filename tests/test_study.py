"""A study of a network of one's own against real steps on a copy, one example at a time."""

import copy
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lecore import LecoreError
from lecore.study.examples import examples
from lecore.study.study import Study

N, M, T = 6, 3, 5
IDS = torch.randint(1, 20, (N + M, T), generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(T) < torch.tensor([5, 3, 4, 5, 2, 5, 4, 5, 3])[:, None]).long()
LABELS = torch.tensor([0, 1, 2, 1, 0, 2, 1, 1, 0])
X = torch.randn(N + M, 4, generator=torch.Generator().manual_seed(1))
RATE = 0.05


class Answer(NamedTuple):
    """As transformers has it."""

    logits: torch.Tensor
    hidden: torch.Tensor


class Reader(nn.Module):
    """Words with a mask, in the manner of Hugging Face."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, input_ids, attention_mask):
        hidden = self.block(self.words(input_ids), src_key_padding_mask=attention_mask == 0)
        weight = attention_mask[..., None].to(hidden.dtype)
        return Answer(self.head((hidden * weight).sum(1) / weight.sum(1)), hidden)


class TwoSides(nn.Module):
    """Takes numbers and words side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.EmbeddingBag(20, 4), nn.Linear(8, 3)

    def forward(self, numbers, words):
        return self.head(torch.cat([numbers, self.words(words)], dim=1)).tanh()


class LastState(nn.Module):
    """A recurrent network, read where each sentence ends; lengths are those of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.lstm = nn.Embedding(20, 4), nn.LSTM(4, 6, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, ids):
        return {"scores": self.head(self.lstm(self.words(ids))[0][:, -1])}


class Sentences(Dataset):
    """Items of their own lengths."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        row = self.rows[i]
        return IDS[row, : int(MASK[row].sum())], LABELS[row]


def cut(items):
    ids, labels = zip(*items, strict=True)
    shortest = min(map(len, ids))
    return torch.stack([row[:shortest] for row in ids]), torch.stack(labels)


def columns(rows):
    return {"input_ids": IDS[rows], "attention_mask": MASK[rows], "labels": LABELS[rows]}


def built(kind):
    torch.manual_seed(0)
    return kind().eval()


TRAIN, TEST = slice(0, N), slice(N, N + M)
CASES = {
    "mapping": (
        Reader, columns(TRAIN), columns(TEST), {},
        lambda m, i: m(IDS[i : i + 1], MASK[i : i + 1]).logits,
    ),
    "arrays": (
        Reader, {name: column.numpy() for name, column in columns(TRAIN).items()}, columns(TEST),
        {"output": "logits"},
        lambda m, i: m(IDS[i : i + 1], MASK[i : i + 1]).logits,
    ),
    "tuple": (
        TwoSides, (X[TRAIN], IDS[TRAIN], LABELS[TRAIN]), (X[TEST], IDS[TEST], LABELS[TEST]), {},
        lambda m, i: m(X[i : i + 1].double(), IDS[i : i + 1]),
    ),
    "dataset": (
        TwoSides, TensorDataset(X[TRAIN], IDS[TRAIN], LABELS[TRAIN]),
        DataLoader(TensorDataset(X[TEST], IDS[TEST], LABELS[TEST]), 2, shuffle=True), {},
        lambda m, i: m(X[i : i + 1].double(), IDS[i : i + 1]),
    ),
    "loader of lengths": (
        LastState, DataLoader(Sentences(range(N)), 1, collate_fn=cut),
        DataLoader(Sentences(range(N, N + M)), 1, collate_fn=cut), {"output": "scores"},
        lambda m, i: m(IDS[i : i + 1, : int(MASK[i].sum())])["scores"],
    ),
    "one tensor": (
        lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)),
        (X[TRAIN], LABELS[TRAIN]), (X[TEST], LABELS[TEST]), {},
        lambda m, i: m(X[i : i + 1].double()),
    ),
}  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # lengths want plain autograd


def study(name, **more):
    kind, train, test, settings, _ = CASES[name]
    settings = {"loss": "cross_entropy", "learning_rate": RATE} | settings | more
    return Study(built(kind), train, test, **settings)


def stepped(name):
    """Changes of logits and losses at the test examples after a real step on each of the others."""
    kind, *_, predict = CASES[name]
    before = built(kind).double()
    moved = []
    for i in range(N):
        model = copy.deepcopy(before)
        F.cross_entropy(predict(model, i), LABELS[i : i + 1]).backward()
        torch.optim.SGD(model.parameters(), RATE).step()
        with torch.no_grad():
            moved.append(
                torch.cat([predict(model, j) - predict(before, j) for j in range(N, N + M)])
            )
    return torch.stack(moved)


def slopes(name, part=None):
    kind, *_, predict = CASES[name]
    model = built(kind).double()
    weights = [p for n, p in model.named_parameters() if part is None or n.startswith(part)]
    rows = []
    for i in range(N + M):
        loss = F.cross_entropy(predict(model, i), LABELS[i : i + 1])
        found = torch.autograd.grad(loss, weights, materialize_grads=True, allow_unused=True)
        rows.append(torch.cat([g.flatten() for g in found]))
    return torch.stack(rows)


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_that_of_a_real_step(name):
    torch.testing.assert_close(study(name).change(), stepped(name), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_influence_names_the_strongest_of_all_pairs(name):
    of = slopes(name)
    right = RATE * of[:N] @ of[N:].T
    found = study(name).influence(top=2)
    for j, lines in found.groupby("test"):
        order = right[:, j].argsort(descending=True).tolist()
        helps = [i for i in order[:2] if right[i, j] > 0]
        harms = [i for i in order[-2:] if right[i, j] < 0]
        assert lines.train.tolist() == helps + harms
        np.testing.assert_allclose(lines.influence, right[lines.train.tolist(), j], rtol=1e-8)


@pytest.mark.thorough
def test_influence_in_blocks_is_the_same(monkeypatch):
    whole = study("mapping").influence(top=3)
    monkeypatch.setattr("lecore.study.influence_blocks.BLOCK_BYTES", 8 * M * 2)
    pd.testing.assert_frame_equal(study("mapping").influence(top=3), whole)


@pytest.mark.parametrize("name", CASES)
def test_self_influence_is_the_squared_slope(name):
    found = study(name).self_influence()
    np.testing.assert_allclose(found, slopes(name)[:N].square().sum(1), rtol=1e-8)


def test_layers_add_up_to_the_linear_change():
    one = study("mapping")
    pairs = [(0, 2), (4, 1), (0, 0)]
    found, whole = one.by_layer(pairs), one.change("linear")
    assert set(found.layer) >= {"words", "head", "block.linear1"}
    for (i, j), lines in found.groupby(["train", "test"], sort=False):
        total = lines.groupby("output").change.sum()
        np.testing.assert_allclose(total, whole[i, j], rtol=1e-9)


def test_only_the_parameters_asked_for_are_trained():
    one = study("mapping", parameters="head.*")
    np.testing.assert_allclose(
        one.self_influence(), slopes("mapping", "head")[:N].square().sum(1), rtol=1e-8
    )
    assert all(p.requires_grad for p in one.model.parameters())


def test_only_the_outputs_asked_for_are_kept():
    whole, one = study("mapping"), study("mapping", outputs=[2, 0])
    torch.testing.assert_close(one.change(), whole.change()[..., [2, 0]])
    ratio = (
        whole.change()[..., [2, 0]].norm(dim=2) / whole.own_change()[:, [2, 0]].norm(dim=1)[:, None]
    )
    torch.testing.assert_close(one.similarity(), ratio)
    lines = one.by_layer([(0, 1)]).set_index(["layer", "output"]).change
    pd.testing.assert_series_equal(
        lines, whole.by_layer([(0, 1)]).set_index(["layer", "output"]).change[lines.index]
    )
    assert set(lines.index.get_level_values("output")) == {0, 2}
    assert one.plan().set_index("question").result["change, exact"] == N * M * 2 * 8 / 2**30
    with pytest.raises(LecoreError, match="choose some of 0 to 2"):
        study("mapping", outputs=[3]).by_layer([(0, 1)])


def test_without_test_examples_those_of_training_are_asked():
    model, data = built(TwoSides), CASES["tuple"][1]
    one = Study(model, data, loss="cross_entropy", learning_rate=RATE)
    assert one.change("linear").shape == (N, N, 3)
    assert set(one.influence(top=1).test) == set(range(N))


def test_layers_keep_their_modes():
    model = built(Reader).train()
    model.block.eval()
    modes = [module.training for module in model.modules()]
    Study(model, columns(TRAIN), loss="cross_entropy").self_influence()
    assert [module.training for module in model.modules()] == modes


def test_the_model_and_the_data_are_left_alone():
    model, data = built(Reader), columns(TRAIN)
    before = copy.deepcopy(model.state_dict())
    Study(model, data, loss="cross_entropy").self_influence()
    assert data.keys() == columns(TRAIN).keys()
    assert all(p.grad is None for p in model.parameters())
    torch.testing.assert_close(model.state_dict(), before)


BAD = {
    "no such column": (Reader, columns(TRAIN), {"target": "label"}, "no 'label' for the targets"),
    "no such place": (TwoSides, CASES["tuple"][1], {"target": 5}, "no 5 .*; choose from 0, 1, 2"),
    "lengths": (TwoSides, (X[:4], IDS[:3], LABELS[:4]), {}, "different lengths"),
    "empty": (TwoSides, (X[:0], IDS[:0], LABELS[:0]), {}, "no example"),
    "words": (Reader, {"text": ["a", "b"]}, {}, "type str, which are no numbers"),
    "not a number": (TwoSides, (X / 0, IDS, LABELS), {}, "rows of inputs.* are not finite"),
    "items of other lengths": (LastState, Sentences(range(N)), {}, "the collate_fn that pads them"),
    "nothing of the kind": (Reader, 7, {}, "the data are a int|give a tensor, a mapping"),
    "no such output": (Reader, columns(TRAIN), {"output": "scores"}, "no 'scores'; .*logits"),
    "output of another shape": (Reader, columns(TRAIN), {"output": "hidden"}, "outputs\\); choose"),
    "no output": (LastState, (IDS, LABELS), {}, "^the model gives a dict; name .* \\(scores\\)"),
    "no such loss": (Reader, columns(TRAIN), {"loss": "hinge"}, "no loss 'hinge'; choose from"),
    "no such parameter": (Reader, columns(TRAIN), {"parameters": "tail.*"}, "is named 'tail"),
    "no targets": (TwoSides, (X, IDS), {"target": False}, "have no targets"),
    "no loss for classes": (Reader, columns(TRAIN), {"loss": None}, "want a loss"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_a_cure(name):
    kind, data, settings, words = BAD[name]
    with pytest.raises(LecoreError, match=words) as refused:
        Study(built(kind), data, **({"loss": "cross_entropy"} | settings)).self_influence()
    assert "\n" not in str(refused.value)


def test_questions_that_cannot_be_answered_are_refused():
    one = study("mapping")
    with pytest.raises(LecoreError, match="above 0, not 0"):
        one.influence(top=0)
    with pytest.raises(LecoreError, match=r"no pair \(0, 3\); rows go up to 5 and 2"):
        one.by_layer([(0, 3)])
    with pytest.raises(LecoreError, match="no step 'long'"):
        one.change("long")
    with pytest.raises(LecoreError, match="give learning_rate"):
        study("mapping", learning_rate=None).by_layer([(0, 0)])


def test_a_loader_is_read_in_the_order_of_its_data():
    loader = DataLoader(TensorDataset(X, LABELS), batch_size=2, shuffle=True)
    read = examples(loader)
    torch.testing.assert_close(read.tables[0], X)
    assert read.targets.tolist() == LABELS.tolist()


class Batches(Dataset):
    """Gives whole batches, as data on disk often lie."""

    def __len__(self):
        return 3

    def __getitem__(self, k):
        return X[2 * k : 2 * k + 2], LABELS[2 * k : 2 * k + 2]


def test_a_loader_of_whole_batches_is_read_as_it_gives_them():
    found = examples(DataLoader(Batches(), batch_size=None))
    assert torch.equal(found.tables[0], X[:6])
    assert torch.equal(found.targets, LABELS[:6])
    single = TensorDataset(X, LABELS)
    with pytest.raises(LecoreError, match="targets is a single number; give one a row"):
        examples(DataLoader(single, batch_size=None))


@pytest.mark.parametrize("name", ["mapping", "tuple"])
def test_a_list_of_examples_is_read_example_by_example(name):
    data = CASES[name][1]
    if isinstance(data, dict):
        items = [{key: column[i] for key, column in data.items()} for i in range(N)]
    else:
        items = [(*(column[i] for column in data[:-1]), int(data[-1][i])) for i in range(N)]
    found, right = examples(items), examples(data)
    torch.testing.assert_close(found.tables, right.tables)
    assert torch.equal(found.targets, right.targets)


def test_false_says_that_there_are_no_targets():
    assert examples((X, IDS), target=False).targets is None
