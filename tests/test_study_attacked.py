"""What an attack on the study found: right now, or refused with a cure."""

import copy
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_model
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
)

from lecore import LecoreError, prediction_change, self_influence
from lecore.__main__ import main
from lecore.losses import cross_entropy
from lecore.study.examples import examples
from lecore.study.study import Study
from tests.zoo import net

N = 6
X = torch.randn(N, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(N) % 3
GIVEN = {"loss": "cross_entropy", "learning_rate": 0.1}


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def slopes(model, names=None, loss=F.cross_entropy, targets=Y):
    """‖∂L_i/∂w‖² with a batch of one."""
    model, found = copy.deepcopy(model).double(), []
    weights = [p for n, p in model.named_parameters() if names is None or n in names]
    for x, y in zip(X.double(), targets, strict=True):
        gradient = torch.autograd.grad(loss(model(x[None]), y[None]), weights)
        found.append(sum(float(g.square().sum()) for g in gradient))
    return found


OUT_OF_REACH = nn.Linear(5, 3)


class ReachesOut(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.h = nn.Linear(4, 5), OUT_OF_REACH

    def forward(self, x):
        return OUT_OF_REACH(self.body(x))


def hooked():
    model = network()
    model[0].weight.register_hook(lambda gradient: 0 * gradient)
    return model


@pytest.mark.parametrize("build", [ReachesOut, hooked])
def test_what_a_study_refuses_is_refused_at_a_checkpoint_too(tmp_path, build):
    model = build()
    torch.save(model.state_dict(), tmp_path / "it.pt")
    one = Study(model, (X, Y), **GIVEN)
    with pytest.raises(LecoreError):
        one.self_influence()
    with pytest.raises(LecoreError):
        next(one.follow(tmp_path / "it.pt"))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.two(self.one(x).tanh())[:, :3]


def test_tied_weights_are_chosen_by_any_of_their_names(tmp_path):
    model = Tied()
    right = slopes(model, {"one.weight", "two.bias"})
    found = Study(model, (X, Y), parameters="two.*", **GIVEN).self_influence()
    np.testing.assert_allclose(found, right, rtol=1e-9)
    save_model(model, tmp_path / "it.safetensors")  # which keeps one of the names
    ((_, then),) = Study(Tied(), (X, Y), **GIVEN).follow(tmp_path / "it.safetensors")
    np.testing.assert_allclose(then.self_influence(), slopes(model), rtol=1e-9)
    torch.save(model.state_dict() | {"two.weight": torch.ones(4, 4)}, tmp_path / "it.pt")
    with pytest.raises(LecoreError, match=r"two values of .* which are one weight"):
        next(Study(Tied(), (X, Y), **GIVEN).follow(tmp_path / "it.pt"))


@pytest.mark.parametrize("more", [{}, {"module.head": torch.ones(1)}])
def test_tied_weights_behind_a_prefix(tmp_path, more):
    weights = {f"module.{k}": v for k, v in Tied().state_dict().items() if k != "two.weight"}
    torch.save(weights | more, tmp_path / "it.pt")
    one = Study(Tied(), (X, Y), **GIVEN)
    if more:
        with pytest.raises(LecoreError, match="it is the checkpoint of another model"):
            next(one.follow(tmp_path / "it.pt"))
    else:
        next(one.follow(tmp_path / "it.pt"))


def test_a_loader_of_a_subset_gives_the_subset():
    data = TensorDataset(X, Y)
    found = examples(DataLoader(data, 2, sampler=SubsetRandomSampler([4, 1])))
    assert torch.equal(found.tables[0], X[[4, 1]])
    drawn = [RandomSampler(data, replacement=True), RandomSampler(data, num_samples=3)]
    loaders = [DataLoader(data, 2, sampler=one) for one in drawn]
    for loader in (*loaders, DataLoader(data, batch_sampler=[[2, 0], [1, 3]])):
        with pytest.raises(LecoreError, match="the loader draws its data by a"):
            examples(loader)


def test_reading_a_loader_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    examples(DataLoader(TensorDataset(X, Y), 2, shuffle=True))
    assert torch.equal(torch.get_rng_state(), before)


class Named(nn.Module):
    """Layers whose names begin like that of a wrapper."""

    def __init__(self):
        super().__init__()
        self.model = nn.ModuleDict({"fc": nn.Linear(4, 4)})
        self.fc, self.models, self.model_head = (
            nn.Linear(4, 4), nn.ModuleList([nn.Linear(4, 4)]), nn.Linear(4, 3),
        )  # fmt: skip

    def forward(self, x):
        return self.model_head(self.models[0](self.fc(self.model["fc"](x))))


@pytest.mark.parametrize("data", [(X, Y), {"x": X, "labels": Y}])
def test_layers_have_their_own_names(data):
    one = Study(Named(), data, **GIVEN)
    names = {"model.fc", "fc", "models.0", "model_head"}
    assert set(one.by_layer([(0, 1)]).layer) == set(one.layer_shares().index) == names


class Mixing(nn.Linear):
    def forward(self, x):
        return super().forward(x - x.mean(0))


class Noisy(nn.Linear):
    def forward(self, x):
        return super().forward(x) + torch.randn(3)


@pytest.mark.parametrize("kind", [Mixing, Noisy])
def test_what_is_no_function_of_an_example_is_not_predicted(kind):
    with pytest.raises(LecoreError):
        Study(kind(4, 3), (X, Y), **GIVEN).predicted()


def test_a_divergence_over_a_batch_is_that_of_one_example():
    soft = torch.rand(N, 3).softmax(1)
    loss = nn.KLDivLoss(reduction="batchmean")
    model = network().append(nn.LogSoftmax(1))
    found = self_influence(model, X, soft, loss=loss)
    right = slopes(model, loss=loss, targets=soft.double())
    np.testing.assert_allclose(found, right, rtol=1e-9)
    with pytest.raises(LecoreError, match="targets are complex"):
        self_influence(model, X, torch.randn(N, 3) + 7j, loss=nn.MSELoss())


class Sides(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(2, 3), nn.Linear(2, 3)

    def forward(self, a, b):
        return self.left(a) * self.right(b)


def test_inputs_may_be_cut_from_one_tensor():
    found = Study(Sides(), (X[:, :2], X[:, 2:], Y), **GIVEN).self_influence()
    assert len(found) == N
    same = Study(Sides(), (X[:, :2], X[:, :2], Y), **GIVEN)
    assert len(same.self_influence()) == N


class Sentences(Dataset):
    def __len__(self):
        return N

    def __getitem__(self, i):
        return {"words": [i % 5, 1, 2], "labels": i % 3}


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.EmbeddingBag(5, 3)

    def forward(self, words):
        return self.words(words)


def test_lists_of_numbers_are_rows():
    rows = [[i % 5, 1, 2] for i in range(N)]
    torch.manual_seed(2)
    model = Bag().eval()
    one = Study(model, {"words": rows, "labels": list(range(3)) * 2}, **GIVEN).self_influence()
    other = Study(model, Sentences(), **GIVEN).self_influence()
    assert one.equals(other)


@pytest.mark.thorough
@pytest.mark.every(2)
@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int32])
def test_classes_may_be_whole_numbers_of_any_type(tmp_path, kind):
    one = Study(network(), (X, Y.to(kind)), **GIVEN)
    assert one.self_influence().equals(Study(network(), (X, Y), **GIVEN).self_influence())
    one.report(tmp_path / "it.html")


@pytest.mark.filterwarnings("ignore::UserWarning")  # what is ignored moves nothing
@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        ("squared_error", F.one_hot(Y, 3)),
        (nn.CrossEntropyLoss(), torch.where(Y == 0, -100, Y)),
    ],
)
def test_whole_numbers_that_are_no_classes_are_reported(tmp_path, loss, targets):
    Study(network(), (X, targets), loss=loss, learning_rate=0.1).report(tmp_path / "it.html")


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_numbers_of_another_type_are_taken(kind):
    one = Study(network(), (X.double().numpy(), Y), **GIVEN)
    assert one.change().shape == (N, N, 3)
    assert Study(network().to(kind), (X, Y), **GIVEN).change().shape == (N, N, 3)


def quantized(self, x):
    return F.linear(x, self.codes.to(x.dtype) / 9, self.bias)


FIRST = {  # the type of the first weight is not that of the inputs
    "codes": (
        lambda: net(quantized, codes=nn.Parameter((X[:3] * 9).to(torch.int8), False),
                    bias=nn.Parameter(torch.zeros(3))),
        X,
    ),
    "complex weights": (
        lambda: net(lambda self, x: (x.to(self.w.dtype) @ self.w).abs(),
                    w=nn.Parameter(torch.complex(X[:4, :3], X[2:, 1:]))),
        X,
    ),
    "complex inputs": (
        lambda: net(lambda self, x: self.a(torch.cat([x.real, x.imag], 1)), a=nn.Linear(8, 3)),
        torch.complex(X, X.flip(0)).to(torch.complex128),
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")  # plain autograd, for complex weights
@pytest.mark.parametrize("name", FIRST)
def test_inputs_have_the_type_that_the_model_takes(name):
    build, inputs = FIRST[name]
    model = build()
    found = Study(model, (inputs, Y), **GIVEN).change()
    right = prediction_change(model, inputs, Y, loss=cross_entropy, learning_rate=0.1)
    torch.testing.assert_close(found, right)


BAD = {
    "nothing": ({"train": None}, "the data are a NoneType"),
    "nothing to learn": ({"train": None, "test": (X, Y)}, "the data are a NoneType"),
    "output": ({"output": 1}, "output is 1; give a name or a function"),
    "rate": ({"learning_rate": 0}, "must be positive and finite, not 0"),
    "truth as rate": ({"learning_rate": True}, "learning_rate is of type bool"),
    "rate in words": ({"learning_rate": "0.1"}, "learning_rate is of type str"),
    "number as pattern": ({"parameters": 3}, "chosen by name"),
    "no pattern": ({"parameters": []}, "chosen by name"),
    "table": ({"train": pd.DataFrame(X.numpy())}, r"\.to_numpy\(\)"),
    "table and targets": ({"train": (pd.DataFrame(X.numpy()), Y)}, r"\.to_numpy\(\)"),
    "table and column": (
        {"train": (pd.DataFrame(X.numpy()), pd.Series(Y.numpy()))},
        r"\.to_numpy\(\)",
    ),
    "two targets": ({"train": (X, (Y, Y))}, "the targets are a tuple"),
    "width": ({"train": (X[:, :3], Y)}, r"does not take inputs of shape \(n, 3\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_study_of_bad_input_is_refused_in_one_line(name):
    changed, words = BAD[name]
    with pytest.raises(LecoreError, match=words) as caught:
        Study(network(), **({"train": (X, Y)} | GIVEN | changed))
    assert "\n" not in str(caught.value)


def test_a_rate_and_an_optimizer_are_too_much():
    model = network()
    adam = torch.optim.Adam(model.parameters())
    with pytest.raises(LecoreError, match="give either"):
        Study(model, (X, Y), optimizer=adam, **GIVEN)


@pytest.mark.parametrize("kind", ["SGD", "RMSprop"])
def test_an_optimizer_of_something_else_is_refused_at_once(kind):
    make = getattr(torch.optim, kind)
    for optimizer in (make, make(network().parameters()), kind):
        with pytest.raises(LecoreError, match="the optimizer"):
            Study(network(), (X, Y), loss="cross_entropy", optimizer=optimizer)


@pytest.mark.parametrize("pairs", [[], (1, 2), [(1.7, 2)], [(0, N)]])
def test_pairs_that_are_none_are_refused(pairs):
    with pytest.raises(LecoreError):
        Study(network(), (X, Y), **GIVEN).by_layer(pairs)


@pytest.mark.parametrize("number", [0, -1, 1.5, True])
def test_numbers_of_examples_are_whole(tmp_path, number):
    for name in ("top", "shown"):
        with pytest.raises(LecoreError, match=f"{name} must be a whole number above 0"):
            Study(network(), (X, Y), **GIVEN).report(tmp_path / "it.html", **{name: number})


ODD = {
    "diverged": lambda w: w | {"0.weight": torch.full((5, 4), torch.nan)},
    "sparse": lambda w: w | {"0.weight": torch.ones(5, 4).to_sparse()},
    "codes": lambda w: w | {"0.weight": torch.ones(5, 4, dtype=torch.int8)},
    "numbered": lambda w: dict(enumerate(w.values())),
    "nowhere": lambda w: w | {"0.weight": torch.ones(5, 4, device="meta")},
}


@pytest.mark.parametrize("name", ODD)
def test_weights_of_another_form_are_refused(tmp_path, name):
    torch.save(ODD[name](dict(network().state_dict())), tmp_path / "it.pt")
    with pytest.raises(LecoreError, match=r"it\.pt"):
        next(Study(network(), (X, Y), **GIVEN).follow(tmp_path / "it.pt"))


class Masked(nn.Linear):
    def __init__(self):
        super().__init__(4, 3)
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))


def test_a_mask_of_a_checkpoint_may_be_infinite(tmp_path):
    torch.save(Masked().state_dict(), tmp_path / "it.pt")
    ((_, then),) = Study(Masked(), (X, Y), **GIVEN).follow(tmp_path / "it.pt")
    assert len(then.self_influence()) == N


MODULES = {
    "fails": "raise RuntimeError('boom')",
    "unwritten": "study = (",
    "wants": "def study(a): pass",
    "leaves": "import os, tempfile; os.chdir(tempfile.gettempdir()); study = 3",
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_that_does_not_run_is_told_in_one_line(tmp_path, monkeypatch, capsys, name):
    (tmp_path / f"{name}.py").write_text(MODULES[name])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lecore", "measure", f"{name}:study"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("lecore: ")


@pytest.mark.parametrize("row", [3, N - 1])
@pytest.mark.parametrize("question", ["predicted", "self_influence", "influence", "change"])
def test_a_model_that_fails_on_one_example_is_told(row, question):
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(4, 3)

        def forward(self, x):
            return self.words(x)

    words = torch.zeros(N).long()
    words[row] = 4
    with pytest.raises(LecoreError, match=r"'words'.*index out of range"):
        getattr(Study(Words(), (words, Y), **GIVEN), question)()


@pytest.mark.parametrize("tiles", [None, "x", 3])
def test_influences_take_tiles(tiles):
    with pytest.raises(LecoreError, match=r"give lecore\.Tiles"):
        next(Study(network(), (X, Y), **GIVEN).influences(tiles))


def test_a_change_holds_no_graph():
    class Same(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.randn(3))

        def forward(self, x):
            return self.bias.expand(len(x), 3)

    assert not Study(Same(), (X, Y), **GIVEN).change().requires_grad


ANSWERS = {
    "self-influence": lambda study: study.self_influence(),
    "influence": lambda study: study.influence(),
    "change": lambda study: study.change(),
    "linear change": lambda study: study.change("linear"),
}


@pytest.mark.parametrize("question", ANSWERS)
def test_the_example_without_a_number_is_named(question):
    """One whose targets are all missing, so that its mean is 0/0, say."""
    torch.manual_seed(0)
    present = torch.ones(6, 2)
    present[4] = 0
    study = Study(
        nn.Linear(3, 2), (torch.randn(6, 3), present), (torch.randn(3, 3), torch.ones(3, 2)),
        loss=lambda f, y: (f**2 * y).sum() / y.sum(), learning_rate=0.1,
    )  # fmt: skip
    with pytest.raises(LecoreError, match=r"of row 4 (is|are) not finite"):
        ANSWERS[question](study)


def test_a_first_prediction_without_a_number_is_no_fault_of_the_targets():
    class Mean(nn.Linear):
        def forward(self, x, counts):
            return super().forward(x) / counts[:, None]

    counts = torch.tensor([0.0, 1.0, 1.0])
    study = Study(Mean(3, 2), ((torch.randn(3, 3), counts), torch.tensor([0, 1, 1])),
                  loss="cross_entropy", learning_rate=0.1)  # fmt: skip
    with pytest.raises(LecoreError, match=r"^the first prediction is not finite"):
        study.change()
