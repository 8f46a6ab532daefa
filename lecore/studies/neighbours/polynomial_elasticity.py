"""Are polynomial nets locally elastic, and as accurate as networks with gates?"""

import copy
import itertools
import re
from collections.abc import Iterable, Mapping
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lecore.arguments.names import check_name
from lecore.arguments.settings import sizes, whole
from lecore.changes import prediction_change
from lecore.data.images import load, scaled
from lecore.data.manifolds import Manifold, placed, torus
from lecore.losses import cross_entropy
from lecore.models import fully_connected
from lecore.seeding import seeded
from lecore.similarity import correlation_with_distance, relative_similarity
from lecore.studies.neighbours.held_out import check_device
from lecore.studies.neighbours.polynomial_nets import KINDS, dense, parameters_of, width_for
from lecore.tangent_kernel import empirical_ntk, stability_limit
from lecore.training import train

Array = NDArray[np.float64]

DEGREES = (2, 3, 4)
ON_THE_TORUS = ("linear", *(f"degree {n}" for n in DEGREES), "relu", "tanh")
"""Networks on the torus, those of two layers by their units and CCP by its degree."""


def torus_network(name: str, parameters: int, *, kind: str = "CCP", seed: int = 0) -> nn.Module:
    """A network of three inputs and one output, with about so many parameters.

    Args:
        name: One of :data:`ON_THE_TORUS`, or ``degree N`` with another N.
        parameters: How many.
        kind: Decomposition of those with a degree.
        seed: Of the weights.

    Raises:
        LecoreError: If there is no such network.
    """
    if not (isinstance(name, str) and re.fullmatch(r"degree \d+", name)):
        check_name("network", name, ON_THE_TORUS)
    return _make_on_torus(name, kind, _width_on_torus(name, kind, parameters), seed)


@cache
def _width_on_torus(name: str, kind: str, parameters: int) -> int:
    return width_for(parameters, lambda width: _make_on_torus(name, kind, width, 0))


def _make_on_torus(name: str, kind: str, width: int, seed: int) -> nn.Module:
    if name.startswith("degree"):
        return dense(kind, 3, width, int(name.split()[1]), seed=seed)
    return fully_connected(3, width, 1, name, seed=seed)


def torus_correlation(
    network: nn.Module, curves: Manifold, *, scale: float = 1.0, shift: float = 0.0, steps: int = 0
) -> float:
    """Correlation of S_rel with the geodesic distance over the primary points, as in Figure 1.

    Args:
        network: Of three inputs and one output; it is trained in place if there are steps.
        curves: The torus.
        scale: Factor of all coordinates.
        shift: Added to the last one after that.
        steps: Of full-batch descent on both curves (targets 1 and 0), at half the largest stable
            rate.
    """
    there, own = placed(curves, scale=scale, shift=shift), curves.primary
    x = torch.tensor(there.points, dtype=torch.float32)
    y = torch.tensor(there.labels, dtype=torch.float32)[:, None]
    if steps:
        rate = 0.5 * stability_limit(empirical_ntk(network, x, form="trace"))
        train(network, x, y, learning_rate=rate, epochs=steps)
    change = prediction_change(network, x[own], y[own], learning_rate=1e-9)
    pairs = np.ix_(own, own)
    return correlation_with_distance(relative_similarity(change), curves.distance[pairs])


def torus_correlations(
    places: Mapping[str, Mapping[str, float]],
    seeds: Iterable[int],
    *,
    points: int,
    parameters: int,
    steps: int = 0,
    networks: Iterable[str] = ON_THE_TORUS,
    kind: str = "CCP",
) -> pd.DataFrame:
    """Correlations of all networks wherever the torus lies, seed by seed.

    Args:
        places: By name, ``scale`` and ``shift`` of :func:`torus_correlation`.
        seeds: Of points and weights.
        points: Of both curves together.
        parameters: Of each network, about.
        steps: Of training.
        networks: From :data:`ON_THE_TORUS`.
        kind: Decomposition of those with a degree.

    Returns:
        Columns ``network``, ``place``, ``seed`` and ``correlation``.
    """
    rows = []
    for seed, name in itertools.product(seeds, networks):
        network, curves = torus_network(name, parameters, kind=kind, seed=seed), torus(points, seed)
        for place, where in places.items():
            one = copy.deepcopy(network) if steps else network
            found = torus_correlation(one, curves, steps=steps, **where)
            rows.append((name, place, seed, found))
    return pd.DataFrame(rows, columns=["network", "place", "seed", "correlation"])


def by_seed(table: pd.DataFrame, network: str, place: str) -> Array:
    """Correlations of one network in one place, shape (seeds,)."""
    rows = table[(table.network == network) & (table.place == place)].sort_values("seed")
    found: Array = rows.correlation.to_numpy()
    return found


def wide_ccp_kernel(points: Array, degree: int) -> Array:
    """Tangent kernel per unit of an infinitely wide CCP net with torch's weights, untrained.

    The head's gradients are the units themselves and outweigh all others. A unit is u_1 (1 + u_2)
    … (1 + u_N) with independent linear u_n of (z, 1), whose covariance at two points is
    k = (z·z′ + 1)/(3 d); so the kernel is k (1 + k)^(N−1), a polynomial of degree N in z·z′.

    Args:
        points: Shape (n, d).
        degree: N ≥ 1; a linear network for 1.

    Returns:
        Shape (n, n).

    Raises:
        LecoreError: If the degree is below 1.
    """
    degree = whole("degree", degree)
    k: Array = (points @ points.T + 1) / (3 * points.shape[1])
    kernel: Array = k * (1 + k) ** (degree - 1)
    return kernel


def wide_similarity(points: Array, degree: int) -> Array:
    """S_rel of a tiny step in an infinitely wide CCP net, shape (n, n)."""
    kernel = wide_ccp_kernel(points, degree)
    similarity: Array = np.abs(kernel) / kernel.diagonal()[:, None]
    return similarity


class PolynomialTorus(NamedTuple):
    """One curve of the torus, and the correlation by degree and size.

    Attributes:
        points: In the order of their angles, shape (n, 3).
        angles: Shape (n,).
        correlations: Columns ``degree``, ``size`` and ``correlation``, over all ordered pairs.
    """

    points: Array
    angles: Array
    correlations: pd.DataFrame


def polynomial_torus(
    points: int, seed: int, *, degrees: Iterable[int], sizes: Iterable[float]
) -> PolynomialTorus:
    """Draw the torus, and find what the degree does to the correlation at each size.

    Args:
        points: Of both curves together, one of which is kept.
        seed: Of the points.
        degrees: Of infinitely wide CCP nets.
        sizes: Factors of all coordinates.
    """
    curves, degrees, sizes = torus(points, seed), list(degrees), list(sizes)
    own = curves.primary[np.argsort(curves.coordinates[curves.primary, 0])]
    distance = curves.distance[np.ix_(own, own)]
    rows = [
        (n, t, correlation_with_distance(wide_similarity(t * curves.points[own], n), distance))
        for n in degrees for t in sizes
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["degree", "size", "correlation"])
    return PolynomialTorus(curves.points[own], curves.coordinates[own, 0], table)


class ImageSplit(NamedTuple):
    """Images to train and to test on, drawn by a seed; shapes (n, …) and (n,)."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor


def image_split(
    data: str, seed: int, *, images: int, tests: int, normalized: bool = True, device: str = "cpu"
) -> ImageSplit:
    """Draw images of a set, all of them if there are no more.

    Args:
        data: Image set, see :func:`lecore.data.images.load`.
        seed: Of the draw.
        images: Training images.
        tests: Test images.
        normalized: Whether pixels are normalised; else they lie from 0 to 1.
        device: Where to.

    Raises:
        LecoreError: If there are no images of either kind, or no such device.
    """
    images, tests = sizes(images=images, tests=tests)
    check_device(device)
    found = load(data)
    with seeded(seed) as rng:
        rows = rng.permutation(len(found.x_train))[:images]
        others = rng.permutation(len(found.x_test))[:tests]
    x, test_x = (
        torch.tensor(scaled(pixels, normalized=normalized), device=device)
        for pixels in (found.x_train[rows], found.x_test[others])
    )
    y, test_y = (
        torch.tensor(labels, device=device)
        for labels in (found.y_train[rows], found.y_test[others])
    )
    return ImageSplit(x, y, test_x, test_y)


def image_networks(
    inputs: int, outputs: int, *, width: int, degree: int, seed: int
) -> dict[str, nn.Module]:
    """ReLU, tanh and linear networks of three layers and the Π-nets, all of about one size.

    Args:
        inputs: Values of an image.
        outputs: Classes.
        width: Of the CCP net, which sets the number of parameters.
        degree: Of the polynomials.
        seed: Of the weights.
    """
    makers = {
        name: partial(fully_connected, inputs, hidden_layers=2, activation=name, outputs=outputs,
                      seed=seed)
        for name in ("relu", "tanh", "linear")
    } | {
        kind: lambda width, kind=kind: dense(
            kind, inputs, width, degree, outputs=outputs, seed=seed)
        for kind in KINDS
    }  # fmt: skip
    wanted = parameters_of(makers["CCP"](width))
    return {name: make(width_for(wanted, make)) for name, make in makers.items()}


def learn(network: nn.Module, split: ImageSplit, *, epochs: int, seed: int) -> float:
    """Train a classifier (Adam, 10⁻³, batches of 100); returns its test accuracy in per cent."""
    network.to(split.x.device)
    train(
        network, split.x, split.y, learning_rate=1e-3, epochs=epochs, batch_size=100,
        loss=cross_entropy, optimizer="adam", shuffle="each epoch", seed=seed,
    )  # fmt: skip
    with torch.no_grad():
        right = network(split.test_x).argmax(1) == split.test_y
    return 100 * float(right.double().mean())


def trained_on(
    split: ImageSplit, *, width: int, degree: int, epochs: int, seed: int
) -> dict[str, tuple[nn.Module, float]]:
    """All networks of :func:`image_networks`, trained, each with its test accuracy in per cent."""
    inputs, outputs = split.x[0].numel(), int(split.y.max()) + 1
    made = image_networks(inputs, outputs, width=width, degree=degree, seed=seed)
    return {name: (net, learn(net, split, epochs=epochs, seed=seed)) for name, net in made.items()}


def same_class_superiority(network: nn.Module, split: ImageSplit, images: int) -> float:
    """Chance that S_rel of two test images is larger within a class than between two.

    Args:
        network: A trained classifier.
        split: Its images.
        images: Test images, the first ones.

    Returns:
        From 0 to 1; one half is no preference.

    Raises:
        LecoreError: If there are no images.
    """
    images = whole("images", images)
    x, y = split.test_x[:images], split.test_y[:images]
    change = prediction_change(network, x, y, learning_rate=1e-4, loss=cross_entropy)
    s = relative_similarity(change).cpu().numpy()
    labels = y.cpu().numpy()
    other = ~np.eye(len(s), dtype=bool) & np.isfinite(s)
    same = labels[:, None] == labels
    within, between = s[same & other], s[~same & other]
    below = np.searchsorted(np.sort(between), within)
    return float(below.mean() / len(between))
