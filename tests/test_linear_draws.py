"""Linear networks at the paper's rate, from weights drawn anew, against one network at a time."""

import random

import numpy as np
import pandas as pd
import pytest
import torch

from lecore.data.manifolds import torus
from lecore.models import two_layer
from lecore.similarity import correlation_with_distance, relative_similarity
from lecore.studies.he_su.figure1_rates import paper_rate
from lecore.studies.he_su.linear_draws import beside_the_print, linear_draws, paper_torus
from lecore.studies.he_su.linear_networks import linear_network, train_linear


def test_the_points_are_those_of_the_released_code():
    random.seed(666)
    expected = []
    for _ in range(50):  # as it writes them: one point of each class in turn
        blue, red = random.uniform(-np.pi, np.pi), random.uniform(-np.pi, np.pi)
        for t, side in ((blue, 1), (red, -1)):
            tube = 8 + side * np.sin(4 * t)
            expected.append((tube * np.cos(t), tube * np.sin(t), side * np.cos(4 * t)))
    np.testing.assert_allclose(paper_torus().points, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("new_points", [False, True])
def test_each_draw_is_a_network_trained_by_itself(new_points):
    found = linear_draws(3, steps=40, width=64, new_points=new_points)
    for seed, line in found.iterrows():
        points = torus(100, seed) if new_points else paper_torus()
        x = torch.tensor(points.points)
        y = torch.tensor(points.labels, dtype=x.dtype)[:, None]
        network = linear_network(two_layer(3, 64, "linear", seed=seed))
        losses = train_linear(network, x, y, learning_rate=paper_rate(64), epochs=40)
        kernel = network.tangent_kernel(x[points.primary])[..., None]
        similarity = relative_similarity(kernel)
        own = np.ix_(points.primary, points.primary)
        r = correlation_with_distance(similarity, points.distance[own])
        assert line.correlation == pytest.approx(r, abs=1e-6)
        assert line.similarity == pytest.approx(float(similarity.mean()), rel=1e-6)
        assert line.peak == pytest.approx(max(losses), rel=1e-6)


def test_a_draw_that_diverged_has_no_correlation():
    found = linear_draws(2, steps=400, width=1)
    assert found.correlation.isna().all()
    assert np.isinf(found.peak).all()


def test_a_print_is_placed_among_all_draws():
    r = [-0.6, -0.5, *np.linspace(-0.3, 0.1, 20), np.nan]
    table = pd.DataFrame({"correlation": r, "similarity": np.arange(23.0)})
    found = beside_the_print(table, -0.5)
    assert found[("draws beyond",)]["value"] == 2 / 23
    assert found[("draws correlation",)]["n"] == 22
    near = found["draws near", "similarity"]
    assert (near["value"], near["low"], near["high"], near["n"]) == (4.5, 0, 9, 10)
