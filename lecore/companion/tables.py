"""Tables of a page: the paper and the reference run, and this build in a fold below."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from lecore.companion import table_cells
from lecore.companion.documents import RUN, read_json
from lecore.companion.html_tables import ARROWS, Cell, Line, fold, html_table
from lecore.companion.project import chapters, project_root, reference_paths
from lecore.companion.records import glue_record, key, record
from lecore.companion.table_cells import PER_CENT, SHARE, Record
from lecore.errors import extra
from lecore.names import check_name
from lecore.uncertainty import median_range, over_runs

Records = Mapping[str, Record]

MEDIANS = (
    "the median and, small below it, the range over n runs, or both numbers if there are two. "
    "The shading grows from 50 to 100 per cent."
)


def reference(chapter: str, data: str | None = None) -> dict[str, dict[str, Any]]:
    """Records of a committed reference run of a chapter; none if there is no such run yet.

    Args:
        chapter: Its name.
        data: Image set of the run; that of the main one if left out.

    Raises:
        LecoreError: If there is no such chapter, or a file is damaged.
    """
    records: dict[str, dict[str, Any]] = _reference_run(chapter, data).get("records", {})
    return records


def this_build(chapter: str, data: str, **settings: Any) -> str:
    """What a fold with numbers of this build says of them before it is opened.

    Args:
        chapter: The chapter, whose reference run they stand below.
        data: Image set of this build.
        settings: Parameters to name, such as ``width``.
    """
    words = [data, *(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())]
    text = f"This build: {', '.join(words)}"
    if not (run := _reference_run(chapter)):
        return text
    if run["data"] == data:
        return f"{text} (the data of the reference run)"
    return f"{text} (other data: the reference run is on {run['data']})"


def _reference_run(chapter: str, data: str | None = None) -> dict[str, Any]:
    root = project_root()
    check_name("chapter", chapter, chapters(root))
    runs = (read_json(path, RUN) for path in reference_paths(root, chapter))
    return next((run for run in runs if data is None or run["data"] == data), {})


def glue_reference(records: Records, prefix: str = "reference") -> None:
    """Let the text show records of a reference run, under their names behind a prefix."""
    for name, entry in records.items():
        glue_record(f"{prefix}-{name}", entry)


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
        table: Its name, as given to :func:`lecore.companion.tables.record_cells`.
        rows: Names of rows.
        columns: Names of columns.
        published: The paper's numbers by row.
        reference: Records of the reference run.
        here: Records of this build.
        about: What the fold with this build says, from :func:`this_build`.
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
        about: What the fold with this build says, from :func:`this_build`.
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
        about: What the fold with this build says, from :func:`this_build`.
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


def run_to_show(
    reference: Mapping[str, Any], here: Mapping[str, Any], images: str, data: str
) -> tuple[Mapping[str, Any], str]:
    """The records that a figure shows, the reference run's if there is one, and their title.

    Args:
        reference: Records of the reference run.
        here: Records of this build.
        images: Image set of the reference run, as the title says it.
        data: Image set of this build.
    """
    if reference:
        return reference, f"reference run on {images}"
    return here, f"this build on {data}"


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
