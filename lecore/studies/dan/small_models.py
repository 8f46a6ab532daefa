"""Models whose gradient flow is solved, on one problem: how S_rel moves, and towards which class.

A ReLU gate, predictors homogeneous in their weights, deep linear networks
(:mod:`lecore.theory.closed_forms`). Two Gaussian classes have targets 0 and 1.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lecore.seeding import seeded
from lecore.similarity import relative_similarity
from lecore.theory.closed_forms import (
    deep_linear_flow,
    deep_linear_similarity,
    gate_flow,
    gate_similarity,
    homogeneous_flow,
    homogeneous_similarity,
)
from lecore.theory.one_step import change_by_steps
from lecore.uncertainty import over_ratios, over_runs

Array = NDArray[np.float64]

DIMENSIONS = 10
MOMENTS = np.concatenate([[0], np.geomspace(0.01, 100, 60)])
"""Times at which S_rel is taken."""

NUMBERS = (1, 2, 3)
"""Degrees and depths."""


class SmallProblem(NamedTuple):
    """Two Gaussian classes, and where weights start.

    Attributes:
        x: Points, shape (n, 10).
        y: Targets, 0 and 1, shape (n,).
        positive: Small positive weights, shape (10,).
        any_sign: Weights of any sign, shape (10,).
    """

    x: Array
    y: Array
    positive: Array
    any_sign: Array


def small_problem(points: int, seed: int) -> SmallProblem:
    """Centres, points and weights of a seed."""
    with seeded(seed) as rng:
        y = np.arange(points, dtype=np.float64) % 2
        centres = rng.normal(size=(2, DIMENSIONS))
        x = centres[y.astype(int)] + rng.normal(size=(points, DIMENSIONS))
        positive: Array = 0.1 * np.abs(rng.normal(size=DIMENSIONS)) + 0.2
        return SmallProblem(x, y, positive, rng.normal(size=DIMENSIONS))


def similarity_paths(problem: SmallProblem) -> dict[str, Array]:
    """Mean S_rel within and between classes at ``MOMENTS``, shape (2, T), by model."""
    x, y, positive, any_sign = problem
    gates = gate_flow(MOMENTS, any_sign, x, y)
    found = {"ReLU gate": within_and_between(partial(gate_similarity, gates), x, y)}
    for d in NUMBERS:
        path = homogeneous_flow(MOMENTS, positive, x, y, degree=d)
        found[f"homogeneous, degree {d}"] = within_and_between(
            partial(homogeneous_similarity, path, degree=d), x, y
        )
    for depth in NUMBERS:
        path = deep_linear_flow(MOMENTS, 0.05 * any_sign, x, y, depth=depth)
        found[f"deep linear, depth {depth}"] = within_and_between(
            partial(deep_linear_similarity, path, depth=depth), x, y
        )
    return found


def within_and_between(similarity: Callable[[Array, Array], Array], x: Array, y: Array) -> Array:
    """Mean S_rel over pairs of one class and of two, without self-pairs and undefined ones.

    Args:
        similarity: S_rel from the first point to the second, shape (T,).
        x: Points, shape (n, d).
        y: Their classes, shape (n,).

    Returns:
        Shape (2, T).
    """
    with np.errstate(invalid="ignore"):
        values = np.array([[similarity(a, b) for b in x] for a in x])
    same, apart = y[:, None] == y, ~np.eye(len(x), dtype=bool)
    pairs = values[same & apart], values[~same]
    return np.stack([np.nanmean(of_kind, axis=0) for of_kind in pairs])


def path_numbers(runs: Sequence[dict[str, Array]]) -> dict[tuple[str, ...], Any]:
    """How steady S_rel is, and its share within the class, by words of the record.

    The share is the mean within classes over the sum of both. Data sets on which it is undefined,
    because S_rel is 0 between all points, are left out and counted.

    Args:
        runs: From :func:`similarity_paths`, one a data set.
    """
    numbers: dict[tuple[str, ...], Any] = {}
    for model in runs[0]:
        paths = np.array([run[model] for run in runs])
        family, _, number = model.partition(", ")
        low, high = np.nanquantile(paths.mean(axis=1), [0, 1], axis=1)
        if (low > 0).all():
            numbers[family, "steadiness", number] = over_ratios(low / high)._asdict()
        else:  # all gates but one may close
            numbers[family, "steadiness", number] = over_runs(low / high, bounds=(0, 1))._asdict()
        if family == "homogeneous":
            numbers[family, "range", number] = over_ratios(high / low)._asdict()
        ends = paths[:, :, [0, -1]]
        with np.errstate(invalid="ignore"):
            shares = ends[:, 0] / ends.sum(axis=1)
        shares = shares[np.isfinite(shares).all(axis=1)]
        numbers[family, "undefined shares", number] = len(runs) - len(shares)
        for when, values in zip(("start", "end"), shares.T, strict=True):
            numbers[family, "class share", number, when] = over_runs(
                values, bounds=(0, 1)
            )._asdict()
        numbers[family, "class share gain", number] = over_runs(
            shares[:, 1] - shares[:, 0]
        )._asdict()
    return numbers


class Homogeneous(nn.Module):
    """Σ_j w_j^d x_j, shape (n, 1)."""

    def __init__(self, weights: Tensor, degree: int) -> None:
        super().__init__()
        self.weights, self.degree = nn.Parameter(weights), degree

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return (x * self.weights**self.degree).sum(1, keepdim=True)


def gate_error(weights: Array, problem: SmallProblem, device: str) -> float:
    """Largest error of the gate's formula against steps on all points with an open gate.

    Args:
        weights: w, shape (10,).
        problem: Its points; targets are raised by 1, so that all steps move something.
        device: Where to take the steps.
    """
    layer = nn.Linear(DIMENSIONS, 1, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights)[None])
    model = nn.Sequential(layer, nn.ReLU())
    is_open = problem.x @ weights > 0
    own = problem.x[is_open]
    formula = [[gate_similarity(weights, a, b) for b in own] for a in own]
    # linear where no gate flips, so that the step need not be tiny
    stepped = similarity_by_steps(model, own, problem.y[is_open] + 1.0, 1e-5, device)
    return float(np.abs(stepped - formula).max())


def homogeneous_error(weights: Array, degree: int, problem: SmallProblem, device: str) -> float:
    """Largest relative error of the formula of homogeneous predictors against tiny steps.

    Args:
        weights: w, shape (10,).
        degree: d.
        problem: Its points; targets are raised by 1, so that all steps move something.
        device: Where to take the steps.
    """
    x, model = problem.x, Homogeneous(torch.tensor(weights), degree)
    formula = [[homogeneous_similarity(weights, a, b, degree=degree) for b in x] for a in x]
    stepped = similarity_by_steps(model, x, problem.y + 1.0, 2e-9, device)
    return float(np.abs(stepped / formula - 1).max())


def similarity_by_steps(
    model: nn.Module, x: Array, y: Array, learning_rate: float, device: str
) -> Array:
    """S_rel between all points by steps on ½(f − y)² that are really taken, shape (n, n)."""
    inputs, targets = (torch.tensor(values, device=device) for values in (x, y[:, None]))
    change = change_by_steps(model.to(device), inputs, targets, inputs, learning_rate=learning_rate)
    return relative_similarity(change).cpu().numpy()
