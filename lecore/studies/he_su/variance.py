"""Where an accuracy's variance comes from: images, weights, order, or the start of K-means.

Runs with every combination of images, first weights and order of the training examples tell by
how much an accuracy moves if one of them is drawn anew and all else stays.
"""

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from lecore.studies.he_su.problems import Pair
from lecore.studies.he_su.runs import Run, he_su_run

FACTORS = {"sample": "images", "seed": "weights", "order": "order"}
"""Attributes of a run, and what they draw."""


def factorial_runs(
    data: str, pairs: Iterable[Pair], levels: int = 2, *, seed: int = 0, **changes: Any
) -> list[Run]:
    """Runs with every combination of images, weights and order, drawn at random.

    Args:
        data: Image set.
        pairs: Primary and auxiliary classes.
        levels: Draws of each.
        seed: First seed of each; the others follow.
        changes: Attributes of :class:`~lecore.studies.he_su.runs.Run`.
    """
    draws = range(seed, seed + levels)
    return [
        he_su_run(data, primary, auxiliary, sample=sample, seed=weights, order=order, **changes)
        for primary, auxiliary in pairs
        for sample, weights, order in itertools.product(draws, repeat=3)
    ]


def deviations(table: pd.DataFrame, similarity: str) -> dict[str, dict[str, Any]]:
    """Standard deviation of the accuracy if one thing alone is drawn anew, in points.

    Args:
        table: From :func:`~lecore.studies.he_su.tables.clusterings` of :func:`factorial_runs`.
        similarity: ``relative`` or ``kernelized``.

    Returns:
        For ``images``, ``weights``, ``order`` and ``start`` (of K-means, on one and the same
        matrix) the root of the mean variance, and ``n``, the number of comparisons; ``all`` is
        that of all runs of a pair.
    """
    official = _rows(table, similarity, "official")
    single = _rows(table, similarity, "single start")
    found = {
        name: _deviation(official.groupby(_but(factor)).accuracy)
        for factor, name in FACTORS.items()
    }
    found["start"] = _deviation(single.groupby(["pair", *FACTORS]).accuracy)
    found["all"] = _deviation(official.groupby("pair").accuracy)
    return found


def _rows(table: pd.DataFrame, similarity: str, procedure: str) -> pd.DataFrame:
    wanted = (table.similarity == similarity) & (table.procedure == procedure)
    return table[wanted & (table.way == "exact")]


def _but(factor: str) -> list[str]:
    return ["pair", *(other for other in FACTORS if other != factor)]


def _deviation(groups: Any) -> dict[str, Any]:
    variances = groups.var(ddof=1)
    return {"value": float(np.sqrt(variances.mean())), "n": len(variances), "digits": 1}
