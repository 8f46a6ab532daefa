"""Every step is compared with torch.optim's own, in float64."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lecore import linearized_change, losses, models, prediction_change
from lecore.optimizer_steps import sgd_change, weight_change
from lecore.seeding import seeded


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


def torch_step(model, optimizer, x, y):
    """Weights after torch's own step on one example, from copies of model and optimiser."""
    model, optimizer = copy.deepcopy((model, optimizer))
    optimizer.zero_grad()
    losses.squared_error(model(x[None])[0], y).backward()
    optimizer.step()
    return model


RULES = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "decay": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.3),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.2),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.8, 0.95), weight_decay=0.2),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True, maximize=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.2),
}


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("rule", RULES)
def test_a_step_is_the_one_torch_takes(rule, steps):
    model = small()
    optimizer = RULES[rule](model.parameters())
    used(optimizer, model, steps)
    state = copy.deepcopy(optimizer.state_dict())
    x, y = points()
    change = prediction_change(model, x, y, optimizer=optimizer)
    after = [torch_step(model, optimizer, a, b)(x) for a, b in zip(x, y, strict=True)]
    expected = (torch.stack(after) - model(x)).detach()
    torch.testing.assert_close(change, expected, rtol=1e-9, atol=1e-12)
    for a, b in zip(_leaves(state), _leaves(optimizer.state_dict()), strict=True):
        assert torch.equal(torch.as_tensor(a), torch.as_tensor(b))


def _leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in _leaves(item)]
    return [] if value is None else [value]


@settings(max_examples=15, deadline=None)
@given(
    rate=st.floats(1e-4, 1.0),
    betas=st.tuples(st.floats(0.0, 0.99), st.floats(0.5, 0.999)),
    decay=st.floats(0.0, 1.0),
)
def test_adam_with_any_settings(rate, betas, decay):
    model = small()
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, betas=betas, weight_decay=decay)
    used(optimizer, model, 2)
    x, y = points(1)
    gradient = torch.autograd.grad(
        losses.squared_error(model(x)[0], y[0]), list(model.parameters())
    )
    names = [name for name, _ in model.named_parameters()]
    step = weight_change(optimizer, model)(dict(zip(names, gradient, strict=True)))
    after = dict(torch_step(model, optimizer, x[0], y[0]).named_parameters())
    for name, w in model.named_parameters():
        torch.testing.assert_close(w + step[name], after[name], rtol=1e-9, atol=1e-12)


def test_parameter_groups_with_rates_of_their_own_and_parameters_in_no_group():
    model = small()
    first, second = model[1], model[3]
    optimizer = torch.optim.SGD(
        [{"params": [first.weight], "lr": 0.5}, {"params": [second.weight]}], lr=0.1
    )
    gradient = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    step = weight_change(optimizer, model)(gradient)
    assert float(step["1.weight"][0, 0]) == -0.5
    assert float(step["3.weight"][0, 0]) == pytest.approx(-0.1)
    assert not step["1.bias"].any()
    assert not step["3.bias"].any()


def test_plain_sgd_is_the_learning_rate_given_directly():
    model, (x, y) = small(), points()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for measure in (prediction_change, linearized_change):
        torch.testing.assert_close(
            measure(model, x, y, optimizer=optimizer), measure(model, x, y, learning_rate=0.05)
        )
    gradient = {"w": torch.tensor([2.0])}
    assert float(sgd_change(0.5)(gradient)["w"]) == -1.0


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
    with pytest.raises(ValueError, match="RMSprop is not known; take SGD, Adam or AdamW"):
        prediction_change(model, x, y, optimizer=torch.optim.RMSprop(model.parameters()))
    with pytest.raises(ValueError, match="not the model's"):
        prediction_change(model, x, y, optimizer=torch.optim.SGD(small().parameters(), lr=1))
    with pytest.raises(ValueError, match="either learning_rate"):
        prediction_change(model, x, y)
