"""What was found out about a network is forgotten when anything changes that it may depend on."""

import collections
import copy
import functools
import math
import os
import threading
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lecore import Tiles, empirical_ntk, empirical_ntk_by_layer, prediction_change
from lecore.engine.network import remembering
from lecore.engine.network.remembering import remembered
from lecore.engine.routes.chains import chain
from lecore.errors import LecoreError
from lecore.identity.patches import patches
from tests.oracle import Problem
from tests.zoo import net

X = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)).double()
Y = torch.linspace(-1, 1, 3).double()


class Config:
    penal = False


class Slotted:
    __slots__ = ("on",)

    def __init__(self):
        self.on = False


class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.on = False


def plain(h, more):
    return h


def squared(h, more):
    return h + more


def by_default(h, more, on=False):
    return h + more if on else h


@functools.lru_cache
def cached():
    return len(CONTENT) > 0


ON = False
CONTENT: list[int] = []


def switched_by(condition):
    """A second use of the weights, if a condition holds."""

    def forward(self, x):
        h = self.b(self.a(x).tanh())
        more = self.a.weight.sum() * self.b.weight.square().sum()
        return h + more if condition(self) else h

    def build(**attributes):
        torch.manual_seed(1)
        return net(forward, a=nn.Linear(2, 2), b=nn.Linear(2, 2), **attributes)

    return build


def set_on(holder):
    holder.on = True


def fill(self):
    CONTENT.append(1)
    cached.cache_clear()


CHANGES = {
    "a global": (lambda s: ON, lambda s: globals().update(ON=True), {}),
    "an attribute of a class": (
        lambda s: Config.penal,
        lambda s: setattr(Config, "penal", True),
        {},
    ),
    "its own class": (
        lambda s: getattr(type(s), "on", False),
        lambda s: setattr(type(s), "on", True),
        {},
    ),
    "a slot": (lambda s: s.held.on, lambda s: set_on(s.held), {"held": Slotted}),
    "a module in a list": (
        lambda s: s.held[0].on,
        lambda s: set_on(s.held[0]),
        {"held": lambda: [Holder()]},
    ),
    "a range": (
        lambda s: len(s.r) > 1,
        lambda s: setattr(s, "r", range(2)),
        {"r": lambda: range(1)},
    ),
    "a slice": (
        lambda s: s.r.stop > 1,
        lambda s: setattr(s, "r", slice(2)),
        {"r": lambda: slice(1)},
    ),
    "a complex number": (
        lambda s: s.r.real > 1,
        lambda s: setattr(s, "r", 2j + 2),
        {"r": lambda: 1j},
    ),
    "a queue": (lambda s: len(s.q) > 0, lambda s: s.q.append(1), {"q": collections.deque}),
    "an array": (lambda s: s.q[0] > 0, lambda s: s.q.fill(1), {"q": lambda: np.zeros(1)}),
    "a bool of numpy": (
        lambda s: s.q,
        lambda s: setattr(s, "q", np.bool_(True)),
        {"q": lambda: np.bool_(False)},
    ),
    "a partial": (
        lambda s: s.q(),
        lambda s: setattr(s, "q", functools.partial(int, 1)),
        {"q": lambda: functools.partial(int, 0)},
    ),
    "a builtin": (lambda s: s.q([0, 1]), lambda s: setattr(s, "q", any), {"q": lambda: all}),
    "a default": (
        lambda s: float(by_default(0, 1)) > 0,
        lambda s: setattr(by_default, "__defaults__", (True,)),
        {},
    ),
    "deep in dicts": (
        lambda s: s.q[0][0][0][0][0][0][0],
        lambda s: s.q[0][0][0][0][0][0].update({0: True}),
        {"q": lambda: {0: {0: {0: {0: {0: {0: {0: False}}}}}}}},
    ),
    "the environment": (
        lambda s: os.environ.get("LECORE_TEST_ON"),
        lambda s: os.environ.update(LECORE_TEST_ON="1"),
        {},
    ),
    "what a cache keeps": (lambda s: cached(), fill, {}),
    "a value of a library": (lambda s: math.tau > 7, lambda s: setattr(math, "tau", 8.0), {}),
}


@pytest.fixture
def undone(monkeypatch):
    monkeypatch.setenv("LECORE_TEST_ON", "")
    monkeypatch.setattr(Config, "penal", False)
    monkeypatch.setattr(math, "tau", math.tau)
    monkeypatch.setattr(by_default, "__defaults__", (False,))
    yield
    globals().update(ON=False)
    CONTENT.clear()
    cached.cache_clear()


@pytest.mark.every(4)
@pytest.mark.usefixtures("undone")
@pytest.mark.parametrize("name", CHANGES)
def test_what_is_known_ends_with_a_change_of(name):
    condition, change, held = CHANGES[name]
    build = switched_by(condition)
    model = build(**{key: make() for key, make in held.items()})
    empirical_ntk(model, X)
    change(model)
    always = Problem(switched_by(lambda s: True), X, Y, X)
    torch.testing.assert_close(empirical_ntk(model, X), always.kernel(always.left, always.left))


def test_a_global_hook_that_another_one_replaces_is_seen():
    model = switched_by(lambda s: False)()
    forget = nn.modules.module.register_module_forward_hook(lambda m, i, o: o)
    empirical_ntk(model, X)
    forget.remove()
    forget = nn.modules.module.register_module_forward_hook(
        lambda m, i, o: o + m.weight.sum() if isinstance(m, nn.Linear) else o
    )
    try:
        torch.testing.assert_close(empirical_ntk(model, X), empirical_ntk(copy.deepcopy(model), X))
        assert not torch.allclose(empirical_ntk(model, X), kernel_without_hooks(model, forget))
    finally:
        forget.remove()


def kernel_without_hooks(model, forget):
    hooks = nn.modules.module._global_forward_hooks
    kept = dict(hooks)
    hooks.clear()
    try:
        return empirical_ntk(model, X)
    finally:
        hooks.update(kept)


def test_layers_that_change_places_have_their_own_shares(monkeypatch):
    def forward(self, x):
        first, second = (self.b, self.a) if Config.penal else (self.a, self.b)
        return second(first(x).tanh())

    model = net(forward, a=nn.Linear(2, 2), b=nn.Linear(2, 2))
    empirical_ntk_by_layer(model, X)
    monkeypatch.setattr(Config, "penal", True)
    right = empirical_ntk_by_layer(copy.deepcopy(model), X)
    torch.testing.assert_close(empirical_ntk_by_layer(model, X), right)


@pytest.mark.parametrize("begins", ["mixes", "draws"])
def test_a_network_that_begins_to_misbehave_is_refused_and_no_random_number_drawn(
    begins, monkeypatch
):
    ways = {"mixes": lambda x: x - x.mean(0), "draws": lambda x: x + torch.randn_like(x)}
    model = net(lambda self, x: self.a(ways[begins](x) if Config.penal else x), a=nn.Linear(2, 2))
    empirical_ntk(model, X)
    monkeypatch.setattr(Config, "penal", True)
    state = torch.get_rng_state()
    with pytest.raises(LecoreError, match=r"other examples|random"):
        empirical_ntk(model, X)
    assert torch.equal(torch.get_rng_state(), state)


def of_layers(*layers):
    def build():
        torch.manual_seed(1)
        return nn.Sequential(*(layer() for layer in layers))

    return build


FIRST = functools.partial(nn.Linear, 2, 4)
CHAINS = {
    "two layers": of_layers(FIRST, nn.ReLU, functools.partial(nn.Linear, 4, 1)),
    "three layers": of_layers(
        FIRST,
        nn.ReLU,
        functools.partial(nn.Linear, 4, 4),
        nn.ReLU,
        functools.partial(nn.Linear, 4, 2),
    ),
    "with a norm": of_layers(
        FIRST, nn.ReLU, functools.partial(nn.LayerNorm, 4), functools.partial(nn.Linear, 4, 1)
    ),
}
PATCHES = {
    "a function": lambda patch, f: patch.setattr(F, "relu", lambda x, **rest: 2 * f(x)),
    "a function of the library": lambda patch, f: patch.setattr(
        F, "relu", lambda x, inplace: x.tanh()
    ),
    "another of the library": lambda patch, f: patch.setattr(F, "relu", F.celu),
    "linear": lambda patch, f: patch.setattr(
        F, "linear", lambda *args, old=F.linear: 3 * old(*args)
    ),
    "forward": lambda patch, f: patch.setattr(nn.ReLU, "forward", lambda self, x: x.sin()),
    "call": lambda patch, f: patch.setattr(
        nn.Module, "__call__", lambda self, x, old=nn.Module.__call__: 2 * old(self, x)
    ),
}


@pytest.mark.every(6)
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("name", CHAINS)
def test_with_a_patched_library_the_numbers_are_those_of_the_patch(
    name, patch, monkeypatch, tmp_path
):
    build = CHAINS[name]
    model, store = build(), Tiles(store=tmp_path / "kernel")
    plain = empirical_ntk(model, X, tiles=store)[:]
    prediction_change(model, X, Y, learning_rate=0.1)
    PATCHES[patch](monkeypatch, F.relu)
    case = Problem(build, X, Y, X)
    torch.testing.assert_close(empirical_ntk(model, X), case.kernel(case.left, case.left))
    change = prediction_change(model, X, Y, learning_rate=0.1)
    torch.testing.assert_close(change, case.change(torch.optim.SGD, 0.1))
    with pytest.raises(LecoreError, match="patches of libraries"):
        empirical_ntk(model, X, tiles=store)
    monkeypatch.undo()
    assert np.array_equal(empirical_ntk(model, X, tiles=store)[:], plain)


def test_what_cannot_be_identified_is_not_remembered(monkeypatch):
    looks = []
    find = functools.partial(looks.append, 1)
    model = net(lambda self, x: self.a(x), a=nn.Linear(2, 2))
    for _ in range(2):
        remembered(model, "key", find)
    assert len(looks) == 1
    model.odd = types.SimpleNamespace(lock=threading.Lock())
    for _ in range(2):
        remembered(model, "key", find)
    assert len(looks) == 3


def test_trained_weights_are_remembered_and_no_more_than_the_last_state():
    looks = []
    find = functools.partial(looks.append, 1)
    model = nn.Linear(2, 2)
    for _ in range(3):
        model.weight.data += 1
        remembered(model, "key", find)
    assert len(looks) == 1
    for step in range(3):
        model.step = step
        remembered(model, "key", find)
    assert len(remembering._known[model][1]) == 1


def test_a_number_by_a_new_name_is_no_patch(monkeypatch):
    monkeypatch.setattr(np, "Inf", np.inf, raising=False)
    monkeypatch.setattr(np, "Infinity", np.inf, raising=False)
    assert patches() == {}
    assert chain(nn.Sequential(nn.Linear(2, 3), nn.Tanh())) is not None


def test_a_number_that_takes_the_place_of_another_is_one(monkeypatch):
    monkeypatch.setattr(np, "pi", 3.0)
    assert list(patches()) == ["numpy.pi"]
