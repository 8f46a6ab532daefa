"""Influence on a small image classifier, against what a user could pick instead."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from benchmarks.bars import Measured, NotMeasuredError, Settings, bar, slowdown
from benchmarks.data import digits
from benchmarks.peers import captum_tracin
from benchmarks.timing import Times, interleaved, medians
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


@bar("self-influence", at_least=1, against="the faster of torch.func and captum")
def self_products(settings: Settings) -> Measured:
    """self-influence of 5000 points of a CNN with ten classes"""
    network, x, y = problem(settings.device)
    gradients = loss_gradients(network)

    def by_func() -> Tensor:
        parts = zip(x.split(CHUNK), y.split(CHUNK), strict=True)
        return torch.cat([gradients(*part).square().sum(1) for part in parts])

    def mine() -> Tensor:
        return self_influence(network, x, y, loss=cross_entropy, dtype=torch.float32)

    return _compared(settings, mine, by_func, lambda tracin: tracin.self_influence())


@bar("influence-pairs", at_least=2, against="per-example gradients by torch.func")
def pairs(settings: Settings) -> Measured:
    """products of loss gradients of 5000 points with 100 others, the same CNN"""
    network, x, y = problem(settings.device)
    few, gradients = slice(0, TESTS), loss_gradients(network)
    others = x.flip(0)[few], y.flip(0)[few]

    def by_func() -> Tensor:
        columns, parts = gradients(*others).T, zip(x.split(CHUNK), y.split(CHUNK), strict=True)
        return torch.cat([gradients(*part) @ columns for part in parts])

    def mine() -> Tensor:
        found = loss_kernel(network, x, y, *others, loss=cross_entropy, dtype=torch.float32)
        return torch.as_tensor(found)

    return _compared(settings, mine, by_func)  # captum takes minutes


def _compared(
    settings: Settings,
    mine: Callable[[], Tensor],
    by_func: Callable[[], Tensor],
    by_captum: Callable[[Any], Tensor] | None = None,
) -> Measured:
    """Ratio to the faster peer, after a look that all give the same."""
    peers, note = {"torch.func": by_func}, ""
    try:
        if by_captum is not None:
            tracin = captum_tracin(*problem(settings.device), CHUNK)
            peers["captum"] = lambda: by_captum(tracin)
    except NotMeasuredError as error:
        note = f"{error}; "
    right = mine()
    for name, peer in peers.items():
        torch.testing.assert_close(
            peer(), right, rtol=1e-3, atol=1e-5 * float(right.abs().max()), msg=f"{name} differs"
        )
    times: Times = interleaved(settings, lecore=mine, **peers)
    taken = medians(times)
    best = min(peers, key=lambda name: taken[name])
    told = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in taken.items())
    return Measured(slowdown(times, best, "lecore"), times, note=f"{note}{told}; fastest: {best}")
