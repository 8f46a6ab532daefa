"""What He & Su's published code computes where that differs from the definitions."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from lecore.arguments.finite import check_finite
from lecore.arguments.names import check_name
from lecore.clustering.algorithm_one import Similarities
from lecore.losses import binary_cross_entropy, squared_error
from lecore.similarity import kernelized_similarity, symmetrized


class AsCoded(NamedTuple):
    """What He & Su's loop measures in float32, and how close it is to the rounding floor.

    Attributes:
        similarities: Both, symmetrised. Rows that divide by zero hold infinities or NaN, as those
            of the kernelized one do where ∂L/∂f is zero or a probability exactly 0 or 1.
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

    The exact counterparts are
    :func:`~lecore.clustering.algorithm_one.similarities_from_fixed_weights` and
    :func:`~lecore.clustering.algorithm_one.similarities_from_kernel`.

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
        f = before[i].item()
        undefined = f == y.item() or (loss == "cross-entropy" and f in (0, 1))
        kernelized[i] = torch.nan if undefined else kernelized_similarity_as_coded(
            change[None], before[i : i + 1], y, rate, loss="MSE" if loss == "squared" else "BCE"
        )[0]  # fmt: skip
        rates[i] = rate
        units[i] = change[i].abs() / (before[i].nextafter(before.new_tensor(9.0)) - before[i])
        for p, start in zip(parameters, static, strict=True):
            p.copy_(start)
    return AsCoded(Similarities(symmetrized(relative), symmetrized(kernelized)), rates, units)


def kernelized_similarity_as_coded(
    change: Tensor,
    prediction: Tensor,
    target: Tensor,
    learning_rate: Tensor | float,
    *,
    loss: Literal["MSE", "BCE"],
) -> Tensor:
    """S_ker as He & Su compute it: −Δ[i, j] / (2 η_i ∂L/∂f), with ∂L/∂f written out without a 2.

    ∂L/∂f is (f − y) for their "MSE", which is (f − y)², so that the 2 belongs and the result is
    equation (3); and (f − y) / (f (1 − f)) for "BCE", where the result is half of equation (3).

    Args:
        change: Prediction change of a network with one output, shape (n, m, 1).
        prediction: f at the update points before the step, shape (n, 1); probabilities for BCE.
        target: y, shape (n, 1).
        learning_rate: The η that each update point's step was taken with, shape (n,), or one for
            all. The code triples 10⁻⁶ until the point's own float32 prediction moves.
        loss: Their loss.

    Returns:
        Shape (n, m).

    Raises:
        LecoreError: If a gradient is zero or, for BCE, a probability exactly 0 or 1.
    """
    check_name("loss", loss, ("MSE", "BCE"))
    gradient = prediction - target
    if loss == "BCE":
        gradient = gradient / (prediction * (1 - prediction))
        check_finite(gradient, "∂L/∂f, because a probability is exactly 0 or 1,")
    rate = torch.as_tensor(learning_rate, dtype=change.dtype, device=change.device)
    return kernelized_similarity(change / rate.reshape(-1, 1, 1), gradient, 2.0)
