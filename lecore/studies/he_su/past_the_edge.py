"""Training at learning rates below and beyond the largest stable one, looked at on the way."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lecore.errors import DivergenceError
from lecore.losses import squared_error
from lecore.studies.he_su.measure import Problem, build, problem_of
from lecore.studies.he_su.runs import Run
from lecore.studies.he_su.similarities import kernel_and_logits
from lecore.tangent_kernel import stability_limit
from lecore.theory.wide_networks import activation_pattern
from lecore.training import train

Array = NDArray[np.float64]


class Path(NamedTuple):
    """A network in training at one learning rate, at its looks; those after a divergence lack.

    Attributes:
        share: Learning rate over the largest stable one.
        steps: Steps until each look, shape (k,).
        loss: Mean over all images, shape (k,).
        silent: Hidden units that no image activates, in per cent, shape (k,).
        places: The primary images in the plane in which the tangent kernel spreads them most, the
            farthest at distance 1, shape (k, n, 2).
        diverged: Whether training ran away.
    """

    share: float
    steps: Array
    loss: Array
    silent: Array
    places: Array
    diverged: bool


def paths(
    run: Run, shares: Iterable[float], device: str = "cpu"
) -> tuple[list[Path], NDArray[np.int64]]:
    """Train the same network at several learning rates.

    Args:
        run: Of a two-layer ReLU network, with its looks; its learning rate does not count.
        shares: Learning rates over the largest stable one.
        device: Where to compute.

    Returns:
        A path for each, and which of the two classes each primary image is of, shape (n,).
    """
    problem = problem_of(run, device)
    return [_path(run, problem, share) for share in shares], problem.truth


def _path(run: Run, problem: Problem, share: float) -> Path:
    inputs, targets, n = problem.inputs, problem.targets, len(problem.truth)
    network = build(run, inputs.shape[1:]).to(inputs.device)
    limit = stability_limit(kernel_and_logits(network, inputs)[0])
    steps = run.epochs * -(-len(inputs) // run.batch_size)
    looks: list[tuple[int, float, float, Array]] = []

    def look(step: int, model: nn.Module) -> None:
        kernel, outputs = kernel_and_logits(model, inputs)
        loss = squared_error(outputs, targets[:, 0]).item() / len(targets)
        if not np.isfinite(loss):
            raise DivergenceError("the loss is no longer finite")
        places = _in_the_plane(kernel[:n, :n], looks[-1][-1] if looks else None)
        looks.append((step, loss, _silent_percent(model, inputs), places))

    diverged = False
    try:
        train(
            network, inputs, targets, learning_rate=share * limit, epochs=run.epochs,
            batch_size=run.batch_size, seed=run.seed, loss_limit=1e30, callback=look,
            callback_steps={0, *np.geomspace(1, steps, run.looks - 1).astype(int).tolist()},
        )  # fmt: skip
    except DivergenceError:
        diverged = True
    at, loss, silent, places = (np.array(values) for values in zip(*looks, strict=True))
    return Path(share, at, loss, silent, places, diverged)


@torch.no_grad()
def _silent_percent(network: nn.Module, inputs: Tensor) -> float:
    hidden = next(layer for layer in network.modules() if isinstance(layer, nn.Linear))
    active = activation_pattern(hidden.weight, hidden.bias, inputs.flatten(1))
    return 100 * (1 - float(active.amax(dim=0).double().mean()))


def _in_the_plane(kernel: Tensor, before: Array | None) -> Array:
    """Principal components of a kernel, with the signs nearest to those of the look before."""
    values = kernel.double().cpu().numpy()  # on which eigh is exact enough
    centred = values - values.mean(0) - values.mean(1)[:, None] + values.mean()
    eigenvalues, vectors = np.linalg.eigh(centred)
    places = vectors[:, [-1, -2]] * np.sqrt(np.maximum(eigenvalues[[-1, -2]], 0))
    if before is not None:
        places *= np.where((places * before).sum(0) < 0, -1, 1)
    largest = np.linalg.norm(places, axis=1).max()
    scaled: Array = places / largest if largest > 0 else places
    return scaled
