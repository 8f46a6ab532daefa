"""Ridge regression by gradient flow: the released numbers, an ODE solver, and direct steps."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import nn

from lecore.theory.ridge_flow import (
    gaussian_classes,
    ridge_change,
    ridge_flow,
    ridge_loss,
    ridge_loss_as_coded,
    ridge_similarity,
)


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    features = np.maximum(rng.normal(size=(30, 4)), 0)
    return rng.normal(size=(3, 4)), features, np.eye(3)[rng.integers(3, size=30)], rng


def test_the_released_loss_path_to_all_its_digits():
    features, labels, state = gaussian_classes(10)
    initial = np.stack([state.randn(10, 1)[:, 0], state.randn(10, 1)[:, 0]])
    weights = ridge_flow(
        [0, 100, 200, 8000], initial, features, np.eye(2)[labels], penalty=1000.0, rate=1e-6
    )
    loss = ridge_loss_as_coded(weights, features, penalty=0.5)
    assert loss == pytest.approx([19274.0957, 1973.3889, 1550.0603, 0.8288315], rel=1e-7)


def test_the_data_come_in_the_order_of_the_released_code():
    features, labels, _ = gaussian_classes(3, dimensions=4, per_class=2, seed=1)
    state = np.random.RandomState(1)
    first, rows = state.randn(3, 4), []
    for mean, deviation in ((1, 2), (1, 2), (9, 1), (9, 1)):
        hidden = first @ (mean + deviation * state.randn(4, 1))
        rows.append(((hidden > 0) * hidden)[:, 0])
    assert features == pytest.approx(np.array(rows))
    assert labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("penalty", [0.0, 0.3])
def test_the_flow_solves_its_equation(problem, penalty):
    initial, features, targets, _ = problem
    weights = torch.tensor(initial, requires_grad=True)

    def velocity(_, flat):
        with torch.no_grad():
            weights.copy_(torch.tensor(flat).view_as(weights))
        error = torch.tensor(targets) - torch.tensor(features) @ weights.T
        loss = 0.5 * error.square().sum() / len(features) + 0.5 * penalty * weights.square().sum()
        assert loss.item() == pytest.approx(
            ridge_loss(weights.detach().numpy(), features, targets, penalty=penalty)
        )
        return -2.0 * torch.autograd.grad(loss, weights)[0].numpy().ravel()

    times = np.linspace(0, 5, 7)
    found = ridge_flow(times, initial, features, targets, penalty=penalty, rate=2.0)
    expected = solve_ivp(velocity, (0, 5), initial.ravel(), "DOP853", times, rtol=1e-11, atol=1e-12)
    assert found.reshape(7, -1) == pytest.approx(expected.y.T, abs=1e-8)


def test_directions_that_nothing_reaches_stay(problem):
    initial, features, targets, _ = problem
    features[:, 1] = 0
    found = ridge_flow([0.0, 3.0, 1e6], initial, features, targets, penalty=0.0)
    assert found[0] == pytest.approx(initial)
    assert found[:, :, 1] == pytest.approx(np.broadcast_to(initial[:, 1], (3, 3)))
    least = np.linalg.lstsq(np.delete(features, 1, axis=1), targets, rcond=None)[0].T
    assert np.delete(found[-1], 1, axis=1) == pytest.approx(least)


def test_many_starts_at_once(problem):
    _, features, targets, rng = problem
    starts = rng.normal(size=(2, 5, 3, 4))
    found = ridge_flow([0.5, 1.0], starts, features, targets, penalty=0.1)
    assert found.shape == (2, 2, 5, 3, 4)
    one = ridge_flow([0.5, 1.0], starts[1, 3], features, targets, penalty=0.1)
    assert found[:, 1, 3] == pytest.approx(one)


def test_a_change_is_that_of_a_direct_step(problem):
    initial, features, targets, _ = problem
    model, penalty, rate = nn.Linear(4, 3, bias=False).double(), 0.3, 1e-3
    with torch.no_grad():
        model.weight.copy_(torch.tensor(initial))
    h, other, y = (torch.tensor(v) for v in (features[0], features[1], targets[0]))
    before = model(other).detach()
    loss = 0.5 * (y - model(h)).square().sum() + 0.5 * penalty * model.weight.square().sum()
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=rate).step()
    change = ridge_change(initial, features[0], targets[0], features[1], penalty=penalty)
    assert change * rate == pytest.approx((model(other).detach() - before).numpy(), abs=1e-12)


def test_similarity_of_a_point_with_itself_is_one_except_as_coded(problem):
    initial, features, targets, _ = problem
    h, y = features[0], targets[0]
    assert ridge_similarity(initial, h, y, h, penalty=0.3) == pytest.approx(1.0, abs=1e-14)
    assert abs(ridge_similarity(initial, h, y, h, penalty=0.3, share=1 / 30) - 1) > 0.1


def test_similarity_as_coded_is_equation_8(problem):
    initial, features, _, _ = problem
    weights, n, penalty = initial[:2], 30, 15.0
    own, other, y = features[0], features[1], np.array([0.0, 1.0])
    matrix = penalty * np.eye(4) + np.outer(own, own) / n
    product, square, factor = own @ other, own @ own, penalty + own @ own
    above = product**2 - 2 * product * (weights[1] @ matrix @ other)
    above += sum((w @ matrix @ other) ** 2 for w in weights)
    below = square**2 - 2 * square * factor * (weights[1] @ own)
    below += factor**2 * sum((w @ own) ** 2 for w in weights)
    found = ridge_similarity(weights, own, y, other, penalty=penalty, share=1 / n)
    assert found == pytest.approx(np.sqrt(above / below))


def test_without_penalty_similarity_is_constant(problem):
    initial, features, targets, _ = problem
    path = ridge_flow([0.0, 1.0, 5.0], initial, features, targets, penalty=0.0)
    found = ridge_similarity(path, features[0], targets[0], features[1], penalty=0.0)
    product = features[0] @ features[1] / (features[0] @ features[0])
    assert found == pytest.approx([product] * 3)


def test_loss_as_coded_has_the_broadcast_of_the_released_code(problem):
    initial, features, _, _ = problem
    weights, total = initial[:2], 0.0
    for h in features:
        prediction = np.array([h.reshape(1, 4) @ weights[k][:, None] for k in (1, 0)])
        assert prediction.shape == (2, 1, 1)
        total += np.linalg.norm(np.array([1, 0]) - prediction) ** 2
    expected = total / 60 + 0.25 * (weights**2).sum()
    found = ridge_loss_as_coded(weights, features, penalty=0.5)
    assert found == pytest.approx(expected)
