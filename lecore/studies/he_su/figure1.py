"""Figure 1: relative similarity against geodesic distance on synthetic sets.

A network learns to tell the two classes of a set apart. Then one step on each point of the primary
class gives a row of S_rel, and the correlation of S_rel with geodesic distance says how locally
elastic the network is.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lecore.changes import prediction_change
from lecore.data.manifolds import MANIFOLDS, Manifold
from lecore.errors import DivergenceError
from lecore.models import three_layer, two_layer
from lecore.similarity import correlation_with_distance, relative_similarity
from lecore.tangent_kernel import empirical_ntk, stability_limit
from lecore.training import train

Array = NDArray[np.float64]

PAPER_WIDTH, PAPER_LINEAR_RATE = 40960, 1e-5
"""Hidden units of He & Su's two-layer networks, and the learning rate of their linear ones."""

WAYS = ("as in the paper", "without self-pairs", "symmetrised", "Spearman", "true arc length")
"""Ways of correlating similarity with distance."""


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


def synthetic_problem(
    name: str,
    activation: str,
    seed: int,
    *,
    points: int = 100,
    width: int = PAPER_WIDTH,
    boxes_width: int = 8192,
    device: str = "cpu",
) -> Problem:
    """Draw a set and a network: three layers for the boxes, two for all others.

    Args:
        name: A key of :data:`lecore.data.manifolds.MANIFOLDS`.
        activation: A key of :data:`lecore.models.ACTIVATIONS`.
        seed: Seed of points and weights.
        points: Points of both classes together.
        width: Hidden units of two-layer networks.
        boxes_width: Units in each hidden layer of three-layer networks.
        device: Where to compute.

    Raises:
        LecoreError: If the set or the activation is unknown.
    """
    manifold = MANIFOLDS[name](points, seed)
    x = torch.tensor(manifold.points, dtype=torch.float32, device=device)
    y = torch.tensor(manifold.labels, dtype=torch.float32, device=device)[:, None]
    layers, units = (three_layer, boxes_width) if name == "boxes" else (two_layer, width)
    network = layers(x.shape[1], units, activation, seed=seed).to(device)
    return Problem(manifold, x, y, network)


def largest_stable_rate(problem: Problem) -> float:
    """η_c = n / λ_max(Θ) of full-batch descent at the network's present weights."""
    return stability_limit(empirical_ntk(problem.network, problem.inputs, form="trace"))


def train_at_share(
    problem: Problem, rate_share: float, steps: int, *, loss_limit: float = math.inf
) -> list[float]:
    """Train a problem's network in place by full-batch gradient descent on the squared loss.

    Args:
        problem: The problem.
        rate_share: Learning rate as a share of the largest stable one.
        steps: How many; 0 leaves the random weights.
        loss_limit: Largest loss to go on with.

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
        learning_rate=rate, epochs=steps, loss_limit=loss_limit,
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


def correlations(measured: Measured) -> dict[str, float]:
    """Correlation of similarity with distance, counted in each of :data:`WAYS`.

    He & Su's Figure 1 has Pearson's coefficient over all ordered pairs, self-pairs among them.
    """
    s, d = measured.similarity, measured.distance
    return {
        "as in the paper": correlation_with_distance(s, d),
        "without self-pairs": correlation_with_distance(s, d, self_pairs=False),
        "symmetrised": correlation_with_distance((s + s.T) / 2, d),
        "Spearman": correlation_with_distance(s, d, method="spearman"),
        "true arc length": correlation_with_distance(s, measured.arc_length),
    }


def correlation_table(measured: Mapping[tuple[str, str, int, str], Measured]) -> pd.DataFrame:
    """One line for each network.

    Args:
        measured: By set, activation, seed and weights (``random`` or ``trained``).

    Returns:
        These four as columns, :data:`WAYS`, ``mean`` (of S_rel) and ``accuracy``.
    """
    names = ("set", "activation", "seed", "weights")
    return pd.DataFrame(
        dict(zip(names, case, strict=True)) | correlations(found)
        | {"mean": found.similarity.mean(), "accuracy": found.accuracy}
        for case, found in measured.items()
    )  # fmt: skip


def by_seed(
    table: pd.DataFrame, name: str, activation: str, weights: str, column: str = WAYS[0]
) -> Array:
    """A column of :func:`correlation_table` for one set and kind of network, shape (seeds,)."""
    is_it = (table.set == name) & (table.activation == activation) & (table.weights == weights)
    values: Array = table[is_it].sort_values("seed")[column].to_numpy()
    return values


def ways_of_counting(table: pd.DataFrame) -> pd.DataFrame:
    """Correlations of the networks of Figure 1 in each of :data:`WAYS`, as means over seeds."""
    figure = table[
        (table.weights == "trained")
        & table.set.isin(["torus", "boxes"])
        & table.activation.isin(["relu", "linear"])
    ]
    return figure.groupby(["set", "activation"])[list(WAYS)].mean()


def rise_at_the_far_side(measured: Measured) -> float:
    """Mean S_rel of the farthest third of the pairs above that of the middle third.

    It is positive for a V, the linear network's abs(xᵀx′ + 1) on the boxes (Figure 1f).
    """
    s, d = measured.similarity, measured.distance
    near, far = np.quantile(d, [1 / 3, 2 / 3])
    return float(s[d > far].mean() - s[(d > near) & (d <= far)].mean())


def paper_rate_share(problem: Problem) -> float:
    """The rate of He & Su's linear network as a multiple of the largest stable one.

    Stable rates fall like one over the width, so the paper's rate at the paper's width stands for
    a larger one at this width.

    Args:
        problem: A two-layer network of any width at its initial weights.
    """
    hidden = problem.network[1]
    assert isinstance(hidden, nn.Linear)
    rate = PAPER_LINEAR_RATE * PAPER_WIDTH / hidden.out_features
    return rate / largest_stable_rate(problem)


def rate_sweep(
    draw: Callable[[str, int], Problem],
    activations: Iterable[str],
    shares: Iterable[float],
    seeds: Iterable[int],
    *,
    steps: int,
    probe_rate: float,
) -> pd.DataFrame:
    """Networks trained at several learning rates, some of them beyond the largest stable one.

    Args:
        draw: A fresh problem by activation and seed.
        activations: Activations to try.
        shares: Learning rates as shares of the largest stable one.
        seeds: Seeds to try.
        steps: Training steps.
        probe_rate: η of the steps that measure similarity.

    Returns:
        Columns ``activation``, ``share``, ``seed``, ``correlation`` (of S_rel with
        distance after training) and ``peak`` (highest loss on the way over the first one). A run
        whose loss passes 10¹² has no correlation and an infinite peak.
    """

    def outcome(problem: Problem, share: float) -> tuple[float, float]:
        try:
            losses = train_at_share(problem, share, steps, loss_limit=1e12)
        except DivergenceError:
            return np.nan, np.inf
        found = step_on_each_point(problem, probe_rate)
        r = correlation_with_distance(found.similarity, found.distance)
        return r, max(losses) / losses[0]

    rows = [
        (activation, share, seed, *outcome(draw(activation, seed), share))
        for activation, share, seed in itertools.product(activations, shares, seeds)
    ]
    return pd.DataFrame(rows, columns=["activation", "share", "seed", "correlation", "peak"])


def diverged_share(sweep: pd.DataFrame, activation: str) -> float:
    """Share of the runs of :func:`rate_sweep` beyond the limit that diverged; 0 if none is."""
    beyond = sweep[(sweep.activation == activation) & (sweep.share > 1)]
    return float(np.isinf(beyond.peak).mean()) if len(beyond) else 0.0


def strongest_run(sweep: pd.DataFrame, activation: str) -> pd.Series:
    """The run of :func:`rate_sweep` with the strongest fall of similarity with distance."""
    survived = sweep[(sweep.activation == activation) & np.isfinite(sweep.peak)]
    return survived.loc[survived.correlation.idxmin()]
