"""What a similarity is worth: clusters by several procedures, judged against the classes."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from lecore.clustering.algorithm_one import (
    Option,
    cluster_similarity,
)
from lecore.seeding import seeded

Array = NDArray[np.float64]

MANY_STARTS = 30
"""Starts of "many starts"."""

LUCK = 20
"""Single starts from different seeds, whose spread shows what a start decides."""


class Score(NamedTuple):
    """How well clusters agree with classes.

    Attributes:
        accuracy: By the best matching of clusters to classes, in per cent; 50 to 100 for two.
        rand: Adjusted Rand index (Hubert & Arabie, 1985); 0 by chance, 1 at best.
        information: Normalised mutual information, in [0, 1].
    """

    accuracy: float
    rand: float
    information: float


def score(truth: ArrayLike, labels: ArrayLike) -> Score:
    """Judge clusters.

    Args:
        truth: Classes, shape (n,).
        labels: Clusters, shape (n,).
    """
    return Score(
        100 * clustering_accuracy(truth, labels),
        float(adjusted_rand_score(truth, labels)),
        float(normalized_mutual_info_score(truth, labels)),
    )


def similarity_scores(
    similarity: Array,
    truth: NDArray[np.int64],
    option: Option,
    *,
    controls: bool = True,
    seed: int = 0,
) -> dict[str, Score | list[float]]:
    """Cluster a similarity into two in the paper's way and in others.

    Args:
        similarity: Symmetrised, shape (n, n).
        truth: Class of each point, shape (n,).
        option: Which similarity it is: ``relative`` goes through K-means on its rows,
            ``kernelized`` through kernel K-means.
        controls: Whether to do more than the first two procedures.
        seed: Seed of the permutation.

    Returns:
        Score by procedure. ``official``: He & Su's code, 10 starts of K-means or a single start
        of kernel K-means, from their seed 0. ``many starts``: the best of
        :data:`MANY_STARTS` by inertia. ``spectral``: spectral clustering, negative entries
        as 0. ``permuted``: official, on the similarities of pairs dealt out anew at random.
        ``single starts``: accuracies in per cent of :data:`LUCK` single starts.
    """

    def clusters(starts: int, start_seed: int = 0) -> NDArray[np.int64]:
        return cluster_similarity(similarity, option, n_init=starts, seed=start_seed)

    found: dict[str, Score | list[float]] = {
        "official": official_score(similarity, truth, option),
        "many starts": score(truth, clusters(MANY_STARTS)),
    }
    if not controls:
        return found
    spectral = SpectralClustering(
        2, affinity="precomputed", n_init=100, assign_labels="discretize", random_state=0
    )
    return found | {
        "spectral": score(truth, spectral.fit_predict(np.maximum(similarity, 0))),
        "permuted": official_score(permuted(similarity, seed), truth, option),
        "single starts": [
            100 * clustering_accuracy(truth, clusters(1, start)) for start in range(LUCK)
        ],
    }


def official_score(similarity: Array, truth: NDArray[np.int64], option: Option) -> Score:
    """As ``official`` in :func:`similarity_scores`."""
    starts = 10 if option == "relative" else 1
    return score(truth, cluster_similarity(similarity, option, n_init=starts))


def feature_scores(
    features: Array, truth: NDArray[np.int64], init: object = "k-means++"
) -> dict[str, Score | list[float]]:
    """Cluster features into two by K-means, with the same procedures' names.

    Args:
        features: Shape (n, features).
        truth: Class of each point, shape (n,).
        init: Of ``official``, as scikit-learn's ``KMeans`` takes it.
    """

    def clusters(starts: int, seed: int = 0, first: object = "k-means++") -> NDArray[np.int64]:
        estimator = KMeans(2, init=first, n_init=starts, random_state=seed)
        labels: NDArray[np.int64] = estimator.fit_predict(features)
        return labels

    return {
        "official": score(truth, clusters(10, first=init)),
        "many starts": score(truth, clusters(MANY_STARTS)),
        "single starts": [
            100 * clustering_accuracy(truth, clusters(1, start)) for start in range(LUCK)
        ],
    }


def permuted(similarity: Array, seed: int = 0) -> Array:
    """The similarities of pairs dealt out anew among the pairs, symmetrically."""
    upper = np.triu_indices(len(similarity), 1)
    result = np.diag(similarity.diagonal())
    with seeded(seed) as rng:
        result[upper] = rng.permutation(similarity[upper])
    lower: Array = np.triu(result, 1).T
    return result + lower


def within_over_between(similarity: Array, truth: NDArray[np.int64]) -> float:
    """Mean similarity of pairs of one class over that of pairs of two; self-pairs left out."""
    same = truth[:, None] == truth
    np.fill_diagonal(same, False)
    return float(similarity[same].mean() / similarity[truth[:, None] != truth].mean())


def clustering_accuracy(truth: ArrayLike, labels: ArrayLike) -> float:
    """Share of points in the right cluster under the best matching of clusters to classes.

    For two classes this is ``½ + |share − ½|``, He & Su's accuracy. The matching is the assignment
    problem (Kuhn, 1955).

    Args:
        truth: Classes, shape (n,).
        labels: Clusters, shape (n,).

    Returns:
        A number in [0, 1].
    """
    table = contingency_matrix(np.asarray(truth), np.asarray(labels))
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / table.sum())
