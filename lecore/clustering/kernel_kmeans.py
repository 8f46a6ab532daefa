"""Kernel K-means, which no maintained library offers for precomputed, indefinite kernels."""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from lecore.arguments.settings import number, whole
from lecore.errors import LecoreError

Array = NDArray[np.float64]


class KernelKMeans(ClusterMixin, BaseEstimator):
    """Kernel K-means (Dhillon, Guan, Kulis, 2004): K-means in the kernel's feature space.

    Args:
        n_clusters: Number of clusters.
        kernel: ``precomputed``, or a name that ``sklearn.metrics.pairwise_kernels`` knows.
        n_init: Random starts; the one with the smallest inertia wins. He & Su use one.
        max_iter: Most iterations of a start.
        tol: A start ends when a smaller share of points changes its cluster.
        random_state: Seed, generator, or None.

    Attributes:
        labels_: Cluster of each point, shape (n,).
        inertia_: Sum of squared distances to the centres in feature space; with an indefinite
            matrix it may be negative.
        n_iter_: Iterations of the best start.
    """

    def __init__(
        self,
        n_clusters: int = 2,
        *,
        kernel: str = "linear",
        n_init: int = 10,
        max_iter: int = 100,
        tol: float = 1e-3,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.kernel = kernel
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def __sklearn_tags__(self):  # type: ignore[no-untyped-def]
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags

    def fit(self, X: ArrayLike, y: None = None) -> Self:
        """Cluster the points.

        Args:
            X: Points, shape (n, features), or the kernel, shape (n, n), if precomputed.
            y: Ignored.

        Raises:
            LecoreError: If there are fewer points than clusters, or a precomputed kernel is not
                square.
        """
        points: Array = validate_data(self, X, dtype=np.float64)
        precomputed = self.kernel == "precomputed"
        kernel = points if precomputed else pairwise_kernels(points, metric=self.kernel)
        n = len(kernel)
        if kernel.shape != (n, n):
            raise LecoreError(f"a precomputed kernel must be square, got shape {kernel.shape}")
        if whole("n_clusters", self.n_clusters) > n:
            raise LecoreError(f"n_clusters={self.n_clusters} must lie between 1 and {n} points")
        n_init = whole("n_init", self.n_init)
        whole("max_iter", self.max_iter)
        number("tol", self.tol, lambda share: share >= 0, "0 or larger")
        rng = check_random_state(self.random_state)
        starts = [self._lloyd(kernel, rng.randint(self.n_clusters, size=n)) for _ in range(n_init)]
        self.inertia_, self.n_iter_, self.labels_ = min(starts, key=lambda start: start[0])
        return self

    def _lloyd(
        self, kernel: Array, labels: NDArray[np.int64]
    ) -> tuple[float, int, NDArray[np.int64]]:
        diagonal, everyone = kernel.diagonal(), np.arange(len(kernel))
        for iteration in range(1, self.max_iter + 1):  # noqa: B007
            member = np.eye(self.n_clusters)[labels]
            size = member.sum(axis=0)
            share = member / np.maximum(size, 1)
            cross = kernel @ share
            centre = np.einsum("ic,ic->c", share, cross)
            # ‖φ(x) − μ_c‖² = K(x, x) − 2 mean_j K(x, x_j) + mean_jl K(x_j, x_l)
            distance = np.where(size > 0, diagonal[:, None] - 2 * cross + centre, np.inf)
            new = distance.argmin(axis=1)
            moved, labels = np.mean(new != labels), new
            if moved < self.tol:
                break
        return float(distance[everyone, labels].sum()), iteration, labels
