"""A classifier, and images that it has not seen: some to calibrate it with, others to test it."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lecore.arguments.settings import sizes, whole
from lecore.data.images import load, scaled
from lecore.errors import LecoreError
from lecore.losses import cross_entropy
from lecore.models import fully_connected
from lecore.seeding import seeded
from lecore.training import Callback, train


class Part(NamedTuple):
    """Some images with their classes.

    Attributes:
        images: Shape (n, channels, height, width), float32.
        labels: Classes 0 to C − 1, shape (n,).
    """

    images: Tensor
    labels: Tensor


class HeldOut(NamedTuple):
    """A network and disjoint sets of images of one kind.

    Attributes:
        network: ReLU network that maps images to logits, in eval mode.
        training: What it has learnt from.
        calibration: What calibration is fitted on.
        test: What it is judged on.
        spare: More images to calibrate with, if any were asked for.
    """

    network: nn.Module
    training: Part
    calibration: Part
    test: Part
    spare: Part


def held_out(
    data: str,
    seed: int,
    *,
    training: int,
    calibration: int,
    tests: int,
    width: int,
    epochs: int,
    device: str = "cpu",
) -> HeldOut:
    """A trained network, and three sets of images.

    All images of the set are mixed first, so that those of calibration and test are of one kind.

    Args:
        data: Image set, see :func:`lecore.data.images.load`.
        seed: Of the images and the weights.
        training: Training images.
        calibration: Images that calibration is fitted on.
        tests: Test images.
        width: Units in each of the two hidden layers.
        epochs: Passes of Adam (10⁻³, batches of 50) over the training images.
        device: Where to compute.

    Raises:
        LecoreError: If a part is empty, the set has fewer images than the three parts want, or
            there is no such device.
    """
    problem = untrained(
        data, seed, training=training, calibration=calibration, tests=tests, width=width,
        device=device,
    )  # fmt: skip
    learn(problem, epochs=epochs, seed=seed)
    return problem


def untrained(
    data: str,
    seed: int,
    *,
    training: int,
    calibration: int,
    tests: int,
    width: int,
    spare: int = 0,
    device: str = "cpu",
) -> HeldOut:
    """The images and network of :func:`held_out`, with random weights.

    The arguments are the same; besides, ``spare`` images are put aside, which leaves the others as
    they are.
    """
    counts = sizes(training=training, calibration=calibration, tests=tests)
    counts.append(whole("spare", spare, 0))
    check_device(device)
    found = load(data)
    there = len(found.x_train) + len(found.x_test)
    if sum(counts) > there:
        raise LecoreError(
            f"training, calibration, tests and spare are {counts}, and {data} has {there} images",
            "take no more than there are",
        )
    with seeded(seed) as rng:
        rows = rng.permutation(there)[: sum(counts)]
    pixels, labels = np.concatenate([found.x_train, found.x_test]), [*found.y_train, *found.y_test]
    x = torch.tensor(scaled(pixels[rows]), device=device)
    y = torch.tensor(np.array(labels)[rows], device=device)
    parts = [Part(*both) for both in zip(x.split(counts), y.split(counts), strict=True)]
    network = fully_connected(
        x[0].numel(), width, 2, outputs=len(found.class_names), seed=seed
    ).to(device)  # fmt: skip
    return HeldOut(network.eval(), *parts)


def check_device(name: str) -> None:
    """Refuse a device that this machine does not have.

    Raises:
        LecoreError: With its name.
    """
    try:
        torch.empty(0, device=name)
    except (AssertionError, NotImplementedError, RuntimeError, TypeError) as error:
        raise LecoreError(f"torch finds no device {name!r}", "compute on cpu") from error


def learn(
    problem: HeldOut,
    *,
    epochs: int,
    seed: int,
    callback: Callback | None = None,
    looks: list[int] | None = None,
) -> None:
    """Train the network of a problem in place, as :func:`held_out` does.

    Args:
        problem: Its network is changed.
        epochs: Passes of Adam.
        seed: Of the order of images.
        callback: Called as ``callback(step, network)`` after the steps of ``looks``.
        looks: At which steps; each if left out.
    """
    train(
        problem.network, *problem.training, learning_rate=1e-3, epochs=epochs, batch_size=50,
        loss=cross_entropy, optimizer="adam", shuffle="each epoch", seed=seed, callback=callback,
        callback_steps=looks,
    )  # fmt: skip


def logits_of(network: nn.Module, part: Part) -> Tensor:
    """Logits of a part's images, shape (n, C), float64, computed in the network's precision."""
    with torch.no_grad():
        return network(part.images).double()
