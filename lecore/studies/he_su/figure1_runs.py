"""The runs of Figure 1: networks that learn synthetic sets, and what one step shows of them."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lecore.arguments.names import check_name
from lecore.changes import prediction_change
from lecore.data.manifolds import MANIFOLDS, Manifold, placed
from lecore.models import ACTIVATIONS, three_layer, two_layer
from lecore.similarity import relative_similarity
from lecore.tangent_kernel import empirical_ntk, stability_limit
from lecore.training import train

Array = NDArray[np.float64]

PAPER_WIDTH, PAPER_BOXES_WIDTH = 40960, 8192
"""Hidden units of He & Su's networks of two layers, and of three."""


@dataclass(frozen=True, kw_only=True)
class Figure1Run:
    """A synthetic set, where it lies, a network for it and how it is trained.

    Attributes:
        name: The set, a key of :data:`lecore.data.manifolds.MANIFOLDS`. The boxes get three
            layers, all others two.
        activation: A key of :data:`lecore.models.ACTIVATIONS`.
        seed: Of points and weights.
        points: Of both classes together.
        width: Hidden units of two-layer networks.
        boxes_width: Units in each hidden layer of three-layer networks.
        steps: Of full-batch gradient descent on the squared loss; 0 leaves the random weights.
        rate_share: Its learning rate as a share of the largest stable one.
        learning_rate: Instead of it, the rate itself.
        probe_rate: η of the steps that measure similarity.
        scale: Factor of all coordinates, see :func:`lecore.data.manifolds.placed`.
        shift: Added to the last coordinate after that.
        turn: Seed of a turn about the origin; none if left out.
    """

    name: str
    activation: str
    seed: int = 0
    points: int = 100
    width: int = PAPER_WIDTH
    boxes_width: int = PAPER_BOXES_WIDTH
    steps: int = 20_000
    rate_share: float = 0.5
    learning_rate: float | None = None
    probe_rate: float = 1e-6
    scale: float = 1.0
    shift: float = 0.0
    turn: int | None = None

    def __post_init__(self) -> None:
        check_name("set", self.name, MANIFOLDS)
        check_name("activation", self.activation, ACTIVATIONS)


class Problem(NamedTuple):
    """A synthetic set and a network for it.

    Attributes:
        manifold: The set, of n points.
        inputs: Its points, shape (n, d), float32.
        targets: 1 for the primary class and 0 for the other, shape (n, 1).
        network: At its initial weights.
    """

    manifold: Manifold
    inputs: Tensor
    targets: Tensor
    network: nn.Sequential


class Measured(NamedTuple):
    """What one step on each of the n₁ primary points shows; rows are update points.

    Attributes:
        similarity: S_rel, shape (n₁, n₁).
        distance: Geodesic distance as in He & Su's code, shape (n₁, n₁).
        arc_length: True geodesic length, shape (n₁, n₁).
        accuracy: Share of all points of the set that the network classifies right.
    """

    similarity: Array
    distance: Array
    arc_length: Array
    accuracy: float


def synthetic_problem(run: Figure1Run, device: str = "cpu") -> Problem:
    """Draw the set and the network of a run."""
    manifold = placed(
        MANIFOLDS[run.name](run.points, run.seed), scale=run.scale, shift=run.shift, turn=run.turn
    )
    x = torch.tensor(manifold.points, dtype=torch.float32, device=device)
    y = torch.tensor(manifold.labels, dtype=torch.float32, device=device)[:, None]
    is_deep = run.name == "boxes"
    layers, units = (three_layer, run.boxes_width) if is_deep else (two_layer, run.width)
    network = layers(x.shape[1], units, run.activation, seed=run.seed).to(device)
    return Problem(manifold, x, y, network)


def largest_stable_rate(problem: Problem) -> float:
    """η_c = n / λ_max(Θ) of full-batch descent at the network's present weights."""
    return stability_limit(empirical_ntk(problem.network, problem.inputs, form="trace"))


def share_of_stable_rate(run: Figure1Run, problem: Problem) -> float:
    """The learning rate of a run over the largest stable one of its untrained network."""
    if run.learning_rate is None:
        return run.rate_share
    return run.learning_rate / largest_stable_rate(problem)


def train_at_share(
    problem: Problem,
    rate_share: float,
    steps: int,
    *,
    loss_limit: float = math.inf,
    checkpoint: Path | None = None,
) -> list[float]:
    """Train a problem's network in place by full-batch gradient descent on the squared loss.

    Args:
        problem: The problem.
        rate_share: Learning rate as a share of the largest stable one.
        steps: How many; 0 leaves the random weights.
        loss_limit: Largest loss to go on with.
        checkpoint: File to resume from, see :func:`lecore.training.train`.

    Returns:
        Mean loss before each step.

    Raises:
        DivergenceError: As soon as a loss is not finite or above ``loss_limit``.
    """
    if steps == 0:
        return []
    rate = rate_share * largest_stable_rate(problem)
    return train(
        problem.network, problem.inputs, problem.targets,
        learning_rate=rate, epochs=steps, loss_limit=loss_limit, checkpoint=checkpoint,
        progress=checkpoint is not None,
    ).losses  # fmt: skip


def step_on_each_point(problem: Problem, learning_rate: float) -> Measured:
    """Relative similarity (equation 2) between the primary points, and their distances.

    Args:
        problem: The problem, whose network is left as it is.
        learning_rate: η of the steps.
    """
    manifold, x, y, network = problem
    own = manifold.primary
    change = prediction_change(network, x[own], y[own], learning_rate=learning_rate)
    similarity = relative_similarity(change).cpu().numpy()
    accuracy = float(((network(x) > 0.5) == (y > 0.5)).float().mean())
    pairs = np.ix_(own, own)
    return Measured(similarity, manifold.distance[pairs], manifold.arc_length[pairs], accuracy)


def follow_figure1(run: Figure1Run, device: str, scratch: Path) -> dict[str, NDArray[Any]]:
    """Measure a network at its random weights, train it, and measure it again.

    Args:
        run: What to train.
        device: Where.
        scratch: Folder for what an interrupted run needs to go on.

    Returns:
        Of the n₁ primary points ``distance`` and ``arc_length``, shape (n₁, n₁); ``similarity``
        (k, n₁, n₁) and ``accuracy`` (k,) at random weights and, unless there are no steps,
        after training; ``loss`` before each step.

    Raises:
        DivergenceError: If the loss is not finite.
    """
    problem = synthetic_problem(run, device)
    found = [step_on_each_point(problem, run.probe_rate)]
    share = share_of_stable_rate(run, problem)
    losses = train_at_share(problem, share, run.steps, checkpoint=scratch / "checkpoint")
    if run.steps:
        found.append(step_on_each_point(problem, run.probe_rate))
    return {
        "similarity": np.stack([one.similarity for one in found]),
        "accuracy": np.array([one.accuracy for one in found]),
        "distance": found[0].distance,
        "arc_length": found[0].arc_length,
        "loss": np.array(losses),
    }


def measured_at(found: dict[str, NDArray[Any]]) -> dict[str, Measured]:
    """What :func:`follow_figure1` gives, by weights: ``random`` and, after steps, ``trained``."""
    weights = ("random", "trained")[: len(found["accuracy"])]
    return {
        name: Measured(
            found["similarity"][k], found["distance"], found["arc_length"],
            float(found["accuracy"][k]),
        )
        for k, name in enumerate(weights)
    }  # fmt: skip
