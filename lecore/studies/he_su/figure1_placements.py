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

from lecore.data.manifolds import MANIFOLDS
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


def correlation(run: Figure1Run, device: str = "cpu") -> float:
    """Correlation of S_rel with distance at random weights, self-pairs among them."""
    found = step_on_each_point(synthetic_problem(run, device), run.probe_rate)
    return correlation_with_distance(found.similarity, found.distance)


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
    rows = {
        case: {
            (where, run.seed): correlation(_placed(run, where), device)
            for run in _runs(case, seeds, settings)
            for where in PLACEMENTS
        }
        for case in cases
    }
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
    runs = list(_runs(case, seeds, settings))
    moved = {
        t: {r.seed: correlation(replace(r, shift=t * radius(r))) for r in runs} for t in shifts
    }
    sized = {t: {r.seed: correlation(replace(r, scale=t)) for r in runs} for t in scales}
    return {
        name: pd.DataFrame.from_dict(found, orient="index")
        for name, found in (("shift", moved), ("scale", sized))
    }


def _runs(
    case: tuple[str, str], seeds: Iterable[int], settings: Mapping[str, Any]
) -> Iterator[Figure1Run]:
    name, activation = case
    return (
        Figure1Run(name=name, activation=activation, seed=s, **{**settings, "steps": 0})
        for s in seeds
    )


def _placed(run: Figure1Run, where: str) -> Figure1Run:
    return replace(run, **placement(run, where))
