"""Similarities against closed forms and invariances."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lecore import (
    correlation_with_distance,
    empirical_ntk,
    kernelized_similarity,
    models,
    normalized_similarity,
    output_gradient,
    prediction_change,
    relative_similarity,
    symmetrized,
)


@given(seed=st.integers(0, 1000), outputs=st.integers(1, 3), scale=st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_relative_similarity_is_one_with_itself_and_scale_free(seed, outputs, scale):
    change = torch.randn(6, 6, outputs, generator=torch.Generator().manual_seed(seed)).double()
    similarity = relative_similarity(change)
    torch.testing.assert_close(similarity.diagonal(), torch.ones(6, dtype=torch.float64))
    assert (similarity >= 0).all()
    torch.testing.assert_close(relative_similarity(scale * change), similarity)
    own = torch.stack([change[i, i] for i in range(6)])
    torch.testing.assert_close(relative_similarity(change[:, :4], own), similarity[:, :4])


def test_linear_model_in_closed_form():
    x = torch.randn(5, 3, dtype=torch.float64)
    change = prediction_change(torch.nn.Linear(3, 1), x, torch.zeros(5, 1), learning_rate=0.1)
    expected = (x @ x.T + 1).abs() / (x.square().sum(1) + 1)[:, None]
    torch.testing.assert_close(relative_similarity(change), expected)


def test_kernelized_similarity_tends_to_the_kernel():
    model, x, y = models.two_layer(3, 32), torch.randn(5, 3, dtype=torch.float64), torch.rand(5, 1)
    gradient = output_gradient(model, x, y)
    change = prediction_change(model, x, y, learning_rate=1e-7)
    kernel = empirical_ntk(model, x)[..., 0, 0]
    similarity = kernelized_similarity(change, gradient, 1e-7)
    torch.testing.assert_close(similarity, kernel, rtol=1e-4, atol=1e-5)
    normalized = normalized_similarity(kernel)
    torch.testing.assert_close(normalized.diagonal(), torch.ones(5, dtype=torch.float64))
    assert (normalized.abs() <= 1 + 1e-12).all()


def test_symmetrized():
    matrix = torch.arange(9.0).reshape(3, 3)
    assert torch.equal(symmetrized(matrix), torch.tensor([[0.0, 2, 4], [2, 4, 6], [4, 6, 8]]))


def test_correlation_counts_the_pairs_it_says():
    rng = np.random.default_rng(0)
    s, d = rng.random((5, 5)), rng.random((5, 5))
    assert correlation_with_distance(s, d) == pytest.approx(stats.pearsonr(s.ravel(), d.ravel())[0])
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    expected = stats.spearmanr([s[p] for p in pairs], [d[p] for p in pairs])[0]
    found = correlation_with_distance(s, d, method="spearman", self_pairs=False)
    assert found == pytest.approx(expected)
    assert correlation_with_distance(torch.tensor(1 - d), d) == pytest.approx(-1)


def test_bad_input():
    still = torch.zeros(2, 2, 1)
    with pytest.raises(ValueError, match="2 of 2 update points did not move"):
        relative_similarity(still)
    with pytest.raises(ValueError, match="square"):
        relative_similarity(torch.ones(2, 3, 1))
    with pytest.raises(ValueError, match="one output"):
        kernelized_similarity(torch.ones(2, 2, 3), torch.ones(2, 3), 1.0)
    with pytest.raises(ValueError, match="gradient is zero"):
        kernelized_similarity(torch.ones(2, 2, 1), torch.zeros(2, 1), 1.0)
    with pytest.raises(ValueError, match="positive"):
        normalized_similarity(-torch.eye(2))
    with pytest.raises(ValueError, match="shapes differ"):
        correlation_with_distance(np.ones((2, 2)), np.ones((3, 3)))
    with pytest.raises(ValueError, match="finite"):
        correlation_with_distance(np.eye(2), np.array([[0, np.inf], [np.inf, 0]]))
    with pytest.raises(ValueError, match="constant"):
        correlation_with_distance(np.ones((2, 2)), np.eye(2))
