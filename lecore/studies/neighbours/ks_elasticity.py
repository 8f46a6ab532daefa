"""What calibration does to local elasticity, and how both move through training."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from lecore.arguments.settings import whole
from lecore.changes import prediction_change
from lecore.errors import LecoreError
from lecore.losses import cross_entropy
from lecore.probabilities import softmax_change
from lecore.similarity import relative_similarity, size_of
from lecore.studies.neighbours.calibration_error import ks_error, top
from lecore.studies.neighbours.held_out import HeldOut, Part, learn, logits_of
from lecore.studies.neighbours.ks_calibration import Recalibration
from lecore.studies.neighbours.partial_correlation import partial_spearman

Array = NDArray[np.float64]


class Moved(NamedTuple):
    """What one small step on each of some images moves at each of them.

    Attributes:
        logits: z, shape (n, C), float64.
        change: Δz, shape (n, n, C): rows are update points.
        labels: Classes, shape (n,).
    """

    logits: Tensor
    change: Tensor
    labels: Tensor


def moved(network: nn.Module, part: Part, learning_rate: float) -> Moved:
    """Steps of plain SGD on the cross-entropy of each image, in float64.

    Args:
        network: Maps images to logits.
        part: Update points, which are the test points as well.
        learning_rate: Of the step.
    """
    change = prediction_change(
        network, part.images, part.labels, loss=cross_entropy, learning_rate=learning_rate
    )
    return Moved(logits_of(network, part), change, part.labels)


def confidence_change(found: Moved, temperature: float = 1.0) -> Tensor:
    """Change of the probability of the class that a point was taken for before the step.

    Args:
        found: From :func:`moved`.
        temperature: T of softmax(z / T).

    Returns:
        Shape (n, n), signed.
    """
    change = softmax_change(found.logits / temperature, found.change / temperature)
    return change.gather(2, _chosen(found)).squeeze(2)


def recalibrated_change(found: Moved, spline: Recalibration) -> Tensor:
    """Change of the confidence after a spline: γ(p + Δp) − γ(p), shape (n, n), signed."""
    before = found.logits.softmax(1).amax(1).numpy()
    after = before + confidence_change(found).numpy()
    return torch.tensor(spline(after) - spline(before))


def class_preference(size: ArrayLike, labels: ArrayLike, *, pooled: bool = False) -> float:
    """How much farther steps move points of their own class than points of other classes.

    For each update point the mean over other points of its class, divided by the mean over points
    of other classes; the median of these. How far it moves itself cancels, so it is the same for
    changes and for relative similarities.

    Args:
        size: Sizes of changes, shape (n, n), ≥ 0.
        labels: Classes, shape (n,).
        pooled: Instead of that, the median over all pairs of one class divided by the median over
            all pairs of two, which says what a typical pair does, not what moves most.

    Raises:
        LecoreError: If shapes do not fit, a size is not finite, a class has one point only, there
            is one class only, or nothing moves.
    """
    size, labels = np.abs(np.asarray(size, dtype=np.float64)), np.asarray(labels)
    if labels.ndim != 1 or size.shape != 2 * labels.shape or not np.isfinite(size).all():
        raise LecoreError(
            f"need finite sizes (n, n) and labels (n,), got {size.shape} and {labels.shape}"
        )
    same = labels[:, None] == labels
    others = same & ~np.eye(len(labels), dtype=bool)
    if not (others.any(1) & ~same.all(1)).all():
        raise LecoreError("each class needs two points, and there must be two classes")
    within = np.where(others, size, 0).sum(1) / others.sum(1)
    between = np.where(~same, size, 0).sum(1) / (~same).sum(1)
    if not (between > 0).any() or (pooled and not np.median(size[~same])):
        what = "most steps move no" if (between > 0).any() else "no step moves a"
        raise LecoreError(f"{what} point of another class", "take a larger learning rate")
    if pooled:
        return float(np.median(size[others]) / np.median(size[~same]))
    return float(np.median(within[between > 0] / between[between > 0]))


class Preferences(NamedTuple):
    """Class preference of what a network states, by what is looked at.

    Attributes:
        logits: Of the logits, which no temperature changes.
        confidence: Of the top-1 probability.
        temperature: Of the same after a temperature.
        spline: Of the same after a spline.
        pooled_logits: As ``logits``, of all pairs together.
        pooled_confidence: Likewise.
        logits_difference: Largest difference of S_rel of the logits with and without temperature.
    """

    logits: float
    confidence: float
    temperature: float
    spline: float
    pooled_logits: float
    pooled_confidence: float
    logits_difference: float


def preferences(found: Moved, temperature: float, spline: Recalibration) -> Preferences:
    """Class preferences before and after calibration, for the same steps."""
    logits = relative_similarity(found.change)
    cooled = relative_similarity(found.change / temperature)
    raw, size, labels = confidence_change(found), size_of(found.change), found.labels
    return Preferences(
        class_preference(size, labels),
        class_preference(raw, labels),
        class_preference(confidence_change(found, temperature), labels),
        class_preference(recalibrated_change(found, spline), labels),
        class_preference(size, labels, pooled=True),
        class_preference(raw, labels, pooled=True),
        float((logits - cooled).abs().max()),
    )


class Path(NamedTuple):
    """A network's training, seen at several steps.

    Attributes:
        steps: When, shape (looks,).
        accuracy: Share of test images taken for their class.
        ks: KS error of the top-1 confidence on the test images.
        ahead: Mean confidence minus accuracy.
        similarity: Mean S_rel of the logits over pairs of different test images.
    """

    steps: Array
    accuracy: Array
    ks: Array
    ahead: Array
    similarity: Array


def looks(steps: int, number: int) -> list[int]:
    """About so many steps between 0 and the last, ever farther apart.

    Raises:
        LecoreError: If there is no step, or no look.
    """
    whole("steps", steps)
    whole("looks", number)
    return [0, *np.unique(np.geomspace(1, steps, number).round().astype(int)).tolist()]


def through_training(
    problem: HeldOut, *, epochs: int, seed: int, number: int, probes: int, learning_rate: float
) -> Path:
    """Train the network of a problem in place, and look at it on the way.

    Args:
        problem: With an untrained network.
        epochs: Passes of Adam.
        seed: Of the order of images.
        number: Of looks, about.
        probes: Test images that steps are taken on.
        learning_rate: Of these steps, which the network does not keep.

    Raises:
        LecoreError: If there is no probe, no step or no look.
    """
    rows, probes = [], whole("probes", probes)
    probed = Part(*(values[:probes] for values in problem.test))
    apart = ~torch.eye(len(probed.labels), dtype=torch.bool)

    def look(step: int, network: nn.Module) -> None:
        scores, hits = top(logits_of(network, problem.test).softmax(1), problem.test.labels)
        similarity = relative_similarity(moved(network, probed, learning_rate).change)[apart]
        rows.append(
            (step, hits.mean(), ks_error(scores, hits), scores.mean() - hits.mean(),
             float(similarity.nanmean()))
        )  # fmt: skip

    steps = epochs * -(-len(problem.training.labels) // 50)
    learn(problem, epochs=epochs, seed=seed, callback=look, looks=looks(steps, number))
    return Path(*np.array(rows).T)


def together(path: Path, first: int) -> tuple[float, float]:
    """Spearman correlation of KS error and S_rel, and of their changes between looks.

    Two series that drift are correlated whatever they have to do with each other; their changes
    are not.

    Args:
        path: From :func:`through_training`.
        first: Step from which on looks count.

    Returns:
        Both, NaN where one side is constant.

    Raises:
        LecoreError: If fewer than three looks count.
    """
    counted = path.steps >= first
    ks, similarity = path.ks[counted], path.similarity[counted]
    if len(ks) < 3:
        raise LecoreError(f"{len(ks)} looks from step {first} on are too few", "take 3 or more")
    return partial_spearman(ks, similarity), partial_spearman(np.diff(ks), np.diff(similarity))


def _chosen(found: Moved) -> Tensor:
    """Index of the likeliest class, for each change."""
    n = len(found.labels)
    return found.logits.argmax(1)[None, :, None].expand(n, n, 1)
