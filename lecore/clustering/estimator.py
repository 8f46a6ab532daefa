"""Clustering by local elasticity, as a scikit-learn estimator, and how He & Su judge it."""

from typing import Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import validate_data

from lecore.arguments.names import check_name
from lecore.arguments.settings import whole
from lecore.clustering.algorithm_one import (
    Option,
    cluster_similarity,
    similarities_along_walk,
    similarities_from_fixed_weights,
)
from lecore.errors import LecoreError
from lecore.models import two_layer
from lecore.seeding import seeded
from lecore.tangent_kernel import empirical_ntk, stability_limit
from lecore.training import train

Array = NDArray[np.float64]


class ElasticityClustering(ClusterMixin, BaseEstimator):
    """He & Su's Algorithm 1 as a scikit-learn estimator.

    A two-layer network learns to tell the points (target 1) from an auxiliary set (target 0);
    one SGD step on each point then shows which others it moves, and these similarities are
    clustered: K-means on the rows of S_rel, kernel K-means on S_ker.

    Without an auxiliary set, the points with each feature shuffled on its own stand in for it.
    That is an addition of ours; it keeps the marginals and breaks what binds the features.

    There are clusters only of the points it is fitted on, as with scikit-learn's own
    ``SpectralClustering``, so that a search scores these and holds none out::

        def score(fitted, X, y):
            return adjusted_rand_score(y, fitted.labels_)

        every = numpy.arange(len(X))
        search = GridSearchCV(
            ElasticityClustering(), {"width": [256, 1024]}, scoring=score, cv=[(every, every)]
        )
        search.fit(X, y)

    Args:
        n_clusters: Number of clusters.
        similarity: ``relative`` or ``kernelized``.
        algorithm: ``as coded`` (every step from the trained weights) or ``as printed`` (the
            weights walk through both sets).
        activation: Of the hidden layer; ``linear`` is the paper's control.
        width: Hidden units.
        learning_rate: Of training and of the walk; by default half of the largest stable one,
            see :func:`lecore.tangent_kernel.stability_limit`.
        epochs: Passes over both sets; 0 leaves the random weights.
        batch_size: Examples a step.
        probe_learning_rate: η of the steps that measure similarity, as coded.
        n_init: Starts of the clustering.
        random_state: Integer seed of weights, order and clustering, or None for 0.
        device: Where to compute.

    Attributes:
        labels_: Cluster of each point, shape (n,).
        similarity_: Symmetrised similarity, shape (n, n).
        losses_: Training loss of each step.
    """

    def __init__(
        self,
        n_clusters: int = 2,
        *,
        similarity: Option = "kernelized",
        algorithm: Literal["as coded", "as printed"] = "as coded",
        activation: str = "relu",
        width: int = 1024,
        learning_rate: float | None = None,
        epochs: int = 50,
        batch_size: int = 50,
        probe_learning_rate: float = 1e-6,
        n_init: int = 10,
        random_state: int | None = None,
        device: str = "cpu",
    ) -> None:
        self.n_clusters = n_clusters
        self.similarity = similarity
        self.algorithm = algorithm
        self.activation = activation
        self.width = width
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.probe_learning_rate = probe_learning_rate
        self.n_init = n_init
        self.random_state = random_state
        self.device = device

    def fit(self, X: ArrayLike, y: None = None, *, auxiliary: ArrayLike | None = None) -> Self:
        """Train, measure and cluster.

        Args:
            X: Primary points, shape (n, features).
            y: Ignored.
            auxiliary: Auxiliary points, shape (m, features).

        Raises:
            LecoreError: If an option is unknown or the shapes do not fit.
            DivergenceError: If training runs away; take a smaller learning rate.
        """
        points: Array = validate_data(self, X, dtype=np.float64, copy=True)
        check_name("similarity", self.similarity, get_args(Option))
        check_name("algorithm", self.algorithm, ("as coded", "as printed"))
        if len(points) < whole("n_clusters", self.n_clusters):
            raise LecoreError(
                f"n_samples={len(points)} should be at least n_clusters={self.n_clusters}"
            )
        given = 0 if self.random_state is None else self.random_state
        seed = whole("random_state", given, 0, 2**32 - 1)
        whole("n_init", self.n_init)  # before it trains
        if auxiliary is None:
            with seeded(seed) as rng:
                auxiliary = rng.permuted(points, axis=0)
        primary = torch.as_tensor(points, dtype=torch.float32, device=self.device)
        other = torch.as_tensor(np.asarray(auxiliary), dtype=torch.float32, device=self.device)
        if other.ndim != 2 or other.shape[1] != primary.shape[1]:
            raise LecoreError(
                f"auxiliary must have {points.shape[1]} features, got {tuple(other.shape)}"
            )
        ones, zeros = primary.new_ones(len(primary), 1), other.new_zeros(len(other), 1)
        everything = torch.cat([primary, other])
        model = two_layer(points.shape[1], self.width, self.activation, seed=seed).to(self.device)
        rate = self.learning_rate
        if rate is None:
            rate = stability_limit(empirical_ntk(model, everything, form="trace")) / 2
        self.losses_ = train(
            model, everything, torch.cat([ones, zeros]),
            learning_rate=rate, epochs=self.epochs, batch_size=self.batch_size, seed=seed,
        ).losses  # fmt: skip
        if self.algorithm == "as coded":
            both = similarities_from_fixed_weights(
                model, primary, ones, learning_rate=self.probe_learning_rate
            )
        else:
            sets = [t.double() for t in (primary, ones, other, zeros)]
            both = similarities_along_walk(model.double(), *sets, learning_rate=rate, seed=seed)
        self.similarity_: Array = getattr(both, self.similarity).cpu().numpy()
        self.labels_ = cluster_similarity(
            self.similarity_, self.similarity, self.n_clusters, n_init=self.n_init, seed=seed
        )
        return self
