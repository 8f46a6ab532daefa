"""Records of what was run several times: a mean, a cell of a table, a curve."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from lecore.companion.records import key, record
from lecore.uncertainty import median_range, over_runs


def record_runs(
    name: str,
    values: ArrayLike,
    *,
    bounds: tuple[float, float] | None = None,
    **details: Any,
) -> dict[str, Any]:
    """Record the mean of repeated runs with its interval.

    Args:
        name: As in :func:`~lecore.companion.records.record`.
        values: One number a run, shape (runs,).
        bounds: Range of the quantity, as in :func:`lecore.uncertainty.over_runs`.
        details: As in :func:`~lecore.companion.records.record`, ``digits`` among them.
    """
    return record(name, **over_runs(values, bounds=bounds)._asdict(), **details)


def record_cells(
    table: str, rows: Mapping[str, pd.Series], columns: Sequence[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Record the median, the range and all values of each cell of a table.

    Args:
        table: Its name.
        rows: By name of the row, values with the name of the column as (first) index, any number
            of each.
        columns: Columns to record; those without a value are left out. All if left out.

    Returns:
        The records of the cells, as those of the reference run.
    """
    found = {}
    for row, values in rows.items():
        for column in values.index.unique(0) if columns is None else columns:
            cell = values[values.index.get_level_values(0) == column].tolist()
            if not cell:
                continue
            name, runs = key(table, row, column), [round(v, 2) for v in cell]
            found[name] = record(name, **median_range(cell)._asdict(), digits=1, runs=runs)
    return found


def recorded_rows(
    records: Mapping[str, Mapping[str, Any]],
    table: str,
    rows: Sequence[str],
    columns: Sequence[str],
) -> dict[str, pd.Series]:
    """Rows of a table from the cells that :func:`record_cells` recorded.

    Args:
        records: Of a run.
        table: Name of the table.
        rows: Names of its rows; those without cells are left out.
        columns: Columns to take.

    Returns:
        By row, all values of the cells by column and replicate.
    """
    found = {}
    for row in rows:
        cells = {c: records.get(key(table, row, c), {}).get("runs", []) for c in columns}
        values = {(c, i): value for c, runs in cells.items() for i, value in enumerate(runs)}
        if values:
            found[row] = pd.Series(values).rename_axis(["pair", "replicate"])
    return found


def record_curve(name: str, curves: NDArray[np.float64]) -> dict[str, Any]:
    """Record a curve of several runs: its mean and their range.

    Args:
        name: Of the record, whose value is the last of the mean.
        curves: Shape (runs, places).

    Returns:
        The record, with ``curve``, ``lowest`` and ``highest``, to four digits.
    """
    mean, lowest, highest = (
        [float(f"{value:.4g}") for value in values]
        for values in (curves.mean(0), curves.min(0), curves.max(0))
    )
    return record(name, mean[-1], curve=mean, lowest=lowest, highest=highest)


def record_curves(
    curves: Mapping[str | tuple[str, ...], NDArray[np.float64]],
) -> dict[str, dict[str, Any]]:
    """Record several curves, by their names or by words of which names are made."""
    names = {words if isinstance(words, str) else key(*words): words for words in curves}
    return {name: record_curve(name, curves[words]) for name, words in names.items()}
