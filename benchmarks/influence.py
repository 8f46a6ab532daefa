"""Influence on a small image classifier, against per-example gradients by ``torch.func``."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from benchmarks.bars import Measured, Settings, bar, slowdown
from benchmarks.data import digits
from benchmarks.timing import interleaved
from lecore import loss_kernel, self_influence
from lecore.losses import cross_entropy

POINTS, TESTS, CHUNK = 5000, 100, 250


@functools.cache
def problem(device: torch.device) -> tuple[nn.Module, Tensor, Tensor]:
    """A convolutional network with ten classes, points and labels drawn at random."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 5, 2, 2), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    x = digits(POINTS, device=device)
    return network.to(device), x, torch.arange(POINTS, device=device) % 10


def loss_gradients(network: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Per-example gradients of the loss, flattened, shape (n, parameters)."""
    weights = {name: p.detach() for name, p in network.named_parameters()}

    def loss(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(functional_call(network, weights, (x[None],))[0], y)

    each = vmap(grad(loss), (None, 0, 0))
    return lambda x, y: torch.cat([g.flatten(1) for g in each(weights, x, y).values()], dim=1)


@bar("self-influence", at_least=1, against="per-example gradients by torch.func")
def self_products(settings: Settings) -> Measured:
    """self-influence of 5000 points of a CNN with ten classes"""
    network, x, y = problem(settings.device)
    gradients = loss_gradients(network)

    def peer() -> None:
        for rows, labels in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
            gradients(rows, labels).square().sum(1)

    def mine() -> None:
        self_influence(network, x, y, loss=cross_entropy, dtype=torch.float32)

    times = interleaved(settings, lecore=mine, peer=peer)
    return Measured(slowdown(times, "peer", "lecore"), times)


@bar("influence-pairs", at_least=2, against="per-example gradients by torch.func")
def pairs(settings: Settings) -> Measured:
    """products of loss gradients of 5000 points with 100 others, the same CNN"""
    network, x, y = problem(settings.device)
    few, gradients = slice(0, TESTS), loss_gradients(network)
    others = x.flip(0)[few], y.flip(0)[few]

    def peer() -> None:
        columns = gradients(*others).T
        for rows, labels in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
            gradients(rows, labels) @ columns

    def mine() -> None:
        loss_kernel(network, x, y, *others, loss=cross_entropy, dtype=torch.float32)

    times = interleaved(settings, lecore=mine, peer=peer)
    return Measured(slowdown(times, "peer", "lecore"), times)
