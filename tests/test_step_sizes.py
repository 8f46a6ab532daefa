"""Steps of any size: against a plain step, and their linearisation against the kernel."""

import copy

import numpy as np
import pytest
import torch

from lecore import empirical_ntk
from lecore.models import two_layer
from lecore.studies.he_su.step_sizes import step_sizes

X = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.ones(6, 1, dtype=torch.float64)
NETWORK = two_layer(3, 64, seed=0).double()


def plain_step(rate):
    moved = copy.deepcopy(NETWORK)
    (moved(X[2:3]) - 1).square().sum().backward()
    torch.optim.SGD(moved.parameters(), lr=rate).step()
    return moved


@pytest.mark.parametrize("rate", [1e-4, 3.0])
def test_similarity_and_flips_are_those_of_a_plain_step(rate):
    found, moved = step_sizes(NETWORK, X, Y, 2, [rate]), plain_step(rate)
    change = (moved(X) - NETWORK(X))[:, 0].detach()
    np.testing.assert_allclose(found.similarity[0], (change / change[2]).abs(), rtol=1e-9)
    signs = [(network[1](X) >= 0) for network in (moved, NETWORK)]
    assert found.flipped[0] == pytest.approx(float((signs[0] != signs[1]).double().mean()))
    assert (rate > 1) == (found.flipped[0] > 0)


def test_the_linearisation_is_the_kernel_and_a_tiny_step_comes_near():
    found = step_sizes(NETWORK, X, Y, 2, [1e-2, 1e-6])
    kernel = empirical_ntk(NETWORK, X)[..., 0, 0]
    np.testing.assert_allclose(found.linear, (kernel[2] / kernel[2, 2]).abs(), rtol=1e-9)
    assert found.rates.tolist() == [1e-6, 1e-2]
    assert found.distance[0] < 1e-4 < found.distance[1]
