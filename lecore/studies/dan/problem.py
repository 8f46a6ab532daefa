"""Images of three classes as Dan et al. (2021) prepare them, and how a classifier learns them."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lecore.arguments.names import Choices, check_name
from lecore.data.images import Pixels, load
from lecore.data.torchvision_import import import_torchvision
from lecore.errors import LecoreError
from lecore.seeding import seeded

MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
"""Of the channels, as Dan et al. take them for each of their three sets."""

NETWORKS = ("resnet18", "cnn")

DAN_CLASSES: Choices[tuple[int, ...]] = Choices(
    "choice of classes for the image set",
    {
        "cifar10": (0, 1, 8),
        "cifar100": (48, 53, 94),
        "svhn": (0, 2, 4),
        "mnist": (0, 2, 4),
        "digits": (0, 2, 4),
    },
)
"""Classes by set, as Dan et al. chose them for the first three; SVHN's digits for the last two."""


@dataclass(frozen=True, kw_only=True)
class Classification:
    """A network, how it is trained and how often it is probed. The defaults are for CIFAR-10.

    Attributes:
        data: Image set.
        classes: Its classes to tell apart.
        network: ``resnet18`` (without normalisation) or ``cnn``, see :mod:`lecore.models`.
        per_class: Training images of each class, drawn at random; all if there are fewer.
        test_per_class: Their "test" images of each class, drawn from the same training images.
        batch_size: Examples a step; an epoch's smaller last batch is left out.
        epochs: Passes over the training images.
        every: Steps from one look to the next; each epoch's first step has one, as has the start.
        probes: Points of each class to step on.
        learning_rate: Of Adam, in training and on the probes.
        weight_decay: Of training alone.
        seed: Of images, crops, weights, order and probes.
    """

    data: str
    classes: tuple[int, ...]
    network: Literal["resnet18", "cnn"] = "resnet18"
    per_class: int = 5000
    test_per_class: int = 1000
    batch_size: int = 256
    epochs: int = 7
    every: int = 9
    probes: int = 20
    learning_rate: float = 1e-4
    weight_decay: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        check_name("network", self.network, NETWORKS)


class Problem(NamedTuple):
    """Images of some classes as network inputs, shape (n, 3, h, w), with their labels 0, 1, ….

    Attributes:
        inputs: Training images, each cropped and flipped at random once, class by class.
        targets: Their labels.
        again: What the released code calls test images: training images, cropped and flipped anew.
        again_targets: Their labels.
        held_out: The set's own test images of these classes, as they are.
        held_out_targets: Their labels.
    """

    inputs: Tensor
    targets: Tensor
    again: Tensor
    again_targets: Tensor
    held_out: Tensor
    held_out_targets: Tensor


def classification_problem(run: Classification) -> Problem:
    """Images of a run as Dan et al. prepare them.

    Random crops have a border of an eighth of the side (4 of 32), digits are flipped too, and
    grey images become three equal channels.

    Raises:
        LecoreError: If a class is not in the set.
    """
    images = load(run.data)
    if missing := set(run.classes) - set(images.y_train.tolist()):
        raise LecoreError(f"{images.name} has no training images of class {sorted(missing)}")
    with seeded(run.seed) as rng:
        rows, targets = _drawn(rng, images.y_train, run.classes, run.per_class)
        inputs = _augmented(images.x_train[rows])
        rows, again_targets = _drawn(rng, images.y_train, run.classes, run.test_per_class)
        again = _augmented(images.x_train[rows])
    rows, held_out_targets = _drawn(None, images.y_test, run.classes, len(images.y_test))
    return Problem(
        _standardised(inputs), targets, _standardised(again), again_targets,
        _standardised(_pictures(images.x_test[rows])), held_out_targets,
    )  # fmt: skip


def _drawn(
    rng: np.random.Generator | None, labels: NDArray[np.int64], classes: tuple[int, ...], size: int
) -> tuple[NDArray[np.int64], Tensor]:
    """Rows of up to ``size`` images of each class, class by class, and their new labels."""
    of_class = [np.flatnonzero(labels == label) for label in classes]
    if rng is not None:
        of_class = [rng.permutation(rows) for rows in of_class]
    of_class = [rows[:size] for rows in of_class]
    targets = np.repeat(np.arange(len(classes)), [len(rows) for rows in of_class])
    return np.concatenate(of_class), torch.tensor(targets)


def _pictures(images: Pixels) -> Tensor:
    """Channels first, three of them, still uint8."""
    if images.ndim == 3:
        images = np.repeat(images[..., None], 3, axis=3)
    return torch.tensor(np.moveaxis(images, -1, 1))


def _augmented(images: Pixels) -> Tensor:
    transforms = import_torchvision().transforms
    pictures = _pictures(images)
    side = pictures.shape[-1]
    crop = transforms.RandomCrop(side, padding=side // 8)
    flip = transforms.RandomHorizontalFlip()
    return torch.stack([flip(crop(picture)) for picture in pictures])


def _standardised(pictures: Tensor) -> Tensor:
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
    return (pictures / 255 - mean) / deviation
