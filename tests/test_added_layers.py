"""Added layers: the identity first, their optimum by scipy, and steps on either part of g∘f."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import optimize

from lecore import LecoreError, prediction_change
from lecore.losses import cross_entropy
from lecore.similarity import relative_similarity
from lecore.studies.neighbours import added_layers as added
from lecore.studies.neighbours import added_layers_elasticity as elasticity
from lecore.studies.neighbours import held_out as parts

HELD = {"training": 20, "calibration": 60, "tests": 30, "width": 5}


@pytest.fixture(scope="module")
def problem():
    return parts.held_out("digits", 0, epochs=2, **HELD)


@pytest.fixture(scope="module")
def logits(problem):
    return 6 * parts.logits_of(problem.network, problem.calibration)


@pytest.fixture(scope="module")
def fitted(problem, logits):
    g = added.AddedLayers(10)
    return g, added.fit(g, logits, problem.calibration.labels)


@pytest.mark.parametrize("hidden", [0, 7])
def test_it_is_the_identity_at_first(logits, hidden):
    g = added.AddedLayers(10, hidden).double()
    torch.testing.assert_close(g(logits), logits, rtol=0, atol=0)


def test_the_optimum_is_that_of_scipy(problem, logits, fitted):
    z, y = logits.numpy(), problem.calibration.labels.numpy()
    weight = 1e-4 * np.mean(z**2)

    def objective(flat):
        w, b = flat[:100].reshape(10, 10), flat[100:]
        stated = z @ w.T + b
        stated = stated - stated.max(1, keepdims=True)
        p = np.exp(stated)
        p /= p.sum(1, keepdims=True)
        loss = -np.log(p[np.arange(len(y)), y]).mean() + weight / 2 * ((w - np.eye(10)) ** 2).sum()
        error = (p - np.eye(10)[y]) / len(y)
        return loss, np.append(error.T @ z + weight * (w - np.eye(10)), error.sum(0))

    first = np.append(np.eye(10), np.zeros(10))
    settings = {"ftol": 0, "gtol": 1e-8, "maxiter": 300, "maxfun": 999}
    best = optimize.minimize(objective, first, jac=True, method="L-BFGS-B", options=settings)
    found = fitted[0].straight
    ours = objective(np.append(found.weight.detach().flatten(), found.bias.detach()))
    assert np.linalg.norm(ours[1]) < 1e-8  # convex, so that there is one optimum
    assert ours[0] <= best.fun <= ours[0] + 0.01


def test_at_the_optimum_each_class_has_its_frequency(problem, logits, fitted):
    assert fitted[1].gradient < 1e-9
    assert added.frequency_error(fitted[0](logits), problem.calibration.labels) < 1e-9
    assert added.frequency_error(logits, problem.calibration.labels) > 1e-3


@pytest.mark.thorough
def test_hidden_units_make_the_loss_smaller_still(problem, logits, fitted):
    g = added.AddedLayers(10, 2)
    found = added.fit(g, logits, problem.calibration.labels, tolerance=1e-3)
    assert found.nll < fitted[1].nll


def test_f_is_not_changed_by_fitting(problem, logits, fitted):
    again = parts.held_out("digits", 0, epochs=2, **HELD)
    for a, b in zip(again.network.parameters(), problem.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_the_norm_of_the_gradient_is_that_of_small_pushes(problem):
    network = copy.deepcopy(problem.network).double()
    x, y = problem.test.images.double(), problem.test.labels
    weights = torch.nn.utils.parameters_to_vector(network.parameters()).detach()
    slopes = []
    for k in range(len(weights)):
        push = torch.zeros_like(weights)
        push[k] = 1e-5
        ends = []
        for sign in (1, -1):
            torch.nn.utils.vector_to_parameters(weights + sign * push, network.parameters())
            with torch.no_grad():
                ends.append(F.cross_entropy(network(x), y))
        slopes.append((ends[0] - ends[1]) / 2e-5)
    torch.nn.utils.vector_to_parameters(weights, network.parameters())
    expected = float(torch.stack(slopes).norm())
    assert added.gradient_norm(network, x, y) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("learns", ["f", "g", "both"])
@pytest.mark.parametrize("hidden", [0, 4])
def test_a_step_is_a_real_step_on_a_copy(problem, learns, hidden):
    g = added.AddedLayers(10, hidden)
    if hidden:
        torch.nn.init.normal_(g.back.weight, generator=torch.Generator().manual_seed(0))
    network = elasticity.Composed(problem.network, g, learns)
    x, y = problem.test.images[:5].double(), problem.test.labels[:5]
    found = prediction_change(network, x, y, loss=cross_entropy, learning_rate=0.1)
    for i in range(5):
        stepped = copy.deepcopy(network)
        before = stepped(x).detach()
        optimizer = torch.optim.SGD([p for p in stepped.parameters() if p.requires_grad], lr=0.1)
        cross_entropy(stepped(x[i : i + 1])[0], y[i]).backward()
        optimizer.step()
        torch.testing.assert_close(found[i], stepped(x).detach() - before, rtol=0, atol=1e-10)


def test_steps_on_an_affine_g_follow_the_closed_form(problem, fitted):
    x, y = problem.test
    found = elasticity.locality(problem.network, fitted[0], x, y, learns="g", learning_rate=1.0)
    z = copy.deepcopy(problem.network).double()(x.double()).detach().numpy()
    np.testing.assert_allclose(found.similarity, elasticity.straight_similarity(z), rtol=1e-6)


def test_superiority_is_the_share_of_a_slow_loop(problem, fitted):
    x, y = (part[:12] for part in problem.test)
    found = elasticity.locality(problem.network, fitted[0], x, y, learns="f", learning_rate=1e-3)
    s, pairs = found.similarity, [(i, j) for i in range(12) for j in range(12) if i != j]
    same = [s[p] for p in pairs if y[p[0]] == y[p[1]]]
    other = [s[p] for p in pairs if y[p[0]] != y[p[1]]]
    wins = np.mean([(a > b) + (a == b) / 2 for a in same for b in other])
    assert found.superiority == pytest.approx(wins)
    assert found.between == pytest.approx(np.mean(other))
    change = prediction_change(
        elasticity.Composed(problem.network, fitted[0], "f"), x, y, loss=cross_entropy,
        learning_rate=1e-3,
    )  # fmt: skip
    np.testing.assert_array_equal(s, relative_similarity(change))


def few(**changes):
    z, y = torch.eye(3).repeat(4, 1), torch.arange(12) % 3
    given = {"logits": z, "labels": y} | changes
    settings = {k: given.pop(k) for k in list(given) if k not in ("logits", "labels")}
    return lambda: added.fit(added.AddedLayers(3), *given.values(), **settings)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (few(labels=torch.ones(12).long()), "are of one class; calibrate on"),
        (few(logits=torch.ones(12, 4)), r"g takes logits \(n, 3\)"),
        (few(logits=torch.full((12, 3), torch.nan)), "not finite, or beyond .*; look at"),
        (few(penalty=-1.0), "penalty must be 0 or larger"),
        (few(penalty=0.0), "g separates the classes .* take a penalty"),
        (few(tolerance=0.0, limit=3), "no optimum after 3 iterations .* take a larger"),
        (lambda: added.AddedLayers(1), "classes must be a whole number from 2 on, not 1"),
        (
            lambda: elasticity.Composed(torch.nn.Identity(), added.AddedLayers(2), "h"),
            "f, g or both",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(call, says):
    with pytest.raises(LecoreError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_single_class_has_no_pairs_to_compare(problem, fitted):
    x = problem.test.images[:3]
    with pytest.raises(LecoreError, match="pairs of images of one class and of two"):
        elasticity.locality(
            problem.network, fitted[0], x, torch.zeros(3).long(), learns="f", learning_rate=0.1
        )
