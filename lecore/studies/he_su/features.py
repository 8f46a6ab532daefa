"""The features that He & Su cluster by K-means for comparison."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import euclidean_distances
from torch import Tensor

from lecore.data.pretrained import last_features, pretrained
from lecore.errors import LecoreError
from lecore.losses import squared_error
from lecore.studies.he_su.autoencoder import autoencoder
from lecore.training import train

Array = NDArray[np.float64]


def pixel_features(images: Tensor) -> Array:
    """The images themselves, shape (n, values)."""
    pixels: Array = images.flatten(1).double().cpu().numpy()
    return pixels


def principal_features(images: Tensor, components: int = 100) -> Array:
    """Scores on the first principal components, shape (n, components)."""
    pixels = pixel_features(images)
    pca = PCA(min(components, *pixels.shape), svd_solver="full")
    scores: Array = pca.fit_transform(pixels)
    return scores


def autoencoder_features(
    images: Tensor, auxiliary: Tensor, *, epochs: int = 5000, seed: int = 0
) -> Array:
    """Codes of a convolutional autoencoder, trained on both sets as He & Su do.

    Full-batch Adam with learning rate 10⁻³ and weight decay 10⁻⁵ on the squared error.

    Args:
        images: Primary images, shape (n, 1, 28, 28), see :func:`at_size_28`.
        auxiliary: Auxiliary images.
        epochs: Steps; 5,000 in the paper.
        seed: Seed of the weights.

    Returns:
        Shape (n, 32).
    """
    model = autoencoder(seed=seed).to(images.device)
    both = torch.cat([images, auxiliary])

    def mean_squared_error(reconstruction: Tensor, image: Tensor) -> Tensor:
        return squared_error(reconstruction, image) / image.numel()

    train(
        model, both, both, learning_rate=1e-3, epochs=epochs, loss=mean_squared_error,
        optimizer="adam", weight_decay=1e-5, seed=seed, progress=True,
    )  # fmt: skip
    with torch.no_grad():
        codes: Array = model.encoder(images).flatten(1).double().cpu().numpy()
    return codes


def pretrained_features(images: Tensor, name: str) -> Array:
    """The last features of a network that ImageNet has trained: 2,048 of ResNet-152.

    Args:
        images: In [−1, 1], shape (n, 1 or 3, h, w); the network resizes them.
        name: A key of :data:`lecore.data.pretrained.PRETRAINED`.

    Raises:
        LecoreError: If the extra ``pretrained`` is missing.
        ConnectionError: If torchvision's weights are neither in torch's cache nor can be fetched.
    """
    network = pretrained(name).to(images.device)
    features: Array = last_features(network, images).double().cpu().numpy()
    return features


def at_size_28(images: Tensor) -> Tensor:
    """Smaller images stretched to 28 × 28, for the networks that are built for MNIST.

    Raises:
        LecoreError: If the images are not grey, or larger.
    """
    if images.shape[1] != 1 or max(images.shape[2:]) > 28:
        raise LecoreError(
            f"this network takes grey images of up to 28 × 28, not {tuple(images.shape[1:])}"
        )
    if images.shape[2:] == (28, 28):
        return images
    return F.interpolate(images, size=(28, 28), mode="bilinear", align_corners=False)


def seeding_of_2019(X: Array, n_clusters: int, random_state: np.random.RandomState) -> Array:
    """The k-means++ draws of scikit-learn 0.21, as an ``init`` for today's ``KMeans``.

    K-means on He & Su's images has many optima whose inertia differs by less than one part in
    10⁴ and whose accuracy differs by points, so their printed digits need their draws: the
    first centre by ``randint``, the others as the best of a few tries.

    Args:
        X: Points, shape (n, features).
        n_clusters: Number of centres.
        random_state: Generator shared by all starts.

    Returns:
        Centres, shape (n_clusters, features).
    """
    tries = 2 + int(np.log(n_clusters))
    chosen = [random_state.randint(len(X))]
    closest = euclidean_distances(X[chosen], X, squared=True)[0]
    for _ in range(1, n_clusters):
        draws = random_state.random_sample(tries) * closest.sum()
        tried = np.searchsorted(np.cumsum(closest), draws).clip(max=len(X) - 1)
        reduced = np.minimum(closest, euclidean_distances(X[tried], X, squared=True))
        best = reduced.sum(axis=1).argmin()
        chosen.append(tried[best])
        closest = reduced[best]
    centres: Array = X[chosen]
    return centres
