"""Influence on a small image classifier, against what a user could pick instead."""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from benchmarks.bars import Measured, NotMeasuredError, Settings, bar, slowdown
from benchmarks.data import digits
from benchmarks.peers import Kronfluence, captum_tracin
from benchmarks.timing import interleaved, medians
from lecore import loss_kernel, self_influence
from lecore.losses import Loss, cross_entropy

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


def loss_gradients(network: nn.Module, loss: Loss) -> Callable[[Tensor, Tensor], Tensor]:
    """Per-example gradients of a loss, flattened, shape (n, parameters)."""
    weights = {name: p.detach() for name, p in network.named_parameters() if p.requires_grad}

    def loss_of(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return loss(functional_call(network, weights, (x[None],))[0], y)

    each = vmap(grad(loss_of), (None, 0, 0))
    return lambda x, y: torch.cat([g.flatten(1) for g in each(weights, x, y).values()], dim=1)


def by_func(
    network: nn.Module,
    loss: Loss,
    rows: tuple[Tensor, ...],
    columns: tuple[Tensor, ...] | None = None,
    chunk: int = CHUNK,
) -> Tensor:
    """Products of per-example gradients by ``torch.func``; of each row with itself if alone."""
    gradients = loss_gradients(network, loss)
    parts = zip(*(tensor.split(chunk) for tensor in rows), strict=True)
    if columns is None:
        return torch.cat([gradients(*part).square().sum(1) for part in parts])
    others = gradients(*columns).T
    return torch.cat([gradients(*part) @ others for part in parts])


def summed(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Sum of the losses of a batch."""
    return F.cross_entropy(network(x), y, reduction="sum")


@bar("self-influence", at_least=1, against="the fastest of torch.func, captum and kronfluence")
def self_products(settings: Settings) -> Measured:
    """self-influence of 5000 points of a CNN with ten classes"""
    network, x, y = problem(settings.device)

    def mine() -> Tensor:
        return self_influence(network, x, y, loss=cross_entropy, dtype=torch.float32)

    return compared(
        settings, mine,
        {
            "torch.func": lambda: partial(by_func, network, cross_entropy, (x, y)),
            "captum": lambda: captum_tracin(network, x, y, CHUNK).self_influence,
            "kronfluence": lambda: Kronfluence(network, summed, (x, y), (x, y), CHUNK).selves,
        },
    )  # fmt: skip


@bar("influence-pairs", at_least=2, against="the faster of torch.func and kronfluence")
def pairs(settings: Settings) -> Measured:
    """products of loss gradients of 5000 points with 100 others, the same CNN"""
    network, x, y = problem(settings.device)
    others = x.flip(0)[:TESTS], y.flip(0)[:TESTS]

    def mine() -> Tensor:
        found = loss_kernel(network, x, y, *others, loss=cross_entropy, dtype=torch.float32)
        return torch.as_tensor(found)

    return compared(
        settings, mine,
        {  # captum takes minutes
            "torch.func": lambda: partial(by_func, network, cross_entropy, (x, y), others),
            "kronfluence": lambda: Kronfluence(network, summed, (x, y), others, CHUNK).pairs,
        },
    )  # fmt: skip


def compared(
    settings: Settings, mine: Callable[[], Tensor], peers: dict[str, Callable[[], Any]]
) -> Measured:
    """Ratio to the fastest of the peers that install, after a look that all give the same."""
    found: dict[str, Callable[[], Tensor]] = {}
    right, notes = mine(), []
    for name, prepared in peers.items():
        try:
            found[name] = prepared()
        except NotMeasuredError as error:
            notes.append(str(error))
            continue
        torch.testing.assert_close(
            found[name](), right, rtol=1e-3, atol=1e-5 * float(right.abs().max()),
            msg=f"{name} differs",
        )  # fmt: skip
    times = interleaved(settings, lecore=mine, **found)
    taken = medians(times)
    best = min(found, key=lambda name: taken[name])
    notes.append(", ".join(f"{name} {seconds:.3g} s" for name, seconds in taken.items()))
    return Measured(
        slowdown(times, best, "lecore"), times, note="; ".join([*notes, f"fastest: {best}"])
    )
