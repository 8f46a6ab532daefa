"""What cannot be measured rightly is refused in one line that names the place and the cure."""

import random
import re
import warnings
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

import lecore
from lecore import (
    Tiles,
    empirical_ntk,
    empirical_ntk_by_layer,
    linearized_change,
    linearized_change_by_layer,
    loss_kernel,
    loss_kernel_by_layer,
    ntk_operator,
    output_gradient,
    prediction_change,
    self_influence,
    train,
)
from lecore.engine.rounding import RoundingWarning
from lecore.engine.sketches import gradient_sketch
from lecore.errors import LecoreError
from lecore.losses import cross_entropy, squared_error
from tests.oracle import Problem, differences, world
from tests.zoo import changed, mlp, net

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # plain autograd, where needed

STEP = {"learning_rate": 0.1, "loss": squared_error}
CALLS = {
    "empirical_ntk": lambda m, x, y: empirical_ntk(m, x),
    "empirical_ntk_by_layer": lambda m, x, y: empirical_ntk_by_layer(m, x),
    "ntk_operator": lambda m, x, y: (lambda k: k @ np.ones(k.shape[1]))(ntk_operator(m, x)),
    "loss_kernel": lambda m, x, y: loss_kernel(m, x, y, loss=squared_error),
    "loss_kernel_by_layer": lambda m, x, y: loss_kernel_by_layer(m, x, y, loss=squared_error),
    "self_influence": lambda m, x, y: self_influence(m, x, y, loss=squared_error),
    "prediction_change": lambda m, x, y: prediction_change(m, x, y, **STEP),
    "linearized_change": lambda m, x, y: linearized_change(m, x, y, **STEP),
    "linearized_change_by_layer": lambda m, x, y: linearized_change_by_layer(m, x, y, **STEP),
    "output_gradient": lambda m, x, y: output_gradient(m, x, y, loss=squared_error),
    "gradient_sketch": lambda m, x, y: gradient_sketch(m, x, features=8),
    "train": lambda m, x, y: train(m, x, y, learning_rate=0.1, epochs=1, loss=squared_error),
}
WITH_TARGETS = [name for name in CALLS if "ntk" not in name and "sketch" not in name]


@pytest.fixture(autouse=True)
def always_the_same_numbers():
    torch.manual_seed(0)


def refused(call, *words: str) -> str:
    """The message of a refusal: one line that says what to do, with these words."""
    with pytest.raises(LecoreError) as caught:
        call()
    error, message = caught.value, str(caught.value)
    assert "\n" not in message
    assert error.cure or re.search("^give|must be", message), message
    for word in words:
        assert re.search(word, message), message
    return message


def test_every_public_call_that_takes_a_model_is_in_the_walk():
    takes_model = {
        name for name in lecore.__all__
        if "model" in getattr(getattr(lecore, name), "__annotations__", {})
    }  # fmt: skip
    assert takes_model <= set(CALLS)


# --- networks -----------------------------------------------------------------------------------


def training(c: int, noisy: nn.Module) -> nn.Module:
    model = net(lambda self, x: self.head(self.noisy(self.layer(x))), layer=nn.Linear(5, 6),
                noisy=noisy, head=nn.Linear(6, c)).eval()  # fmt: skip
    noisy.train()
    return model


def tuned(forward) -> nn.Module:
    return changed(nn.Sequential(), lambda m: (
        m.add_module("first", nn.Linear(5, 6)), m.add_module("odd", net(forward)),
        m.add_module("last", nn.Linear(6, 1)))).eval()  # fmt: skip


class Memory(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 4, num_layers=2, dropout=0.3)
        self.head = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x[None])[0][0])


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.3, batch_first=True)
        self.first, self.head = nn.Linear(5, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)[:, None].repeat(1, 3, 1)
        return self.head(self.attention(h, h, h)[0].mean(1))


RANDOM = {
    "dropout": (lambda: training(1, nn.Dropout(0.5)), "noisy"),
    "alpha dropout": (lambda: training(1, nn.AlphaDropout(0.5)), "noisy"),
    "rrelu": (lambda: training(1, nn.RReLU()), "noisy"),
    "attention": (lambda: Heads().train(), "attention"),
    "memory": (lambda: Memory().train(), "lstm"),
    "functional dropout": (lambda: tuned(lambda self, x: F.dropout(x, 0.5)), "odd"),
    "functional attention": (
        lambda: tuned(lambda self, x: F.scaled_dot_product_attention(
            x[:, None], x[:, None], x[:, None], dropout_p=0.5)[:, 0]), "odd",
    ),
    "functional rrelu": (lambda: tuned(lambda self, x: F.rrelu(x, training=True)), "odd"),
    "noise": (lambda: tuned(lambda self, x: x + torch.randn_like(x)), "odd"),
    "noise in place": (lambda: tuned(lambda self, x: x + torch.empty_like(x).normal_()), "odd"),
    "small noise": (lambda: tuned(lambda self, x: x + 1e-6 * torch.randn_like(x)), "odd"),
    "gumbel": (lambda: tuned(lambda self, x: F.gumbel_softmax(x)), "odd"),
    "bernoulli": (lambda: tuned(lambda self, x: x * torch.bernoulli(x.sigmoid())), "odd"),
    "stochastic depth": (
        lambda: tuned(lambda self, x: x if torch.rand(()) < 0.5 else 2 * x), "odd",
    ),
    "of python": (lambda: tuned(lambda self, x: x * random.random()), "odd"),
    "of numpy": (lambda: tuned(lambda self, x: x * np.random.rand()), "odd"),
    "permutation": (lambda: tuned(lambda self, x: x[:, torch.randperm(6)]), "odd"),
}  # fmt: skip


@pytest.mark.parametrize("name", RANDOM)
def test_random_networks_are_refused_by_the_name_of_the_layer(name):
    build, layer = RANDOM[name]
    model, x = build(), torch.randn(3, 5)
    before = world(model, x)
    for call in (CALLS["empirical_ntk"], CALLS["prediction_change"]):
        refused(lambda call=call: call(model, x, torch.zeros(3)), layer, r"eval\(\)")
    assert not differences(before, world(model, x))


MIXED = {
    "batch norm in training": (lambda: training(1, nn.BatchNorm1d(6)), "noisy"),
    "batch norm without statistics": (
        lambda: training(1, nn.BatchNorm1d(6, track_running_stats=False)).eval(), "noisy",
    ),
    "functional batch norm": (
        lambda: tuned(lambda self, x: F.batch_norm(x, None, None, training=True)), "'odd'",
    ),
    "batch mean": (lambda: tuned(lambda self, x: x - x.mean(0)), "'odd'"),
    "batch softmax": (lambda: tuned(lambda self, x: x.softmax(0)), "'odd'"),
    "whole mean": (lambda: tuned(lambda self, x: x / x.norm()), "'odd'"),
    "rolled": (lambda: tuned(lambda self, x: x + x.roll(1, 0)), "'odd'"),
    "attention over the batch": (
        lambda: tuned(lambda self, x: (x @ x.T).softmax(1) @ x), "'odd'",
    ),
    "sorted": (lambda: tuned(lambda self, x: x.sort(0)[0]), "'odd'"),
    "cumulated": (lambda: tuned(lambda self, x: x.cumsum(0)), "'odd'"),
    "first of the batch": (lambda: tuned(lambda self, x: x + x[0]), "'odd'"),
    "size of the batch": (lambda: tuned(lambda self, x: x / len(x)), "'odd'"),
    "beside a number": (
        lambda: net(lambda self, x: self.last(self.odd(x * self.number(x))), last=nn.Linear(5, 1),
                    number=net(lambda self, x: self.gain, gain=nn.Parameter(torch.tensor(2.0))),
                    odd=net(lambda self, x: x - x.mean(0))), "'odd'",
    ),
    "mean before the first layer": (
        lambda: net(lambda self, x: self.head(x - x.mean(0)), head=nn.Linear(5, 1)), "",
    ),
}  # fmt: skip


@pytest.mark.every(4)
@pytest.mark.parametrize("name", MIXED)
def test_networks_that_mix_the_batch_are_refused(name):
    build, layer = MIXED[name]
    model, x = build(), torch.randn(4, 5)
    for call in (CALLS["empirical_ntk"], CALLS["prediction_change"], CALLS["output_gradient"]):
        refused(lambda call=call: call(model, x, torch.zeros(4)), layer)


def handled(register) -> nn.Module:
    return changed(nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 1)), register)


HOOKED = {
    "of a parameter": (
        lambda: handled(lambda m: m[0].weight.register_hook(lambda g: 2 * g)), r"0\.weight",
    ),
    "after accumulation": (
        lambda: handled(lambda m: m[0].weight.register_post_accumulate_grad_hook(
            lambda p: p.grad.zero_())), r"0\.weight",
    ),
    "of a module": (
        lambda: handled(lambda m: m[1].register_full_backward_hook(
            lambda module, gi, go: (2 * gi[0],))), "'1'",
    ),
    "before a module": (
        lambda: handled(lambda m: m[1].register_full_backward_pre_hook(
            lambda module, go: (2 * go[0],))), "'1'",
    ),
}  # fmt: skip


def hooks_a_weight(self, x):
    if self.head.weight.requires_grad:
        self.head.weight.register_hook(lambda g: 3 * g)
    return self.head(x)


HOOKED["of a parameter, at each pass"] = (
    lambda: net(hooks_a_weight, head=nn.Linear(5, 1)), r"head\.weight"
)  # fmt: skip


def test_a_script_without_a_module_around_it_is_refused():
    with pytest.warns(DeprecationWarning, match="jit"):
        model = torch.jit.script(nn.Linear(5, 2))
    refused(lambda: empirical_ntk(model, torch.randn(3, 5)), "nn.Sequential")


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.k: float = 1.0

    def forward(self, x: Tensor) -> Tensor:
        self.k += 1.0
        return x * self.k


def test_a_script_that_counts_is_refused():
    with pytest.warns(DeprecationWarning, match="jit"):
        counts = torch.jit.script(Counts())
    model = nn.Sequential(nn.Linear(5, 2), counts)
    refused(lambda: empirical_ntk(model, torch.randn(3, 5)), "call to call")


@pytest.mark.parametrize("name", HOOKED)
def test_hooks_on_gradients_are_refused(name):
    build, place = HOOKED[name]
    refused(lambda: empirical_ntk(build(), torch.randn(2, 5)), place, "hook")


OUTPUTS = {
    "dict": lambda self, x: {"logits": self.head(x)},
    "tuple": lambda self, x: (self.head(x), x),
    "none": lambda self, x: None,
    "number": lambda self, x: 1.0,
    "complex": lambda self, x: torch.complex(self.head(x), self.head(x)),
    "integers": lambda self, x: self.head(x).round().long(),
    "booleans": lambda self, x: self.head(x) > 0,
    "three axes": lambda self, x: self.head(x)[:, None],
    "one axis": lambda self, x: self.head(x)[:, 0],
    "no axis": lambda self, x: self.head(x).sum(),
    "no outputs": lambda self, x: self.head(x)[:, :0],
    "more rows": lambda self, x: self.head(x).repeat(2, 1),
    "not finite": lambda self, x: self.head(x) / 0,
    "without weights": lambda self, x: x,
    "detached": lambda self, x: self.head(x).detach(),
    "no gradient": lambda self, x: torch.sqrt(0 * self.head(x)),
}  # fmt: skip
REFUSED = [name for name in OUTPUTS if name not in ("without weights", "detached")]


@pytest.mark.every(6)
@pytest.mark.parametrize("call", [name for name in CALLS if name != "train"])
@pytest.mark.parametrize("name", REFUSED)
def test_outputs_of_another_kind_are_refused(name, call):
    if name == "no gradient" and call == "output_gradient":
        pytest.skip("its outputs are finite")
    model = net(OUTPUTS[name], head=nn.Linear(5, 2))
    refused(lambda: CALLS[call](model, torch.randn(3, 5), torch.zeros(3)))


@pytest.mark.parametrize("name", ["without weights", "detached"])
def test_outputs_that_no_weight_moves_have_a_kernel_of_zero(name):
    model = net(OUTPUTS[name], head=nn.Linear(5, 2))
    try:
        kernel = empirical_ntk(model, torch.randn(3, 5))
    except LecoreError:
        return
    assert float(kernel.abs().max()) == 0


MODELS = {
    "a class": nn.Linear,
    "a function": lambda x: x,
    "none": None,
    "a tensor": torch.zeros(3, 3),
    "a list": [nn.Linear(5, 1)],
    "a dict": nn.Linear(5, 1).state_dict(),
    "nothing trains": nn.Linear(5, 1).requires_grad_(False),
    "no parameters": nn.ReLU(),
    "lazy": nn.LazyLinear(1),
    "on no device": nn.Linear(5, 1, device="meta"),
    "infinite": changed(nn.Linear(5, 1), lambda m: m.weight.data.fill_(float("inf"))),
    "not a number": changed(mlp(1), lambda m: m[2].bias.data.fill_(float("nan"))),
    "no forward": nn.ModuleList([nn.Linear(5, 1)]),
    "another width": nn.Linear(4, 1),
    "images": nn.Conv2d(1, 1, 3),
    "indices": nn.Sequential(nn.Embedding(3, 1), nn.Flatten(), nn.Linear(5, 1)),
    "two inputs": net(lambda self, x, y: self.a(x) + y, a=nn.Linear(5, 1)),
    "failing": net(lambda self, x: self.a(x)[:, 7], a=nn.Linear(5, 1)),
    "own error": net(lambda self, x: self.nothing(x), a=nn.Linear(5, 1)),
}


@pytest.mark.every(6)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", MODELS)
def test_what_is_no_model_of_these_points_is_refused(name, call):
    if call == "train" and name in ("infinite", "not a number"):
        pytest.skip("training says that it diverged")
    refused(lambda: CALLS[call](MODELS[name], torch.randn(3, 5), torch.zeros(3)))


# --- points and targets -------------------------------------------------------------------------

POINTS = {
    "dict": {"x": torch.randn(3, 5)},
    "tuple": (torch.randn(3, 5), torch.randn(3, 5)),
    "list": [[1.0] * 5] * 3,
    "list of tensors": [torch.randn(5)] * 3,
    "none": None,
    "number": 3.0,
    "text": "x",
    "numpy": np.zeros((3, 5)),
    "empty": torch.empty(0, 5),
    "empty rows": torch.empty(3, 0),
    "uint8": torch.ones(3, 5, dtype=torch.uint8),
    "integers": torch.ones(3, 5, dtype=torch.long),
    "bool": torch.ones(3, 5, dtype=torch.bool),
    "complex": torch.ones(3, 5, dtype=torch.complex64),
    "meta": torch.randn(3, 5, device="meta"),
    "sparse": torch.eye(5)[:3].to_sparse(),
    "nested": torch.nested.nested_tensor([torch.randn(5)] * 3, layout=torch.jagged),
    "no axis": torch.tensor(1.0),
    "one axis": torch.randn(5),
    "three axes": torch.randn(3, 2, 4),
    "another width": torch.randn(3, 4),
    "not a number": torch.full((3, 5), float("nan")),
    "infinite": torch.full((3, 5), float("inf")),
}


@pytest.mark.every(6)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", POINTS)
def test_points_of_another_kind_are_refused(name, call):
    if call == "train" and name in ("not a number", "infinite"):
        pytest.skip("training says that it diverged")
    model = mlp(2)
    refused(lambda: CALLS[call](model, POINTS[name], torch.zeros(3)))


@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors")
@pytest.mark.parametrize("call", CALLS)
def test_masked_points_are_refused(call):
    x = torch.masked.masked_tensor(torch.randn(3, 5), torch.ones(3, 5, dtype=torch.bool))
    with pytest.raises(LecoreError, match="inputs is a MaskedTensor; give a plain tensor"):
        CALLS[call](mlp(2), x, torch.zeros(3))


@pytest.mark.parametrize("name", POINTS)
def test_test_points_of_another_kind_are_refused(name):
    model, x, y = mlp(2), torch.randn(3, 5), torch.zeros(3)
    if name == "none":  # means the update points
        return
    refused(lambda: empirical_ntk(model, x, POINTS[name]))
    refused(lambda: prediction_change(model, x, y, POINTS[name], **STEP))
    refused(lambda: linearized_change(model, x, y, POINTS[name], **STEP))


TARGETS = {
    "dict": {"y": torch.zeros(3)},
    "tuple": (0.0, 0.0, 0.0),
    "list": [0.0, 0.0, 0.0],
    "none": None,
    "numpy": np.zeros(3),
    "empty": torch.empty(0),
    "too few": torch.zeros(2),
    "too many": torch.zeros(4),
    "no axis": torch.tensor(1.0),
    "complex": torch.zeros(3, dtype=torch.complex64),
    "bool": torch.zeros(3, dtype=torch.bool),
    "meta": torch.zeros(3, device="meta"),
    "another width": torch.zeros(3, 5),
    "three axes": torch.zeros(3, 2, 2),
    "not a number": torch.tensor([0.0, float("nan"), 0.0]),
    "infinite": torch.tensor([0.0, float("inf"), 0.0]),
    "sparse": torch.eye(3).to_sparse(),
}


@pytest.mark.every(6)
@pytest.mark.parametrize("call", WITH_TARGETS)
@pytest.mark.parametrize("name", TARGETS)
def test_targets_of_another_kind_are_refused(name, call):
    if call == "train" and name in ("not a number", "infinite"):
        pytest.skip("training says that it diverged")
    words = ["row 1"] if name in ("not a number", "infinite") else []
    refused(lambda: CALLS[call](mlp(2), torch.randn(3, 5), TARGETS[name]), *words)


OPTIONS = {
    "no step": {},
    "two steps": {"learning_rate": 1.0, "optimizer": torch.optim.SGD(mlp(1).parameters(), lr=1)},
    "a rate of 0": {"learning_rate": 0.0},
    "a rate below 0": {"learning_rate": -1.0},
    "a rate that is no number": {"learning_rate": float("nan")},
    "an infinite rate": {"learning_rate": float("inf")},
    "a rate of yes": {"learning_rate": True},
    "a rate in words": {"learning_rate": "0.1"},
    "an optimizer of others": {"optimizer": torch.optim.SGD(mlp(1).parameters(), lr=1.0)},
    "an unknown optimizer": {"optimizer": torch.optim.RMSprop(mlp(1).parameters())},
    "a class as optimizer": {"optimizer": torch.optim.SGD},
    "a dtype of integers": {"learning_rate": 1.0, "dtype": torch.long},
    "a dtype in words": {"learning_rate": 1.0, "dtype": "float64"},
    "a loss in words": {"learning_rate": 1.0, "loss": "mse"},
    "a loss of shape": {"learning_rate": 1.0, "loss": lambda f, y: (f - y) ** 2},
    "a loss of no tensor": {"learning_rate": 1.0, "loss": lambda f, y: 1.0},
    "a loss of one argument": {"learning_rate": 1.0, "loss": lambda f: f.sum()},
    "a loss without a graph": {
        "learning_rate": 1.0,
        "loss": lambda f, y: (f.detach() - y).square().sum(),
    },
    "a failing loss": {"learning_rate": 1.0, "loss": lambda f, y: f[9]},
    "tiles in words": {"learning_rate": 1.0, "tiles": "many"},
    "too large a rate": {"learning_rate": 1e308},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("call", [prediction_change, linearized_change])
def test_options_of_another_kind_are_refused(call, name):
    if name == "too large a rate" and call is linearized_change:
        pytest.skip("of first order it only scales")
    refused(lambda: call(mlp(2), torch.randn(3, 5), torch.zeros(3), **OPTIONS[name]))


@pytest.mark.parametrize("options", [{"form": "half"}, {"dtype": torch.bool}, {"dtype": "tf32"},
                                     {"tiles": 3}])  # fmt: skip
def test_options_of_a_kernel_are_refused(options):
    refused(lambda: empirical_ntk(mlp(2), torch.randn(3, 5), **options))


# --- where a call stands ------------------------------------------------------------------------


def fake(call):
    with FakeTensorMode(allow_non_fake_inputs=True):
        call()


def elsewhere(call):
    with torch.device("meta"):
        call()


def by_default(call):
    torch.set_default_device("meta")
    try:
        call()
    finally:
        torch.set_default_device(None)


def traced(call):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(lambda x: (call(), x)[1], torch.ones(3), check_trace=False)


AROUND = {
    "grad": lambda call: torch.func.grad(lambda x: (call(), x.sum())[1])(torch.ones(3)),
    "vmap": lambda call: torch.func.vmap(lambda x: (call(), x)[1])(torch.ones(3)),
    "jvp": lambda call: torch.func.jvp(
        lambda x: (call(), x)[1], (torch.ones(3),), (torch.ones(3),)
    ),
    "functionalize": lambda call: torch.func.functionalize(lambda: call())(),
    "trace": traced,
    "make_fx": lambda call: make_fx(lambda x: (call(), x + 1)[1])(torch.ones(3)),
    "fake tensors": fake,
    "another device": elsewhere,
    "another default device": by_default,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", AROUND)
def test_calls_inside_of_what_computes_no_numbers_are_refused(name, call):
    model, x, y = mlp(1), torch.randn(3, 5), torch.zeros(3)
    refused(lambda: AROUND[name](lambda: CALLS[call](model, x, y)), "inside of|torch makes tensors")


# --- losses -------------------------------------------------------------------------------------


def test_classes_without_a_loss_are_refused():
    for call in (partial(prediction_change, learning_rate=0.1),
                 partial(linearized_change, learning_rate=0.1), output_gradient):  # fmt: skip
        message = refused(lambda call=call: call(mlp(3), torch.randn(3, 5), torch.arange(3)))
        assert "loss" in message


def test_missing_labels_are_named():
    y = torch.tensor([0, -1, 2, -100])
    refused(lambda: output_gradient(mlp(3), torch.randn(4, 5), y, loss=cross_entropy), "rows 1, 3")
    y = torch.tensor([0, 3, 2, 1])
    refused(lambda: output_gradient(mlp(3), torch.randn(4, 5), y, loss=cross_entropy), "row 1")


WEIGHTS = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
CLASSES, SOFT = torch.tensor([0, 2, 1, 2]), torch.tensor(
    [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]]
).double()  # fmt: skip
SEVERAL, NUMBERS = (SOFT > 0.25).double(), SOFT * 3 - 1


def weighted_closure(f: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(f, y, weight=WEIGHTS)


def hinge(f: Tensor, y: Tensor) -> Tensor:
    return (1 - f[y] + torch.where(torch.arange(3) == y, f[y] - 1, f)).clamp(min=0).sum()


class Square(torch.autograd.Function):
    """Of the old kind, which torch.func does not know."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx, signal: Tensor) -> Tensor:
        return 2 * signal * ctx.saved_tensors[0]


def steepness(f: Tensor, y: Tensor) -> Tensor:
    (slope,) = torch.autograd.grad((f - y).pow(3).sum(), f, create_graph=True)
    return slope.sum()


LOSSES = {
    "cross entropy": (cross_entropy, CLASSES, lambda f, y: -f.log_softmax(0)[y]),
    "of torch": (F.cross_entropy, CLASSES, lambda f, y: -f.log_softmax(0)[y]),
    "a module": (nn.CrossEntropyLoss(), CLASSES, lambda f, y: -f.log_softmax(0)[y]),
    "weighted": (
        nn.CrossEntropyLoss(weight=WEIGHTS), CLASSES,
        lambda f, y: -WEIGHTS[y] * f.log_softmax(0)[y],
    ),
    "weighted in single precision": (
        nn.CrossEntropyLoss(weight=torch.tensor([0.25, 1.0, 3.0])), CLASSES,
        lambda f, y: -torch.tensor([0.25, 1.0, 3.0]).double()[y] * f.log_softmax(0)[y],
    ),
    "partial": (
        partial(F.cross_entropy, weight=WEIGHTS), CLASSES,
        lambda f, y: -WEIGHTS[y] * f.log_softmax(0)[y],
    ),
    "closure": (weighted_closure, CLASSES, lambda f, y: -WEIGHTS[y] * f.log_softmax(0)[y]),
    "lambda": (
        lambda f, y: 2 * nn.CrossEntropyLoss(WEIGHTS)(f, y), CLASSES,
        lambda f, y: -2 * WEIGHTS[y] * f.log_softmax(0)[y],
    ),
    "smoothed": (
        nn.CrossEntropyLoss(label_smoothing=0.3), CLASSES,
        lambda f, y: -0.7 * f.log_softmax(0)[y] - 0.1 * f.log_softmax(0).sum(),
    ),
    "ignoring": (
        nn.CrossEntropyLoss(ignore_index=2), CLASSES,
        lambda f, y: -f.log_softmax(0)[y] * (y != 2),
    ),
    "soft labels": (cross_entropy, SOFT, lambda f, y: -(y * f.log_softmax(0)).sum()),
    "soft labels of a module": (
        nn.CrossEntropyLoss(), SOFT, lambda f, y: -(y * f.log_softmax(0)).sum(),
    ),
    "negative log": (
        lambda f, y: nn.NLLLoss(weight=WEIGHTS)(f.log_softmax(0), y), CLASSES,
        lambda f, y: -WEIGHTS[y] * f.log_softmax(0)[y],
    ),
    "several labels": (
        nn.BCEWithLogitsLoss(reduction="sum"), SEVERAL,
        lambda f, y: -(y * F.logsigmoid(f) + (1 - y) * F.logsigmoid(-f)).sum(),
    ),
    "several labels on average": (
        nn.BCEWithLogitsLoss(), SEVERAL,
        lambda f, y: -(y * F.logsigmoid(f) + (1 - y) * F.logsigmoid(-f)).mean(),
    ),
    "squares": (nn.MSELoss(reduction="sum"), NUMBERS, lambda f, y: ((f - y) ** 2).sum()),
    "mean of squares": (nn.MSELoss(), NUMBERS, lambda f, y: ((f - y) ** 2).mean()),
    "squared error": (squared_error, NUMBERS, lambda f, y: ((f - y) ** 2).sum()),
    "no loss": (None, NUMBERS, lambda f, y: ((f - y) ** 2).sum()),
    "huber": (
        nn.HuberLoss(delta=0.5, reduction="sum"), NUMBERS,
        lambda f, y: torch.where((f - y).abs() < 0.5, (f - y) ** 2 / 2,
                                 0.5 * ((f - y).abs() - 0.25)).sum(),
    ),
    "hinge": (
        hinge, CLASSES,
        lambda f, y: sum((1 - f[y] + f[k]).clamp(min=0) for k in range(3) if k != int(y)),
    ),
    "of a custom function": (
        lambda f, y: Square.apply(f - y).sum(), NUMBERS, lambda f, y: ((f - y) ** 2).sum(),
    ),
    "by numpy": (
        lambda f, y: (f - torch.as_tensor(y.numpy())).square().sum(), NUMBERS,
        lambda f, y: ((f - y) ** 2).sum(),
    ),
    "of a derivative": (steepness, NUMBERS, lambda f, y: 3 * ((f - y) ** 2).sum()),
    "checkpointed": (
        lambda f, y: checkpoint(lambda h: (h - y).square().sum(), f, use_reentrant=False), NUMBERS,
        lambda f, y: ((f - y) ** 2).sum(),
    ),
    "in place": (
        lambda f, y: f.sub_(y).square_().sum(), NUMBERS, lambda f, y: ((f - y) ** 2).sum(),
    ),
    "looks at the target": (
        lambda f, y: f.sum() ** 2 if int(y) == 2 else f[0] ** 2, CLASSES,
        lambda f, y: f.sum() ** 2 if int(y) == 2 else f[0] ** 2,
    ),
}  # fmt: skip


@pytest.mark.every(8)
@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_one_example(name):
    loss, y, right = LOSSES[name]
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).double()
    case = Problem(lambda: mlp(3), x, y, x, right)
    step = case.change(torch.optim.SGD, 0.1)
    model = case.model()
    torch.testing.assert_close(output_gradient(model, x, y, loss=loss), case.signal)
    for tiles in (Tiles(), Tiles(shape=(2, 3))):
        change = prediction_change(model, x, y, learning_rate=0.1, loss=loss, tiles=tiles)
        torch.testing.assert_close(change, step)
    slopes = torch.einsum("ic,icp->ip", case.signal, case.left)
    if loss is not None:
        torch.testing.assert_close(loss_kernel(model, x, y, loss=loss), slopes @ slopes.T)
    first = linearized_change(model, x, y, learning_rate=0.1, loss=loss)
    torch.testing.assert_close(first, -0.1 * torch.einsum("ip,jcp->ijc", slopes, case.left))


# --- half precision, and the check switched off -------------------------------------------------


HALF = {
    "kernel": lambda m, x, y: empirical_ntk(m, x),
    "first order": lambda m, x, y: linearized_change(m, x, y, learning_rate=0.1),
    "small step": lambda m, x, y: prediction_change(m, x, y, learning_rate=1e-6),
}


@pytest.mark.parametrize("call", HALF)
def test_half_precision_inside_is_said(call):
    model = net(lambda self, x: self.head(self.layer(x).bfloat16().to(x.dtype)),
                layer=nn.Linear(5, 6), head=nn.Linear(6, 1))  # fmt: skip
    with pytest.warns(RoundingWarning, match="bfloat16 on the way, so results have about 2 dig"):
        HALF[call](model, torch.randn(3, 5), torch.zeros(3))


def test_half_precision_that_was_asked_for_is_not_said():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        empirical_ntk(nn.Linear(5, 2), torch.randn(3, 5), dtype=torch.bfloat16)
        empirical_ntk(nn.Linear(5, 2).bfloat16(), torch.randn(3, 5))


def test_without_the_check_nothing_is_looked_for():
    """Who switches it off gets what a forward of one example gives."""
    model, x = MIXED["batch softmax"][0](), torch.randn(3, 5)
    kernel = empirical_ntk(model, x, check=False)
    assert kernel.shape == (3, 3, 1, 1)
    case = Problem(lambda: mlp(3), x.double(), torch.zeros(3), x.double())
    unchecked = empirical_ntk(case.model(), x, check=False)
    torch.testing.assert_close(unchecked, case.kernel(case.left, case.left))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_probabilities_of_another_number_of_classes_are_refused(size):
    model, x = nn.Linear(5, 3), torch.randn(2, 5)
    refused(lambda: output_gradient(model, x, torch.ones(2, size), loss=cross_entropy), "3 outputs")


def test_a_loss_may_leave_out_missing_targets():
    def known_ones(prediction, target):
        return ((prediction - target.nan_to_num()).square() * ~target.isnan()).sum()

    model, x = nn.Linear(5, 2), torch.randn(2, 5)
    y = torch.tensor([[1.0, torch.nan], [torch.nan, torch.nan]])
    gradient = output_gradient(model, x, y, loss=known_ones)
    with torch.no_grad():
        right = 2 * (model.double()(x.double())[0, 0] - 1)
    torch.testing.assert_close(gradient, torch.tensor([[right, 0.0], [0.0, 0.0]]))


# --- copies that are another network --------------------------------------------------------------


class Rebuilt(nn.Module):
    """A ``__deepcopy__`` of the usual kind, which forgets what is not in the state dict."""

    def __init__(self):
        super().__init__()
        self.layer, self.after = nn.Linear(5, 2), nn.Identity()
        self.scale, self.kinds, self.cache = np.ones(2), {"a"}, None

    def __deepcopy__(self, memo):
        new = type(self)()
        memo[id(self)] = new
        new.load_state_dict(self.state_dict())
        return new

    def forward(self, x):
        return self.after(self.layer(x)) * torch.as_tensor(self.scale).to(x.dtype)


FORGOTTEN = {
    "a layer": (lambda m: setattr(m, "after", nn.Tanh()), "another layer 'after'"),
    "a hook": (
        lambda m: m.layer.register_forward_hook(lambda *a: 3 * a[2]),
        "lacks hooks of layer 'layer'",
    ),
    "an array": (lambda m: setattr(m, "scale", np.array([5.0, 7.0])), "another 'scale'"),
    "a set": (lambda m: m.kinds.update("bc"), "another 'kinds'"),
    "an attribute": (lambda m: setattr(m, "more", 1), "another 'more'"),
    "what was none": (lambda m: setattr(m, "cache", 0.5), "another 'cache'"),
}


@pytest.mark.parametrize("what", FORGOTTEN)
def test_a_copy_that_forgets_is_refused(what):
    change, words = FORGOTTEN[what]
    model = changed(Rebuilt(), change)
    refused(lambda: empirical_ntk(model, torch.randn(3, 5)), words)


def test_a_buffer_that_was_computed_from_a_parameter_is_refused():
    model = mlp(2)
    model.register_buffer("doubled", 2 * next(model.parameters()))
    refused(lambda: empirical_ntk(model, torch.randn(3, 5)), "buffer 'doubled' was computed")


def test_sparse_weights_and_predictions_are_refused():
    model = net(lambda self, x: x @ self.w, w=nn.Parameter(torch.eye(5).to_sparse()))
    refused(lambda: empirical_ntk(model, torch.randn(3, 5)), "'w' is not dense")
    model = net(lambda self, x: self.layer(x).to_sparse(), layer=nn.Linear(5, 2))
    refused(lambda: empirical_ntk(model, torch.randn(3, 5)), "outputs are not dense")


@pytest.mark.parametrize("call", ["empirical_ntk", "prediction_change", "self_influence"])
def test_a_prediction_that_is_not_finite_is_called_so(call):
    model = net(lambda self, x: self.layer(x) / 0, layer=nn.Linear(5, 1))
    refused(lambda: CALLS[call](model, torch.randn(3, 5), torch.randn(3, 1)), "not finite")


def test_a_prediction_between_the_first_and_the_last_that_is_not_finite_is_called_so():
    model = net(lambda self, x: self.layer(x.sqrt()), layer=nn.Linear(5, 1))
    x = torch.ones(3, 5)
    x[1] = -1.0
    refused(lambda: prediction_change(model, x, torch.randn(3, 1), **STEP), "prediction is not")


@pytest.mark.parametrize("rate", [10**400, torch.tensor([0.1]), "fast", -1.0, float("nan"), True])
def test_a_rate_that_is_none_is_refused(rate):
    refused(
        lambda: prediction_change(mlp(1), torch.randn(3, 5), torch.randn(3, 1), learning_rate=rate),
        "learning_rate",
    )


@pytest.mark.parametrize("rate", [np.float32(0.5), np.float16(0.5), Fraction(1, 2)])
def test_any_real_number_is_a_rate(rate):
    given = mlp(1), torch.randn(3, 5).double(), torch.randn(3, 1).double()
    found, right = (prediction_change(*given, learning_rate=r) for r in (rate, 0.5))
    assert torch.equal(found, right)


@pytest.mark.parametrize(
    "settings",
    [
        {"jobs": 1.5}, {"jobs": "2"}, {"jobs": True}, {"shape": 3}, {"shape": (1.5, 2)},
        {"shape": (1, 2, 3)}, {"client": 5}, {"store": 3}, {"store": b"x"}, {"memory": 1e9},
    ],
)  # fmt: skip
def test_tiles_of_another_kind_are_refused(settings):
    refused(lambda: Tiles(**settings), next(iter(settings)).replace("shape", "shape|a tile"))


def test_of_an_exported_network_the_one_it_came_from_is_asked_for():
    x = torch.randn(4, 5)
    exported = torch.export.export(mlp(3), (x,)).module()
    with pytest.raises(LecoreError, match="measure the network that was traced or exported"):
        empirical_ntk(exported, x)


def test_control_flow_that_torch_compiles_is_refused_in_plain_words():
    def choose(self, x):
        return torch.cond(x.sum() > 0, torch.sin, torch.cos, (self.layer(x),))

    model = net(choose, layer=nn.Linear(3, 2))
    with pytest.raises(LecoreError, match=r"calls torch's cond, which compiles .* torch.where"):
        empirical_ntk(model, torch.randn(2, 3))
