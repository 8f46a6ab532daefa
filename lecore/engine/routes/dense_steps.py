"""Exact SGD steps of fully connected networks of any depth, without forming changed weights.

One step on x_i changes every layer's weight by a rank-one matrix, so the change of all values at
x_j is passed on from layer to layer as a difference,

    Δz_l = W_l Δh_{l−1} − η δ_l(i) (a_{l−1}(i)·(h_{l−1}(j) + Δh_{l−1}) + 1),
    Δh_l = σ(z_l + Δz_l) − σ(z_l),

with δ_l = ∂L/∂z_l and a the values at x_i. Predictions are never subtracted, so that ReLU
networks have no rounding floor in any precision.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import vjp

from lecore.engine.at_once import at_once
from lecore.engine.routes.chains import Dense

BLOCK_BYTES = 2**24
"""Changes of one layer held at a time; small enough to be reused without page faults."""


def dense_change(
    layers: list[Dense],
    x: Tensor,
    loss_gradient: Callable[[Tensor], Tensor],
    learning_rate: float,
    test_x: Tensor,
) -> Tensor:
    """Exact change of a network's predictions after one SGD step on each point.

    Args:
        layers: The network.
        x: Update points, shape (n, d).
        loss_gradient: ∂L/∂f of their predictions, shape (n, outputs) to the same.
        learning_rate: η.
        test_x: Test points, shape (m, d).

    Returns:
        Δ, shape (n, m, outputs).
    """
    size = x.element_size() * max(max(layer.weight.shape) for layer in layers)
    limit = at_once(BLOCK_BYTES, x.device)
    columns = max(1, min(len(test_x), limit // size))
    rows = max(1, limit // (size * columns))
    read, signal = _own_factors(layers, x, loss_gradient)
    signal = [-learning_rate * part for part in signal]
    change = x.new_empty(len(x), len(test_x), len(layers[-1].weight))
    for j in range(0, len(test_x), columns):
        held = _held(layers, test_x[j : j + columns])
        for i in range(0, len(x), rows):
            own = [(a[i : i + rows], s[i : i + rows]) for a, s in zip(read, signal, strict=True)]
            change[i : i + rows, j : j + columns] = _passed_on(layers, own, held)
    return change


def _own_factors(
    layers: list[Dense], x: Tensor, loss_gradient: Callable[[Tensor], Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """What each layer reads at the update points, and ∂L/∂z_l."""
    read, values = [x], []
    for layer in layers:
        z, h = layer.values(read[-1])
        values.append(z)
        read.append(h)
    back, signal = loss_gradient(read.pop()), []
    for layer, z in zip(reversed(layers), reversed(values), strict=True):
        if layer.activation is not None:
            (back,) = vjp(layer.activation, z)[1](back)
        signal.append(back)
        back = back @ layer.weight
    return read, signal[::-1]


def _held(layers: list[Dense], x: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """What each layer reads at the test points, and what its activation's change needs."""
    held = []
    for layer in layers:
        z, h = layer.values(x)
        if type(layer.activation) is nn.ReLU:
            held.append((x, z.clamp(max=0), -h))
        else:
            held.append((x, z, h))
        x = h
    return held


def _passed_on(
    layers: list[Dense],
    own: list[tuple[Tensor, Tensor]],
    held: list[tuple[Tensor, Tensor, Tensor]],
) -> Tensor:
    change: Tensor | None = None
    for layer, (a, step), (h, z, activated) in zip(layers, own, held, strict=True):
        overlap = a @ h.T if layer.trains[0] else a.new_zeros(len(a), len(h))
        if change is not None and layer.trains[0]:
            overlap += torch.bmm(change, a[:, :, None])[:, :, 0]
        if layer.trains[1]:
            overlap += 1
        moved = overlap[:, :, None] * step[:, None]
        if change is not None:
            moved.flatten(0, 1).addmm_(change.flatten(0, 1), layer.weight.T)
        if type(layer.activation) is nn.ReLU:
            # max(z + Δ, 0) − max(z, 0), in which nothing cancels
            change = torch.maximum(moved.add_(z), activated, out=moved)
        elif layer.activation is None or type(layer.activation) is nn.Identity:
            change = moved
        else:
            change = layer.activation(moved.add_(z)).sub_(activated)
    assert change is not None
    return change
