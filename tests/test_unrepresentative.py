"""What one look at one example cannot see, and what reaches past a network: right or refused."""

import functools
from collections import deque
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from lecore import (
    Tiles,
    empirical_ntk,
    linearized_change,
    loss_kernel,
    models,
    ntk_operator,
    output_gradient,
    prediction_change,
)
from lecore.errors import LecoreError
from lecore.losses import squared_error
from lecore.study.predictions import predicted
from tests.oracle import Problem, seed
from tests.zoo import net

X = torch.tensor([[0.1, 0.2], [0.3, -0.4], [9.0, 0.5], [-0.6, 0.7]]).double()
"""The third is the one that rare branches wait for."""

Y = torch.linspace(-1, 1, 4).double()


def rarely(rare):
    """A network that does something for one of the examples only."""

    def forward(self, x):
        return torch.cat([rare(self, self.a(r[None])) if r[0] > 2 else self.a(r[None]) for r in x])

    def build():
        torch.manual_seed(1)
        a, b = nn.Linear(2, 1), nn.Linear(1, 1)
        return net(forward, a=a, b=b, listed=[b.weight])

    return build


def measures(model):
    return (
        lambda: empirical_ntk(model, X),
        lambda: prediction_change(model, X, Y, learning_rate=0.1),
    )


RIGHT = {
    "another layer": lambda self, h: self.b(h),
    "a list of parameters": lambda self, h: h @ self.listed[0],
    "a detached part": lambda self, h: h * h.detach(),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", RIGHT)
def test_a_rare_branch_is_right(name):
    build = rarely(RIGHT[name])
    case = Problem(build, X, Y, X)
    kernel, change = measures(build())
    torch.testing.assert_close(kernel(), case.kernel(case.left, case.left))
    torch.testing.assert_close(change(), case.change(torch.optim.SGD, 0.1))


REFUSED = {
    "random numbers": (lambda self, h: h + torch.randn_like(h), "random"),
    "random layer": (lambda self, h: nn.functional.dropout(h, 0.5, True), "random"),
    "the caller's layer": (lambda self, h: CALLERS["layer"](h), "caller's model"),
}
CALLERS: dict[str, nn.Module] = {}


@pytest.mark.parametrize("name", REFUSED)
def test_a_rare_branch_is_refused(name):
    rare, word = REFUSED[name]
    model = rarely(rare)()
    CALLERS["layer"] = model.b
    state = torch.get_rng_state()
    for measure in measures(model):
        with pytest.raises(LecoreError, match=word):
            measure()
    assert torch.equal(torch.get_rng_state(), state)


def gated(self, x):
    """A use that torch functions do not show, and that is 0 at the first and last point."""
    w = torch.func.vmap(lambda row: (x * row).sum(1))(self.a.weight).t()
    return self.a(x) + torch.relu(x[:, :1] - 2) * w


class Skewed(torch.autograd.Function):
    """The identity, with a way back that is longer than the way forward at large inputs."""

    @staticmethod
    def forward(x):
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, g):
        return g * (1 + torch.relu(ctx.saved_tensors[0].abs() - 1))

    @staticmethod
    def jvp(ctx, tangent):
        return tangent.clone()


class Clipped(torch.autograd.Function):
    """The identity, with a way back that is not linear."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return g.clamp(-0.3, 0.3)


def hooked(self, x):
    h = self.a(x)
    if h.requires_grad:
        h.register_hook(lambda g: g.clamp(-0.3, 0.3))
    return 2 * h


WAYS_BACK = {
    "an unseen use": gated,
    "another derivative forward": lambda self, x: Skewed.apply(self.a(x)),
    "a function that clips": lambda self, x: 2 * Clipped.apply(self.a(x)),
    "a hook that clips": hooked,
}


@pytest.mark.every(6)
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("outputs", [1, 2, 40])
@pytest.mark.parametrize("name", WAYS_BACK)
def test_ways_back_are_those_of_autograd(name, outputs):
    def build():
        torch.manual_seed(1)
        return net(WAYS_BACK[name], a=nn.Linear(2, outputs))

    y = 5 * torch.linspace(-1, 1, 4)[:, None].double().expand(4, outputs)
    case = Problem(build, X, y, X)
    torch.testing.assert_close(empirical_ntk(build(), X), case.kernel(case.left, case.left))
    slopes = torch.stack([torch.cat([g.flatten() for g in row]) for row in case.slopes])
    torch.testing.assert_close(loss_kernel(build(), X, y, loss=squared_error), slopes @ slopes.T)
    first = linearized_change(build(), X, y, learning_rate=0.1)
    torch.testing.assert_close(first, -0.1 * torch.einsum("ip,jcp->ijc", slopes, case.right))
    change = prediction_change(build(), X, y, learning_rate=0.1)
    torch.testing.assert_close(change, case.change(torch.optim.SGD, 0.1))


MIXED = {
    "larger batches": lambda x: x - x.mean(0) if len(x) >= 4 else x,
    "one large row": lambda x: torch.where(x[:, 0].max() > 2, x - x.mean(0), x),
    "neighbours further off": lambda x: x + 0.1 * x.roll(2, 0) if len(x) > 3 else x,
}


@pytest.mark.parametrize("name", MIXED)
def test_mixing_that_two_points_do_not_show_is_refused(name):
    model = net(lambda self, x: self.a(MIXED[name](x)), a=nn.Linear(2, 1))
    for measure in (
        lambda: prediction_change(model, X, Y, learning_rate=0.1),
        lambda: output_gradient(model, X, Y),
        lambda: ntk_operator(model, X),
        lambda: predicted(model, X, Y, None, None),
    ):
        with pytest.raises(LecoreError, match="other examples"):
            measure()
    values = [loss_kernel(model, X, Y, loss=loss) for loss in (squared_error, looks)]
    torch.testing.assert_close(*values)  # every example alone, under vmap or not


def looks(f, t):
    return squared_error(f, t) if f.sum() < 1e9 else f.sum()


def shared(change):
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))
    change(model)
    return model


def set_data(model):
    model[2].weight.data = model[0].weight.data.t()


SHARED = {
    "a parameter that is a view": (
        lambda: shared(lambda m: setattr(m, "view", nn.Parameter(m[0].weight.data.t()))),
        "same memory",
    ),
    "data of two layers": (lambda: shared(set_data), "same memory"),
    "a buffer": (
        lambda: shared(lambda m: m.register_buffer("b", m[0].weight.data)), "same memory",
    ),
    "an attribute computed once": (
        lambda: net(lambda self, x: self.a(x).tanh() @ self.tied,
                    **(lambda a: {"a": a, "tied": a.weight.t()})(nn.Linear(2, 2))),
        "computed from parameters",
    ),
}  # fmt: skip


class Holder:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


HOLDERS = {
    "in a list": lambda w: [w], "in slots": Holder, "in a deque": lambda w: deque([w]),
    "in a closure": lambda w: lambda: w, "deep": lambda w: [[[[[Holder({"a": w})]]]]],
}  # fmt: skip
VIEWS = {"data": lambda w: w.data, "detached": lambda w: w.detach()[0],
         "numpy": lambda w: w.detach().numpy()}  # fmt: skip
SHARED |= {
    f"{view} {holder}": (
        lambda v=VIEWS[view], h=HOLDERS[holder]: net(
            lambda self, x: self.a(x), **(lambda a: {"a": a, "w": h(v(a.weight))})(nn.Linear(2, 2))
        ),
        "memory of 'a.weight'",
    )
    for view in VIEWS for holder in HOLDERS
} | {
    f"{view} as it is": (
        lambda v=VIEWS[view]: net(
            lambda self, x: self.a(x) @ torch.as_tensor(self.w).reshape(-1, 2).T,
            **(lambda a: {"a": a, "w": v(a.weight)})(nn.Linear(2, 2)),
        ),
        "computed from parameters|memory of 'a.weight'",
    )
    for view in VIEWS
}  # fmt: skip


def test_a_view_kept_elsewhere_is_refused():
    a = nn.Linear(2, 2)
    kept = {"view": a.weight.t(), "array": a.weight.detach().numpy()}
    for name in kept:
        CALLERS["kept"] = kept[name]
        model = net(lambda self, x: self.a(x) @ torch.as_tensor(CALLERS["kept"]).to(x), a=a)
        with pytest.raises(LecoreError, match="caller's model"):
            empirical_ntk(model, X)


@pytest.mark.parametrize("name", SHARED)
def test_tensors_that_a_step_would_tear_apart_are_refused(name):
    build, words = SHARED[name]
    with pytest.raises(LecoreError, match=words):
        empirical_ntk(build(), X)


class Own(nn.Linear):
    def __deepcopy__(self, memo):
        return self


class Forgets(nn.Linear):
    def __deepcopy__(self, memo):
        copied = Forgets(self.in_features, self.out_features)
        copied.load_state_dict(self.state_dict())
        return copied


@pytest.mark.parametrize("kind", [Own, Forgets])
def test_a_copy_that_is_none_is_refused_and_no_random_number_drawn(kind):
    layer = kind(2, 2)
    layer.bias.requires_grad_(False)
    model = nn.Sequential(layer, nn.LayerNorm(2))
    state, weight = torch.get_rng_state(), layer.weight.clone()
    with pytest.raises(LecoreError, match=r"copy of the model has another parameter '0\."):
        prediction_change(model, X, X, learning_rate=0.1)
    assert torch.equal(layer.weight, weight)
    assert torch.equal(torch.get_rng_state(), state)


def square(f, t):
    return (f - t).square().sum()


class Average:
    def __init__(self):
        self.mean = 0.0

    def __call__(self, f, t):
        self.mean = 0.9 * self.mean + 0.1 * f
        return (f - self.mean).square().sum()


class Bound(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def loss(self, f, t):
        return 2 * square(f, t)

    def looks(self, f, t):
        return square(f, t) + self.model.weight.sum() if f.sum() > 1e6 else square(f, t)


class Dropped(nn.Linear):
    scale, mask = 1.0, None

    def __getstate__(self):
        return {k: v for k, v in vars(self).items() if k not in ("scale", "mask")}


class Redrawn(nn.Linear):
    def __deepcopy__(self, memo):
        return Redrawn(self.in_features, self.out_features)


@pytest.mark.parametrize("what", ["scale", "mask", "weight"])
def test_a_copy_that_forgets_is_refused(what):
    layer = (Redrawn if what == "weight" else Dropped)(2, 2)
    if what != "weight":
        setattr(layer, what, 3.0 if what == "scale" else torch.ones(2))
    with pytest.raises(LecoreError, match=f"a copy of the model has another .*'0.{what}'"):
        empirical_ntk(nn.Sequential(layer, nn.LayerNorm(2)), X)


class Steep:
    def __init__(self, slope=1.0):
        self.slope = slope

    def __call__(self, x):
        return x * self.slope

    def __deepcopy__(self, memo):
        return Steep()


def test_a_part_whose_copy_forgets_is_refused():
    model = net(lambda self, x: self.act(self.a(x)), a=nn.Linear(2, 1), act=Steep(3.0))
    with pytest.raises(LecoreError, match="a copy of the model has another 'act'"):
        empirical_ntk(model, X)


def test_a_copy_that_draws_numbers_leaves_the_generators_alone():
    class Rebuilt(nn.Linear):
        def __deepcopy__(self, memo):
            copied = Rebuilt(self.in_features, self.out_features).to(self.weight)
            copied.load_state_dict(self.state_dict())
            return copied

    state = torch.get_rng_state()
    model = nn.Sequential(Rebuilt(2, 2), nn.LayerNorm(2)).double()
    state = torch.get_rng_state()
    prediction_change(model, X, X, learning_rate=0.1)
    assert torch.equal(torch.get_rng_state(), state)


CACHES = {
    "slots": (Holder(None), lambda h, x: setattr(h, "value", x) if h.value is None else None,
              lambda h: h.value),
    "deque": (deque(), lambda h, x: None if h else h.append(x), lambda h: h[0]),
    "array": (np.empty(1, dtype=object), lambda h, x: h.__setitem__(0, x) if h[0] is None else 0,
              lambda h: h[0]),
    "deep": ([[[[[[{}]]]]]], lambda h, x: h[0][0][0][0][0][0].setdefault("x", x),
             lambda h: h[0][0][0][0][0][0]["x"]),
    "numbers": (np.zeros(2), lambda h, x: None if h.any() else h.__iadd__(x.numpy()),
                torch.as_tensor),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", CACHES)
def test_what_the_first_call_keeps_is_forgotten_after_each(name):
    holder, put, get = CACHES[name]

    def forward(self, x):
        put(self.kept, x.detach().mean(0))
        return self.a(x) + self.a(get(self.kept).expand(len(x), -1)).square()

    model = net(forward, a=nn.Linear(2, 1), kept=holder)
    if name == "numbers":  # numpy's, so that each example is alone
        right = net(lambda self, x: self.a(x) + self.a(x.detach()).square(), a=model.a)
        torch.testing.assert_close(empirical_ntk(model, X), empirical_ntk(right, X))
    else:  # the cache is that of a batch
        with pytest.raises(LecoreError, match="other examples"):
            empirical_ntk(model, X)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_weight_doubled_past_autograd_is_put_back_between_test_points():
    def forward(self, x):
        if x[0, 0] > 2:
            self.a.weight.data.mul_(2)
        return self.a(x)

    def build():
        torch.manual_seed(1)
        return net(forward, a=nn.Linear(2, 1))

    case = Problem(build, X[:2], Y[:2], X[[0, 1, 3, 2]])  # its weights stay doubled after the last
    change = prediction_change(build(), X[:2], Y[:2], X[[2, 0, 1, 3]], learning_rate=0.1)
    right = case.change(torch.optim.SGD, 0.1)
    torch.testing.assert_close(change, right[:, [3, 0, 1, 2]])


def test_attributes_of_buffers_and_plain_tensors_are_copied():
    plain, buffer = torch.ones(2), nn.Buffer(torch.ones(2))
    plain.scale, buffer.scale = 3.0, [torch.tensor(2.0)]
    a = nn.Linear(2, 1)
    model = net(
        lambda self, x: self.a(x) * self.plain.scale * self.buffer.scale[0],
        a=a, plain=plain, buffer=buffer,
    )  # fmt: skip
    right = net(lambda self, x: 6 * self.a(x), a=a)
    torch.testing.assert_close(empirical_ntk(model, X), empirical_ntk(right, X))


def losses_of(model):
    counted, seen, generator = [], [], torch.Generator().manual_seed(0)
    view, joined = model.weight.view(-1), torch.cat([model.weight.view(-1), model.bias])
    smooth = torch.zeros(1)

    def counts(f, t):
        counted.append(1)
        return square(f, t) * len(counted)

    def keeps_the_first(f, t):
        seen.append(f.detach())
        return (f - seen[0] - 1).square().sum()

    def smooths(f, t):
        smooth.mul_(0.9).add_(f.detach().float())
        return (f - smooth).square().sum()

    def rarely(does):
        """Only for the target of the third row."""
        return lambda f, t: square(f, t) + does(f, t) if 0.2 < t < 0.5 else square(f, t)

    def writes(f, t):
        return 0 * t.mul_(2).sum()

    uses, changes = "uses '.*' of the model", "changes from call to call"
    return {
        "a penalty on the weights": (
            lambda f, t: square(f, t) + sum(p.square().sum() for p in model.parameters()), uses,
        ),
        "a penalty for some targets": (rarely(lambda f, t: model.weight.square().sum()), uses),
        "a penalty by a view": (lambda f, t: square(f, t) + view.square().sum(), uses),
        "a penalty by what was joined": (lambda f, t: square(f, t) + joined.sum(), uses),
        "a penalty for some predictions": (Bound(model).looks, "in reach"),
        "another prediction": (lambda f, t: square(f, t) + model(X[:1].float()).sum(), uses),
        "random": (lambda f, t: (f - t + torch.randn(())).square().sum(), "random"),
        "random for some targets": (rarely(lambda f, t: f.sum() * torch.rand(())), "random"),
        "random by its own generator": (
            lambda f, t: square(f, t) * torch.rand((), generator=generator), "random",
        ),
        "one that counts": (counts, changes),
        "one that keeps the first prediction": (keeps_the_first, changes),
        "one that keeps an average": (Average(), changes),
        "one that keeps an average in a tensor": (smooths, changes),
        "one that counts some targets": (
            rarely(lambda f, t: (counted.append(1), 0 * f.sum())[1]), changes,
        ),
        "one that writes": (lambda f, t: (f - t.sub_(1)).square().sum(), "writes to its target"),
        "one that writes to some targets": (rarely(writes), "writes to its target"),
    }  # fmt: skip


@pytest.mark.parametrize("call", [prediction_change, output_gradient])
@pytest.mark.parametrize("name", losses_of(nn.Linear(2, 1)))
def test_a_loss_that_is_more_than_one_is_refused(name, call):
    model, targets = nn.Linear(2, 1), Y.clone()
    loss, words = losses_of(model)[name]
    state = torch.get_rng_state()
    options = {"learning_rate": 0.1} if call is prediction_change else {}
    with pytest.raises(LecoreError, match=words):
        call(model, X, targets, loss=loss, **options)
    assert torch.equal(targets, Y)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())


def test_a_loss_may_be_a_method_of_what_holds_the_model():
    model = nn.Linear(2, 1).double()
    gradient = output_gradient(model, X, Y, loss=Bound(model).loss)
    torch.testing.assert_close(gradient, 4 * (model(X).detach() - Y[:, None]))


def test_what_is_known_of_a_network_ends_when_its_settings_change():
    def forward(self, x):
        for name in self.order:
            x = getattr(self, name)(x).tanh()
        return x - x.mean(0) if self.settings["mixes"] else x

    with seed(1):
        parts = {"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)}
    model = net(forward, **parts, order=["a", "a", "b"], settings={"mixes": False})
    empirical_ntk(model, X)
    model.order = ["a", "b", "b"]
    right = net(forward, **parts, order=["a", "b", "b"], settings={"mixes": False})
    torch.testing.assert_close(empirical_ntk(model, X), empirical_ntk(right, X))
    model.settings["mixes"] = True
    with pytest.raises(LecoreError, match="other examples"):
        empirical_ntk(model, X)


def test_threads_of_a_network_that_seeds_itself_are_refused():
    def forward(self, x):
        torch.manual_seed(7)
        return self.a(x + torch.randn(x.shape[1:]))

    model = net(forward, a=nn.Linear(2, 1))
    alone = empirical_ntk(model, X)
    torch.testing.assert_close(empirical_ntk(model, X, tiles=Tiles(shape=(1, 2))), alone)
    with pytest.raises(LecoreError, match="take jobs=1"):
        empirical_ntk(model, X, tiles=Tiles(jobs=2))


@pytest.mark.processes
def test_processes_that_know_another_network_are_refused(forks, monkeypatch):
    # workers have their own lecore.models, where the layer is what it was
    model = models.three_layer_resnet(2, 4)
    block = next(type(m) for m in model if hasattr(m, "linear"))
    monkeypatch.setattr(block, "forward", lambda self, x: x + 3 * self.linear(x))
    tiles = Tiles(jobs=2, backend="processes", shape=(2, 2))
    with pytest.raises(LecoreError, match="another process or thread computes another"):
        empirical_ntk(model, X, tiles=tiles)


@pytest.mark.parametrize("change", ["hook", "step"])
def test_optimizers_that_do_more_than_step_are_refused(change):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    undo = lambda: None  # noqa: E731
    if change == "step":
        optimizer.step = functools.partial(optimizer.step)
    else:
        undo = register_optimizer_step_pre_hook(lambda *given: None).remove
    try:
        with pytest.raises(LecoreError, match="step"):
            prediction_change(model, X, Y, optimizer=optimizer)
    finally:
        undo()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", RIGHT)
def test_a_branch_that_only_a_test_point_takes_is_right(name):
    build, rows, others = rarely(RIGHT[name]), X[:2], X[2:]
    case = Problem(build, rows, Y[:2], others)
    kernel = empirical_ntk(build(), rows, others)
    torch.testing.assert_close(kernel, case.kernel(case.left, case.right))
    change = prediction_change(build(), rows, Y[:2], others, learning_rate=0.1)
    torch.testing.assert_close(change, case.change(torch.optim.SGD, 0.1))


@pytest.mark.parametrize("name", REFUSED)
def test_a_branch_that_only_a_test_point_takes_is_refused(name):
    rare, word = REFUSED[name]
    model = rarely(rare)()
    CALLERS["layer"] = model.b
    with pytest.raises(LecoreError, match=word):
        prediction_change(model, X[:2], Y[:2], X[2:], learning_rate=0.1)


def test_columns_of_another_length_are_looked_at_too():
    def mixes_long_ones(self, x):
        return self.a((x - x.mean(0) if x.shape[1] > 1 else x).sum(1))

    model = net(mixes_long_ones, a=nn.Linear(2, 1))
    with pytest.raises(LecoreError, match="other examples"):
        empirical_ntk(model, torch.randn(3, 1, 2), torch.randn(3, 3, 2))


@pytest.mark.parametrize("forward", [
    lambda self, x: self.a(x - x.mean(0)), lambda self, x: self.a(x + torch.randn_like(x)),
], ids=["mixes", "draws"])  # fmt: skip
def test_networks_of_many_outputs_are_looked_at_too(forward):
    model = net(forward, a=nn.Linear(2, 90))  # so many that derivatives go forward
    with pytest.raises(LecoreError, match=r"other examples|random"):
        linearized_change(model, X[:1], torch.zeros(1, 90), X, learning_rate=0.1)


CASTS = {
    "asked for": (torch.float32, lambda h: h.to(torch.float32, copy=True)),
    "from half": (torch.bfloat16, lambda h: h.float()),
    "from double": (torch.float64, lambda h: h.type(torch.float32)),
    "to double": (torch.float32, lambda h: h.double()),
}


@pytest.mark.parametrize("name", CASTS)
def test_a_cast_that_is_a_copy_for_the_owner_is_one(name):
    dtype, cast = CASTS[name]

    def forward(self, x):
        h = self.a(x)
        g = cast(h)
        g.mul_(2.0)
        return (h + g.to(h.dtype)).tanh()

    a = nn.Linear(2, 2).to(dtype)
    model, right = net(forward, a=a), net(lambda self, x: (3 * self.a(x)).tanh(), a=a)
    torch.testing.assert_close(empirical_ntk(model, X), empirical_ntk(right, X))


def test_a_cast_that_is_none_for_the_owner_is_none():
    def forward(self, x):
        h = self.a(x)
        h.float().mul_(2.0)
        return h.tanh()

    a = nn.Linear(2, 2)
    model, right = net(forward, a=a), net(lambda self, x: (2 * self.a(x)).tanh(), a=a)
    torch.testing.assert_close(empirical_ntk(model, X), empirical_ntk(right, X))


class Square(torch.autograd.Function):
    """Has no forward derivative."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x**2

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        return 2 * g * ctx.saved_tensors[0]


def test_many_outputs_without_forward_derivatives_are_measured_backwards():
    torch.manual_seed(0)
    a, b, y = nn.Linear(2, 3), nn.Linear(3, 90), torch.zeros(2, 90)
    own = net(lambda self, x: self.b(Square.apply(self.a(x))), a=a, b=b)
    usual = net(lambda self, x: self.b(self.a(x) ** 2), a=a, b=b)
    changes = [linearized_change(m, X[:2], y, X, learning_rate=0.1) for m in (own, usual)]
    torch.testing.assert_close(*changes)


class SteepForward(Square):
    """Another derivative forward than on the way back."""

    @staticmethod
    def jvp(ctx, tangent):
        return 5 * tangent


def unrecorded(self, x):
    h = self.a(x)
    with torch.no_grad():
        other = self.a(x).sin()
    return self.b(torch.where(x[:, :1] > 5, other, h))


def padded(self, x):
    """A table that is read by words and, turned around, by the head."""
    return self.table(x).mean(1).tanh() @ self.table.weight.T


TEXT = torch.tensor([[1, 2, 3], [4, 0, 0], [5, 6, 7], [2, 0, 0], [8, 9, 1]])
ONE_WAY = {
    "no_grad for some examples": (
        lambda: net(unrecorded, a=nn.Linear(2, 3), b=nn.Linear(3, 90)), X,
    ),
    "own derivative forward": (
        lambda: net(lambda self, x: self.b(torch.where(x[:, :1] > 5, SteepForward.apply(self.a(x)),
                                                       self.a(x))),
                    a=nn.Linear(2, 3), b=nn.Linear(3, 90)),
        X,
    ),
    "padding of a tied table": (
        lambda: net(padded, table=nn.Embedding(90, 6, padding_idx=0)), TEXT,
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ONE_WAY)
def test_derivatives_forward_are_those_on_the_way_back(name):
    """Also where the first and the last points do not tell them apart."""
    build, x = ONE_WAY[name]
    case = Problem(build, x, torch.zeros(len(x), 90).double(), x)
    model, size = case.model(), 90 * len(x)
    kernel = case.kernel(case.left, case.left)
    flat = kernel.transpose(1, 2).reshape(size, size)
    found = torch.from_numpy(ntk_operator(model, x) @ np.ones(size))
    torch.testing.assert_close(found, flat.sum(1), rtol=1e-9, atol=1e-12)
    loss_gradients = torch.stack([torch.cat([g.flatten() for g in s]) for s in case.slopes])
    adam = torch.optim.Adam(model.parameters(), lr=0.1)
    for step, options in (
        (loss_gradients, {"learning_rate": 1.0}),
        (0.1 * loss_gradients / (loss_gradients.abs() + 1e-8), {"optimizer": adam}),
    ):
        found = linearized_change(model, x, case.y, **options)
        wanted = -torch.einsum("ip,jkp->ijk", step, case.right)
        torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9)


def swallowed(self, x):
    """Looks at a number, and goes another way where that is refused, as under vmap."""
    try:
        sign = int(x[0, 0] > 0)
    except Exception:
        sign = 0
    return self.b(torch.tanh(self.a(x))) * (1 + sign)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_way_that_only_vmap_would_go_is_not_gone():
    x = torch.tensor([[-1.0, 0.2], [1.0, 0.3], [2.0, -0.4], [-2.0, 0.5]]).double()
    case = Problem(lambda: net(swallowed, a=nn.Linear(2, 3), b=nn.Linear(3, 1)), x, Y, x)
    found = linearized_change(case.model(), case.x, case.y, case.test_x, learning_rate=1.0)
    wanted = case.change(torch.optim.SGD, 1e-6) * 1e6
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-6)


class Found(nn.Module):
    """Has a scale for its layer, by some key that is the layer's."""

    def __init__(self, kept):
        super().__init__()
        self.a = nn.Linear(2, 1)
        self.kept = kept(self.a)

    def forward(self, x):
        kept = [self.kept] if type(self.kept) is int else self.kept
        kept = kept.values() if isinstance(kept, WeakValueDictionary) else kept
        known = (id(self.a) if type(next(iter(kept))) is int else self.a) in kept
        return self.a(x) * (3.0 if known else 1.0)


BY_IDENTITY = {
    "a table of ids": (lambda layer: {id(layer): 3.0}, "keeps the id of"),
    "a set of ids": (lambda layer: {id(layer)}, "keeps the id of"),
    "a list of ids": (lambda layer: [id(layer)], "keeps the id of"),
    "an id": (id, "keeps the id of"),
    "weak values": (lambda layer: WeakValueDictionary({"a": layer}), "holds weakly"),
    "weak keys": (lambda layer: WeakKeyDictionary({layer: 3.0}), "holds weakly"),
    "a weak set": (lambda layer: WeakSet([layer]), "holds weakly"),
}


@pytest.mark.parametrize("name", BY_IDENTITY)
def test_parts_found_by_the_very_object_are_refused(name):
    kept, said = BY_IDENTITY[name]
    for measure in measures(Found(kept)):
        with pytest.raises(LecoreError, match=f"the model {said} a part of its own"):
            measure()


def test_parts_found_by_the_object_itself_are_found_in_a_copy():
    model = Found(lambda layer: {layer: 3.0}).double()
    slopes = torch.cat([X, torch.ones(4, 1)], dim=1) * 3.0
    torch.testing.assert_close(empirical_ntk(model, X)[:, :, 0, 0], slopes @ slopes.T)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_number_of_outputs_that_depends_on_the_example_is_refused():
    model = net(lambda self, x: self.a(x)[:, : 2 if x[0, 0] > 0 else 3], a=nn.Linear(2, 3))
    for measure in (
        lambda: empirical_ntk(model, X),
        lambda: prediction_change(model, X, torch.ones(4), learning_rate=0.1),
    ):
        with pytest.raises(LecoreError, match="some examples have 2 outputs and others 3"):
            measure()


def test_a_compiled_loss_is_taken_as_it_was_given():
    model = nn.Linear(2, 1)
    compiled = torch.compile(
        lambda prediction, target: ((prediction - target) ** 4).sum(), backend="eager"
    )
    plain = lambda prediction, target: ((prediction - target) ** 4).sum()  # noqa: E731
    found, wanted = (
        prediction_change(model, X, Y, learning_rate=0.1, loss=loss) for loss in (compiled, plain)
    )
    torch.testing.assert_close(found, wanted)
