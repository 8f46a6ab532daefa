"""Does robustness fall with S_rel between a point and its nearest image of another class?

Our question to :mod:`lecore.studies.neighbours.bayesian_robustness`.
"""

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lecore.arguments.settings import sizes, whole
from lecore.changes import linearized_change
from lecore.data.images import load, scaled
from lecore.errors import LecoreError
from lecore.losses import cross_entropy
from lecore.models import fully_connected
from lecore.seeding import seeded
from lecore.similarity import own_change, relative_similarity
from lecore.studies.neighbours.bayesian_estimate import Scheme, sequential_estimate
from lecore.studies.neighbours.bayesian_posterior import (
    Posterior,
    last_layer_posterior,
    logits,
    mode_alone,
    sampled_networks,
)
from lecore.studies.neighbours.bayesian_robustness import attack, box_around, changed, excluded
from lecore.studies.neighbours.held_out import check_device
from lecore.studies.neighbours.partial_correlation import partial_interval
from lecore.training import train
from lecore.uncertainty import Interval

Array = NDArray[np.float64]


class Problem(NamedTuple):
    """A posterior, test images that its mode classifies right, and a partner for each.

    Attributes:
        posterior: Samples of the weights.
        images: Test images, shape (n, …), pixels from 0 to 1.
        labels: Their classes, shape (n,).
        nearest: The nearest training image of another class of each, shape (n, …).
        dealt: A random training image of another class of each.
        distance: Euclidean distance to ``nearest``, shape (n,).
        accuracy: Mean accuracy of the posterior samples on all test images.
        mode_accuracy: That of the mode.
    """

    posterior: Posterior
    images: Tensor
    labels: Tensor
    nearest: Tensor
    dealt: Tensor
    distance: Array
    accuracy: float
    mode_accuracy: float


class Risk(NamedTuple):
    """Shares of posterior samples by radius and image, shape (radii, n) each.

    Attributes:
        broken: An attack found another class.
        open: Bounds do not exclude another class.
        successes: Whether a sample is not broken, shape (radii, samples, n), in the order of the
            samples.
    """

    broken: Array
    open: Array
    successes: NDArray[np.bool_]


def problem(
    data: str,
    seed: int,
    *,
    width: int,
    training: int,
    images: int,
    epochs: int,
    precision: float,
    samples: int,
    device: str = "cpu",
) -> Problem:
    """Train a network with one hidden layer to its mode, and sample the posterior around it.

    Args:
        data: Image set, see :func:`lecore.data.images.load`.
        seed: Of the images, the weights, the order and the samples.
        width: Hidden units.
        training: Training images, at most all of the set.
        images: Test images that the mode classifies right, at most as many as there are.
        epochs: Passes of Adam (2·10⁻³, batches of 100).
        precision: Of the prior, per weight.
        samples: Of the posterior.
        device: Where to compute.

    Raises:
        LecoreError: If ``training`` or ``images`` is no number above 0, or there is no such device.
    """
    training, images = sizes(training=training, images=images)
    check_device(device)
    found = load(data)
    with seeded(seed) as rng:
        rows = rng.permutation(len(found.x_train))[:training]
        order = rng.permutation(len(found.x_test))
        x, y, test_x, test_y = (
            torch.tensor(values, device=device)
            for values in (
                scaled(found.x_train[rows], normalized=False), found.y_train[rows],
                scaled(found.x_test[order], normalized=False), found.y_test[order],
            )
        )  # fmt: skip
        network = fully_connected(
            x[0].numel(), width, 1, outputs=len(found.class_names), seed=seed
        ).to(device)
        train(
            network, x, y, learning_rate=2e-3, epochs=epochs, batch_size=100, loss=cross_entropy,
            optimizer="adam", weight_decay=precision / len(x), shuffle="each epoch", seed=seed,
        )  # fmt: skip
        posterior = last_layer_posterior(
            network.eval(), x, y, precision=precision, samples=samples, seed=seed
        )
        with torch.no_grad():
            right = network(test_x).argmax(-1) == test_y
        kept = right.nonzero()[:images, 0]
        near, distance = nearest_of_another_class(test_x[kept], test_y[kept], x, y)
        other = [int(rng.choice((y != label).nonzero()[:, 0].cpu())) for label in test_y[kept]]
    accuracy = (logits(posterior, test_x).argmax(-1) == test_y).double().mean()
    return Problem(
        posterior, test_x[kept], test_y[kept], x[near], x[other], distance.cpu().numpy(),
        float(accuracy), float(right.double().mean()),
    )  # fmt: skip


def nearest_of_another_class(
    points: Tensor, labels: Tensor, others: Tensor, other_labels: Tensor
) -> tuple[Tensor, Tensor]:
    """The nearest of other points that has another class, by Euclidean distance.

    Args:
        points: Shape (n, …).
        labels: Their classes, shape (n,).
        others: Shape (m, …).
        other_labels: Their classes, shape (m,).

    Returns:
        Its index and its distance for each point, shape (n,) each.

    Raises:
        LecoreError: If all others have the class of a point.
    """
    distance = torch.cdist(points.flatten(1).double(), others.flatten(1).double())
    distance[labels[:, None] == other_labels] = float("inf")
    least, index = distance.min(dim=1)
    if not bool(torch.isfinite(least).all()):
        raise LecoreError("a point has no image of another class", "give images of two classes")
    return index, least


def risk(
    posterior: Posterior,
    images: Tensor,
    radii: Sequence[float],
    *,
    steps: int,
    starts: int,
    seed: int,
) -> Risk:
    """How many posterior samples are not robust, by radius and image.

    Boxes of an image lie in each other, so a point that was found counts in all larger ones, bounds
    that hold do so in all smaller ones, and images of which all is known are left out.

    Args:
        posterior: The samples.
        images: Shape (n, …), pixels from 0 to 1.
        radii: Of the boxes, ascending.
        steps: Of each attack.
        starts: Attacks on each.
        seed: Of the attacks.

    Raises:
        LecoreError: If the radii do not ascend.
    """
    if list(radii) != sorted(set(radii)):
        raise LecoreError(f"radii must ascend, not {list(radii)}")
    shape = (len(radii), len(posterior.bias), len(images))
    robust, broken = (torch.zeros(shape, dtype=torch.bool, device=images.device) for _ in "rb")
    boxes = [box_around(images, radius) for radius in radii]
    for at, box in enumerate(boxes):
        broken[at] = broken[max(at - 1, 0)]
        rows = (~broken[at]).any(0)
        some = type(box)(*(side[rows] for side in box))
        points = attack(posterior, some, steps=steps, starts=starts, seed=seed)
        broken[at][:, rows] |= changed(posterior, some, points)
    for at, box in reversed(list(enumerate(boxes))):
        robust[at] = robust[min(at + 1, len(radii) - 1)]
        robust[at] |= excluded(posterior, box, among=~(broken[at] | robust[at]))
    shares = (one.double().mean(1).cpu().numpy() for one in (broken, ~robust))
    return Risk(next(shares), next(shares), (~broken).cpu().numpy())


def open_by_intervals(posterior: Posterior, images: Tensor, radii: Sequence[float]) -> Array:
    """Share of samples and images for which intervals alone exclude no class, shape (radii,)."""
    boxes = (box_around(images, radius) for radius in radii)
    safe = (excluded(posterior, box, linear=False).double().mean() for box in boxes)
    return np.array([1 - float(one) for one in safe])


def similarity_to(
    posterior: Posterior,
    images: Tensor,
    labels: Tensor,
    partners: Sequence[Tensor],
    networks: int,
) -> Array:
    """S_rel between images and their partners, after a small step on the image.

    Args:
        posterior: The samples, of which the first are used.
        images: Update points, shape (n, …).
        labels: Their classes.
        partners: Test points, one for each image in each entry, shape (n, …).
        networks: Samples over which the mean is taken, at most all.

    Returns:
        Shape (entries, n).
    """
    n, columns = len(images), torch.cat([images, *partners])
    total = torch.zeros(n, len(columns), dtype=torch.float64, device=images.device)
    used = list(islice(sampled_networks(posterior), whole("networks", networks)))
    for network in used:
        change = linearized_change(
            network, images, labels, columns, learning_rate=1.0, loss=cross_entropy
        )
        total += relative_similarity(change, own_change(change))
    blocks = (total / len(used)).split(n, dim=1)[1:]
    return np.stack([block.diagonal().cpu().numpy() for block in blocks])


def margins(posterior: Posterior, images: Tensor, labels: Tensor) -> Array:
    """How far the best other logit lies above that of the class, in the mean over samples, (n,)."""
    found = logits(posterior, images)
    index = labels.expand(len(found), -1)[..., None]
    best = found.scatter(-1, index, -float("inf")).amax(-1)
    return np.asarray((best - found.gather(-1, index)[..., 0]).double().mean(0).cpu())


def correlations(
    one: Problem,
    found: Risk,
    radii: Sequence[float],
    *,
    networks: int,
    steps: int,
    starts: int,
    seed: int,
) -> dict[str, Interval]:
    """How risk, in the mean over radii, goes with S_rel, and what explains that.

    Args:
        one: Network and images.
        found: Its risk.
        radii: Of the boxes.
        networks: Posterior samples whose S_rel is measured.
        steps: Of the attacks on the mode.
        starts: Likewise.
        seed: Of these and of the resamples.

    Returns:
        Partial Spearman correlations with S_rel at the nearest image of another class, given the
        margin: ``attacked`` (another class was found), ``bounded`` (it is not excluded), ``dealt``
        (at a random image of another class), ``distance`` (given the distance to the nearest, too)
        and ``mode`` (the deterministic network). And plain ones: ``similarity`` and ``margin``.
    """
    near, dealt = similarity_to(
        one.posterior, one.images, one.labels, [one.nearest, one.dealt], networks
    )
    margin = margins(one.posterior, one.images, one.labels)
    broken, open_ = found.broken.mean(0), found.open.mean(0)
    mode = mode_alone(one.posterior)
    fine = np.linspace(radii[0], radii[-1], 20).tolist()
    found_of_mode = risk(mode, one.images, fine, steps=steps, starts=starts, seed=seed)
    (near_of_mode,) = similarity_to(mode, one.images, one.labels, [one.nearest], 1)
    sides: dict[str, tuple[Array, ...]] = {
        "attacked": (broken, near, margin),
        "bounded": (open_, near, margin),
        "dealt": (broken, dealt, margin),
        "distance": (broken, near, margin, one.distance),
        "mode": (found_of_mode.broken.mean(0), near_of_mode, margins(mode, one.images, one.labels)),
        "similarity": (broken, near),
        "margin": (broken, margin),
    }
    return {name: partial_interval(*side, seed=seed) for name, side in sides.items()}


def samples_needed(found: Risk, of: Scheme) -> Array:
    """Posterior samples after which the scheme stops, shape (radii, n).

    Args:
        found: The risk, from at least as many samples as Chernoff's bound asks for.
        of: The scheme.
    """
    return np.array(
        [[sequential_estimate(image, of).samples for image in at.T] for at in found.successes],
        dtype=float,
    )


def examples(found: Risk, at: int) -> dict[str, NDArray[np.bool_]]:
    """Three images, robust in most samples, in some and in few: whether each sample is, in order.

    Args:
        found: The risk.
        at: Which radius.
    """
    wanted = {"mostly robust": 0.95, "robust by half": 0.5, "mostly broken": 0.1}
    share = 1 - found.broken[at]
    return {
        name: found.successes[at, :, int(np.abs(share - part).argmin())]
        for name, part in wanted.items()
    }
