"""Classifiers in training, probed as by Dan et al. (2021): what a step on one point changes."""

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lecore.changes import linearized_change, prediction_change
from lecore.errors import LecoreError
from lecore.losses import cross_entropy
from lecore.models import image_cnn, resnet18
from lecore.seeding import seeded
from lecore.studies.dan.problem import Classification, Problem, classification_problem
from lecore.tangent_kernel import empirical_ntk
from lecore.tracking import Measure, Tracker
from lecore.training import Callback, History, train

STEP: dict[str, Any] = {"loss": cross_entropy, "dtype": torch.float32}
"""Settings of every step on a probe."""


class Probes(NamedTuple):
    """Points that are looked at, P training images class by class and as many held-out ones.

    Attributes:
        points: Shape (2P, 3, h, w).
        labels: Shape (2P,).
    """

    points: Tensor
    labels: Tensor

    @property
    def stepped(self) -> tuple[Tensor, Tensor, Tensor]:
        """The P training images with their labels, to be stepped on, and all points."""
        size = len(self.points) // 2
        return self.points[:size], self.labels[:size], self.points


def follow_classifier(run: Classification, device: str, scratch: Path) -> dict[str, NDArray[Any]]:
    """Train, and look at the probes before, after each epoch's first step and every few on.

    The P probes are ``run.probes`` training images of each class; what is seen of them is seen of
    P held-out images as well, which follow them. With C classes and T looks:

    Args:
        run: What to train.
        device: Where.
        scratch: Folder for what an interrupted run needs to go on.

    Returns:
        ``steps`` (T,); ``labels`` (2P,); ``steps_per_epoch``; of each training step ``loss`` and
        ``accuracy`` on its batch, before it; and what :func:`measures` has: ``logits`` (T, 2P, C),
        ``adam`` (T, P, 2P, C), ``kernel`` (T, 2P, 2P, C, C), ``epoch_accuracy`` (epochs, 3), and
        of the trained network ``exact`` and ``first_order`` (P, 2P, C).

    Raises:
        LecoreError: If the set lacks a class, has too few images for a batch or the probes, or
            there is no epoch.
    """
    problem, network, probes = classifier(run, device)
    per_epoch = len(problem.targets) // run.batch_size
    when = moments(run, per_epoch)
    trackers = {
        name: Tracker({name: measure}, every=1, file=scratch / f"{name}.npz")
        for name, measure in measures(run, problem, probes).items()
    }

    def look(step: int, model: nn.Module) -> None:
        for name, tracker in trackers.items():
            if step in when[name]:
                tracker(step, model)

    history = train_classifier(run, network, problem, scratch, look, set().union(*when.values()))
    found = {name: tracker.curve(name) for name, tracker in trackers.items()}
    accuracy, last = found.pop("epoch_accuracy"), ("exact", "first_order")
    return {
        "steps": np.array(trackers["logits"].steps),
        "steps_per_epoch": np.array(per_epoch),
        "labels": probes.labels.cpu().numpy(),
        "loss": np.array(history.losses),
        "accuracy": np.array(history.accuracies),
        "epoch_accuracy": accuracy,
        **{k: (v[0] if k in last else v).astype(np.float32) for k, v in found.items()},
    }


def moments(run: Classification, per_epoch: int) -> dict[str, set[int]]:
    """Steps after which each of :func:`measures` is taken.

    Args:
        run: Says how often to look, and how long.
        per_epoch: Steps in an epoch.
    """
    in_epoch = range(1, per_epoch + 1, run.every)
    looks = {0} | {epoch * per_epoch + step for epoch in range(run.epochs) for step in in_epoch}
    ends = {epoch * per_epoch for epoch in range(1, run.epochs + 1)}
    last = {max(ends)}
    return {
        "logits": looks, "adam": looks, "kernel": looks, "epoch_accuracy": ends,
        "exact": last, "first_order": last,
    }  # fmt: skip


def measures(run: Classification, problem: Problem, probes: Probes) -> dict[str, Measure]:
    """What is measured of the network, by name.

    ``logits`` of the probes; ``adam``, their change after the first step of a new Adam on each
    of the first P; ``kernel``, the tangent kernel Θ, from which SGD steps follow; their change
    after a plain SGD step at the same learning rate, ``exact`` and ``first_order``; and
    ``epoch_accuracy`` on training, "test" and held-out images.
    """
    step: Any = {"probes": probes, "learning_rate": run.learning_rate}
    return {
        "logits": partial(logits, points=probes.points),
        "adam": partial(adam_change, **step),
        "kernel": partial(kernel, points=probes.points),
        "epoch_accuracy": partial(accuracies, problem=problem),
        "exact": partial(sgd_change, **step),
        "first_order": partial(first_order_change, **step),
    }


def logits(model: nn.Module, points: Tensor) -> Tensor:
    """Shape (2P, C)."""
    return torch.as_tensor(model(points))


def adam_change(model: nn.Module, probes: Probes, learning_rate: float) -> Tensor:
    """Change of the logits after the first step of a new Adam on each probe, (P, 2P, C)."""
    new = torch.optim.Adam(model.parameters(), lr=learning_rate)
    return torch.as_tensor(prediction_change(model, *probes.stepped, optimizer=new, **STEP))


def sgd_change(model: nn.Module, probes: Probes, learning_rate: float) -> Tensor:
    """Change of the logits after a step of SGD on each probe, (P, 2P, C)."""
    step = STEP | {"learning_rate": learning_rate}
    return torch.as_tensor(prediction_change(model, *probes.stepped, **step))


def first_order_change(model: nn.Module, probes: Probes, learning_rate: float) -> Tensor:
    """The first order of :func:`sgd_change` in the learning rate, (P, 2P, C)."""
    step = STEP | {"learning_rate": learning_rate}
    return torch.as_tensor(linearized_change(model, *probes.stepped, **step))


def kernel(model: nn.Module, points: Tensor) -> Tensor:
    """Tangent kernel Θ, (2P, 2P, C, C)."""
    return torch.as_tensor(empirical_ntk(model, points, dtype=torch.float32))


def accuracies(model: nn.Module, problem: Problem) -> Tensor:
    """Share classified right of training, "test" and held-out images, (3,)."""
    with torch.no_grad():
        sets = [problem[pair : pair + 2] for pair in (0, 2, 4)]
        return torch.tensor([_accuracy(model, *images) for images in sets])


def classifier(run: Classification, device: str) -> tuple[Problem, nn.Module, Probes]:
    """What a run starts from: images, network and probes.

    Raises:
        LecoreError: As :func:`follow_classifier`.
    """
    if run.epochs < 1:
        raise LecoreError(f"epochs must be 1 or larger, not {run.epochs}")
    problem = Problem(*(tensor.to(device) for tensor in classification_problem(run)))
    outputs = len(run.classes)
    if run.network == "resnet18":
        network = resnet18(outputs=outputs, seed=run.seed)
    else:
        shape = problem.inputs.shape[1:]
        network = image_cnn((shape[0], shape[1], shape[2]), outputs=outputs, seed=run.seed)
    return problem, network.to(device), drawn_probes(run, problem)


def drawn_probes(run: Classification, problem: Problem) -> Probes:
    """Draw the probes, as many of each class.

    Raises:
        LecoreError: If a class has too few images.
    """
    points, labels = [], []
    with seeded(run.seed + 1):
        for inputs, targets in (problem[:2], problem[4:]):
            places = [(targets.cpu() == c).nonzero()[:, 0] for c in range(len(run.classes))]
            if min(len(of_class) for of_class in places) < run.probes:
                raise LecoreError(f"{run.data} has a class of fewer than {run.probes} images")
            drawn = [rows[torch.randperm(len(rows))[: run.probes]] for rows in places]
            rows = torch.cat(drawn).to(inputs.device)
            points.append(inputs[rows])
            labels.append(targets[rows])
    return Probes(torch.cat(points), torch.cat(labels))


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


def _accuracy(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    right = [
        (model(x).argmax(dim=1) == y).sum()
        for x, y in zip(inputs.split(1000), targets.split(1000), strict=True)
    ]
    return float(torch.stack(right).sum()) / len(targets)
