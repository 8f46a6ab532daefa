"""Closed forms against an ODE solver, automatic derivatives and the engine."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from lecore import prediction_change
from lecore.losses import half_squared_error
from lecore.tangent_kernel import empirical_ntk
from lecore.theory.closed_forms import (
    deep_linear_flow,
    deep_linear_similarity,
    gate_flow,
    gate_similarity,
    homogeneous_flow,
    homogeneous_similarity,
)
from lecore.theory.one_step import change_by_steps

TIMES = np.linspace(0, 6, 13)


class Homogeneous(nn.Module):
    def __init__(self, weights: Tensor, degree: int) -> None:
        super().__init__()
        self.weights, self.degree = nn.Parameter(weights), degree

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weights**self.degree).sum(1, keepdim=True)


def simulated(model: nn.Module, x: np.ndarray, y: np.ndarray, read, times=TIMES) -> np.ndarray:
    """What ``read`` sees of a module's weights along gradient flow, by an ODE solver."""
    inputs, targets = torch.tensor(x), torch.tensor(y)[:, None]
    parameters = list(model.parameters())

    def set_to(flat):
        nn.utils.vector_to_parameters(torch.tensor(flat), parameters)

    def velocity(_, flat):
        set_to(flat)
        loss = 0.5 * (model(inputs) - targets).square().mean()
        gradients = torch.autograd.grad(loss, parameters)
        return -torch.cat([g.reshape(-1) for g in gradients]).numpy()

    start = nn.utils.parameters_to_vector(parameters).detach().numpy()
    path = solve_ivp(velocity, (0, times[-1]), start, "DOP853", times, rtol=1e-11, atol=1e-12)
    seen = []
    for flat in path.y.T:
        set_to(flat)
        seen.append(read(model).detach().numpy().copy())
    return np.array(seen)


def by_gradients(model: nn.Module, x: np.ndarray, other: np.ndarray) -> float:
    kernel = empirical_ntk(model, torch.tensor(np.stack([x, other])), form="trace")
    return float(kernel[0, 1].abs() / kernel[0, 0])


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    return rng.normal(size=(12, 3)), np.abs(rng.normal(size=12)), rng


def gate(weights: np.ndarray) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(3, 1, bias=False), nn.ReLU()).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor(weights)[None])
    return model


@pytest.mark.every(4)
@pytest.mark.parametrize("seed", range(4))
def test_gate_flow_through_its_flips(seed):
    rng = np.random.default_rng(seed)
    x, teacher = rng.normal(size=(12, 3)), 2 * rng.normal(size=3)
    y, initial = np.maximum(x @ teacher, 0), np.roll(teacher, 1)
    found = gate_flow(TIMES, initial, x, y)
    gates = found @ x.T > 0
    assert (gates[0] != gates[-1]).any(), "the test needs gates that flip"
    expected = simulated(gate(initial), x, y, lambda m: m[0].weight[0])
    assert found == pytest.approx(expected, abs=1e-8)


def test_points_that_stand_twice_flip_together():
    rng = np.random.default_rng(0)
    x, teacher = rng.normal(size=(6, 3)), 2 * rng.normal(size=3)
    y, initial = np.maximum(x @ teacher, 0), np.roll(teacher, 1)
    once = gate_flow(TIMES, initial, x, y)
    assert ((once[0] @ x.T > 0) != (once[-1] @ x.T > 0)).any(), "the test needs gates that flip"
    twice = gate_flow(TIMES, initial, np.concatenate([x, x]), np.concatenate([y, y]))
    assert twice == pytest.approx(once, abs=1e-9)


def test_gate_that_is_closed_everywhere_stays(data):
    x, y, _ = data
    x = np.abs(x)
    found = gate_flow(TIMES, -np.ones(3), x, y)
    assert found == pytest.approx(np.full((13, 3), -1.0))


def test_gate_flow_refuses_negative_targets_and_edges(data):
    x, y, _ = data
    with pytest.raises(ValueError, match="targets must not be negative"):
        gate_flow(TIMES, np.ones(3), x, -y)
    with pytest.raises(ValueError, match="no w"):
        gate_flow(TIMES, np.zeros(3), x, y)


def test_gate_similarity(data):
    x, _, rng = data
    weights = rng.normal(size=3)
    own = x[x @ weights > 0][0]
    for other in x:
        expected = by_gradients(gate(weights), own, other)
        assert gate_similarity(weights, own, other) == pytest.approx(expected)
    assert gate_similarity(weights, own, own) == 1
    assert np.isnan(gate_similarity(weights, -own, own))
    assert gate_similarity(np.stack([weights, -weights]), own, own)[0] == 1


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("orthogonal", [False, True])
def test_homogeneous_flow(data, degree, orthogonal):
    x, y, rng = data
    if orthogonal:
        x = np.linalg.qr(x)[0] * [1.0, 2.0, 3.0]
    initial = rng.uniform(0.3, 0.8, 3)
    found = homogeneous_flow(TIMES, initial, x, y, degree=degree)
    model = Homogeneous(torch.tensor(initial), degree)
    assert found == pytest.approx(simulated(model, x, y, lambda m: m.weights), abs=1e-8)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_homogeneous_similarity(data, degree):
    x, _, rng = data
    weights = rng.uniform(0.3, 0.8, 3)
    model = Homogeneous(torch.tensor(weights), degree)
    found = homogeneous_similarity(weights, x[0], x[1], degree=degree)
    assert found == pytest.approx(by_gradients(model, x[0], x[1]))
    assert homogeneous_similarity(weights, x[0], x[0], degree=degree) == pytest.approx(1)
    path = np.stack([weights, 2 * weights])
    both = homogeneous_similarity(path, x[0], x[1], degree=degree)
    assert both == pytest.approx([found] * 2), "the scale of the weights plays no part"


def balanced(slope: np.ndarray, depth: int, width: int = 4) -> nn.Sequential:
    """Layers of one rank and one size, with random directions inside."""
    size = np.linalg.norm(slope) ** (1 / depth)
    rng = np.random.default_rng(1)
    inner = [np.linalg.qr(rng.normal(size=(width, 1)))[0][:, 0] for _ in range(depth - 1)]
    ends = [slope / np.linalg.norm(slope), *inner, np.ones(1)]
    model = nn.Sequential(
        *[nn.Linear(len(a), len(b), bias=False) for a, b in pairwise(ends)]
    ).double()
    with torch.no_grad():
        for layer, a, b in zip(model, ends, ends[1:], strict=False):
            layer.weight.copy_(torch.tensor(size * np.outer(b, a)))
    return model


def product(model: nn.Sequential) -> Tensor:
    return model(torch.eye(3).double())[:, 0]


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_deep_linear_network_with_real_layers(data, depth):
    x, y, rng = data
    initial = 0.3 * rng.normal(size=3)
    model = balanced(initial, depth)
    assert product(model).detach().numpy() == pytest.approx(initial)
    found = deep_linear_similarity(initial, x[0], x[1], depth=depth)
    assert found == pytest.approx(by_gradients(model, x[0], x[1]))
    assert deep_linear_similarity(initial, x[0], x[0], depth=depth) == pytest.approx(1)
    path = deep_linear_flow(TIMES, initial, x, y, depth=depth)
    assert path == pytest.approx(simulated(model, x, y, product), abs=1e-8)


def random_layers(depth: int, scale: float) -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    sizes = pairwise([3, *[8] * (depth - 1), 1])
    model = nn.Sequential(*[nn.Linear(a, b, bias=False) for a, b in sizes]).double()
    with torch.no_grad():
        for layer in model:
            layer.weight.copy_(scale * torch.randn(layer.weight.shape, generator=generator))
    return model


def unbalanced_error(model: nn.Sequential, x: np.ndarray) -> float:
    """Largest error of the formula for balanced layers, between all points."""
    slope, depth = product(model).detach().numpy(), len(model)
    formula = [[deep_linear_similarity(slope, a, b, depth=depth) for b in x] for a in x]
    kernel = empirical_ntk(model, torch.tensor(x), form="trace").numpy()
    return float(np.abs(np.abs(kernel) / kernel.diagonal()[:, None] - formula).max())


@pytest.mark.thorough
@pytest.mark.parametrize("depth", [2, 3])
def test_random_layers_are_not_balanced_however_small_until_they_are_trained(data, depth):
    x, y, _ = data
    start = [unbalanced_error(random_layers(depth, scale), x) for scale in (1.0, 0.1, 0.01)]
    assert start[0] > 0.1
    assert start == pytest.approx([start[0]] * 3)
    model = random_layers(depth, 0.03)
    inputs, targets = torch.tensor(x), torch.tensor(y)[:, None]
    for _ in range(1500):
        loss = 0.5 * (model(inputs) - targets).square().mean()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= 0.1 * gradient
    assert unbalanced_error(model, x) < 0.03 * start[0]


def test_features_without_a_target_or_without_values_do_not_grow():
    x, y = np.diag([1.0, 2.0, 0.0]), np.array([1.0, 0.0, 3.0])
    path = homogeneous_flow(TIMES, np.full(3, 0.5), x, y, degree=2)
    model = Homogeneous(torch.full((3,), 0.5).double(), 2)
    assert path == pytest.approx(simulated(model, x, y, lambda m: m.weights), abs=1e-8)
    assert path[:, 2] == pytest.approx(np.full(len(TIMES), 0.5))


def test_two_aligned_linear_layers_follow_a_logistic_curve():
    x, target = np.sqrt(3) * np.eye(3), np.array([2.0, 0.0, 0.0])
    small = np.array([0.01, 0.0, 0.0])
    path = deep_linear_flow(TIMES, small, x, x @ target, depth=2)
    expected = 2 / (1 + (2 / 0.01 - 1) * np.exp(-2 * 2 * TIMES))
    assert path[:, 0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("penalty", [0.0, 0.3])
def test_steps_really_taken_are_those_of_the_engine(data, penalty):
    x = torch.tensor(data[0])
    model, targets = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double(), x[:5, :2]
    weights = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    found = change_by_steps(model, x[:5], targets, x, learning_rate=0.1, penalty=penalty)
    step = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=penalty)
    expected = prediction_change(model, x[:5], targets, x, optimizer=step, loss=half_squared_error)
    torch.testing.assert_close(found, expected)
    assert torch.equal(nn.utils.parameters_to_vector(model.parameters()), weights)
