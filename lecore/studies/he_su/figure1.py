"""Figure 1: relative similarity against geodesic distance on synthetic sets.

A network learns to tell the two classes of a set apart. Then one step on each point of the primary
class gives a row of S_rel, and the correlation of S_rel with geodesic distance says how locally
elastic the network is.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lecore.similarity import correlation_with_distance
from lecore.studies.he_su.figure1_runs import Measured

Array = NDArray[np.float64]

WAYS = ("as in the paper", "without self-pairs", "symmetrised", "Spearman", "true arc length")
"""Ways of correlating similarity with distance."""


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
