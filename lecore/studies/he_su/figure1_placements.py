"""The control of Figure 1: the same sets moved, shrunk and turned, at random weights.

A linear network's S_rel is abs(x̄·x̄′)/‖x̄‖² with x̄ = (x, 1): it compares directions as they are seen
from a point one unit, the bias, away from the origin. Whoever moves a set away from the origin, or
shrinks it, lets all its points be seen in one direction, and what is left falls with distance.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lecore.data.manifolds import MANIFOLDS, placed
from lecore.similarity import correlation_with_distance
from lecore.studies.he_su.figure1_runs import Figure1Run, step_on_each_point, synthetic_problem

PLACEMENTS = ("as it is", "moved", "shrunk", "turned")
"""Moved by its own radius along the last axis; shrunk to an eighth; turned about the origin."""


def placement(run: Figure1Run, where: str) -> dict[str, Any]:
    """Settings of a run that put its set to one of :data:`PLACEMENTS`."""
    settings: dict[str, dict[str, Any]] = {
        "as it is": {}, "moved": {"shift": radius(run)}, "shrunk": {"scale": 1 / 8},
        "turned": {"turn": run.seed},
    }  # fmt: skip
    return settings[where]


def radius(run: Figure1Run) -> float:
    """Largest distance of a primary point of the set from the origin."""
    manifold = MANIFOLDS[run.name](run.points, run.seed)
    return float(np.linalg.norm(manifold.points[manifold.primary], axis=1).max())


def correlations_in(
    run: Figure1Run, places: Mapping[Any, Mapping[str, Any]], device: str = "cpu"
) -> dict[Any, float]:
    """Correlation of S_rel with distance at random weights, the same wherever the set lies.

    Args:
        run: The set, and the network.
        places: Changed settings of the run by name of the place.
        device: Where to compute.

    Returns:
        By name, self-pairs among the pairs.
    """
    problem, found = synthetic_problem(run, device), {}
    for name, changes in places.items():
        there = replace(run, **changes)
        manifold = placed(
            MANIFOLDS[run.name](run.points, run.seed),
            scale=there.scale, shift=there.shift, turn=there.turn,
        )  # fmt: skip
        x = problem.inputs.new_tensor(manifold.points)
        measured = step_on_each_point(problem._replace(manifold=manifold, inputs=x), run.probe_rate)
        found[name] = correlation_with_distance(measured.similarity, measured.distance)
    return found


def placed_correlations(
    cases: Iterable[tuple[str, str]],
    seeds: Iterable[int],
    *,
    device: str = "cpu",
    **settings: Any,
) -> pd.DataFrame:
    """Correlations of several networks wherever their set lies.

    Args:
        cases: Sets and activations.
        seeds: Of points and weights.
        device: Where to compute.
        **settings: Of :class:`~lecore.studies.he_su.figure1_runs.Figure1Run`.

    Returns:
        Shape (cases, placements · seeds), columns by placement and seed.
    """
    rows: dict[tuple[str, str], dict[tuple[str, int], float]] = {}
    for case in cases:
        rows[case] = {}
        for run in _runs(case, seeds, settings):
            places = {(where, run.seed): placement(run, where) for where in PLACEMENTS}
            rows[case] |= correlations_in(run, places, device)
    found = pd.DataFrame.from_dict(rows, orient="index")
    return found.set_axis(pd.MultiIndex.from_tuples(found.columns), axis=1)


def of_place(table: pd.DataFrame, case: tuple[str, str], where: str) -> NDArray[np.float64]:
    """Correlations of one case of :func:`placed_correlations` in one place, shape (seeds,)."""
    values: NDArray[np.float64] = table.loc[[case], where].to_numpy()[0]
    return values


def along(
    case: tuple[str, str],
    shifts: Iterable[float],
    scales: Iterable[float],
    seeds: Iterable[int],
    **settings: Any,
) -> dict[str, pd.DataFrame]:
    """Correlations of a network as its set moves away, and as it changes its size.

    Args:
        case: Set and activation.
        shifts: In radii of the set.
        scales: Factors of its size.
        seeds: Of points and weights.
        **settings: Of :class:`~lecore.studies.he_su.figure1_runs.Figure1Run`.

    Returns:
        ``shift`` and ``scale``: a line for each, a column for each seed.
    """
    found: dict[str, dict[int, dict[float, float]]] = {"shift": {}, "scale": {}}
    for run in _runs(case, seeds, settings):
        moved = {t: {"shift": t * radius(run)} for t in shifts}
        sized = {t: {"scale": t} for t in scales}
        for name, places in (("shift", moved), ("scale", sized)):
            found[name][run.seed] = correlations_in(run, places)
    return {name: pd.DataFrame(by_seed) for name, by_seed in found.items()}


def _runs(
    case: tuple[str, str], seeds: Iterable[int], settings: Mapping[str, Any]
) -> Iterator[Figure1Run]:
    name, activation = case
    return (
        Figure1Run(name=name, activation=activation, seed=s, **{**settings, "steps": 0})
        for s in seeds
    )
