"""Optimisers without a known rule, against a plain loop: copy all, step, predict."""

import copy
import random
import warnings
import weakref

import cloudpickle
import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from lecore import Study, Tiles, linearized_change, losses, prediction_change
from lecore.engine.gradients.watching import PlainAutogradWarning
from lecore.errors import LecoreError

WATCHING = "lecore.engine.gradients.watching"
pytestmark = pytest.mark.filterwarnings(f"ignore::{WATCHING}.PlainAutogradWarning")


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def normalised() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    model(torch.randn(9, 3))  # running means of its own
    return model.eval()


def frozen() -> nn.Module:
    model = dense()
    model[0].requires_grad_(False)
    return model


def words() -> nn.Module:
    model = nn.Sequential(nn.Embedding(7, 3, sparse=True), nn.Flatten(), nn.Linear(6, 2))
    model[2].requires_grad_(False)
    return model


class Experts(nn.Module):
    """Each example goes to one of two layers; the other gets no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(3, 2) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.experts[int(row[0] > 0)](row) for row in x])


NETWORKS = {"dense": dense, "normalised": normalised, "frozen": frozen, "experts": Experts}


def points(model: nn.Module, count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (count, 2) if isinstance(next(model.children()), nn.Embedding) else (count, 3)
    x = torch.randint(0, 7, shape) if shape[1] == 2 else torch.randn(shape).double()
    return x, torch.randn(count, 2).double()


def used(optimizer: torch.optim.Optimizer, model: nn.Module, steps: int) -> None:
    x, y = points(model)
    for _ in range(steps):
        optimizer.zero_grad()
        ((model(x) - y) ** 2).sum().backward()
        optimizer.step()
    optimizer.zero_grad()


def loop(model, optimizer, x, y, test=None):
    """The oracle."""
    test = x if test is None else test
    changes = []
    for i in range(len(x)):
        kept = {k: v for k, v in vars(optimizer).items() if k != "step"}  # deepcopy forgets most
        network, own, kept = copy.deepcopy((model, optimizer, kept))
        vars(own).update(kept)
        own.zero_grad()
        losses.squared_error(network(x[i : i + 1])[0], y[i]).backward()
        own.step()
        changes.append((network(test) - model(test)).detach())
    return torch.stack(changes)


def assert_as_the_loop(model, optimizer):
    x, y = points(model)
    test = points(model, 3)[0]
    expected = loop(model, optimizer, x, y, test)
    assert expected.any()
    change = prediction_change(model, x, y, test, optimizer=optimizer)
    torch.testing.assert_close(change, expected, rtol=1e-12, atol=1e-12 * expected.abs().max())


POWER = 0.5


class Signs(torch.optim.Optimizer):
    """A user's own, with an attribute and with state that it makes itself."""

    def __init__(self, params, lr=0.01, inertia=0.5):
        super().__init__(params, {"lr": lr})
        self.inertia = inertia

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                mean.mul_(self.inertia).add_(p.grad)
                p.sub_(group["lr"] * mean.sign() * mean.abs() ** POWER)


class Halved(torch.optim.Adam):
    """A subclass may do anything."""

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad.mul_(0.5)
        return super().step(closure)


class Lookahead(torch.optim.Optimizer):
    """Holds another optimiser, and shares its groups."""

    def __init__(self, inner, pull=0.5):
        self.inner, self.pull = inner, pull
        self.param_groups, self.defaults = inner.param_groups, inner.defaults
        self.state, self._hook = inner.state, None
        self._optimizer_step_pre_hooks = self._optimizer_step_post_hooks = {}
        self.slow = [[p.detach().clone() for p in g["params"]] for g in inner.param_groups]

    @torch.no_grad()
    def step(self, closure=None):
        self.inner.step()
        for group, slow in zip(self.param_groups, self.slow, strict=True):
            for p, s in zip(group["params"], slow, strict=True):
                s.lerp_(p, self.pull)
                p.copy_(s)


class Decaying(torch.optim.Optimizer):
    """Moves parameters without a gradient too."""

    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p.mul_(0.9)
            if p.grad is not None:
                p.sub_(0.1 * p.grad)


KINDS = {
    "ASGD": lambda p: torch.optim.ASGD(p, lr=0.05, t0=1, weight_decay=0.1),
    "Adadelta": lambda p: torch.optim.Adadelta(p, lr=0.5, weight_decay=0.1),
    "Adafactor": lambda p: torch.optim.Adafactor(p, lr=0.05),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05, lr_decay=0.1),
    "Adagrad, fused": lambda p: torch.optim.Adagrad(p, lr=0.05, fused=True),
    "Adamax": lambda p: torch.optim.Adamax(p, lr=0.05, maximize=True),
    "NAdam": lambda p: torch.optim.NAdam(p, lr=0.05, decoupled_weight_decay=True),
    "RAdam": lambda p: torch.optim.RAdam(p, lr=0.05, weight_decay=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    "RMSprop, centred": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
    "RMSprop, foreach": lambda p: torch.optim.RMSprop(p, lr=torch.tensor(0.01), foreach=False),
    "Rprop": lambda p: torch.optim.Rprop(p, lr=0.01),
    "a user's own": Signs,
    "a subclass": Halved,
    "one that holds another": lambda p: Lookahead(torch.optim.RMSprop(p, lr=0.01)),
    "one that moves all": lambda p: Decaying(p, {}),
}


@pytest.mark.every(15)
@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize(
    ("kind", "network"),
    [(k, n) for k in KINDS for n in NETWORKS if (k, n) != ("one that moves all", "frozen")],
)
def test_a_step_is_the_one_the_optimiser_takes(kind, network, steps):
    model = NETWORKS[network]().double()
    optimizer = KINDS[kind](list(model.parameters()))
    used(optimizer, model, steps)
    assert_as_the_loop(model, optimizer)


@pytest.mark.parametrize("steps", [0, 3])
def test_muon_steps_on_matrices(steps):
    model = dense().double()
    optimizer = torch.optim.Muon([p for p in model.parameters() if p.ndim == 2], lr=0.1)
    used(optimizer, model, steps)
    assert_as_the_loop(model, optimizer)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch's; and words that are not moved
@pytest.mark.parametrize("steps", [0, 3])
def test_sparse_gradients_stay_sparse(steps):
    model = words().double()
    for optimizer in (
        torch.optim.SparseAdam(list(model[0].parameters()), lr=0.1),
        torch.optim.Adagrad(model[0].parameters(), lr=0.1),
    ):
        used(optimizer, model, steps)
        assert_as_the_loop(model, optimizer)


def test_groups_have_settings_of_their_own():
    model = dense().double()
    groups = [
        {"params": [model[0].weight], "lr": 0.1, "momentum": 0.9},
        {"params": model[2].parameters(), "weight_decay": 0.1},
    ]
    optimizer = torch.optim.RMSprop(groups, lr=0.01)  # a bias is in none
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    used(optimizer, model, 2)
    schedule.step()
    assert_as_the_loop(model, optimizer)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of rounding: nothing moves
def test_a_step_may_be_none_for_some_examples():
    model = Experts().double()
    x, y = points(model, 6)
    x[:3, 0], x[3:, 0] = -1.0, 1.0
    optimizer = torch.optim.RMSprop(model.experts[1].parameters(), lr=0.1)
    change = prediction_change(model, x, y, optimizer=optimizer)
    assert not change[:3].any()
    torch.testing.assert_close(change, loop(model, optimizer, x, y), rtol=1e-12, atol=1e-14)


def test_hooks_of_a_step_are_part_of_it():
    model = dense().double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def clip(optimizer, args, kwargs):
        torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 0.01)

    optimizer.register_step_pre_hook(clip)
    x, y = points(model)
    changes = []
    for i in range(len(x)):
        network = copy.deepcopy(model)
        losses.squared_error(network(x[i : i + 1])[0], y[i]).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.01)
        torch.optim.SGD(network.parameters(), lr=0.1).step()
        changes.append((network(x) - model(x)).detach())
    change = prediction_change(model, x, y, optimizer=optimizer)
    torch.testing.assert_close(change, torch.stack(changes), rtol=1e-12, atol=1e-15)
    with pytest.raises(LecoreError, match=r"SGD with step hooks .*; take prediction_change"):
        linearized_change(model, x, y, optimizer=optimizer)


def test_the_state_of_a_float32_model_is_taken_in_float64():
    model = dense()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.01, momentum=0.9)
    for _ in range(2):
        model(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()
    x, y = points(model)
    change = prediction_change(model, x, y, optimizer=optimizer)
    doubled = copy.deepcopy(model).double()
    theirs = torch.optim.RMSprop(doubled.parameters())
    theirs.load_state_dict(optimizer.state_dict())  # casts the state to the parameters' type
    expected = loop(doubled, theirs, x, y)
    torch.testing.assert_close(change, expected, rtol=1e-12, atol=1e-14)
    single = prediction_change(model, x, y, optimizer=optimizer, dtype=torch.float32)
    torch.testing.assert_close(single.double(), expected, rtol=1e-3, atol=1e-5)


def test_complex_weights():
    class Phases(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 2, dtype=torch.complex128))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x.to(self.weight.dtype) @ self.weight).abs()

    model = Phases()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.01)
    used_x, used_y = torch.randn(4, 3).double(), torch.randn(4, 2).double()
    (model(used_x) - used_y).square().sum().backward()
    optimizer.step()
    change = prediction_change(model, used_x, used_y, optimizer=optimizer)
    expected = loop(model, optimizer, used_x, used_y)
    torch.testing.assert_close(change, expected, rtol=1e-12, atol=1e-14)


# --- where it runs ------------------------------------------------------------------------------


def clipped(params):
    optimizer = torch.optim.Adam(params, lr=0.1)

    def clip(optimizer, args, kwargs):
        nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 0.01)

    optimizer.register_step_pre_hook(clip)
    return optimizer


def fitted(kind="NAdam", steps=3):
    model = dense().double()
    optimizer = (KINDS | {"hooked": clipped})[kind](list(model.parameters()))
    used(optimizer, model, steps)
    return (model, *points(model)), optimizer


TILES = {
    "tiles": Tiles(shape=(2, 3)),
    "threads": Tiles(shape=(1, 2), jobs=2),
}
OF_MANY_KINDS = pytest.mark.parametrize(
    "kind", ["NAdam", "a user's own", "one that holds another", "hooked"]
)


@pytest.mark.every(3)
@pytest.mark.parametrize("tiles", TILES)
@OF_MANY_KINDS
def test_any_cut_gives_the_same(kind, tiles):
    given, optimizer = fitted(kind)
    whole = prediction_change(*given, optimizer=optimizer)
    assert torch.equal(prediction_change(*given, optimizer=optimizer, tiles=TILES[tiles]), whole)


@OF_MANY_KINDS
@pytest.mark.processes
@pytest.mark.usefixtures("forks")
def test_processes_give_the_same(kind):
    given, optimizer = fitted(kind)
    whole = prediction_change(*given, optimizer=optimizer)
    tiles = Tiles(shape=(2, 4), jobs=2, backend="processes")
    assert torch.equal(prediction_change(*given, optimizer=optimizer, tiles=tiles), whole)


CIRCUMSTANCES = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "another default": lambda: torch.device("cpu"),
}


@pytest.mark.parametrize("where", CIRCUMSTANCES)
def test_the_same_numbers_wherever_it_is_called(where):
    given, optimizer = fitted()
    whole = prediction_change(*given, optimizer=optimizer)
    with CIRCUMSTANCES[where]():
        assert torch.equal(prediction_change(*given, optimizer=optimizer), whole)


@pytest.mark.parametrize("change", ["setting", "state", "attribute", "code", "a name"])
def test_a_store_knows_the_optimiser(tmp_path, monkeypatch, change):
    given, optimizer = fitted("a user's own")
    tiles = Tiles(store=str(tmp_path / "change.zarr"), shape=(2, 4))
    first = np.asarray(prediction_change(*given, optimizer=optimizer, tiles=tiles))
    again = np.asarray(prediction_change(*given, optimizer=optimizer, tiles=tiles))
    assert np.array_equal(first, again)
    if change == "setting":
        optimizer.param_groups[0]["lr"] = 0.02
    elif change == "state":
        optimizer.state[given[0][0].weight]["mean"] += 1
    elif change == "attribute":
        optimizer.inertia = 0.6
    elif change == "a name":
        monkeypatch.setitem(globals(), "POWER", 0.3)
    else:

        class Other(Signs):
            def step(self, closure=None):
                super().step()

        optimizer.__class__ = Other
    with pytest.raises(LecoreError, match="holds the work of another optimizer"):
        prediction_change(*given, optimizer=optimizer, tiles=tiles)


def test_a_store_does_not_know_how_many_hooks_there_ever_were(tmp_path):
    given, optimizer = fitted("Rprop")
    tiles = Tiles(store=str(tmp_path / "change.zarr"))
    keep = lambda *given: None  # noqa: E731
    optimizer.register_step_post_hook(keep)
    prediction_change(*given, optimizer=optimizer, tiles=tiles)
    optimizer._optimizer_step_post_hooks.clear()
    optimizer.register_step_post_hook(keep)
    prediction_change(*given, optimizer=optimizer, tiles=tiles)


def test_a_study_takes_it():
    (model, x, y), optimizer = fitted("Adamax")
    study = Study(model, (x, y), optimizer=optimizer)
    expected = loop(model, optimizer, x, y)
    torch.testing.assert_close(study.change("exact"), expected, rtol=1e-12, atol=1e-14)
    with pytest.raises(LecoreError, match="prediction_change"):
        study.change("linear")
    assert study.trust() is None
    plan = study.plan().set_index("question")
    assert "steps of Adamax on a copy" in plan.loc["change, exact", "route"]
    assert "change, linear" not in plan.index


def test_the_slow_route_is_told():
    given, optimizer = fitted("Adamax")
    with pytest.warns(PlainAutogradWarning, match="Adamax takes its steps on a copy"):
        prediction_change(*given, optimizer=optimizer)


# --- nothing is changed --------------------------------------------------------------------------


def everything(model, optimizer):
    """All values of model, optimiser and random states, and which tensors these are."""
    states = torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()
    grads = [p.grad for p in model.parameters()]
    found = list(leaves((dict(model.state_dict(keep_vars=True)), grads, list(states))))
    return found + list(leaves((optimizer.param_groups, optimizer.state, vars(optimizer))))


def leaves(value):
    if isinstance(value, torch.Tensor):
        yield value.tolist(), value.dtype, value.requires_grad, id(value), value._version
    elif isinstance(value, dict):
        yield from leaves(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield str(value)


class Raising(Signs):
    def step(self, closure=None):
        super().step()
        if self.param_groups[0]["params"][0].grad is not None:
            raise RuntimeError("no step today")


class Drawing(Signs):
    def step(self, closure=None):
        super().step()
        for p in self.param_groups[0]["params"]:
            p.data.add_(torch.randn_like(p))


class Itself(torch.optim.Optimizer):
    """Keeps its parameters in a way that a copy does not follow."""

    def __init__(self, params, way):
        super().__init__(params, {"lr": 0.1})
        own = self.param_groups[0]["params"]
        self.do = way(own)

    def step(self, closure=None):
        self.do()


def through_a_closure(own):
    return lambda: [p.data.sub_(1.0) for p in own]


def through_memory(own):
    arrays = [p.detach().numpy() for p in own]

    def move():
        for array in arrays:
            array -= 1.0

    return move


def nothing(own):
    return lambda: None


def by_number(own):
    class Do(dict):
        def __call__(self):
            pass

    return Do({id(own[0]): 1.0})


def weakly(own):
    return weakref.WeakKeyDictionary({own[0]: 1.0})


def by_views(own):
    class Do(list):
        def __call__(self):
            for view in self:
                view.sub_(1.0)

    return Do([p.detach() for p in own])


class Counting(Signs):
    taken: list[int] = []  # noqa: RUF012

    def step(self, closure=None):
        self.taken.append(1)
        super().step()


def hooked(hook):
    def build(params):
        optimizer = torch.optim.RMSprop(params, lr=0.1)
        optimizer.register_step_pre_hook(hook(params))
        return optimizer

    return build


class Needy(Signs):
    def step(self, closure):
        closure()


class Locked(Signs):
    def __init__(self, params):
        super().__init__(params)
        self.lines = (line for line in ())


class Thawing(Signs):
    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p.sub_(1.0)


UNFIT = {
    "LBFGS": (torch.optim.LBFGS, "several times in a step, by a closure"),
    "closure": (Needy, "by a closure"),
    "raising": (Raising, "Raising fails on a copy .*no step today"),
    "drawing": (Drawing, "draws random numbers"),
    "dense": (torch.optim.SparseAdam, "SparseAdam fails on a copy .*dense"),
    "matrices": (
        lambda p: hooked(lambda own: lambda *_: 1 / 0)(p),
        "RMSprop fails on a copy .*ZeroDivision",
    ),
    "in a closure": (lambda p: Itself(p, through_a_closure), "uses '0.weight' of the caller's"),
    "in NumPy": (lambda p: Itself(p, through_memory), "uses '0.weight' of the caller's"),
    "nothing": (lambda p: Itself(p, nothing), "moves no parameter of a copy"),
    "by number": (lambda p: Itself(p, by_number), "knows parameters by their id"),
    "weakly": (lambda p: Itself(p, weakly), "knows parameters by their id or weakly"),
    "by views": (lambda p: Itself(p, by_views), "share memory"),
    "a generator": (Locked, "Locked cannot be copied"),
    "a class counts": (Counting, "changes something outside of the optimizer"),
    "a hook on the model": (
        hooked(lambda own: lambda *_: nn.utils.clip_grad_norm_(own, 0.1)),
        "a hook of it, uses '0.weight'",
    ),
    "a hook counts": (
        hooked(lambda own: (lambda counts: lambda *_: counts.append(1))([])),
        "changes something outside",
    ),
    "a rate that is no number": (
        lambda p: changed(torch.optim.RMSprop(p), "lr", float("nan")), "are not finite",
    ),
    "a rate in words": (
        lambda p: changed(torch.optim.RMSprop(p), "lr", "0.1"), "RMSprop fails on a copy",
    ),
    "replaced": (lambda p: changed(torch.optim.RMSprop(p), "step", print), "step was replaced"),
    "twice": (
        lambda p: changed(torch.optim.RMSprop(p), "params", [p[0], p[0]]), "'0.weight' twice",
    ),
    "others": (lambda p: torch.optim.Rprop([*p, nn.Parameter(p[0].detach())]), "1 parameters of"),
}  # fmt: skip


def changed(optimizer, name, value):
    if name == "step":
        optimizer.step = value
    else:
        optimizer.param_groups[0][name] = value
    return optimizer


@pytest.mark.parametrize("name", UNFIT)
def test_what_cannot_be_copied_is_refused_and_nothing_is_changed(name):
    build, words = UNFIT[name]
    model = dense().double()
    x, y = points(model)
    optimizer = build(list(model.parameters()))
    before = everything(model, optimizer)
    with pytest.raises(LecoreError, match=words) as caught:
        prediction_change(model, x, y, optimizer=optimizer)
    assert "\n" not in str(caught.value)
    now = everything(model, optimizer)
    if name == "in NumPy":  # the weights were put back
        before, now = ([entry[:-1] for entry in found] for found in (before, now))
    assert now == before


@pytest.mark.every(3)
@pytest.mark.parametrize("kind", KINDS)
def test_model_optimiser_and_random_states_stay(kind):
    given, optimizer = fitted(kind)
    given[0](given[1]).sum().backward()  # gradients of the user's own
    before = everything(given[0], optimizer)
    prediction_change(*given, optimizer=optimizer)
    assert everything(given[0], optimizer) == before


KEPT: list[torch.Tensor] = []


def model_gradients(model):
    return [p.grad for p in model.parameters()]


@pytest.mark.parametrize("held", [True, False])
def test_gradients_of_the_callers_are_refused(held):
    model = dense().double()
    x, y = points(model)
    model(x).sum().backward()
    gradients = model_gradients(model)
    optimizer = torch.optim.RMSprop(model.parameters())
    if held:
        optimizer.gradients = gradients
    else:
        KEPT[:] = gradients
        optimizer.register_step_pre_hook(lambda *_: [g.add_(1.0) for g in KEPT])
    before = everything(model, optimizer)
    with pytest.raises(LecoreError, match=r"share memory|uses '0\.weight\.grad'"):
        prediction_change(model, x, y, optimizer=optimizer)
    assert everything(model, optimizer) == before


def test_fixed_weights_that_a_step_moves_are_refused():
    model = frozen().double()
    with pytest.raises(LecoreError, match=r"moves '0\.weight', which is fixed"):
        prediction_change(model, *points(model), optimizer=Thawing(model.parameters()))


def test_hooks_of_all_optimisers_are_refused():
    given, optimizer = fitted("Rprop")
    handle = register_optimizer_step_post_hook(lambda *_: None)
    try:
        with pytest.raises(LecoreError, match="all optimizers have step hooks"):
            prediction_change(*given, optimizer=optimizer)
    finally:
        handle.remove()


def test_a_rate_of_zero_moves_nothing():
    given, optimizer = fitted("RMSprop")
    optimizer.param_groups[0]["lr"] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nothing was moved
        assert not prediction_change(*given, optimizer=optimizer).any()


def test_a_step_travels():
    from lecore.engine.network.snapshot import snapshot
    from lecore.engine.real_steps import real_step

    (model, *_), optimizer = fitted("a user's own")
    step = real_step(optimizer, model, snapshot(model))
    gradient = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    there = cloudpickle.loads(cloudpickle.dumps(step))
    for name, change in step(gradient).items():
        assert torch.equal(there(gradient)[name], change)
