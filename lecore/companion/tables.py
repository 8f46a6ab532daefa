"""Tables of a page: the paper, the reference run and this build beside each other."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pandas.io.formats.style import Styler

from lecore.companion.documents import RUN, read_json
from lecore.companion.project import chapters, project_root, reference_paths
from lecore.companion.records import glue_record, key, record
from lecore.names import check_name
from lecore.uncertainty import median_range, over_runs


def reference(chapter: str, data: str | None = None) -> dict[str, dict[str, Any]]:
    """Records of a committed reference run of a chapter; none if there is no such run yet.

    Args:
        chapter: Its name.
        data: Image set of the run; that of the main one if left out.

    Raises:
        LecoreError: If there is no such chapter, or a file is damaged.
    """
    root = project_root()
    check_name("chapter", chapter, chapters(root))
    runs = (read_json(path, RUN) for path in reference_paths(root, chapter))
    found = (run["records"] for run in runs if data is None or run["data"] == data)
    records: dict[str, dict[str, Any]] = next(found, {})
    return records


def glue_reference(records: Mapping[str, Mapping[str, Any]], prefix: str = "reference") -> None:
    """Let the text show records of a reference run, under their names behind a prefix."""
    for name, entry in records.items():
        glue_record(f"{prefix}-{name}", entry)


def side_by_side(
    table: str,
    rows: Iterable[str],
    columns: Sequence[str],
    *,
    published: Mapping[str, Sequence[float]],
    reference: Mapping[str, Mapping[str, Any]],
    here: Mapping[str, Mapping[str, Any]],
) -> Styler:
    """A table with up to three lines a row: paper, reference run, this build.

    Args:
        table: Its name, as given to :func:`lecore.companion.tables.record_cells`.
        rows: Names of rows.
        columns: Names of columns.
        published: The paper's numbers by row.
        reference: Records of the reference run.
        here: Records of this build.

    Returns:
        The median above the range, or the paper's number, with an arrow if it lies above or below
        the range of the reference run.
    """
    shown: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row in published:
            shown[row, "paper"] = [
                f"{number:.1f}{_arrow(number, reference.get(key(table, row, column)))}"
                for number, column in zip(published[row], columns, strict=True)
            ]
        for source, records in (("reference run", reference), ("this build", here)):
            cells = [records.get(key(table, row, column)) for column in columns]
            if any(cells):
                shown[row, _with_n(source, cells)] = [_text(cell) for cell in cells]
    index = pd.MultiIndex.from_tuples(shown, names=[None, None])
    return styled(pd.DataFrame(list(shown.values()), index=index, columns=list(columns)))


def interval_table(
    rows: Iterable[str],
    columns: Sequence[str],
    name_of: Callable[[str, str], str],
    *,
    reference: Mapping[str, Mapping[str, Any]],
    here: Mapping[str, Mapping[str, Any]],
) -> Styler:
    """A table with up to two lines a row, reference run and this build: numbers with intervals.

    Args:
        rows: Names of rows.
        columns: Names of columns.
        name_of: Name of the record from those of its row and column.
        reference: Records of the reference run.
        here: Records of this build.
    """
    shown: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for source, records in (("reference run", reference), ("this build", here)):
            cells = [records.get(name_of(row, column)) for column in columns]
            if any(cells):
                shown[row, _with_n(source, cells)] = [_with_interval(cell) for cell in cells]
    index = pd.MultiIndex.from_tuples(shown, names=[None, None])
    return styled(pd.DataFrame(list(shown.values()), index=index, columns=list(columns)))


def beside_reference(numbers: pd.DataFrame, reference: Mapping[str, Mapping[str, Any]]) -> Styler:
    """A table of numbers, each column beside that of the reference run, if it has one.

    Args:
        numbers: Of this build, recorded under ``key(column, row)``; with a decimal where the
            column's name has a per cent sign, with two elsewhere.
        reference: Records of the reference run.
    """
    shown: dict[tuple[str, str], pd.Series] = {}
    for column, values in numbers.items():
        known = {row: reference.get(key(column, row), {}).get("value") for row in numbers.index}
        if any(number is not None for number in known.values()):
            shown[column, "reference run"] = pd.Series(known, dtype=float)
        shown[column, "this build"] = values
    digits = {name: "{:.1f}" if "%" in name[0] else "{:.2f}" for name in shown}
    return styled(pd.DataFrame(shown)).format(digits, na_rep="—")


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


def styled(frame: pd.DataFrame) -> Styler:
    """A table for the page: cells of several lines, close together, in the book's own look."""
    cells = {"white-space": "pre", "text-align": "right", "padding": "0.1rem 0.3rem"}
    small = {"selector": "th, td", "props": [("font-size", "0.8rem")]}
    sources = {"selector": "th.level1", "props": [("white-space", "nowrap")]}
    style = frame.style.set_properties(**cells).set_table_styles([small, sources])
    style = style.format(escape="html").format_index(escape="html")
    style = style.format_index(escape="html", axis=1)
    return style.set_table_attributes('class="dataframe"')


def _arrow(published: float, cell: Mapping[str, Any] | None) -> str:
    if cell is None or "low" not in cell:
        return ""
    low, high = round(cell["low"], 1), round(cell["high"], 1)
    return " ↑" if published > high else " ↓" if published < low else ""


def _with_n(source: str, cells: Iterable[Mapping[str, Any] | None]) -> str:
    """Where a row is from, with the number of runs of its cells."""
    numbers = sorted({cell["n"] for cell in cells if cell and "n" in cell})
    return f"{source}\nn = {' or '.join(map(str, numbers))}" if numbers else source


def _with_interval(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return "—"
    text = f"{cell['value']:.2f}"
    ends = [f"{cell[end]:.2f}" for end in ("low", "high") if end in cell]
    return text if {*ends} <= {text} else f"{text}\n{'–'.join(ends)}"  # nothing if it has no width


def _text(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return "—"
    if "low" not in cell:  # too few for a range
        return "\n".join(f"{run:.1f}" for run in cell["runs"])
    return f"{cell['value']:.1f}\n{cell['low']:.1f}–{cell['high']:.1f}"


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
