"""Labels that were made wrong on purpose, and the scores that should find them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from lecore.data.images import load, scaled
from lecore.errors import LecoreError
from lecore.losses import cross_entropy
from lecore.models import image_cnn
from lecore.seeding import seeded
from lecore.study.findings import doubtful
from lecore.study.study import Study
from lecore.training import train

Array = NDArray[np.float64]


class Mislabelled(NamedTuple):
    """A network that was trained on some wrong labels.

    Attributes:
        network: The network, in eval mode.
        images: Training images, shape (n, …).
        labels: What it was told they show, shape (n,).
        wrong: Which of these labels are wrong, shape (n,).
        test_images: Other images, shape (m, …).
        test_labels: What they show.
    """

    network: nn.Module
    images: Tensor
    labels: Tensor
    wrong: Tensor
    test_images: Tensor
    test_labels: Tensor


def mislabelled(
    data: str,
    seed: int,
    *,
    part: float,
    images: int,
    tests: int,
    epochs: int,
    width: int,
    device: str = "cpu",
) -> Mislabelled:
    """Give a part of the training images the label of another class, and train on them.

    Args:
        data: Image set, see :func:`lecore.data.images.load`.
        seed: Of the images, the wrong labels, the weights and the order.
        part: Of the labels that are made wrong, between 0 and 1; at least one.
        images: Training images, at most all of the set.
        tests: Test images, likewise.
        epochs: Passes of Adam (10⁻³, batches of 50).
        width: Channels after the first convolution, see :func:`lecore.models.image_cnn`.
        device: Where to compute.

    Raises:
        LecoreError: If ``part`` is not between 0 and 1.
    """
    if not 0 < part < 1:
        raise LecoreError(f"part must lie between 0 and 1, not {part!r}")
    found = load(data)
    classes = len(found.class_names)
    with seeded(seed) as rng:
        rows = rng.permutation(len(found.x_train))[:images]
        others = rng.permutation(len(found.x_test))[:tests]
        wrong = np.zeros(len(rows), dtype=bool)
        wrong[rng.permutation(len(rows))[: max(1, round(part * len(rows)))]] = True
        moved = rng.integers(1, classes, size=len(rows))
    labels = np.where(wrong, (found.y_train[rows] + moved) % classes, found.y_train[rows])
    x, y, test_x, test_y = (
        torch.tensor(values, device=device)
        for values in (
            scaled(found.x_train[rows]), labels, scaled(found.x_test[others]),
            found.y_test[others],
        )
    )  # fmt: skip
    _, channels, height, columns = x.shape
    network = image_cnn((channels, height, columns), width=width, outputs=classes, seed=seed)
    network = network.to(device)
    train(
        network, x, y, learning_rate=1e-3, epochs=epochs, batch_size=50, loss=cross_entropy,
        optimizer="adam", shuffle="each epoch", seed=seed,
    )  # fmt: skip
    return Mislabelled(network.eval(), x, y, torch.tensor(wrong), test_x, test_y)


def study_of(problem: Mislabelled, learning_rate: float) -> Study:
    """The network with its images, and a plain step."""
    return Study(
        problem.network, (problem.images, problem.labels),
        (problem.test_images, problem.test_labels), loss="cross_entropy",
        learning_rate=learning_rate,
    )  # fmt: skip


def scores(study: Study) -> pd.DataFrame:
    """By training image: loss, margin, self-influence, and harm.

    Harm is minus the mean influence on the test images: how far a step on the image raises their
    loss.
    """
    seen, _ = study.predicted()
    assert study.train.targets is not None
    found = doubtful(seen, study.train.targets, study.self_influence(), classes=True)
    found["harm"] = torch.cat([-block.mean(1) for _, block in study.influences()]).numpy()
    return found


def areas(found: pd.DataFrame, wrong: Tensor) -> Mapping[str, float]:
    """Chance that a wrong label has the higher score than a right one, by score."""
    return {name: float(roc_auc_score(wrong, column)) for name, column in found.items()}


def caught(found: pd.DataFrame, wrong: Tensor, parts: Sequence[float]) -> dict[str, Array]:
    """Part of the wrong labels among the highest scores, by score.

    Args:
        found: From :func:`scores`.
        wrong: Which labels are wrong.
        parts: How many of the labels are looked at, as parts of all.

    Returns:
        Shape (parts,) each.
    """
    counts = [round(part * len(found)) for part in parts]
    curves = {}
    for name, column in found.items():
        order = column.to_numpy().argsort()[::-1]
        so_far = np.concatenate([[0], np.cumsum(wrong.numpy()[order])])
        curves[str(name)] = so_far[counts] / int(wrong.sum())
    return curves


def wrong_among_harmers(study: Study, wrong: Tensor, top: int) -> float:
    """Part of wrong labels among the most harmful training images of each test image."""
    found = study.influence(top)
    harmers = found[found.influence < 0].train.to_numpy()
    return float(wrong.numpy()[harmers].mean())
