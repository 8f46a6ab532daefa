"""The torus to pull at: its closed forms against sampled units, and against real networks."""

import math

import numpy as np
import pytest
import torch

from lecore import prediction_change, relative_similarity
from lecore.data.manifolds import placed, torus
from lecore.models import two_layer
from lecore.similarity import correlation_with_distance
from lecore.studies.he_su.figures.pulled_torus import SIZES, pulled_torus_chart
from lecore.studies.he_su.pulled_torus import UNITS, pulled_torus, wide_similarity
from lecore.theory.wide_networks import wide_standard_kernel

ERF = torch.special.erf
SIGMA = {
    "relu": lambda z: z.clamp(min=0),
    "linear": lambda z: z,
    "erf": lambda z: ERF(math.sqrt(math.pi) / 2 * z),
}


@pytest.mark.parametrize("activation", SIGMA)
def test_closed_form_is_the_mean_over_sampled_units(activation):
    x = torch.tensor([[1.0, 2.0, -1.0], [-0.5, 0.3, 2.0], [4.0, -3.0, 1.0]], dtype=torch.float64)
    seen = torch.cat([x, torch.ones(3, 1)], dim=1)
    weights = torch.randn(400_000, 4, generator=torch.Generator().manual_seed(0)) / 3
    units = SIGMA[activation](seen @ weights.double().T)
    sampled = units @ units.T / 400_000
    found = wide_standard_kernel(x.numpy(), activation)
    np.testing.assert_allclose(found, sampled, rtol=0.02, atol=0.005)


@pytest.mark.every(3)
@pytest.mark.parametrize(("size", "shift"), [(1.0, 0.0), (1.0, 8.0), (0.125, 0.0)])
@pytest.mark.parametrize("units", UNITS)
def test_a_real_network_moves_its_predictions_as_the_closed_form_says(units, size, shift):
    curves = torus(60, 0)
    own = curves.primary
    points = placed(curves, scale=size, shift=shift).points[own]
    network = two_layer(3, 2**13, units.lower(), seed=0)
    x = torch.tensor(points, dtype=torch.float32)
    change = prediction_change(network, x, torch.zeros(len(x), 1), learning_rate=1e-8)
    real = relative_similarity(change).numpy()
    distance = curves.distance[np.ix_(own, own)]
    expected = correlation_with_distance(real, distance)
    # torch draws weights uniformly, and tanh is no erf
    table = pulled_torus(60, 0, sizes=[size], shifts=[shift]).correlations
    (found,) = table[table.units == units].correlation
    assert found == pytest.approx(expected, abs=0.03)
    assert np.abs(wide_similarity(points, units) - real).mean() < 0.05


def test_moved_up_by_eight_the_linear_network_falls_like_the_relu_one():
    table = pulled_torus(400, 0, sizes=[1.0], shifts=[0.0, 8.0]).correlations
    found = table.set_index(["units", "shift"]).correlation
    assert found["linear", 0] > -0.2
    assert found["ReLU", 0] < -0.9
    assert found["linear", 8] == pytest.approx(found["ReLU", 8], abs=0.03)


def test_the_chart_is_small():
    import json

    chart = pulled_torus_chart(pulled_torus(400, 0, sizes=SIZES.values(), shifts=range(13)))
    assert len(json.dumps(chart)) < 40_000
