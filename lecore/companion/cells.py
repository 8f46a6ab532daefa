"""Tables of runs: one line a clustering, medians as records, and ours beside the paper's."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.io.formats.style import Styler

from lecore.companion.documents import RUN, read_json
from lecore.companion.project import chapters, project_root
from lecore.companion.records import glue_record, record
from lecore.names import check_name
from lecore.sampling import Pair
from lecore.table_runs import Run
from lecore.uncertainty import Interval, over_runs

PROCEDURES = ("official", "many starts", "spectral", "permuted")


def clusterings(
    runs: Sequence[Run], results: Iterable[Mapping[str, Any]], pairs: Mapping[str, Pair]
) -> pd.DataFrame:
    """One line for each run, similarity and procedure.

    Args:
        runs: The runs.
        results: What :func:`lecore.clustering_runs.measure` gave for them. A run that diverged
            has no line.
        pairs: Pairs of classes by name.

    Returns:
        The settings of the run as columns and its other numbers, ``pair``, ``replicate`` (its
        seed less the smallest), ``similarity``, ``within over between``, ``procedure``,
        ``accuracy`` (per cent), ``rand`` and ``information``. Single starts have only an accuracy.
    """
    lines = []
    name_of = {primary: name for name, (primary, _) in pairs.items()}
    first = min(run.seed for run in runs)
    for run, result in zip(runs, results, strict=True):
        numbers = {k: v for k, v in result.items() if not isinstance(v, dict | list)}
        ratios = result.get("within over between", {})
        for similarity, scores in result.get("scores", {}).items():
            common = asdict(run) | numbers
            common |= {"pair": name_of[run.primary], "replicate": run.seed - first}
            common |= {"similarity": similarity, "within over between": ratios.get(similarity)}
            for procedure in set(PROCEDURES) & set(scores):
                names = ("accuracy", "rand", "information")
                found = dict(zip(names, scores[procedure], strict=True))
                lines.append(common | {"procedure": procedure} | found)
            for start, accuracy in enumerate(scores.get("single starts", [])):
                single = {"procedure": "single start", "start": start, "accuracy": accuracy}
                lines.append(common | single)
    return pd.DataFrame(lines)


def accuracies(
    table: pd.DataFrame, index: str = "pair", value: str = "accuracy", **settings: Any
) -> pd.Series:
    """Accuracies of the lines of a table with these settings, a row of one of the paper's tables.

    Args:
        table: From :func:`clusterings`.
        index: Column that names the values.
        value: Column of the values; ``rand`` and ``information`` are the other scores.
        settings: Values of columns; ``procedure`` is ``official`` if left out.

    Returns:
        The values, with the first column and the replicate as index.
    """
    for name, wanted in ({"procedure": "official"} | settings).items():
        table = table[table[name] == wanted]
    return table.set_index([index, "replicate"])[value]


def comparison_rows(
    table: pd.DataFrame, value: str = "accuracy", procedure: str = "official"
) -> dict[str, pd.Series]:
    """The rows of He & Su's Tables 1 and 2 that a table of clusterings has, in their order.

    Rows with the cross-entropy are as coded, in float32 steps of the probability.

    Args:
        table: From :func:`clusterings`.
        value: As in :func:`accuracies`.
        procedure: As in :func:`lecore.cluster_scores.similarity_scores`.
    """
    same = {"value": value, "procedure": procedure}
    rows = {
        name: accuracies(table, network=network, **same)
        for name, network in (("K-means", "pixels"), ("PCA + K-means", "principal"))
    }
    for activation, short in (("linear", "linear"), ("relu", "ReLU")):
        for loss, ending in (("squared", ""), ("cross-entropy", ", as coded")):
            for option in ("relative", "kernelized"):
                rows[f"{loss}, {option} ({short})"] = accuracies(
                    table, network="two-layer", activation=activation, loss=loss,
                    similarity=option + ending, **same,
                )  # fmt: skip
    return {name: values for name, values in rows.items() if len(values)}


def key(*words: str) -> str:
    """Name of a record from words of any kind: lower case, joined by hyphens."""
    return re.sub(r"[^a-z0-9.]+", "-", " ".join(words).lower()).strip("-")


def record_cells(
    table: str, rows: Mapping[str, pd.Series], columns: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Record the median, the range and all values of each cell of a table.

    Args:
        table: Its name.
        rows: By name of the row, values with the name of the column as (first) index, any number
            of each.
        columns: Columns to record; those without a value are left out.

    Returns:
        The records of the cells, as :func:`reference` gives those of the reference run.
    """
    found = {}
    for row, values in rows.items():
        for column in columns:
            cell = values[values.index.get_level_values(0) == column].tolist()
            if not cell:
                continue
            middle = float(pd.Series(cell).median())
            name, runs = key(table, row, column), [round(v, 2) for v in cell]
            found[name] = record(name, middle, low=min(cell), high=max(cell), digits=1, runs=runs)
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


def reference(chapter: str) -> dict[str, dict[str, Any]]:
    """Records of the committed reference run of a chapter; none if there is no such run yet.

    Raises:
        LecoreError: If there is no such chapter, or the file is damaged.
    """
    root = project_root()
    check_name("chapter", chapter, chapters(root))
    path = root / "book" / "results" / f"{chapter}.json"
    records: dict[str, dict[str, Any]] = read_json(path, RUN)["records"] if path.exists() else {}
    return records


def glue_reference(records: Mapping[str, Mapping[str, Any]]) -> None:
    """Let the text show records of a reference run, under their names behind ``reference-``."""
    for name, entry in records.items():
        glue_record(f"reference-{name}", entry)


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
        table: Its name, as given to :func:`record_cells`.
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
                shown[row, source] = [_text(cell) for cell in cells]
    index = pd.MultiIndex.from_tuples(shown, names=[None, None])
    return styled(pd.DataFrame(list(shown.values()), index=index, columns=list(columns)))


def styled(frame: pd.DataFrame) -> Styler:
    """A table for the page: cells of several lines, close together, in the book's own look."""
    cells = {"white-space": "pre", "text-align": "right", "padding": "0.1rem 0.3rem"}
    small = {"selector": "th, td", "props": [("font-size", "0.8rem")]}
    sources = {"selector": "th.level1", "props": [("white-space", "nowrap")]}
    style = frame.style.set_properties(**cells).set_table_styles([small, sources])
    style = style.format(escape="html").format_index(escape="html")
    style = style.format_index(escape="html", axis=1)
    return style.set_table_attributes('class="dataframe"')


def mean_scores(table: pd.DataFrame, reference: Mapping[str, Mapping[str, Any]]) -> Styler:
    """Record the rows of Tables 1 and 2 by several scores, as means over pairs, and show them.

    Args:
        table: From :func:`clusterings`.
        reference: Records of the reference run.

    Returns:
        For each row of :func:`comparison_rows` the mean over pairs of the medians over replicates.
    """
    scores = {
        "accuracy (%)": comparison_rows(table),
        "many starts (%)": comparison_rows(table, procedure="many starts"),
        "adjusted Rand": comparison_rows(table, "rand"),
        "mutual information": comparison_rows(table, "information"),
    }
    means: dict[tuple[str, str], dict[str, float]] = {}
    for score, rows in scores.items():
        for row, values in rows.items():
            name, mean = key(score, row), values.groupby(level="pair").median().mean()
            record(name, mean)
            if name in reference:
                means.setdefault((score, "reference run"), {})[row] = reference[name]["value"]
            means.setdefault((score, "this build"), {})[row] = mean
    frame = pd.DataFrame(means).loc[list(scores["accuracy (%)"])]
    digits = {column: "{:.1f}" if "%" in column[0] else "{:.2f}" for column in frame}
    return styled(frame).format(digits, na_rep="—")


def inside(published: float, cell: Mapping[str, Any]) -> bool:
    """Whether a published number lies within the range of our runs, to its printed digit."""
    return _arrow(published, cell) == ""


def _arrow(published: float, cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return ""
    low, high = round(cell["low"], 1), round(cell["high"], 1)
    return " ↑" if published > high else " ↓" if published < low else ""


def pairs_won(
    better: Sequence[pd.Series], worse: Sequence[pd.Series], *, ties: bool = False
) -> Interval:
    """On how many pairs the best of some rows is above the best of others.

    Both sides choose after the fact, so they are compared within each replicate.

    Args:
        better: Rows, as :func:`accuracies` gives them: accuracies by pair and replicate.
        worse: Rows that they are compared with.
        ties: Whether a tie counts as won.

    Returns:
        Mean over the replicates that all rows have, with Student's t interval.
    """

    def best(rows: Sequence[pd.Series]) -> pd.DataFrame:
        return pd.concat(rows).groupby(level=[0, 1]).max()

    numbers = {"better": best(better), "worse": best(worse)}
    both = pd.concat(numbers, axis=1, join="inner")
    won = both.better > both.worse
    if ties:
        won |= both.better == both.worse
    counts = won.groupby(level=1).sum()
    return over_runs(counts.to_numpy(), bounds=(0, both.index.unique(0).size))


def _text(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return "—"
    if len(cell["runs"]) == 1:
        return f"{cell['value']:.1f}"
    return f"{cell['value']:.1f}\n{cell['low']:.1f}–{cell['high']:.1f}"
