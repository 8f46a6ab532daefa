"""Single starts of K-means on the same similarities: what luck alone does to an accuracy."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

ROWS = {
    "trained": "sources-trained-one-start",
    "random weights": "sources-random-weights-one-start",
}
"""Names of records of :func:`lecore.studies.he_su.sources.sources`, less the pair, by weights."""


def single_starts(records: Mapping[str, Mapping[str, Any]], pairs: Sequence[str]) -> pd.DataFrame:
    """All single starts that were recorded, in the order in which they were drawn.

    Args:
        records: Of the chapter on training or luck.
        pairs: Pairs of classes, of which those that are recorded count.

    Returns:
        Columns ``pair``, ``weights``, ``start`` (from 1, over all networks of a pair) and
        ``accuracy`` in per cent.
    """
    rows = [
        (pair, weights, start, accuracy)
        for pair in pairs
        for weights, row in ROWS.items()
        for start, accuracy in enumerate(records.get(f"{row}-{pair}", {}).get("runs", []), 1)
    ]
    return pd.DataFrame(rows, columns=["pair", "weights", "start", "accuracy"])
