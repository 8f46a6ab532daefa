"""Linear networks without their width, against the networks themselves."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from lecore import losses, models
from lecore.errors import DivergenceError
from lecore.studies.he_su.linear_networks import linear_network, train_linear
from lecore.tangent_kernel import empirical_ntk
from lecore.training import train
from tests.examples import examples


def problem(seed, n=20, d=4):
    x = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, :1] > 0).double()


@settings(max_examples=examples(20), deadline=None)
@given(
    seed=st.integers(0, 99), d=st.integers(1, 6), width=st.integers(1, 30),
    batch=st.integers(1, 20), rate=st.floats(1e-4, 0.05), probability=st.booleans(),
)  # fmt: skip
def test_training_and_kernel_are_those_of_the_network(seed, d, width, batch, rate, probability):
    x, y = problem(seed, d=d)
    model = models.two_layer(d, width, "linear", probability=probability, seed=seed).double()
    loss = losses.binary_cross_entropy if probability else losses.squared_error
    short = linear_network(model)
    choice = {"learning_rate": rate, "epochs": 3, "batch_size": batch, "loss": loss, "seed": seed}
    try:
        expected = train(model, x, y, **choice).losses
    except DivergenceError:
        with pytest.raises(DivergenceError):
            train_linear(short, x, y, **choice)
        return
    assume(max(expected) < 1e3)  # on the way there rounding grows with the loss
    assert train_linear(short, x, y, **choice) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(short(x), model(x), rtol=1e-9, atol=1e-12)
    kernel = empirical_ntk(model[:4], x, form="trace")
    torch.testing.assert_close(short.tangent_kernel(x), kernel, rtol=1e-9, atol=1e-12)


def test_images_are_flattened():
    x = torch.randn(3, 1, 2, 2, dtype=torch.float64)
    model = models.two_layer(4, 8, "linear").double()
    torch.testing.assert_close(linear_network(model)(x), model(x).detach())


def test_wide_networks_are_read_block_by_block():
    model = models.two_layer(3, 9000, "linear", seed=1)
    weight = torch.cat([model[1].weight, model[1].bias[:, None]], dim=1).double()
    torch.testing.assert_close(linear_network(model).gram, (weight.T @ weight).detach())


def test_divergence_and_foreign_networks_are_refused():
    x, y = problem(0)
    with pytest.raises(DivergenceError, match="take a learning rate below"):
        train_linear(
            linear_network(models.two_layer(4, 8, "linear")), x, y, learning_rate=10.0, epochs=99
        )
    for model in (models.two_layer(4, 8), models.two_layer(4, 8, "linear", outputs=2)):
        with pytest.raises(ValueError, match="two linear layers"):
            linear_network(model)
    with pytest.raises(ValueError, match="two linear layers"):
        linear_network(nn.Sequential(nn.Linear(2, 1)))
