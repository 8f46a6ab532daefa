"""Clustering against exhaustive search, K-means, and the slow reading of Algorithm 1."""

import copy
import inspect
import textwrap
from functools import partial
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from lecore import empirical_ntk, models
from lecore.clustering.algorithm_one import (
    cluster_similarity,
    similarities_along_walk,
    similarities_from_fixed_weights,
    similarities_from_kernel,
)
from lecore.clustering.estimator import ElasticityClustering
from lecore.clustering.kernel_kmeans import KernelKMeans
from lecore.clustering.scores import clustering_accuracy
from lecore.errors import DivergenceError
from lecore.studies.he_su.features import seeding_of_2019
from tests.examples import examples

X, Y = make_blobs(40, 3, centers=2, cluster_std=0.5, random_state=0)


@given(
    truth=st.lists(st.integers(0, 2), min_size=3, max_size=20),
    labels=st.lists(st.integers(0, 2), min_size=20, max_size=20),
)
@settings(max_examples=examples(50), deadline=None)
def test_accuracy_is_the_best_matching(truth, labels):
    labels = labels[: len(truth)]
    best = max(
        np.mean([p[label] == t for t, label in zip(truth, labels, strict=True)])
        for p in permutations(range(3))
    )
    assert clustering_accuracy(truth, labels) == pytest.approx(best)


def test_kernel_k_means_with_a_linear_kernel_is_k_means():
    kernelized = KernelKMeans(2, kernel="linear", n_init=20, random_state=0).fit(X)
    plain = KMeans(2, n_init=20, random_state=0).fit(X)
    assert clustering_accuracy(plain.labels_, kernelized.labels_) == 1.0
    assert kernelized.inertia_ == pytest.approx(plain.inertia_, rel=1e-6)
    precomputed = KernelKMeans(2, kernel="precomputed", n_init=20, random_state=0).fit(X @ X.T)
    np.testing.assert_array_equal(precomputed.labels_, kernelized.labels_)


def test_kernel_k_means_separates_what_k_means_cannot():
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    rings = np.concatenate([r * np.stack([np.cos(angle), np.sin(angle)], 1) for r in (1, 5)])
    truth = np.repeat([0, 1], 60)
    found = KernelKMeans(2, kernel="rbf", n_init=30, random_state=0).fit_predict(rings)
    assert clustering_accuracy(truth, found) > 0.95
    assert clustering_accuracy(truth, KMeans(2, n_init=10, random_state=0).fit_predict(rings)) < 0.7


def test_kernel_k_means_refuses_nonsense():
    with pytest.raises(ValueError, match="square"):
        KernelKMeans(kernel="precomputed").fit(np.ones((3, 2)))
    with pytest.raises(ValueError, match="between 1 and 3"):
        KernelKMeans(5, kernel="precomputed").fit(np.eye(3))


def test_seeding_draws_distinct_points_and_repeats():
    first, again = (seeding_of_2019(X, 3, np.random.RandomState(4)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert all((centre == X).all(axis=1).any() for centre in first)
    assert len(np.unique(first, axis=0)) == 3


def slow_walk(model, primary, auxiliary, rate, order):
    """Algorithm 1 line by line, with the change noted for every primary point."""
    n = len(primary)
    points = torch.cat([primary, auxiliary])
    targets = torch.cat([torch.ones(n, 1), torch.zeros(len(auxiliary), 1)]).double()
    relative, kernelized = torch.zeros(n, n).double(), torch.zeros(n, n).double()
    for t in order:
        before = model(primary).detach()[:, 0]
        residual = 2 * float(model(points[t : t + 1]).detach() - targets[t])
        model.zero_grad()
        ((model(points[t : t + 1]) - targets[t]) ** 2).sum().backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= rate * p.grad
        if t < n:
            delta = model(primary).detach()[:, 0] - before
            relative[t] = delta.abs() / delta[t].abs()
            kernelized[t] = -delta / (rate * residual)
    return (relative + relative.T) / 2, (kernelized + kernelized.T) / 2


def test_the_walk_is_algorithm_one_as_printed():
    model = models.two_layer(3, 12).double()
    primary, auxiliary = torch.tensor(X[:6]), torch.tensor(X[6:10])
    ones, zeros = torch.ones(6, 1).double(), torch.zeros(4, 1).double()
    order = np.random.default_rng(3).permutation(10)
    expected = slow_walk(copy.deepcopy(model), primary, auxiliary, 0.01, order)
    found = similarities_along_walk(
        model, primary, ones, auxiliary, zeros, learning_rate=0.01, seed=3
    )
    torch.testing.assert_close(found.relative, expected[0])
    torch.testing.assert_close(found.kernelized, expected[1])


def test_fixed_weights_tend_to_the_kernel():
    model, x = models.two_layer(3, 12), torch.tensor(X[:6])
    finite = similarities_from_fixed_weights(model, x, torch.ones(6, 1), learning_rate=1e-8)
    limit = similarities_from_kernel(empirical_ntk(model, x)[..., 0, 0])
    torch.testing.assert_close(finite.relative, limit.relative, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(finite.kernelized, limit.kernelized, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("option", ["relative", "kernelized"])
def test_block_similarities_are_found(option):
    block = np.kron(np.eye(2), np.ones((10, 10))) + 0.01
    labels = cluster_similarity(block, option)
    assert clustering_accuracy(np.repeat([0, 1], 10), labels) == 1.0


@pytest.mark.every(4)
@parametrize_with_checks(
    [
        KernelKMeans(n_init=2),
        ElasticityClustering(width=8, epochs=1, n_init=2),
    ]
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@pytest.mark.parametrize("similarity", ["relative", "kernelized"])
@pytest.mark.parametrize("algorithm", ["as coded", "as printed"])
def test_the_estimator_repeats_itself_and_clones(similarity, algorithm):
    estimator = ElasticityClustering(
        similarity=similarity, algorithm=algorithm, width=32, epochs=2, learning_rate=1e-3,
        random_state=1,
    )  # fmt: skip
    labels = estimator.fit_predict(X, auxiliary=-X)
    again = clone(estimator).fit(X, auxiliary=-X)
    np.testing.assert_array_equal(labels, again.labels_)
    np.testing.assert_allclose(again.similarity_, again.similarity_.T)
    assert again.similarity_.shape == (40, 40)


def test_far_blobs_are_told_apart_by_kernelized_similarity():
    far = np.concatenate([X[Y == 0] * 0.1 + 3, X[Y == 1] * 0.1 - 3])
    other = np.random.default_rng(0).normal(size=(40, 3)) * 0.1
    estimator = ElasticityClustering(width=256, epochs=20, learning_rate=1e-3, random_state=0)
    labels = estimator.fit_predict(far, auxiliary=other)
    assert clustering_accuracy(np.repeat([0, 1], 20), labels) == 1.0


def test_a_search_scores_the_clusters_of_all_points():
    lines = inspect.getdoc(ElasticityClustering).partition("::\n")[2].partition("Args:")[0]
    names = {
        "numpy": np, "GridSearchCV": GridSearchCV, "adjusted_rand_score": adjusted_rand_score,
        "ElasticityClustering": partial(ElasticityClustering, epochs=2), "X": X, "y": Y,
    }  # fmt: skip
    exec(textwrap.dedent(lines), names)
    found = names["search"].cv_results_
    for setting, score in zip(found["params"], found["mean_test_score"], strict=True):
        labels = ElasticityClustering(epochs=2, **setting).fit_predict(X)
        assert score == adjusted_rand_score(Y, labels)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_the_default_rate_is_stable_at_any_scale(scale):
    losses = ElasticityClustering(width=64, epochs=30).fit(scale * X, auxiliary=-scale * X).losses_
    assert np.isfinite(losses).all()
    assert np.mean(losses[-2:]) < np.mean(losses[:2])


def test_bad_estimator_arguments():
    with pytest.raises(ValueError, match="no similarity"):
        ElasticityClustering(similarity="cosine").fit(X)
    with pytest.raises(ValueError, match="no algorithm"):
        ElasticityClustering(algorithm="as imagined").fit(X)
    with pytest.raises(ValueError, match="auxiliary must have 3 features"):
        ElasticityClustering().fit(X, auxiliary=X[:, :2])
    with pytest.raises(DivergenceError):
        ElasticityClustering(width=8, learning_rate=100.0, epochs=50).fit(X)
