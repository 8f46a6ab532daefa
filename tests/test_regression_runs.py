"""S_rel through small regression runs."""

import numpy as np
import pytest
import torch

from lecore.errors import DivergenceError
from lecore.models import fully_connected
from lecore.studies.dan.regression import TARGETS, Regression, follow_regression, regression_data

SMALL = {"width": 16, "epochs": 20, "points": 30, "probes": 6, "looks": 6}


@pytest.mark.parametrize("target", TARGETS)
def test_data_are_standardised_and_of_the_seed(target):
    x, y = regression_data(target, 50, seed=1)
    assert x.shape == (50, 10)
    assert y.mean().item() == pytest.approx(0, abs=1e-6)
    assert y.std(correction=0).item() == pytest.approx(1)
    assert not torch.equal(x, regression_data(target, 50, seed=2)[0])


def test_unfit_data_are_refused():
    with pytest.raises(ValueError, match="no target 'cosine'"):
        regression_data("cosine", 5)
    with pytest.raises(ValueError, match="442"):
        regression_data("diabetes", 443)


def test_more_probes_than_points_are_refused():
    with pytest.raises(ValueError, match="31 probes"):
        follow_regression(Regression(target="sine", **(SMALL | {"probes": 31})))


def test_first_look_is_the_random_network_by_a_plain_loop():
    run = Regression(target="sine", seed=3, **SMALL)
    path = follow_regression(run)
    x, y = regression_data("sine", 36, seed=3)
    model, rate, total, held = fully_connected(10, 16, 1, seed=3).double(), 1e-6, [], []
    for i in range(6):
        before = model(x.double()).detach()
        loss = 0.5 * (model(x[i : i + 1].double()) - y[i]).square().sum()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= rate * gradient
            change = (model(x.double()) - before).abs()[:, 0]
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter += rate * gradient
        total += [float(change[j] / change[i]) for j in range(6) if j != i]
        held += [float(change[j] / change[i]) for j in range(30, 36)]
    assert path.trained[0] == pytest.approx(np.mean(total), rel=1e-4)
    assert path.held_out[0] == pytest.approx(np.mean(held), rel=1e-4)
    assert path.losses[-1] < path.losses[0]
    assert path.steps[0] == 0
    assert path.steps[-1] == 20


def test_linear_regression_keeps_its_similarity():
    path = follow_regression(Regression(target="diabetes", hidden_layers=0, **SMALL))
    assert path.trained == pytest.approx(np.full(len(path.steps), path.trained[0]), rel=1e-5)


@pytest.mark.thorough
def test_the_rate_is_a_share_of_the_largest_stable_one():
    # the loss is a half square, so descent contracts up to the limit that shares are taken of
    settings = SMALL | {"epochs": 3000}
    with pytest.raises(DivergenceError):
        follow_regression(Regression(target="linear", hidden_layers=0, rate_share=1.5, **settings))
    follow_regression(Regression(target="linear", hidden_layers=0, rate_share=0.99, **settings))


def test_batches_take_more_steps():
    assert follow_regression(Regression(target="sine", batch_size=7, **SMALL)).steps[-1] == 20 * 5
