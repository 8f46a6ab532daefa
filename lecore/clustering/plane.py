"""Points in the plane, by the distances that a kernel induces."""

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import MDS

Array = NDArray[np.float64]


def kernel_distance(kernel: Array) -> Array:
    """Distance in the kernel's feature space, √(K(x, x) + K(x′, x′) − 2 K(x, x′)).

    Args:
        kernel: Symmetric, shape (n, n). Where it is indefinite a square may be negative; that
            distance is 0.

    Returns:
        Shape (n, n).
    """
    diagonal = kernel.diagonal()
    distance: Array = np.sqrt(np.maximum(diagonal[:, None] + diagonal - 2 * kernel, 0))
    return distance


def in_the_plane(kernel: Array, *, seed: int = 0) -> Array:
    """Metric multidimensional scaling of :func:`kernel_distance`, from classical scaling on.

    Args:
        kernel: Symmetric, shape (n, n).
        seed: Seed of the classical scaling's eigenvectors.

    Returns:
        Places, shape (n, 2).
    """
    scaling = MDS(
        2, metric="precomputed", init="classical_mds", n_init=1, max_iter=100, random_state=seed
    )
    places: Array = scaling.fit_transform(kernel_distance(kernel))
    return places
