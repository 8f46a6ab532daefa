"""Cells of a table from records: what is said, what is small below it, and how dark its ground."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from lecore.companion.html_tables import Cell

Record = Mapping[str, Any]

PER_CENT, SHARE = (50.0, 100.0), (0.0, 1.0)
"""From where to where accuracies of two classes are shaded, and shares."""


def published_cell(number: float, reference: Record | None) -> Cell:
    """The paper's number, with an arrow if it lies outside the range of the reference run."""
    arrow = ""
    if reference is not None and "low" in reference:
        low, high = round(reference["low"], 1), round(reference["high"], 1)
        arrow = "↑" if number > high else "↓" if number < low else ""
    return Cell(f"{number:.1f}", heat=_heat(number, PER_CENT), arrow=arrow)


def median_cell(record: Record | None) -> Cell:
    """The median of several runs above their range, or above both if there are two."""
    if record is None:
        return Cell()
    below = ""
    if "low" in record:
        below = f"{record['low']:.1f}–{record['high']:.1f}"
    elif len(record["runs"]) > 1:  # too few for a range
        below = ", ".join(f"{run:.1f}" for run in record["runs"])
    return Cell(f"{record['value']:.1f}", below, _heat(record["value"], PER_CENT))


def interval_cell(record: Record | None, heat: tuple[float, float]) -> Cell:
    """A number above its interval, if that has a width."""
    if record is None:
        return Cell()
    text = f"{record['value']:.2f}"
    ends = [f"{record[end]:.2f}" for end in ("low", "high") if end in record]
    return Cell(text, "" if {*ends} <= {text} else "–".join(ends), _heat(record["value"], heat))


def number_cell(number: float, *, per_cent: bool) -> Cell:
    """A number without an interval; only per cent are shaded."""
    if pd.isna(number):
        return Cell()
    return (
        Cell(f"{number:.1f}", heat=_heat(number, PER_CENT)) if per_cent else Cell(f"{number:.2f}")
    )


def runs_of(records: Iterable[Record | None]) -> str:
    """The number of runs of the cells of a line."""
    numbers = sorted({record["n"] for record in records if record and "n" in record})
    return f"n = {' or '.join(map(str, numbers))}" if numbers else ""


def mean_of(records: Iterable[Record | None]) -> float:
    """The mean of the cells of a line, 0 if there are none."""
    values = [record["value"] for record in records if record]
    return sum(values) / len(values) if values else 0.0


def _heat(number: float, bounds: tuple[float, float]) -> float:
    low, high = bounds
    return float(min(max((number - low) / (high - low), 0.0), 1.0))
