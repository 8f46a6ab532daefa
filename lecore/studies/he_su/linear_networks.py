"""Two-layer linear networks of any width, trained exactly at the cost of a small matrix.

f(x) = aᵀ W x̄ + c with x̄ = (x, 1) depends on its weights only through G = WᵀW, h = Wᵀa and
s = aᵀa, and so do the changes of these under gradient descent. With g_i = ∂L/∂f(x_i) and
v = Σ_i g_i x̄_i, one step is

    h ← h − η G v − η s v + η² (h·v) v,
    G ← G − η (h vᵀ + v hᵀ) + η² s v vᵀ,
    s ← s − 2 η h·v + η² vᵀ G v,
    c ← c − η Σ_i g_i,

and the tangent kernel is Θ(x, x′) = s x̄·x̄′ + x̄ᵀ G x̄′ + 1. Nothing has the network's width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lecore.engine.one_example import batch_loss
from lecore.engine.training_steps import Steps, batches, take_steps
from lecore.errors import LecoreError
from lecore.losses import Loss, squared_error


@dataclass
class LinearNetwork:
    """A two-layer linear network without its width.

    Attributes:
        gram: G = WᵀW, shape (d + 1, d + 1); the last row and column are the hidden bias's.
        slope: h = Wᵀa, shape (d + 1,).
        square: s = aᵀa, shape ().
        offset: c, shape ().
        tail: What follows the output, such as a sigmoid.
    """

    gram: Tensor
    slope: Tensor
    square: Tensor
    offset: Tensor
    tail: nn.Module

    def logits(self, x: Tensor) -> Tensor:
        """Output before the tail, shape (n,)."""
        return with_one(x) @ self.slope + self.offset

    def __call__(self, x: Tensor) -> Tensor:
        """Predictions f, shape (n, 1)."""
        prediction: Tensor = self.tail(self.logits(x)[:, None])
        return prediction

    def tangent_kernel(self, x: Tensor) -> Tensor:
        """Θ of the logits, shape (n, n)."""
        points = with_one(x)
        return self.square * (points @ points.T) + points @ self.gram @ points.T + 1


def with_one(x: Tensor) -> Tensor:
    """x̄ = (x, 1), shape (n, d + 1)."""
    flat = x.flatten(1)
    return torch.cat([flat, flat.new_ones(len(flat), 1)], dim=1)


def linear_network(model: nn.Sequential, *, dtype: torch.dtype = torch.float64) -> LinearNetwork:
    """Forget the width of a two-layer linear network.

    Args:
        model: :func:`lecore.models.two_layer` with ``activation="linear"``.
        dtype: Precision to go on with.

    Raises:
        LecoreError: If the model is not a two-layer linear network with one output.
    """
    match [m for m in model if not isinstance(m, nn.Flatten | nn.Identity)]:
        case [nn.Linear() as hidden, nn.Linear(out_features=1) as output, *tail] if len(tail) < 2:
            pass
        case _:
            raise LecoreError("need two linear layers with one output and nothing between them")
    with torch.no_grad():
        weight = torch.cat([hidden.weight, hidden.bias[:, None]], dim=1)
        size = weight.shape[1]
        gram = torch.zeros(size, size, dtype=dtype, device=weight.device)
        slope, readout = gram.new_zeros(size), output.weight[0].to(dtype)
        for rows, a in zip(weight.split(4096), readout.split(4096), strict=True):
            block = rows.to(dtype)
            gram.addmm_(block.T, block)
            slope.addmv_(block.T, a)
        return LinearNetwork(
            gram, slope, readout @ readout, output.bias[0].to(dtype, copy=True),
            tail[0] if tail else nn.Identity(),
        )  # fmt: skip


def train_linear(
    network: LinearNetwork,
    inputs: Tensor,
    targets: Tensor,
    *,
    learning_rate: float,
    epochs: int,
    batch_size: int | None = None,
    loss: Loss = squared_error,
    seed: int = 0,
    loss_limit: float = float("inf"),
    progress: bool = False,
) -> list[float]:
    """SGD in place, in the same order of examples as :func:`lecore.training.train`.

    Args:
        network: The network.
        inputs: Shape (n, …).
        targets: Shape (n, 1).
        learning_rate: η > 0.
        epochs: Passes over the data.
        batch_size: Examples a step; all of them if left out.
        loss: Loss of one prediction.
        seed: Seed of the order, drawn once.
        loss_limit: Largest loss to go on with.
        progress: Whether to show a progress bar on standard error.

    Returns:
        Mean loss of each step's batch before the step.

    Raises:
        DivergenceError: As soon as a loss is not finite or above ``loss_limit``.
    """
    dtype = network.gram.dtype
    points, targets = with_one(inputs).to(dtype), targets.to(dtype)
    steps = _LinearSteps(network, points, targets, learning_rate, loss)
    size = len(inputs) if batch_size is None else batch_size
    taken = take_steps(
        lambda: steps,
        batches(inputs, size, epochs, seed),
        total=epochs * -(-len(inputs) // size),
        learning_rate=learning_rate,
        loss_limit=loss_limit,
        progress=progress,
    )
    return [value for value, _ in taken]


class _LinearSteps(Steps):
    def __init__(
        self, network: LinearNetwork, points: Tensor, targets: Tensor, rate: float, loss: Loss
    ) -> None:
        self.network, self.points, self.targets = network, points, targets
        self.rate, self.loss = rate, batch_loss(loss)

    def evaluate(self, rows: Tensor) -> float:
        self.x = self.points[rows]
        logits = (self.x @ self.network.slope + self.network.offset)[:, None].requires_grad_()
        value = self.loss(self.network.tail(logits), self.targets[rows])
        (self.gradient,) = torch.autograd.grad(value, logits)
        return value.item()

    @torch.no_grad()
    def apply(self) -> None:
        network, rate, gradient = self.network, self.rate, self.gradient[:, 0]
        gram, h, s = network.gram, network.slope, network.square
        v = self.x.T @ gradient
        along, towards = h @ v, gram @ v
        network.slope = h - rate * (towards + s * v) + rate**2 * along * v
        network.square = s - 2 * rate * along + rate**2 * (v @ towards)
        network.offset = network.offset - rate * gradient.sum()
        # u vᵀ + v uᵀ with u = ½ η² s v − η h
        u = rate**2 / 2 * s * v - rate * h
        gram.addmm_(torch.stack([u, v], dim=1), torch.stack([v, u]))
