"""Training He & Su's networks at their width: 40960 hidden units, batches of 50 images."""

import copy

import torch
from torch import Tensor, nn

from benchmarks.bars import Measured, Settings, bar, slowdown
from benchmarks.data import digits
from benchmarks.timing import interleaved
from lecore import models
from lecore.studies.he_su.linear_networks import linear_network, train_linear
from lecore.training import train

IMAGES, BATCH, WIDTH = 500, 50, 40960
RATE = 1e-5


def problem(settings: Settings, activation: str) -> tuple[nn.Sequential, Tensor, Tensor]:
    """A network, ten batches of images, and their targets 0 and 1."""
    network = models.two_layer(28 * 28, WIDTH, activation).to(settings.device)
    images = digits(IMAGES, device=settings.device).flatten(1)
    return network, images, (torch.arange(IMAGES, device=settings.device) % 2.0)[:, None]


def torch_epoch(network: nn.Module, images: Tensor, targets: Tensor) -> None:
    """One epoch as anyone would write it."""
    update = torch.optim.SGD(network.parameters(), lr=RATE)
    for x, y in zip(images.split(BATCH), targets.split(BATCH), strict=True):
        update.zero_grad()
        nn.functional.mse_loss(network(x), y).backward()
        update.step()


@bar("training", at_least=2, against="torch.optim.SGD")
def training(settings: Settings) -> Measured:
    """An epoch of SGD on a two-layer ReLU network, width 40960"""
    network, images, targets = problem(settings, "relu")
    other = copy.deepcopy(network)
    times = interleaved(
        settings,
        torch=lambda: torch_epoch(other, images, targets),
        lecore=lambda: train(
            network, images, targets, learning_rate=RATE, epochs=1, batch_size=BATCH
        ),
    )
    return Measured(slowdown(times, "torch", "lecore"), times)


@bar("training-linear", at_least=20, against="torch.optim.SGD")
def training_linear(settings: Settings) -> Measured:
    """The same of a linear network, lecore in float64, torch in float32"""
    network, images, targets = problem(settings, "linear")
    short = linear_network(network)
    times = interleaved(
        settings,
        torch=lambda: torch_epoch(network, images, targets),
        lecore=lambda: train_linear(
            short, images, targets, learning_rate=RATE, epochs=1, batch_size=BATCH
        ),
    )
    return Measured(slowdown(times, "torch", "lecore"), times)
