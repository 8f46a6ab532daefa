"""Every step is compared with torch.optim's own, in float64."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import grad, jacrev, vjp, vmap

from lecore import linearized_change, losses, models, prediction_change
from lecore.engine.optimizer_steps import sgd_change, weight_change
from lecore.errors import LecoreError
from lecore.seeding import seeded
from tests.examples import examples


def small() -> nn.Module:
    return models.fully_connected(3, 4, 1, "tanh", outputs=2, seed=1).double()


def points(n: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    with seeded(0):
        return torch.randn(n, 3, dtype=torch.float64), torch.randn(n, 2, dtype=torch.float64)


def used(optimizer: torch.optim.Optimizer, model: nn.Module, steps: int) -> None:
    x, y = points()
    for _ in range(steps):
        optimizer.zero_grad()
        ((model(x) - y) ** 2).sum().backward()
        optimizer.step()
    optimizer.zero_grad()


@pytest.mark.filterwarnings("ignore:the network is measured by plain autograd")
@pytest.mark.parametrize("decay", [{"weight_decay": 0.5}, {}], ids=["decay", "none"])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("rate", [0.1, 1e-7])
def test_a_step_starts_at_the_weights_that_the_forward_pass_wrote(kind, decay, rate):
    model = nn.Sequential(nn.Embedding(2, 1, max_norm=1.0), nn.Flatten()).double()
    model[0].weight.data[:] = torch.tensor([[4.0], [3.0]])
    x, y = torch.tensor([[0]]), torch.zeros(1, 1, dtype=torch.float64)
    optimizer = kind(model.parameters(), lr=rate, **decay)
    stepped = torch_step(model, optimizer, x[0], y[0])
    right = (stepped(x) - model(x)).item()
    model[0].weight.data[:] = torch.tensor([[4.0], [3.0]])
    measure = prediction_change if rate == 0.1 else linearized_change
    change = measure(model, x, y, optimizer=optimizer)
    assert change.item() == pytest.approx(right, rel=1e-9 if rate == 0.1 else 1e-5)


def torch_step(model, optimizer, x, y):
    """Model after torch's own step on one example, from copies of model and optimiser."""
    model, optimizer = copy.deepcopy((model, optimizer))
    optimizer.zero_grad()
    losses.squared_error(model(x[None])[0], y).backward()
    optimizer.step()
    return model


def gradient_of(model, x, y):
    """Gradient of one example by name."""
    parameters = dict(model.named_parameters())
    gradient = torch.autograd.grad(
        losses.squared_error(model(x[None])[0], y), list(parameters.values())
    )
    return dict(zip(parameters, gradient, strict=True))


def assert_steps_agree(model, optimizer):
    x, y = points(1)
    step = weight_change(optimizer, model, torch.float64)(gradient_of(model, x[0], y[0]))
    after = dict(torch_step(model, optimizer, x[0], y[0]).named_parameters())
    assert step.keys() == after.keys()
    for name, w in model.named_parameters():
        torch.testing.assert_close(w + step[name], after[name], rtol=1e-12, atol=1e-13)


RULES = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "decay": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.3),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.2),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.8, 0.95), weight_decay=0.2),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True, maximize=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.2),
    "decoupled": lambda p: torch.optim.Adam(p, weight_decay=0.2, decoupled_weight_decay=True),
    "tensor rate": lambda p: torch.optim.AdamW(
        p, lr=torch.tensor(0.1, dtype=torch.float64), foreach=False
    ),
    "fused": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
}


@pytest.mark.every(4)
@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("rule", RULES)
def test_a_step_is_the_one_torch_takes(rule, steps):
    model = small()
    optimizer = RULES[rule](model.parameters())
    used(optimizer, model, steps)
    weights, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    x, y = points()
    change = prediction_change(model, x, y, optimizer=optimizer)
    after = [torch_step(model, optimizer, a, b)(x) for a, b in zip(x, y, strict=True)]
    expected = (torch.stack(after) - model(x)).detach()
    torch.testing.assert_close(change, expected, rtol=1e-9, atol=1e-12)
    for before, now in ((weights, model.state_dict()), (state, optimizer.state_dict())):
        for a, b in zip(_leaves(before), _leaves(now), strict=True):
            assert torch.equal(torch.as_tensor(a), torch.as_tensor(b))


def _leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in _leaves(item)]
    return [] if value is None else [value]


rates = st.floats(1e-4, 1.0)
decays = st.sampled_from([0.0, 0.01, 0.7])


@settings(max_examples=examples(40), deadline=None)
@given(
    rates=st.tuples(rates, rates),
    decays=st.tuples(decays, decays),
    momentum=st.sampled_from([0.0, 0.5, 0.99]),
    dampening=st.floats(0.0, 1.0),
    nesterov=st.booleans(),
    maximize=st.booleans(),
    steps=st.integers(0, 3),
)
def test_sgd_with_any_settings(rates, decays, momentum, dampening, nesterov, maximize, steps):
    model = small()
    nesterov = nesterov and momentum > 0
    optimizer = torch.optim.SGD(
        [
            {"params": [p], "lr": rate, "weight_decay": decay}
            for p, rate, decay in zip(list(model.parameters())[:2], rates, decays, strict=True)
        ],
        momentum=momentum,
        dampening=0 if nesterov else dampening,
        nesterov=nesterov,
        maximize=maximize,
    )
    used(optimizer, model, steps)
    assert_steps_agree(model, optimizer)


@settings(max_examples=examples(60), deadline=None)
@given(
    kind=st.sampled_from([torch.optim.Adam, torch.optim.AdamW]),
    rates=st.tuples(rates, rates),
    decays=st.tuples(decays, decays),
    betas=st.tuples(st.floats(0.0, 0.99), st.floats(0.5, 0.999)),
    epsilon=st.sampled_from([1e-12, 1e-8, 0.1]),
    amsgrad=st.booleans(),
    maximize=st.booleans(),
    steps=st.integers(0, 3),
)
def test_adam_with_any_settings(kind, rates, decays, betas, epsilon, amsgrad, maximize, steps):
    model = small()
    first, *others = model.parameters()
    optimizer = kind(
        [
            {"params": [first], "lr": rates[0], "weight_decay": decays[0], "betas": betas},
            {"params": others, "lr": rates[1], "weight_decay": decays[1]},
        ],
        eps=epsilon,
        amsgrad=amsgrad,
        maximize=maximize,
    )
    used(optimizer, model, steps)
    assert_steps_agree(model, optimizer)


def test_the_rate_of_a_scheduler_is_the_present_one():
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    used(optimizer, model, 1)
    schedule.step()
    step = weight_change(optimizer, model, torch.float64)({"1.bias": torch.ones(4).double()})
    assert step["1.bias"].tolist() == [-0.05] * 4


def test_parameter_groups_with_rates_of_their_own_and_parameters_in_no_group():
    model = small()
    first, second = model[1], model[3]
    optimizer = torch.optim.SGD(
        [{"params": [first.weight], "lr": 0.5}, {"params": [second.weight]}], lr=0.1
    )
    gradient = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    step = weight_change(optimizer, model, torch.float64)(gradient)
    assert float(step["1.weight"][0, 0]) == -0.5
    assert float(step["3.weight"][0, 0]) == pytest.approx(-0.1)
    assert not step["1.bias"].any()
    assert not step["3.bias"].any()
    assert not optimizer.state


def test_tied_and_fixed_weights():
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    model[2].weight = model[0].weight
    model[2].bias.requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    x, y = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    change = prediction_change(model, x, y, optimizer=optimizer)
    after = [torch_step(model, optimizer, a, b)(x) for a, b in zip(x, y, strict=True)]
    torch.testing.assert_close(change, (torch.stack(after) - model(x)).detach())


@pytest.mark.parametrize("rule", RULES)
def test_steps_pass_through_function_transforms(rule):
    model, (x, y) = small(), points()
    optimizer = RULES[rule](model.parameters())
    used(optimizer, model, 2)
    step = weight_change(optimizer, model, torch.float64)
    gradients = [gradient_of(model, a, b) for a, b in zip(x, y, strict=True)]
    stacked = {name: torch.stack([g[name] for g in gradients]) for name in gradients[0]}
    together = vmap(step)(stacked)
    for i, gradient in enumerate(gradients):
        for name, change in step(gradient).items():
            torch.testing.assert_close(together[name][i], change)
    # Every rule acts on each weight by itself, so a derivative is a difference quotient
    name, by = "3.bias", 1e-6
    result, pull = vjp(step, gradients[0])
    (derivative,) = pull({k: torch.ones_like(v) * (k == name) for k, v in result.items()})
    nudged = {k: v + by * (k == name) for k, v in gradients[0].items()}
    quotient = (step(nudged)[name] - result[name]) / by
    torch.testing.assert_close(derivative[name], quotient, rtol=1e-4, atol=1e-8)
    jacobian = jacrev(step)(gradients[0])[name][name]
    torch.testing.assert_close(jacobian, derivative[name].diag())


def test_the_step_is_taken_from_the_present_and_travels():
    model, (x, y) = small(), points(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, amsgrad=True)
    used(optimizer, model, 2)
    step, gradient = weight_change(optimizer, model, torch.float64), gradient_of(model, x[0], y[0])
    before = step(gradient)
    received = pickle.loads(pickle.dumps(step))(gradient)
    used(optimizer, model, 3)
    for name, change in step(gradient).items():
        assert torch.equal(change, before[name])
        assert torch.equal(change, received[name])


def test_precision_is_the_one_asked_for():
    model = small().float()
    for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        optimizer = kind(model.parameters(), lr=0.1, weight_decay=0.1)
        x, y = (t.float() for t in points())
        ((model(x) - y) ** 2).sum().backward()
        optimizer.step()
        gradient = {name: torch.ones_like(p).double() for name, p in model.named_parameters()}
        step = weight_change(optimizer, model, torch.float64)(gradient)
        assert all(change.dtype == torch.float64 for change in step.values())
        assert not any(change.requires_grad for change in step.values())


def test_plain_sgd_is_the_learning_rate_given_directly():
    model, (x, y) = small(), points()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for measure in (prediction_change, linearized_change):
        torch.testing.assert_close(
            measure(model, x, y, optimizer=optimizer), measure(model, x, y, learning_rate=0.05)
        )
    gradient = {"w": torch.tensor([2.0])}
    assert float(sgd_change(0.5)(gradient)["w"]) == -1.0
    assert float(grad(lambda g: sgd_change(0.5)(g)["w"].sum())(gradient)["w"]) == -0.5


def test_linearisation_along_adams_step_is_its_derivative():
    model, (x, y) = small(), points()
    tiny = torch.optim.Adam(model.parameters(), lr=1e-7)
    torch.testing.assert_close(
        linearized_change(model, x, y, optimizer=tiny),
        prediction_change(model, x, y, optimizer=tiny),
        rtol=1e-4,
        atol=1e-12,
    )


def test_unfit_optimisers_are_named():
    model, (x, y) = small(), points()
    others = [*model.parameters(), *small().parameters()]
    with pytest.raises(ValueError, match="4 parameters of the optimizer are not the model's"):
        prediction_change(model, x, y, optimizer=torch.optim.SGD(others, lr=1))
    with pytest.raises(ValueError, match="either learning_rate"):
        prediction_change(model, x, y)
    with pytest.raises(LecoreError, match=r"RMSprop is not known .*; take prediction_change"):
        linearized_change(model, x, y, optimizer=torch.optim.RMSprop(model.parameters()))
    with pytest.raises(LecoreError, match=r"Adafactor is not known"):  # its eps may be None
        linearized_change(model, x, y, optimizer=torch.optim.Adafactor(model.parameters()))


SETTINGS = {
    "lr": (lambda step: 0.1, -0.1, float("nan"), True, None),
    "weight_decay": ("0.1", float("inf")),
    "betas": ((0.9, None),),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_a_group_that_are_no_numbers_are_named(name):
    model, (x, y) = small(), points()
    for value in SETTINGS[name]:
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        optimizer.param_groups[0][name] = value
        with pytest.raises(LecoreError, match=f"{name} of the optimizer is .*; give a finite"):
            prediction_change(model, x, y, optimizer=optimizer)


@pytest.mark.filterwarnings("ignore::UserWarning")  # which torch gives, and steps twice
def test_a_weight_that_an_optimiser_holds_twice_is_named():
    model, (x, y) = small(), points()
    weight = next(model.parameters())
    with pytest.raises(LecoreError, match="twice"):
        prediction_change(model, x, y, optimizer=torch.optim.SGD([weight, weight], lr=0.1))


class Experts(nn.Module):
    """Each example goes to one of three layers; the others get no gradient from it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(3, 3)
        self.experts = nn.ModuleList(nn.Linear(3, 2) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = []
        for row in x:
            chosen = self.gate(row).softmax(0)
            best = int(chosen.argmax())
            rows.append(chosen[best] * self.experts[best](row))
        return torch.stack(rows)


KINDS = {
    "decay on the weights": lambda p: torch.optim.AdamW(p, lr=0.1),
    "decay on the gradient": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "moments": lambda p: torch.optim.Adam(p, lr=0.1),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # plain autograd
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("measure", [prediction_change, linearized_change])
def test_a_weight_that_an_example_does_not_use_stays(kind, measure):
    model = Experts().double()
    optimizer = KINDS[kind](model.parameters())
    used(optimizer, model, 2)
    x, y = points()
    change = measure(model, x, y, optimizer=optimizer, loss=losses.squared_error)
    before = model(x).detach()
    for i in range(len(x)):
        after = torch_step(model, optimizer, x[i], y[i])
        right = after(x).detach() - before
        if measure is prediction_change:
            torch.testing.assert_close(change[i], right, rtol=1e-9, atol=1e-12)
            continue
        names, weights = zip(*model.named_parameters(), strict=True)
        moved = tuple(
            b.detach() - a.detach() for a, b in zip(weights, after.parameters(), strict=True)
        )

        def at(*values: torch.Tensor, names: tuple[str, ...] = names) -> torch.Tensor:
            given = dict(zip(names, values, strict=True))
            return torch.func.functional_call(model, given, (x,))

        along = torch.autograd.functional.jvp(at, weights, moved)[1]
        torch.testing.assert_close(change[i], along, rtol=1e-9, atol=1e-12)
