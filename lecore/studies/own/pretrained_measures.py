"""Which classes of images does a step on one class move? By He & Su's Figures 5 and 6.

What moves is the prediction p at a test image, measured by KL(p⁺ ‖ p) after and before a step of
gradient descent on the cross-entropy.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from lecore.changes import prediction_change
from lecore.losses import cross_entropy
from lecore.probabilities import prediction_divergence

Array = NDArray[np.float64]
Labelled = tuple[Tensor, Tensor]
"""Images (n, …) and their classes (n,)."""


class Moved(NamedTuple):
    """How far steps on images of one class move a similar and a distant one.

    Attributes:
        similar: Mean KL over update images at each similar test image, shape (tests,).
        distant: Likewise at the distant ones.
        p_value: Of the one-sided Wilcoxon rank-sum test that similar ones are moved more.
        log_ratio: log₁₀ of the mean of similar over that of distant.
        relative: Means of He & Su's S_rel, KL at the test image over KL at the update image
            itself: of similar and of distant ones.
    """

    similar: Array
    distant: Array
    p_value: float
    log_ratio: float
    relative: tuple[float, float]


def divergences(
    network: nn.Module,
    updates: Labelled,
    tests: Tensor,
    *,
    learning_rate: float,
    dtype: torch.dtype = torch.float64,
) -> Array:
    """KL(p⁺ ‖ p) at test images after a step on each update image.

    Args:
        network: In eval mode, with logits as outputs.
        updates: Images and classes of the steps.
        tests: Shape (m, …).
        learning_rate: Of the step.
        dtype: torch.dtype of the step.

    Returns:
        Shape (n, m), steps as rows.
    """
    change = prediction_change(
        network, *updates, tests, learning_rate=learning_rate, loss=cross_entropy, dtype=dtype
    )
    with torch.no_grad():
        logits = copy.deepcopy(network).to(dtype)(tests.to(dtype))
    return _divergence(logits, change)


def similar_and_distant(
    network: nn.Module,
    updates: Labelled,
    similar: Tensor,
    distant: Tensor,
    *,
    learning_rate: float,
) -> Moved:
    """The experiment of He & Su's Figures 5 and 6: tabby cats move tiger cats, not warplanes.

    Args:
        network: In eval mode, with logits as outputs.
        updates: Images and classes of the steps, one a step.
        similar: Test images of the class that is like theirs, shape (m, …).
        distant: Test images of another class.
        learning_rate: Of the steps.
    """
    moved = divergences(
        network, updates, torch.cat([similar, distant]), learning_rate=learning_rate
    )
    own = divergences(network, updates, updates[0], learning_rate=learning_rate).diagonal()
    near, far = np.split(moved, [len(similar)], axis=1)
    at_near, at_far = near.mean(axis=0), far.mean(axis=0)
    return Moved(
        similar=at_near,
        distant=at_far,
        p_value=float(stats.mannwhitneyu(at_near, at_far, alternative="greater").pvalue),
        log_ratio=float(np.log10(at_near.mean() / at_far.mean())),
        relative=(float((near / own[:, None]).mean()), float((far / own[:, None]).mean())),
    )


def batch_divergences(
    network: nn.Module,
    first: Labelled,
    second: Labelled,
    tests: Tensor,
    *,
    learning_rate: float,
    dtype: torch.dtype = torch.float64,
) -> Array:
    """KL(p⁺ ‖ p) at test images after steps on batches of two, as in He & Su's appendix.

    Args:
        network: In eval mode, with logits as outputs.
        first: Images and classes of one class of the batches.
        second: Of the other; the i-th of both are the i-th batch, as long as there are both.
        tests: Shape (m, …).
        learning_rate: Of the step on the mean loss of a batch.
        dtype: torch.dtype of the step.

    Returns:
        Shape (batches, m).
    """
    network, tests = copy.deepcopy(network).to(dtype), tests.to(dtype)
    with torch.no_grad():
        before = network(tests)
    changes = []
    for *images, one, other in zip(first[0], second[0], first[1], second[1], strict=False):
        moved = copy.deepcopy(network)
        loss = F.cross_entropy(moved(torch.stack(images).to(dtype)), torch.stack([one, other]))
        weights = list(moved.parameters())
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.sub_(learning_rate * gradient)
            changes.append(moved(tests) - before)
    return _divergence(before, torch.stack(changes))


def batch_changes(
    network: nn.Module,
    first: Labelled,
    second: Labelled,
    tests: Sequence[Tensor],
    *,
    learning_rate: float,
) -> Array:
    """Means of :func:`batch_divergences` over batches and the images of each set, shape (sets,)."""
    moved = batch_divergences(
        network, first, second, torch.cat(list(tests)), learning_rate=learning_rate
    )
    parts = np.split(moved, np.cumsum([len(x) for x in tests])[:-1], axis=1)
    means: Array = np.array([part.mean() for part in parts])
    return means


def class_movement(
    network: nn.Module,
    images: Sequence[Tensor],
    labels: Sequence[Tensor],
    *,
    learning_rate: float,
    few: int = 10,
) -> Array:
    """log₁₀ of the mean KL between the first images of all classes.

    Args:
        network: In eval mode, with logits as outputs.
        images: Of each class, shape (images, …).
        labels: Their classes for the step.
        learning_rate: Of the step.
        few: Images of each class.

    Returns:
        Shape (classes, classes) by class of update and test image.
    """
    picked = torch.cat([x[:few] for x in images]), torch.cat([y[:few] for y in labels])
    moved = divergences(network, picked, picked[0], learning_rate=learning_rate)
    size = len(images)
    means: Array = np.log10(moved.reshape(size, few, size, few).mean(axis=(1, 3)))
    return means


def confusion(network: nn.Module, images: Sequence[Tensor]) -> Array:
    """Mean probabilities of the classes, shape (classes, classes) by class of the images."""
    with torch.no_grad():
        rows = [network(x).softmax(dim=1).mean(dim=0) for x in images]
    probabilities: Array = torch.stack(rows).cpu().numpy()
    return probabilities


def movement_confusion(movement: Array, confused: Array) -> float:
    """Does a step move more what is confused more? Spearman's ρ over ordered pairs of classes.

    Args:
        movement: Of :func:`class_movement`, shape (classes, classes).
        confused: Of :func:`confusion`, same shape; it counts in both directions.
    """
    pairs = ~np.eye(len(movement), dtype=bool)
    both = confused + confused.T
    return float(stats.spearmanr(movement[pairs], both[pairs]).statistic)


def accuracy(network: nn.Module, images: Sequence[Tensor]) -> float:
    """Per cent of images classified right, mean over classes, the k-th of class k."""
    with torch.no_grad():
        right = [(network(x).argmax(dim=1) == k).float().mean() for k, x in enumerate(images)]
    return 100 * float(np.mean([float(share) for share in right]))


def _divergence(logits: Tensor, change: Tensor) -> Array:
    """KL of the changed predictions from the others, in double precision from here on."""
    found: Array = prediction_divergence(logits.double(), change.double()).cpu().numpy()
    return found
