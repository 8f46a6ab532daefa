"""The same function from other parameters: is relative similarity the same?"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from lecore.arguments.finite import check_finite
from lecore.arguments.settings import number, sizes, whole
from lecore.changes import prediction_change
from lecore.data.images import load, scaled
from lecore.losses import cross_entropy
from lecore.models import fully_connected
from lecore.seeding import seeded
from lecore.similarity import relative_similarity
from lecore.studies.neighbours.box_search import largest_difference
from lecore.studies.neighbours.equivalent_networks import (
    Affine,
    Box,
    box,
    compress,
    interval_bounds,
    layers_of,
    network_of,
    rescaled,
)
from lecore.studies.neighbours.held_out import check_device
from lecore.studies.neighbours.stable_units import stable_bounds

Array = NDArray[np.float64]


class Trained(NamedTuple):
    """A ReLU classifier with the images it was trained and tested on.

    Attributes:
        network: In float64, with pixels from 0 to 1 as inputs.
        domain: All such images.
        images: Test images, shape (n, …), float64.
        labels: What they show.
        accuracy: Test accuracy in per cent.
    """

    network: nn.Sequential
    domain: Box
    images: Tensor
    labels: Tensor
    accuracy: float


def trained(
    data: str,
    seed: int,
    *,
    penalty: float,
    width: int,
    epochs: int,
    images: int,
    tests: int,
    device: str = "cpu",
) -> Trained:
    """Train a network of two hidden layers with an l1 penalty on its weights.

    Args:
        data: Image set, see :func:`lecore.data.images.load`.
        seed: Of the images, the weights and the order.
        penalty: Factor of the sum of the weights' absolute values, 0 or larger.
        width: Units a layer.
        epochs: Passes of Adam (batches of 100; a rate of 10⁻³ that falls to 0 along a cosine, as
            weights that the penalty holds at 0 else go on trembling by about the rate).
        images: Training images, at most all.
        tests: Test images, likewise.
        device: Where to train.

    Raises:
        LecoreError: If the penalty is negative or infinite, there are no images or fewer epochs
            than none, there is no such device, or training has diverged.
    """
    penalty = number("penalty", penalty, lambda p: 0 <= p < np.inf, "0 or larger and finite")
    images, tests = sizes(images=images, tests=tests)
    epochs = whole("epochs", epochs, 0)
    check_device(device)
    found = load(data)
    with seeded(seed) as rng:
        rows = rng.permutation(len(found.x_train))[:images]
        others = rng.permutation(len(found.x_test))[:tests]
        order = [torch.from_numpy(rng.permutation(len(rows))) for _ in range(epochs)]
    x, test_x = (
        torch.tensor(scaled(part, normalized=False), device=device)
        for part in (found.x_train[rows], found.x_test[others])
    )
    y = torch.tensor(found.y_train[rows], device=device)
    labels = torch.tensor(found.y_test[others])
    inputs = x[0].numel()
    network = fully_connected(inputs, width, 2, outputs=len(found.class_names), seed=seed)
    network.to(device)
    weights = [p for p in network.parameters() if p.ndim == 2]
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)
    batches = [batch for one in order for batch in one.split(100)]
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(1, len(batches)))
    for batch in batches:  # lecore.train takes losses of single predictions, and a penalty is none
        adam.zero_grad()
        fit = F.cross_entropy(network(x[batch]), y[batch])
        (fit + penalty * sum(w.abs().sum() for w in weights)).backward()
        adam.step()
        falling.step()
    check_finite(parameters_to_vector(network.parameters()), "the weights")
    network = network.cpu().double()
    test_x = test_x.cpu().double()
    with torch.no_grad():
        right = network(test_x).argmax(1) == labels
    accuracy = 100 * float(right.double().mean())
    return Trained(network, box(0, 1, inputs), test_x, labels, accuracy)


class Equivalents(NamedTuple):
    """One network, its equivalents on the box, and what a step says of each.

    Attributes:
        accuracy: Test accuracy in per cent.
        off: Units that are always off, by hidden layer.
        on: Units that are always on, likewise.
        merged: Units fewer after merging, likewise.
        open: Units that a programme left undecided.
        by_intervals: Units that intervals alone find stable, by hidden layer.
        output_change: Largest difference of the outputs, by equivalent: ``off removed``,
            ``merged`` and ``rescaled``.
        similarity: S_rel between test images, of ``itself`` and each of these, shape (n, n).
    """

    accuracy: float
    off: list[int]
    on: list[int]
    merged: list[int]
    open: int
    by_intervals: list[int]
    output_change: dict[str, float]
    similarity: dict[str, Array]

    @property
    def removed(self) -> int:
        """Units that removing and merging save."""
        return sum(self.off) + sum(self.merged)

    def similarity_change(self, name: str) -> float:
        """Largest difference of S_rel from that of the network itself."""
        return float(np.abs(self.similarity[name] - self.similarity["itself"]).max())

    def spearman(self, name: str) -> float:
        """Rank correlation of S_rel with that of the network itself, over pairs of two images."""
        return rank_correlation(self.similarity["itself"], self.similarity[name])


def rank_correlation(one: Array, other: Array) -> float:
    """Spearman's correlation of two square matrices over the pairs off the diagonal."""
    pairs = ~np.eye(len(one), dtype=bool)
    return float(stats.spearmanr(one[pairs], other[pairs]).statistic)


def alternating(layers: Sequence[Affine], factor: float) -> list[Array]:
    """A factor for every other unit of each hidden layer, and 1 for the others."""
    return [np.where(np.arange(len(layer.bias)) % 2, 1.0, factor) for layer in layers[:-1]]


def equivalents(
    problem: Trained,
    *,
    probes: int,
    factor: float = 10.0,
    rate: float = 1e-3,
    time_limit: float = 10.0,
    seed: int = 0,
) -> Equivalents:
    """Find the stable units of a network, write it three other ways, and take steps on each.

    Args:
        problem: The network.
        probes: Test images for S_rel.
        factor: Of every other unit in the rescaled network.
        rate: Learning rate of the steps.
        time_limit: Seconds a mixed-integer programme.
        seed: Of the search.

    Raises:
        LecoreError: If there are no probes, or a programme fails.
    """
    probes = whole("probes", probes)
    layers, domain = layers_of(problem.network), problem.domain
    some, labels = problem.images[:probes], problem.labels[:probes]
    bounds = stable_bounds(layers, domain, inputs=some, time_limit=time_limit, seed=seed)
    removed = compress(layers, bounds, domain, merge=False)
    both = compress(layers, bounds, domain)
    written = {
        "itself": layers,
        "off removed": removed.layers,
        "merged": both.layers,
        "rescaled": rescaled(layers, alternating(layers, factor)),
    }
    networks = {name: network_of(some_layers) for name, some_layers in written.items()}
    return Equivalents(
        problem.accuracy,
        [int(b.off.sum()) for b in bounds], [int(b.on.sum()) for b in bounds], both.merged,
        int(sum(b.open.sum() for b in bounds)),
        _stable_by_intervals(layers, domain),
        {
            name: largest_difference(networks["itself"], other, domain, inputs=some, seed=seed)
            for name, other in networks.items() if name != "itself"
        },
        {name: step_similarity(network, some, labels, rate) for name, network in networks.items()},
    )  # fmt: skip


def _stable_by_intervals(layers: Sequence[Affine], domain: Box) -> list[int]:
    return [int((b.off | b.on).sum()) for b in interval_bounds(layers, domain)]


def step_similarity(network: nn.Module, images: Tensor, labels: Tensor, rate: float) -> Array:
    """S_rel between images after a step of cross-entropy on each, shape (n, n)."""
    change = prediction_change(network, images, labels, learning_rate=rate, loss=cross_entropy)
    found: Array = relative_similarity(change).numpy()
    return found


def by_factor(
    problem: Trained, factors: Sequence[float], *, probes: int, rate: float = 1e-3
) -> list[float]:
    """Rank correlation of S_rel before and after rescaling, for each factor.

    Args:
        problem: The network.
        factors: Of every other unit.
        probes: Test images for S_rel.
        rate: Learning rate of the steps; it is made smaller by the square of the factor, so that
            no step leaves its first order.

    Raises:
        LecoreError: If there are no probes.
    """
    layers, some = layers_of(problem.network), problem.images[: whole("probes", probes)]
    labels = problem.labels[:probes]
    own = step_similarity(network_of(layers), some, labels, rate)
    found = []
    for factor in factors:
        network = network_of(rescaled(layers, alternating(layers, factor)))
        small = rate / max(factor, 1 / factor) ** 2
        found.append(rank_correlation(own, step_similarity(network, some, labels, small)))
    return found
