"""Classifiers in training, probed as by Dan et al. (2021): what a step on one point changes."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lecore.changes import linearized_change, prediction_change
from lecore.data.images import Pixels, load
from lecore.data.torchvision_import import import_torchvision
from lecore.errors import LecoreError
from lecore.losses import cross_entropy
from lecore.models import image_cnn, resnet18
from lecore.names import Choices, check_name
from lecore.seeding import seeded
from lecore.tangent_kernel import empirical_ntk
from lecore.tracking import Tracker
from lecore.training import Callback, History, train

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


def follow(run: Classification, device: str, scratch: Path) -> dict[str, NDArray[Any]]:
    """Train, and look at the probes before, after each epoch's first step and every few on.

    The P probes are ``run.probes`` training images of each class; what is seen of them is seen of
    P held-out images as well, which follow them. With C classes and T looks:

    Args:
        run: What to train.
        device: Where.
        scratch: Folder for what an interrupted run needs to go on.

    Returns:
        ``steps`` (T,); ``labels`` (2P,); ``logits`` (T, 2P, C); ``adam``, their change after
        the first step of a new Adam on each probe, (T, P, 2P, C); ``kernel``, the tangent kernel
        Θ, from which SGD steps follow, (T, 2P, 2P, C, C). Of the trained network the change
        after a plain SGD step at the same learning rate, ``exact`` and ``first_order``,
        (P, 2P, C). Of each training step ``loss`` and ``accuracy`` on its batch, before it;
        ``epoch_accuracy`` (epochs, 3) after each epoch, on training, "test" and held-out images;
        ``steps_per_epoch``.

    Raises:
        LecoreError: If the set lacks a class, has too few images for a batch or the probes, or
            there is no epoch.
    """
    problem, network, points, labels = classifier(run, device)
    size = len(points) // 2
    stepped = (points[:size], labels[:size], points)
    settings: Any = {"loss": cross_entropy, "dtype": torch.float32}
    rate = run.learning_rate

    def logits(model: nn.Module) -> Tensor:
        return torch.as_tensor(model(points))

    def adam(model: nn.Module) -> Tensor:
        new = torch.optim.Adam(model.parameters(), lr=rate)
        return torch.as_tensor(prediction_change(model, *stepped, optimizer=new, **settings))

    def kernel(model: nn.Module) -> Tensor:
        return torch.as_tensor(empirical_ntk(model, points, dtype=torch.float32))

    def exact(model: nn.Module) -> Tensor:
        step = prediction_change(model, *stepped, learning_rate=rate, **settings)
        return torch.as_tensor(step)

    def first_order(model: nn.Module) -> Tensor:
        step = linearized_change(model, *stepped, learning_rate=rate, **settings)
        return torch.as_tensor(step)

    def epoch_accuracy(model: nn.Module) -> Tensor:
        with torch.no_grad():
            return torch.tensor([
                _accuracy(model, *problem[pair : pair + 2]) for pair in (0, 2, 4)
            ])  # fmt: skip

    per_epoch = len(problem.targets) // run.batch_size
    in_epoch = range(1, per_epoch + 1, run.every)
    at = {0} | {epoch * per_epoch + step for epoch in range(run.epochs) for step in in_epoch}
    ends = {epoch * per_epoch for epoch in range(1, run.epochs + 1)}
    measures = {"logits": logits, "adam": adam, "kernel": kernel}
    looks = Tracker(measures, every=1, file=scratch / "looks.npz")
    epochs = Tracker({"accuracy": epoch_accuracy}, every=1, file=scratch / "epochs.npz")
    steps = {"exact": exact, "first_order": first_order}
    last = Tracker(steps, every=1, file=scratch / "last.npz")

    def look(step: int, model: nn.Module) -> None:
        if step in at:
            looks(step, model)
        if step in ends:
            epochs(step, model)
        if step == max(ends):
            last(step, model)

    history = train_classifier(run, network, problem, scratch, look, at | ends)
    return {
        "steps": np.array(looks.steps),
        "labels": labels.cpu().numpy(),
        **{name: looks.curve(name).astype(np.float32) for name in measures},
        **{name: last.curve(name)[0].astype(np.float32) for name in steps},
        "loss": np.array(history.losses),
        "accuracy": np.array(history.accuracies),
        "epoch_accuracy": epochs.curve("accuracy"),
        "steps_per_epoch": np.array(per_epoch),
    }


def classifier(run: Classification, device: str) -> tuple[Problem, nn.Module, Tensor, Tensor]:
    """What a run starts from.

    Returns:
        The images; the network; the 2P points that are looked at, P training images class by
        class and as many held-out ones; and their labels, shape (2P,).

    Raises:
        LecoreError: As :func:`follow`.
    """
    if run.epochs < 1:
        raise LecoreError(f"epochs must be 1 or larger, not {run.epochs}")
    problem = Problem(*(tensor.to(device) for tensor in classification_problem(run)))
    probes = _probes(run, problem)
    points = torch.cat([problem.inputs[probes[0]], problem.held_out[probes[1]]])
    labels = torch.cat([problem.targets[probes[0]], problem.held_out_targets[probes[1]]])
    outputs = len(run.classes)
    if run.network == "resnet18":
        network = resnet18(outputs=outputs, seed=run.seed)
    else:
        shape = problem.inputs.shape[1:]
        network = image_cnn((shape[0], shape[1], shape[2]), outputs=outputs, seed=run.seed)
    return problem, network.to(device), points, labels


def train_classifier(
    run: Classification,
    network: nn.Module,
    problem: Problem,
    scratch: Path,
    callback: Callback | None = None,
    callback_steps: Collection[int] = (),
) -> History:
    """Train a network in place as a run says; see :func:`lecore.training.train`."""
    return train(
        network, problem.inputs, problem.targets, loss=cross_entropy, optimizer="adam",
        learning_rate=run.learning_rate, weight_decay=run.weight_decay, epochs=run.epochs,
        batch_size=run.batch_size, drop_last=True, shuffle="each epoch", seed=run.seed,
        callback=callback, callback_steps=callback_steps, checkpoint=scratch / "checkpoint",
        checkpoint_every=run.every, progress=True,
    )  # fmt: skip


def sgd_logit_change(
    logits: Tensor, labels: Tensor, kernel: Tensor, learning_rate: float
) -> Tensor:
    """Change of all logits after a small SGD step on the cross-entropy at each point.

    Δ[i, j, c] = −η Σ_k (softmax(z_i)_k − [k = y_i]) Θ[i, j, k, c], the first order of
    :func:`lecore.changes.prediction_change`.

    Args:
        logits: z, shape (m, C).
        labels: y, shape (m,).
        kernel: Θ, shape (m, m, C, C).
        learning_rate: η.

    Returns:
        Shape (m, m, C).
    """
    residual = logits.softmax(dim=1) - nn.functional.one_hot(labels, logits.shape[1])
    return -learning_rate * torch.einsum("ik,ijkc->ijc", residual, kernel)


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


def _probes(run: Classification, problem: Problem) -> tuple[Tensor, Tensor]:
    """Rows of the probes among training and held-out images, class by class."""
    chosen = []
    with seeded(run.seed + 1):
        for targets in (problem.targets.cpu(), problem.held_out_targets.cpu()):
            rows = [(targets == label).nonzero()[:, 0] for label in range(len(run.classes))]
            if min(len(of_class) for of_class in rows) < run.probes:
                raise LecoreError(f"{run.data} has a class of fewer than {run.probes} images")
            drawn = [of_class[torch.randperm(len(of_class))[: run.probes]] for of_class in rows]
            chosen.append(torch.cat(drawn))
    return chosen[0], chosen[1]


def _accuracy(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    right = [
        (model(x).argmax(dim=1) == y).sum()
        for x, y in zip(inputs.split(1000), targets.split(1000), strict=True)
    ]
    return float(torch.stack(right).sum()) / len(targets)
