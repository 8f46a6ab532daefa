"""One look for all figures: colour-blind-safe, no ground, readable in print and dark mode."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from lecore.companion.records import key

COLOURS = dict(
    zip(
        ("relu", "linear", "sigmoid", "tanh", "gelu", "softplus"),
        sns.color_palette("colorblind", 6).as_hex(),
        strict=True,
    )
)
"""Colour of each activation, the same in every figure."""

WIDTH = 7.0
"""Of every figure, in inches, so that its text has its size on the page."""

PAPER = "#555555"
"""Colour of the paper's own numbers."""


def use_style() -> None:
    """Set the style for all figures of a chapter: as wide as a page, text of 11 points."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind")
    plt.rcParams.update(
        {
            "figure.figsize": (WIDTH, 3.6),
            "figure.dpi": 100,
            "savefig.dpi": 160,
            "savefig.transparent": True,
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "font.size": 11,
            "axes.titlesize": 11,
            "axes.labelsize": 11,
            "xtick.labelsize": 10,
            "ytick.labelsize": 10,
            "legend.fontsize": 10,
            "legend.frameon": False,
        }
    )


def scatter_pairs(
    ax: Any, distance: Any, values: Any, colour: str = COLOURS["relu"], *, alpha: float = 0.4
) -> None:
    """A dot for each pair of points: what is measured between them against their distance."""
    dots = {"s": 3, "linewidths": 0, "rasterized": True}
    ax.scatter(distance, values, color=colour, alpha=alpha, **dots)


def table_figure(
    table: str,
    rows: Sequence[str],
    columns: Sequence[str],
    records: Mapping[str, Mapping[str, Any]],
    title: str,
    *,
    published: Mapping[str, Sequence[float]] = MappingProxyType({}),
    label: str = "accuracy (%)",
) -> Any:
    """A table as a picture: a panel for each of six columns.

    Args:
        table: Its name, as given to :func:`lecore.companion.tables.record_cells`.
        rows: Names of rows, from top to bottom.
        columns: Names of the six columns.
        records: Records of the cells.
        title: Says which run is shown.
        published: The paper's numbers by row, drawn as bars.
        label: Of the horizontal axes.

    Returns:
        The matplotlib figure. Circles are medians, dots single runs, lines their range.
    """
    fig, axes = plt.subplots(2, 3, figsize=(10, 1.8 + 0.46 * len(rows)), sharex=True, sharey=True)
    for column, (ax, name) in enumerate(zip(axes.ravel(), columns, strict=True)):
        for y, row in enumerate(rows):
            cell = records.get(key(table, row, name))
            if cell:
                colour = _colour(row)
                if "low" in cell:
                    ends = [cell["low"], cell["high"]]
                    ax.plot(ends, [y, y], color=colour, alpha=0.4, linewidth=3)
                ax.plot(cell["runs"], [y] * len(cell["runs"]), ".", color=colour, markersize=5)
                ax.plot(cell["value"], y, "o", color=colour, markersize=6, markeredgecolor="white")
            if row in published:
                at = {"color": PAPER, "markersize": 13, "markeredgewidth": 2}
                ax.plot(published[row][column], y, "|", **at)
        ax.axvline(50, color=PAPER, linewidth=0.6)
        title_of = re.sub(r"^(\w+) ?v ?(\w+)$", r"\1 against \2", name)
        ax.set(title=title_of, yticks=range(len(rows)), yticklabels=rows)
    axes[0, 0].invert_yaxis()
    for ax in axes[1]:
        ax.set_xlabel(label)
    fig.suptitle(title)
    return fig


def draw_curve(
    ax: Any, table: str, row: str, records: Mapping[str, Mapping[str, Any]], **style: Any
) -> None:
    """A row of a table whose columns are numbers, as a line through medians with its range."""
    start = key(table, row) + "-"
    cells = {
        float(name.removeprefix(start)): cell
        for name, cell in records.items()
        if name.startswith(start) and re.fullmatch(r"[0-9.]+", name.removeprefix(start))
    }
    x = sorted(cells)
    values = [cells[at]["value"] for at in x]
    (line,) = ax.plot(x, values, marker="o", markersize=4, **style)
    low, high = ([cells[at].get(end, np.nan) for at in x] for end in ("low", "high"))
    ax.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)


def draw_recorded(
    ax: Any, x: Sequence[float], entry: Mapping[str, Any], style: str = "-", **settings: Any
) -> None:
    """A record of :func:`lecore.companion.tables.record_curve`, with its range."""
    (line,) = ax.plot(x, entry["curve"], style, **settings)
    band = {"color": line.get_color(), "alpha": 0.15, "linewidth": 0}
    ax.fill_between(x, entry["lowest"], entry["highest"], **band)


def draw_range(
    ax: Any, x: Any, curves: Any, style: str = "-", *, alpha: float = 0.15, **settings: Any
) -> None:
    """Mean of several runs' curves, with their range.

    Args:
        ax: Where.
        x: Shape (places,).
        curves: Shape (runs, places).
        style: Of the line.
        alpha: Of the band.
        **settings: Of the line.
    """
    (line,) = ax.plot(x, curves.mean(axis=0), style, **settings)
    band = {"color": line.get_color(), "alpha": alpha, "linewidth": 0}
    ax.fill_between(x, curves.min(axis=0), curves.max(axis=0), **band)


def _colour(row: str) -> str:
    if "linear" in row or "random" in row:
        return COLOURS["linear"]
    return COLOURS["relu"] if "ReLU" in row or "trained" in row else "black"
