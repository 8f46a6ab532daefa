"""Finished work is recognised by all that it depends on, and by nothing else."""

import builtins
import copy
import dataclasses
import enum
import functools
import math
import os
import pickle
import re
import subprocess
import sys
import textwrap
import threading
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import special
from torch import nn

from lecore.errors import LecoreError
from lecore.identity.code_identity import release_of_function
from lecore.identity.digests import digest
from lecore.identity.finished_work import differing, identify, refuse_another
from lecore.identity.patches import patches
from lecore.losses import half_squared_error, squared_error


def made(source, name="thing", **names):
    """What a notebook's cell leaves behind under a name."""
    home = {"__name__": "__main__", "torch": torch, "nn": nn, "F": F, **names}
    exec(textwrap.dedent(source), home)
    return home[name]


def test_a_library_counts_by_its_version_wherever_it_was_installed(tmp_path, monkeypatch):
    records = tmp_path / "shelf-1.5.dist-info"
    records.mkdir()
    (records / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf\nVersion: 1.5\n")
    (records / "RECORD").write_text("shelf.py,sha256=x,12\nshelf-1.5.dist-info/RECORD,,\n")
    for name in ("shelf", "of_ones_own"):
        (tmp_path / f"{name}.py").write_text("def f(): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import of_ones_own
    import shelf

    assert release_of_function(shelf.f) == "shelf 1.5"
    assert release_of_function(of_ones_own.f) == ""
    monkeypatch.setattr(builtins, "display", shelf.f, raising=False)  # as IPython does
    assert "builtins.display" not in patches()
    monkeypatch.setattr(builtins, "display", of_ones_own.f)
    assert "builtins.display" in patches()


def scaled(factor):
    def loss(f, t):
        return factor * (f - t).square().sum()

    return loss


def with_default(factor):
    def loss(f, t, by=factor):
        return by * (f - t).square().sum()

    return loss


def with_keyword(factor):
    def loss(f, t, *, by=factor):
        return by * (f - t).square().sum()

    return loss


class Weighted:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, f, t):
        return self.factor * (f - t).square().sum()

    def method(self, f, t):
        return self.factor * (f - t).square().sum()

    @classmethod
    def of_class(cls, f, t):
        return (f - t).sum()


class HidesItsState(Weighted):
    def __getstate__(self):
        return {}


class Slotted:
    __slots__ = ("factor",)

    def __init__(self, factor):
        self.factor = factor


class Mode(enum.Enum):
    A = 1
    B = 2


@dataclasses.dataclass(frozen=True)
class Settings:
    rate: float
    mode: Mode = Mode.A


class Net(nn.Module):
    def __init__(self, factor=1.0, **attributes):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)
        self.register_buffer("shift", torch.zeros(2))
        self.factor = factor
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.factor * self.second(torch.tanh(self.first(x))) + self.shift


def changed(change, make=Net):
    network = make()
    change(network)
    return network


def two_hooks(network, second=False):
    network.register_forward_hook(lambda m, *rest: None, with_kwargs=not second)
    network.register_forward_hook(lambda m, *rest: None, with_kwargs=second)


NETWORKS = {
    "attribute": lambda: Net(5.0),
    "attribute nobody uses yet": lambda: Net(note="b"),
    "dtype attribute": lambda: Net(kind=torch.float64),
    "enum attribute": lambda: Net(mode=Mode.B),
    "dataclass attribute": lambda: Net(settings=Settings(0.1)),
    "list attribute": lambda: Net(sizes=[1, 2]),
    "tensor attribute": lambda: Net(mask=torch.ones(2)),
    "function attribute": lambda: Net(activation=torch.tanh),
    "other function attribute": lambda: Net(activation=torch.relu),
    "lambda attribute": lambda: Net(activation=lambda x: 2 * x),
    "generator": lambda: Net(rng=torch.Generator().manual_seed(1)),
    "buffer": lambda: changed(lambda n: n.shift.fill_(1.0)),
    "buffer that isn't kept": lambda: changed(
        lambda n: n.register_buffer("shift", torch.zeros(2), persistent=False)
    ),
    "parameter": lambda: changed(lambda n: n.first.weight.data.add_(1e-6)),
    "frozen": lambda: changed(lambda n: n.first.weight.requires_grad_(False)),
    "dtype": lambda: Net().double(),
    "training": lambda: Net().eval(),
    "training of one layer": lambda: changed(lambda n: n.first.eval()),
    "tied": lambda: changed(lambda n: setattr(n.second, "weight", n.first.weight)),
    "equal but not tied": lambda: changed(lambda n: n.second.weight.data.copy_(n.first.weight)),
    "one layer twice": lambda: changed(lambda n: setattr(n, "second", n.first)),
    "hook": lambda: changed(lambda n: n.register_forward_hook(lambda m, i, o: 2 * o)),
    "other hook": lambda: changed(lambda n: n.register_forward_hook(lambda m, i, o: 3 * o)),
    "hooks": lambda: changed(two_hooks),
    "hooks of which the other has keywords": lambda: changed(lambda n: two_hooks(n, True)),
    "hook before": lambda: changed(lambda n: n.register_forward_pre_hook(lambda m, i: None)),
    "hook on a gradient": lambda: changed(lambda n: n.first.weight.register_hook(lambda g: 2 * g)),
    "patched layer": lambda: changed(
        lambda n: setattr(n.first, "forward", types.MethodType(lambda s, x: 3 * x, n.first))
    ),
    "layer patched otherwise": lambda: changed(
        lambda n: setattr(n.first, "forward", types.MethodType(lambda s, x: 4 * x, n.first))
    ),
    "class of a layer": lambda: changed(lambda n: setattr(n, "first", nn.Bilinear(2, 2, 2))),
    "layer's own setting": lambda: changed(lambda n: setattr(n, "norm", nn.LayerNorm(2, eps=1e-3))),
    "layer's other setting": lambda: changed(lambda n: setattr(n, "norm", nn.LayerNorm(2))),
    "sequence": lambda: nn.Sequential(nn.ReLU(), nn.Tanh()),
    "sequence in another order": lambda: nn.Sequential(nn.Tanh(), nn.ReLU()),
    "dictionary": lambda: nn.ModuleDict({"a": nn.ReLU(), "b": nn.Tanh()}),
    "dictionary in another order": lambda: nn.ModuleDict({"b": nn.Tanh(), "a": nn.ReLU()}),
    "spectral norm": lambda: changed(
        lambda n: nn.utils.parametrizations.spectral_norm(n.first).eval()
    ),
    "weight norm": lambda: changed(lambda n: nn.utils.parametrizations.weight_norm(n.first).eval()),
}


@pytest.fixture(scope="module")
def identities():
    return {name: identify(by="lecore.losses", model=make()) for name, make in NETWORKS.items()}


@pytest.mark.every(6)
@pytest.mark.parametrize("name", NETWORKS)
def test_another_network_is_told_apart_from_all_others(identities, name):
    plain = identify(by="lecore.losses", model=Net())
    for other, identity in (identities | {"itself": plain}).items():
        assert bool(differing(identity, identities[name])) == (other != name), other
    again = identify(by="lecore.losses", model=NETWORKS[name]())
    assert again == identities[name]
    if name != "hook on a gradient":  # which torch doesn't copy
        copied = identify(by="lecore.losses", model=copy.deepcopy(NETWORKS[name]()))
        assert copied == identities[name]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("attribute", "model attributes"),
        ("training of one layer", "model attributes"),
        ("patched layer", "model code"),
        ("hook", "model code"),
        ("parameter", "parameters"),
        ("hook on a gradient", "parameters"),
        ("equal but not tied", "parameters"),
        ("frozen", "parameters"),
        ("buffer", "buffers"),
    ],
)
def test_the_part_that_differs_is_named(identities, name, part):
    assert differing(identify(by="lecore.losses", model=Net()), identities[name]) == [part]


def test_of_tied_weights_the_parameters_are_said_to_differ(identities):
    tied, equal = (identities[name] for name in ("tied", "equal but not tied"))
    assert differing(tied, equal) == ["parameters"]


CLASS = """
class thing(nn.Module):
    '''Words.'''
    offset = 0
    def forward(self, x):
        return 2 * self.inner(x)
    def inner(self, x):
        'Words.'
        def f(y):
            return y + 1
        return f(x)
"""
LOSS = """
scale = 2.0
weights = torch.ones(2)
def helper(f):
    return f.square()
def thing(f, t):
    return scale * (weights * helper(f - t)).sum()
"""
WRAPPED = """
@torch.no_grad()
def first(f):
    return f.square()
@torch.compiler.disable
def second(f):
    return f + 1
class Steps(torch.optim.SGD):
    def step(self, closure=None):
        return super().step() if closure else closure
made_once = Steps([torch.ones(1)])  # torch puts something around its step
def thing(f, t):
    return first(f - t).sum() + second(f).sum() + Steps.defaults
"""
SWAPS = [
    (WRAPPED, "f.square()", "f.abs()"),
    (WRAPPED, "f + 1", "f + 2"),
    (WRAPPED, "if closure else", "if not closure else"),
    (CLASS, "2 * self", "3 * self"),
    (CLASS, "y + 1", "y + 2"),
    (CLASS, "y + 1", "y - 1"),
    (CLASS, "offset = 0", "offset = 1"),
    (CLASS, "offset = 0", "offset = 0.0"),
    (CLASS, "inner(x)\n", "inner(x)\n    def more(self): pass\n"),
    (CLASS, "nn.Module", "nn.Identity"),
    (LOSS, "scale = 2.0", "scale = 3.0"),
    (LOSS, "torch.ones(2)", "torch.tensor([1.0, 2.0])"),
    (LOSS, "torch.ones(2)", "torch.ones(2).double()"),
    (LOSS, "f.square()", "f.abs()"),
    (LOSS, "f - t", "t - f"),
    (LOSS, "(f, t)", "(f, t, *, more=None)"),
    (LOSS, "def helper", "@torch.no_grad()\ndef helper"),
]


@pytest.mark.parametrize(("source", "old", "new"), SWAPS)
def test_what_a_notebook_defines_anew_under_the_same_name_is_another(source, old, new):
    assert old in source
    assert digest(made(source)) != digest(made(source.replace(old, new)))


@pytest.mark.parametrize("source", [CLASS, LOSS])
@pytest.mark.parametrize(
    ("old", "new"),
    [("", ""), ("'''Words.'''", ""), ("Words", "Others"), ("\n    ", "\n\n    "),
     ("return", "return "), ("(f, t):", "(f, t):\n    'Loss.'"),
     ("def helper(f):", "def helper(f):  # squares")],
)  # fmt: skip
def test_words_and_places_make_no_difference(source, old, new):
    assert digest(made(source)) == digest(made(source.replace(old, new) if old else source))


def counter(start):
    count = start

    def first(f, t):
        return second(f, t) if count else f

    def second(f, t):
        return first(f, t) * count

    return first


def decorated(factor):
    @functools.wraps(F.mse_loss)
    def loss(f, t):
        return factor * F.mse_loss(f, t)

    return loss


DIFFERENT = {
    "closure": (scaled(1.0), scaled(2.0)),
    "type in a closure": (scaled(1), scaled(1.0)),
    "sign of zero in a closure": (scaled(0.0), scaled(-0.0)),
    "tensor in a closure": (scaled(torch.ones(2)), scaled(torch.ones(2, dtype=torch.float64))),
    "cycle of closures": (counter(1), counter(2)),
    "default": (with_default(1), with_default(2)),
    "keyword default": (with_keyword(1), with_keyword(2)),
    "lambda": (lambda f, t: (f - t).sum(), lambda f, t: (f - t).mean()),
    "constant of a lambda": (lambda f, t: 1 * f, lambda f, t: 2 * f),
    "name": (squared_error, half_squared_error),
    "partial": (functools.partial(F.mse_loss, reduction="sum"), F.mse_loss),
    "partial's value": (functools.partial(max, 1), functools.partial(max, 2)),
    "bound method": (Weighted(1).method, Weighted(2).method),
    "method": (Weighted(1).method, Weighted(1)),
    "callable": (Weighted(1), Weighted(2)),
    "what isn't pickled": (HidesItsState(1), HidesItsState(2)),
    "slot": (Slotted(1), Slotted(2)),
    "wrapped": (decorated(1), decorated(2)),
    "wrapping": (decorated(1), F.mse_loss),
    "cache": (functools.lru_cache(scaled(1)), functools.lru_cache(scaled(2))),
    "vmapped": (torch.func.vmap(scaled(1)), torch.func.vmap(scaled(2))),
    "builtin": (torch.add, torch.sub),
    "builtin's object": ([1].index, [2].index),
    "loss's weight": (
        nn.CrossEntropyLoss(torch.tensor([1.0, 2.0])), nn.CrossEntropyLoss(torch.ones(2))
    ),
    "loss's setting": (nn.HuberLoss(delta=1.0), nn.HuberLoss(delta=2.0)),
    "enum": (Mode.A, Mode.B),
    "dataclass": (Settings(1.0), Settings(2.0)),
    "dataclass's class": (Settings(1.0), (1.0, Mode.A)),
    "set": ({"a", "b"}, {"a", "c"}),
    "order": ([1, 2], [2, 1]),
    "nesting": ([1, [2]], [[1], 2]),
    "list or tuple": ([1], (1,)),
    "text or bytes": ("a", b"a"),
    "cut of texts": (["a", "bc"], ["ab", "c"]),
    "cut of texts with a type": (["astrb", "c"], ["a", "bstrc"]),
    "true or one": (True, 1),
    "device": (torch.device("cpu"), torch.device("meta")),
    "size or tuple": (torch.Size([1]), (1,)),
    "generator": (torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)),
    "numpy's generator": (np.random.default_rng(0), np.random.default_rng(1)),
    "array": (np.arange(3), np.arange(3.0)),
    "shape": (torch.zeros(2, 3), torch.zeros(3, 2)),
    "empty shape": (torch.zeros(0, 3), torch.zeros(3, 0)),
    "scalar or vector": (torch.tensor(1.0), torch.ones(1)),
    "conjugate": (torch.tensor([1j]), torch.tensor([1j]).conj()),
    "bfloat16": (torch.ones(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.bfloat16)),
    "sparse": (torch.eye(2).to_sparse(), (2 * torch.eye(2)).to_sparse()),
    "layout": (torch.eye(2).to_sparse(), torch.eye(2)),
    "requires_grad": (torch.ones(2), torch.ones(2, requires_grad=True)),
    "objects in an array": (np.array([{1: 2}]), np.array([{1: 3}])),
    "default factory": (defaultdict(int), defaultdict(list)),
    "queue": (deque([1, 2]), deque([2, 1])),
    "regular expression": (re.compile("a"), re.compile("b")),
    "scipy's function": (special.expit, special.gamma),
    "weak reference": (weakref.ref(Mode), weakref.ref(Settings)),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_another_thing_is_told_apart_and_a_copy_is_not(name):
    one, other = DIFFERENT[name]
    assert digest(one) != digest(other)
    assert digest(one) == digest(one)
    copied = one.clone() if isinstance(one, torch.Tensor) else copy.deepcopy(one)
    if not isinstance(one, types.BuiltinFunctionType | torch.Generator | HidesItsState):
        assert digest(copied) == digest(one)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Net(), lambda: nn.LSTM(2, 3), lambda: nn.MultiheadAttention(4, 2),
        lambda: Settings(1.0), lambda: OrderedDict(a=[1, (2, {3})]), lambda: Weighted(1).method,
        lambda: functools.partial(F.mse_loss, reduction="sum"), lambda: np.random.default_rng(0),
        lambda: torch.arange(6).view(2, 3).T, lambda: torch.optim.Adam(Net().parameters()),
    ],
)  # fmt: skip
def test_pickled_copies_are_the_same(make):
    thing = make()
    assert digest(pickle.loads(pickle.dumps(thing))) == digest(thing)


def test_values_count_however_they_lie_in_memory():
    x = torch.arange(12.0).view(3, 4)
    assert digest(x.T.contiguous()) == digest(x.T)
    assert digest(x[:, ::2].clone()) == digest(x[:, ::2])
    assert digest(x.numpy().T.copy()) == digest(x.numpy().T)
    assert digest(torch.tensor([1j]).conj().resolve_conj()) == digest(torch.tensor([1j]).conj())
    assert digest(x.expand(2, 3, 4)) == digest(torch.stack([x, x]))


@pytest.mark.filterwarnings("ignore:Sparse")  # torch calls some of them beta
@pytest.mark.parametrize("layout", ["csr", "csc", "bsr", "bsc"])
def test_sparse_tensors_of_every_layout_count_by_value(layout):
    def sparse(matrix):
        blocks = {"blocksize": (2, 2)} if "b" in layout else {}
        return matrix.to_sparse(layout=getattr(torch, f"sparse_{layout}"), **blocks)

    matrix = torch.tensor([[1.0, 2.0, 0.0, 0.0], [0.0, 3.0, 0.0, 0.0]])
    assert digest(sparse(matrix)) == digest(sparse(matrix.clone()))
    for other in (2 * matrix, matrix.roll(2, 1), matrix.flip(0)):
        assert digest(sparse(other)) != digest(sparse(matrix))


def test_a_library_that_a_function_imports_is_not_loaded_and_counts_the_same_when_it_is():
    sys.modules.pop("colorsys", None)
    thing = made("def thing(f, t):\n    import colorsys\n    return colorsys.ONE_THIRD * f")
    before = digest(thing)
    assert "colorsys" not in sys.modules
    assert thing(3.0, None) == 1.0
    assert "colorsys" in sys.modules
    assert digest(thing) == before


def test_the_state_of_an_optimizer_counts():
    def stepped(steps, **settings):
        network = Net()
        optimizer = torch.optim.Adam(network.parameters(), **settings)
        for _ in range(steps):
            network(torch.ones(1, 2)).sum().backward()
            optimizer.step()
        network.load_state_dict(Net().state_dict())
        return digest(optimizer)

    assert stepped(0) == stepped(0)
    assert stepped(1) == stepped(1)
    assert len({stepped(0), stepped(1), stepped(2), stepped(0, lr=0.1), stepped(1, lr=0.1)}) == 5


def test_a_library_that_was_patched_is_another(monkeypatch):
    before = digest(nn.Linear(1, 1).forward.__func__.__class__), digest(nn.Tanh())
    monkeypatch.setattr(nn.Tanh, "forward", lambda self, x: x)
    assert digest(nn.Tanh()) != before[1]


@pytest.mark.parametrize(("space", "name"), [(F, "gelu"), (torch.Tensor, "tanh"), (math, "pi"),
                                             (torch, "relu"), (builtins, "max")])  # fmt: skip
def test_what_stands_in_the_place_of_a_librarys_own_counts(space, name, monkeypatch):
    layer = nn.GELU()  # which names none of them itself
    plain = identify(by="lecore.losses", model=layer)
    found = []
    for value in (lambda x: 2 * x, lambda x: 3 * x):
        monkeypatch.setattr(space, name, value)
        found.append(identify(by="lecore.losses", model=layer))
        assert differing(plain, found[-1]) == ["patches of libraries"]
    assert differing(*found) == ["patches of libraries"]
    monkeypatch.undo()
    assert identify(by="lecore.losses", model=layer) == plain


def test_what_a_debugger_puts_among_the_builtins_does_not_count(monkeypatch):
    plain = identify(by="lecore.losses", model=nn.GELU())
    execfile = types.FunctionType((lambda file: exec(file)).__code__, {}, "execfile")
    execfile.__module__ = "_pydev_bundle._pydev_execfile"
    monkeypatch.setattr(builtins, "execfile", execfile, raising=False)
    assert identify(by="lecore.losses", model=nn.GELU()) == plain


def test_settings_of_a_library_count_where_they_are_used(monkeypatch):
    with_setting = lambda f, t: (f - t).sum() * textwrap.setting  # noqa: E731
    monkeypatch.setattr(textwrap, "setting", 1.0, raising=False)
    one = digest(with_setting)
    monkeypatch.setattr(textwrap, "setting", 2.0)
    assert digest(with_setting) != one


def test_modules_of_ones_own_count_by_what_is_used_of_them(tmp_path, monkeypatch):
    helpers = types.ModuleType("helpers")
    helpers.scale, helpers.other = 1.0, 1.0
    monkeypatch.setitem(sys.modules, "helpers", helpers)
    source = "def thing(f, t):\n    return helpers.scale * f"
    local = "def thing(f, t):\n    import helpers\n    return helpers.scale * f"
    losses = [made(source, helpers=helpers), made(local)]
    before = [digest(loss) for loss in losses]
    helpers.other = 2.0
    assert [digest(loss) for loss in losses] == before
    helpers.scale = 2.0
    assert all(digest(loss) != old for loss, old in zip(losses, before, strict=True))


class Recursive:
    def __init__(self):
        self.itself, self.all = self, [self]


def test_cycles_end():
    endless = []
    endless.append(endless)
    assert digest(endless) != digest([[]])
    assert digest(Recursive()) == digest(copy.deepcopy(Recursive()))
    network = Net()
    network.__dict__["parent"] = network
    assert identify(by="lecore.losses", model=network) == identify(
        by="lecore.losses", model=copy.deepcopy(network)
    )
    deep = chain = []
    for _ in range(3000):
        chain.append([])
        chain = chain[0]
    assert len(digest(deep)) == 32


UNKNOWN = {
    "lock": threading.Lock(),
    "iterator": (i for i in range(3)),
    "file": Path(__file__).open("rb"),  # noqa: SIM115 - to be refused
    "view": memoryview(b"abc"),
    "script": torch.jit.script(nn.Linear(1, 1)),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_cannot_be_identified_is_refused_or_stood_for_by_a_key(name):
    loss = scaled(UNKNOWN[name])
    with pytest.raises(LecoreError, match=r"loss: scaled.<locals>.loss uses factor: .* key="):
        identify(by="lecore.losses", loss=loss)
    known = identify(by="lecore.losses", loss=loss, key="mine")
    assert identify(by="lecore.losses", loss=loss, key="mine") == known
    assert differing(known, identify(by="lecore.losses", loss=loss, key="other")) == ["key"]
    other = made("def thing(f, t): return factor", factor=UNKNOWN[name])
    assert differing(known, identify(by="lecore.losses", loss=other, key="mine")) == ["loss"]


def test_code_that_may_use_anything_is_refused():
    for call in ("eval('f')", "exec('f')", "globals()['f']", "__import__('f')"):
        with pytest.raises(LecoreError, match="cannot be told"):
            digest(made(f"def thing(f, t): return {call}"))


def seen():
    """What must be the same in every process, whatever its order of sets."""
    things = ("closure", "set", "cycle of closures", "dataclass", "bound method", "vmapped")
    of = [DIFFERENT[name][0] for name in things]
    of += [frozenset({"a", ("b", 1), "c"}), *map(made, (LOSS, CLASS, WRAPPED))]
    networks = ("hook", "patched layer", "weight norm", "lambda attribute")
    known = [identify(by="lecore.losses", model=NETWORKS[name]()) for name in networks]
    return repr([*map(digest, of), *known])


@pytest.mark.processes
def test_other_processes_see_the_same():
    here, hashes = Path(__file__).parent, "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    elsewhere = subprocess.run(
        [sys.executable, "-c", "import test_identity; print(test_identity.seen())"],
        cwd=here, text=True, stdout=subprocess.PIPE, check=True,
        env=os.environ | {"PYTHONHASHSEED": hashes, "PYTHONPATH": str(here.parent)},
    ).stdout  # fmt: skip
    assert elsewhere == seen() + "\n"


def test_the_error_names_what_differs_and_the_cure():
    one = identify(by="lecore.losses", loss=scaled(1), data=torch.ones(2))
    other = identify(by="lecore.losses", loss=scaled(2), data=torch.zeros(2))
    refuse_another(one, one, "here.zarr", "delete it")
    with pytest.raises(LecoreError) as error:
        refuse_another(one, other, "here.zarr", "choose another store, or delete it")
    assert str(error.value) == (
        "here.zarr holds the work of another loss and other data; choose another store, or "
        "delete it"
    )
    with pytest.raises(LecoreError, match="another key"):
        refuse_another(one, one | {"key": "a"}, "here.zarr", "delete it")


def test_the_code_that_computes_counts():
    of_losses, of_tiles = (identify(by=f"lecore.{m}")["versions"] for m in ("losses", "tiles"))
    assert of_losses != of_tiles
    assert f"torch {version('torch')}" in of_losses
