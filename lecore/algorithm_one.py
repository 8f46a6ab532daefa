"""He & Su's Algorithm 1: both similarities, as printed and as coded."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from lecore.changes import output_gradient, prediction_change
from lecore.losses import Loss, binary_cross_entropy, squared_error
from lecore.names import check_name
from lecore.seeding import seeded
from lecore.similarity import (
    kernelized_similarity,
    kernelized_similarity_as_coded,
    relative_similarity,
    symmetrized,
)


class Similarities(NamedTuple):
    """Both of He & Su's similarities from the same steps, symmetrised.

    Attributes:
        relative: S_rel, shape (n, n).
        kernelized: S_ker, shape (n, n).
    """

    relative: Tensor
    kernelized: Tensor


def similarities_from_kernel(kernel: Tensor) -> Similarities:
    """The limit of a tiny step, ``|Θ_ij| / Θ_ii`` and Θ_ij, from the empirical kernel alone.

    Args:
        kernel: Θ of a network with one output, shape (n, n).
    """
    relative = relative_similarity(kernel[..., None])
    return Similarities(symmetrized(relative), symmetrized(kernel))


def similarities_from_fixed_weights(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    learning_rate: float = 1e-6,
    loss: Loss = squared_error,
) -> Similarities:
    """Algorithm 1 as coded: every step starts from the same trained weights.

    He & Su's code resets the weights before each step and steps on primary points only.

    Args:
        model: The trained network, one output.
        inputs: Primary points, shape (n, …).
        targets: Their targets, shape (n,) or (n, 1).
        learning_rate: η of the step.
        loss: Loss of one prediction.
    """
    change = prediction_change(model, inputs, targets, learning_rate=learning_rate, loss=loss)
    gradient = output_gradient(model, inputs, targets, loss=loss)
    kernelized = kernelized_similarity(change, gradient, learning_rate)
    return Similarities(symmetrized(relative_similarity(change)), symmetrized(kernelized))


def similarities_along_walk(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    auxiliary: Tensor,
    auxiliary_targets: Tensor,
    *,
    learning_rate: float,
    loss: Loss = squared_error,
    seed: int = 0,
) -> Similarities:
    """Algorithm 1 as printed: one pass of SGD over both sets, in which the weights walk on.

    Each step on a primary point gives that point's row; steps on auxiliary points only move the
    weights. The order is random without replacement. The model is left where the walk ends.

    Args:
        model: The network, one output; the walk takes its precision.
        inputs: Primary points, shape (n, …).
        targets: Their targets, shape (n, 1).
        auxiliary: Auxiliary points, shape (m, …).
        auxiliary_targets: Their targets, shape (m, 1).
        learning_rate: η of the walk.
        loss: Loss of one prediction.
        seed: Seed of the order.
    """
    n = len(inputs)
    everything, all_targets = (
        torch.cat([inputs, auxiliary]),
        torch.cat([targets, auxiliary_targets]),
    )
    with seeded(seed) as rng:
        order = rng.permutation(len(everything))
    update = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=learning_rate)
    relative, kernelized = inputs.new_empty(n, n), inputs.new_empty(n, n)
    before = None
    for i in order:
        if i < n and before is None:
            with torch.no_grad():
                before = model(inputs)
        prediction = model(everything[i : i + 1])
        step_loss = loss(prediction[0], all_targets[i])
        (gradient,) = torch.autograd.grad(step_loss, prediction, retain_graph=True)
        update.zero_grad()
        step_loss.backward()
        update.step()
        if i >= n:
            before = None  # the weights moved without a look at the primary points
            continue
        with torch.no_grad():
            after = model(inputs)
        change = (after - before)[None]
        relative[i] = relative_similarity(change, change[:, i])[0]
        kernelized[i] = kernelized_similarity(change, gradient, learning_rate)[0]
        before = after
    return Similarities(symmetrized(relative), symmetrized(kernelized))


class AsCoded(NamedTuple):
    """What He & Su's loop measures in float32, and how close it is to the rounding floor.

    Attributes:
        similarities: Both, symmetrised. Rows that divide by zero hold infinities or NaN.
        learning_rates: η at which each point's own prediction first moved, shape (n,).
        own_units: Its move in units in the last place of the prediction, shape (n,).
    """

    similarities: Similarities
    learning_rates: Tensor
    own_units: Tensor


@torch.no_grad()
def similarities_by_tripling(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    loss: Literal["squared", "cross-entropy"],
    learning_rate: float = 1e-6,
    largest: float = 1e4,
    progress: bool = False,
) -> AsCoded:
    """The loop of He & Su's code: a float32 step, tripled until the own prediction moves.

    The exact counterparts are :func:`similarities_from_fixed_weights` and
    :func:`similarities_from_kernel`.

    Args:
        model: The trained network in float32; for the cross-entropy it ends in a sigmoid.
        inputs: Primary points, shape (n, …).
        targets: Their targets, shape (n, 1).
        loss: Their loss.
        learning_rate: First η.
        largest: No step is tried from here on.
        progress: Whether to show a progress bar on standard error.

    Raises:
        LecoreError: If the loss is unknown.
    """
    check_name("loss", loss, ("squared", "cross-entropy"))
    parameters = list(model.parameters())
    static = [p.clone() for p in parameters]
    each = squared_error if loss == "squared" else binary_cross_entropy
    before = model(inputs)
    relative, kernelized = (inputs.new_empty(len(inputs), len(inputs)) for _ in range(2))
    rates, units = inputs.new_empty(len(inputs)), inputs.new_empty(len(inputs))
    for i in tqdm(range(len(inputs)), disable=not progress, unit="step", leave=False):
        x, y = inputs[i : i + 1], targets[i : i + 1]
        own = model(x)
        with torch.enable_grad():
            gradients = torch.autograd.grad(each(model(x)[0], y[0]), parameters)
        rate = learning_rate
        while True:
            for p, start, gradient in zip(parameters, static, gradients, strict=True):
                torch.add(start, gradient, alpha=-rate, out=p)
            last = rate * 3 >= largest
            if last or bool(model(x) != own):  # a cheap look before the dear one
                change = model(inputs) - before
                if last or bool(change[i] != 0):
                    break
            rate *= 3
        relative[i] = (change / change[i]).abs()[:, 0]
        kernelized[i] = kernelized_similarity_as_coded(
            change[None], before[i : i + 1], y, rate, loss="MSE" if loss == "squared" else "BCE"
        )[0]
        rates[i] = rate
        units[i] = change[i].abs() / (before[i].nextafter(before.new_tensor(9.0)) - before[i])
        for p, start in zip(parameters, static, strict=True):
            p.copy_(start)
    return AsCoded(Similarities(symmetrized(relative), symmetrized(kernelized)), rates, units)
