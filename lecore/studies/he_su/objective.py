"""Whether the objective of K-means prefers the cut that matches the classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans

from lecore.clustering.scores import clustering_accuracy
from lecore.studies.he_su.features import pixel_features
from lecore.studies.he_su.measure import problem_of
from lecore.studies.he_su.runs import Run

STARTS = 60
APART = 10.0
"""Points by which another start is far better."""


def pixel_starts(run: Run, starts: int = STARTS) -> pd.DataFrame:
    """Single random starts of K-means on the pixels of a run's primary images.

    Args:
        run: Its images count.
        starts: How many.

    Returns:
        Columns ``excess``, the objective above the least of all in per cent, and ``accuracy`` in
        per cent; a row a start.
    """
    problem = problem_of(run)
    pixels = pixel_features(problem.primary)
    fits = [KMeans(2, init="random", n_init=1, random_state=s).fit(pixels) for s in range(starts)]
    objective = np.array([fit.inertia_ for fit in fits])
    accuracy = [100 * clustering_accuracy(problem.truth, fit.labels_) for fit in fits]
    excess = 100 * (objective / objective.min() - 1)
    return pd.DataFrame({"excess": excess, "accuracy": accuracy})


def objective_against_classes(
    starts: Mapping[str, pd.DataFrame],
) -> dict[tuple[str, ...], dict[str, Any]]:
    """What the lowest objective is worth beside the best start.

    Args:
        starts: By pair, from :func:`pixel_starts`.

    Returns:
        For each pair the accuracy at the ``lowest`` objective, with all starts, the ``best``
        accuracy of a start and that start's ``excess``; and the number of pairs on which the best
        is far better.
    """
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    far = 0
    for pair, table in starts.items():
        lowest = table.loc[table.excess.idxmin()]
        best = table.loc[table.accuracy.idxmax()]
        starts_of = {name: table[name].round(2).tolist() for name in ("excess", "accuracy")}
        found["objective lowest", pair] = {"value": lowest.accuracy, **starts_of}
        found["objective best", pair] = {"value": best.accuracy}
        found["objective excess", pair] = {"value": best.excess}
        far += best.accuracy - lowest.accuracy > APART
    found[("objective pairs apart",)] = {"value": far, "of": len(starts)}
    return found
