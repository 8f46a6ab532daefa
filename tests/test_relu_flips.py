"""Flipping units against the sum over all of them, and large steps against real ones."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_prediction_change import obvious_loop
from torch import nn

from lecore import linearized_change, losses, models, prediction_change
from lecore.engine.routes.relu_flips import added_by_flips


def all_units(weight, shift, threshold):
    kappa, t = shift.T[:, :, None], threshold[:, None]
    passed = (kappa * t > 0) & (kappa.abs() > t.abs())
    return torch.where(passed, (kappa - t).abs() * weight, 0.0).sum(2)


@pytest.mark.thorough
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 200),
    st.sampled_from([1e-3, 1.0, 1e3]),
    st.sampled_from([torch.float32, torch.float64]),
    st.integers(0, 1000),
)
@settings(deadline=None)
def test_running_sums_are_the_sum_over_flipped_units(n, m, units, reach, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(n, units, generator=generator, dtype=torch.float64).relu().to(dtype)
    shift = reach * torch.randn(n, m, generator=generator, dtype=torch.float64).to(dtype)
    threshold = torch.randn(m, units, generator=generator, dtype=torch.float64).to(dtype)
    threshold[:, ::7] = torch.inf  # units with an output weight of 0
    expected = all_units(weight.double(), shift.double(), threshold.double())
    found = added_by_flips(weight, shift, threshold)
    scale = float(expected.abs().amax()) + 1e-30
    assert float((found - expected).abs().max()) <= 50 * torch.finfo(dtype).eps * scale


def without_biases():
    return nn.Sequential(nn.Linear(3, 300, bias=False), nn.ReLU(), nn.Linear(300, 1, bias=False))


def frozen(*names):
    def make():
        model = models.two_layer(3, 300)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in names)
        return model

    return make


@pytest.mark.every(3)
@pytest.mark.parametrize(
    "make",
    [
        frozen(),
        frozen("3.weight"),
        frozen("1.weight"),
        frozen("1.bias", "3.bias"),
        without_biases,
    ],
)
@pytest.mark.parametrize("rate", [1e-6, 0.1, 10.0])
def test_large_steps_are_real_steps(make, rate):
    torch.manual_seed(0)
    model, x, other = make(), torch.randn(6, 3).double(), torch.randn(5, 3).double()
    other[0] = 0  # without biases every unit is at its kink
    y = torch.tensor([3.0, -3.0, 0.1, -0.1, 30.0, -30.0])[:, None].double()
    expected = obvious_loop(model, x, y, other, rate, losses.squared_error)
    found = prediction_change(model, x, y, other, learning_rate=rate)
    scale = expected.abs().amax(dim=(1, 2), keepdim=True)
    floor = 1e-15 / scale  # the loop subtracts predictions
    assert bool(((found - expected).abs() / scale <= 1e-12 + 100 * floor).all())
    if rate == 10:
        linear = linearized_change(model, x, y, other, learning_rate=rate)
        assert float((found - linear).abs().max() / found.abs().max()) > 0.05  # units did flip
    mine = prediction_change(model, x, y, learning_rate=rate)
    same = prediction_change(model, x, y, x.clone(), learning_rate=rate)
    torch.testing.assert_close(mine, same, rtol=1e-9, atol=0)
