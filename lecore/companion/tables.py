"""Tables of a page: the paper and the reference run, and this build in a fold below."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from lecore.companion import table_cells
from lecore.companion.html_tables import ARROWS, Cell, Line, fold, html_table
from lecore.companion.records import key
from lecore.companion.table_cells import PER_CENT, SHARE, Record
from lecore.errors import extra

Records = Mapping[str, Record]

MEDIANS = (
    "the median and, small below it, the range over n runs, or both numbers if there are two. "
    "The shading grows from 50 to 100 per cent."
)


def side_by_side(
    table: str,
    rows: Iterable[str],
    columns: Sequence[str],
    *,
    published: Mapping[str, Sequence[float]],
    reference: Records,
    here: Records,
    about: str,
    labels: Mapping[str, str] = MappingProxyType({}),
    best_first: bool = False,
) -> Any:
    """A table with two lines a row, the paper and the reference run, and this build below.

    Args:
        table: Its name, as given to :func:`lecore.companion.repeated_runs.record_cells`.
        rows: Names of rows.
        columns: Names of columns.
        published: The paper's numbers by row.
        reference: Records of the reference run.
        here: Records of this build.
        about: What the fold with this build says, from
            :func:`~lecore.companion.reference_runs.this_build`.
        labels: What columns are called on the data of this build, where that differs.
        best_first: Sort by the mean over the columns, of the reference run if there is one.

    Returns:
        The table as a notebook shows it, with the median above the range, or the paper's number,
        and an arrow if that lies above or below the range of the reference run.
    """

    def of(records: Records, row: str) -> list[Record | None]:
        return [records.get(key(table, row, column)) for column in columns]

    rows = list(dict.fromkeys([*rows, *published]))
    if best_first:
        rows.sort(key=lambda row: -table_cells.mean_of(of(reference or here, row)))
    lines, build = [], []
    for row in rows:
        known, ours = of(reference, row), of(here, row)
        if row in published:
            pairs = zip(published[row], known, strict=True)
            lines.append(Line(row, [table_cells.published_cell(*pair) for pair in pairs], "paper"))
        if any(known):
            lines.append(
                Line(
                    row,
                    list(map(table_cells.median_cell, known)),
                    "reference run",
                    table_cells.runs_of(known),
                )
            )
        if any(ours):
            build.append(
                Line(row, list(map(table_cells.median_cell, ours)), below=table_cells.runs_of(ours))
            )
    caption, corner = f"{table.capitalize()}: accuracy in per cent", "clusters from"
    shown = [labels.get(column, column) for column in columns]
    note = f"This build: {MEDIANS}"
    return _shown(
        html_table(caption, corner, columns, lines, _explained(lines, best_first)),
        html_table(f"{caption}, this build", corner, shown, build, note),
        about,
        reference,
    )


def interval_table(
    caption: str,
    rows: Iterable[str],
    columns: Sequence[str],
    name_of: Callable[[str, str], str],
    *,
    reference: Records,
    here: Records,
    about: str,
    heat: tuple[float, float] = SHARE,
) -> Any:
    """A table of numbers with intervals: the reference run, and this build below.

    Args:
        caption: Its name.
        rows: Names of rows.
        columns: Names of columns.
        name_of: Name of the record from those of its row and column.
        reference: Records of the reference run.
        here: Records of this build.
        about: What the fold with this build says, from
            :func:`~lecore.companion.reference_runs.this_build`.
        heat: Numbers from where to where are shaded.
    """

    def html(records: Records, words: str) -> str:
        lines = []
        for row in rows:
            cells = [records.get(name_of(row, column)) for column in columns]
            if any(cells):
                shown = [table_cells.interval_cell(cell, heat) for cell in cells]
                lines.append(Line(row, shown, below=table_cells.runs_of(cells)))
        note = f"Small: 95 % interval; n: number of runs. {_shaded(heat)}"
        return html_table(f"{caption}{words}", "measure", columns, lines, note)

    rows = list(rows)
    return _shown(html(reference, ""), html(here, ", this build"), about, reference)


def beside_reference(caption: str, numbers: pd.DataFrame, reference: Records, about: str) -> Any:
    """A table of numbers: those of the reference run, and this build below, best first.

    Args:
        caption: Its name.
        numbers: Of this build, recorded under ``key(column, row)``; with a decimal where the
            column's name has a per cent sign, with two elsewhere.
        reference: Records of the reference run.
        about: What the fold with this build says, from
            :func:`~lecore.companion.reference_runs.this_build`.
    """
    columns = list(numbers.columns)
    known = pd.DataFrame(
        {
            column: {row: reference.get(key(column, row), {}).get("value") for row in numbers.index}
            for column in columns
        },
        dtype=float,
    )

    def html(of: pd.DataFrame, words: str) -> str:
        of = of.dropna(how="all").sort_values(columns[0], ascending=False, kind="stable")
        lines = [
            Line(row, [table_cells.number_cell(of.loc[row, c], per_cent="%" in c) for c in columns])
            for row in of.index
        ]
        note = f"The best row comes first. {_shaded(PER_CENT)}"
        return html_table(caption + words, "clusters from", columns, lines, note)

    return _shown(html(known, ""), html(numbers, ", this build"), about, reference)


def number_table(caption: str, numbers: pd.DataFrame, digits: int = 2) -> Any:
    """A table of plain numbers, its rows named by the words of their index."""
    flat = [", ".join(map(str, np.atleast_1d(row))) for row in numbers.index]
    rows = zip(flat, numbers.to_numpy(), strict=True)
    lines = [Line(row, [Cell(f"{v:.{digits}f}") for v in values]) for row, values in rows]
    corner = ", ".join(map(str, numbers.index.names))
    return _shown(html_table(caption, corner, list(numbers), lines), "", "", {})


def _shown(main: str, build: str, about: str, reference: Records) -> Any:
    """What a notebook shows; this build is unfolded if there is no reference run to show."""
    with extra("companion"):
        from IPython.display import HTML

    unfolded = not (main and reference)
    return HTML(main + (fold(about, build, unfolded=unfolded) if build else ""))


def _explained(lines: Iterable[Line], best_first: bool) -> str:
    cells = [cell for line in lines for cell in line.cells]
    parts = [f"Paper: one number a cell. Reference run: {MEDIANS}"]
    for arrow, place in ARROWS.items():
        if any(cell.arrow == arrow for cell in cells):
            parts.append(f"{arrow}: the paper's number is {place}.")
    if best_first:
        parts.append("The row with the best mean comes first.")
    return " ".join(parts)


def _shaded(heat: tuple[float, float]) -> str:
    return f"The shading grows from {heat[0]:g} to {heat[1]:g}."
