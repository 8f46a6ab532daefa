"""One look for all figures: colour-blind-safe, no ground, readable in print and dark mode."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.ticker import LogLocator, NullLocator

from lecore.companion.records import key

COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "relu": "#0173b2",
        "linear": "#de8f05",
        "sigmoid": "#029e73",
        "tanh": "#d55e00",
        "gelu": "#cc78bc",
        "softplus": "#ca9161",
        "paper": "#555555",
        "chosen": "#d1345b",
        "several": "#7049b0",
        "ink": "#000000",
        "ground": "#ffffff",
    }
)
"""Every colour of the book, and what it means in all figures.

* A kind of unit has its own: networks of it, and models that are like it.
* ``paper``: the papers' own numbers, and bounds that a number is held against.
* ``chosen``: the point that a step is taken on, or that the reader pulls.
* ``several``: things that are no kinds of networks, such as classes, pairs or definitions; they
  differ by lightness (:func:`tones`), marker and line.
* ``ink``: whatever else there is; ``ground`` is what is written on maps.

Where weights are compared, open markers are random and filled ones trained; where pairs of points
are, solid lines are within a class and dashed ones between classes.
"""

PAPER = COLOURS["paper"]
"""Colour of the paper's own numbers."""

SEQUENTIAL = "cividis_r"
"""Colour map of numbers from 0 on; the large ones stand out in both themes."""

DIVERGING = LinearSegmentedColormap.from_list(
    "signed", [COLOURS[name] for name in ("paper", "ground", "several")]
)
"""Colour map of numbers with a sign, around 0."""

MARKERS = "os^Dv*"
"""Marks of several things, in their order."""

SPELLED = {"relu": "ReLU", "gelu": "GELU"}
"""Names of units that are not written as in the code."""

WIDTH = 7.0
"""Of every figure, in inches, so that its text has its size on the page."""


def use_style() -> None:
    """Set the style for all figures of a chapter: as wide as a page, text of 11 points."""
    sns.set_theme(context="notebook", style="ticks", palette=[COLOURS["ink"], *tones(3)])
    plt.rcParams.update(
        {
            "figure.figsize": (WIDTH, 3.6),
            "figure.dpi": 160,
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "font.size": 11,
            "axes.titlesize": 11,
            "axes.labelsize": 11,
            "figure.titlesize": 11,
            "figure.labelsize": 11,
            "xtick.labelsize": 10,
            "ytick.labelsize": 10,
            "legend.fontsize": 10,
            "legend.frameon": False,
        }
    )


def tones(count: int, colour: str = COLOURS["several"]) -> list[str]:
    """Tones of one colour, from dark to light; a single one is the colour itself."""
    middle = np.array(to_rgb(colour))
    steps = [0.35 * middle, middle, 0.3 + 0.7 * middle]
    ramp = LinearSegmentedColormap.from_list(colour, [to_hex(tuple(step)) for step in steps])
    return [to_hex(ramp(at)) for at in (np.linspace(0, 1, count) if count > 1 else [0.5])]


def panels(
    rows: int = 1, columns: int = 1, *, height: float = 3.6, **settings: Any
) -> tuple[Any, Any]:
    """A figure as wide as the page.

    Args:
        rows: Of panels.
        columns: Of panels.
        height: In inches.
        **settings: Of :func:`matplotlib.pyplot.subplots`.

    Returns:
        The figure, and its axes in an array of shape (rows, columns).
    """
    return plt.subplots(rows, columns, figsize=(WIDTH, height), squeeze=False, **settings)


def label_ends(ax: Any) -> None:
    """Write the name of each labelled line at its right end, when all else is drawn."""
    ends = []
    limits = (*ax.get_xlim(), *ax.get_ylim())  # fixes them, on which the places depend
    to_axes = ax.transData + ax.transAxes.inverted()
    for line in ax.lines:
        points = np.column_stack([np.asarray(part, dtype=float) for part in line.get_data()])
        points = points[np.isfinite(points).all(axis=1) & (points[:, 0] <= limits[1])]
        if not str(line.get_label()).startswith("_") and len(points):
            ends.append((*to_axes.transform(points[-1]), line))
    ends.sort(key=lambda end: end[1])
    size = plt.rcParams["legend.fontsize"]
    gap = 1.2 * size / (72 * ax.get_position().height * ax.figure.get_figheight())
    wanted = [min(max(end[1], 0.0), 1.0) for end in ends]
    for (x, y, line), place in zip(ends, _apart(wanted, gap), strict=True):
        leader = {"arrowstyle": "-", "color": line.get_color(), "linewidth": 0.6, "shrinkB": 0}
        ax.annotate(
            line.get_label(), (x, y), (1.04, place), "axes fraction", "axes fraction",
            color=COLOURS["ink"], fontsize=size, va="center", annotation_clip=False,
            arrowprops=leader | {"shrinkA": 1},
        )  # fmt: skip


def _apart(places: Sequence[float], gap: float) -> list[float]:
    """Ascending places, moved as little as it takes to lie a gap apart."""
    groups: list[list[float]] = []  # centre and number of labels that touch
    for place in places:
        groups.append([place, 1])
        while len(groups) > 1:
            (low, few), (high, many) = groups[-2:]
            if high - low >= gap * (few + many) / 2:
                break
            groups[-2:] = [[(low * few + high * many) / (few + many), few + many]]
    return [
        centre + gap * (k - (number - 1) / 2)
        for centre, number in groups
        for k in range(int(number))
    ]


def legend_above(fig: Any, title: str | None = None, *, columns: int = 3) -> None:
    """One legend above all panels, each name once, where it hides no data.

    Args:
        fig: The figure.
        title: Of the figure, above the legend.
        columns: Of the legend.
    """
    found: dict[str, Any] = {}
    for ax in fig.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    place = {"loc": "outside upper left", "ncols": columns, "alignment": "left"}
    fig.legend(found.values(), found.keys(), title=title, title_fontsize=11, **place)


def halves(ax: Any) -> None:
    """A horizontal axis of doublings, whose numbers below 1 are written as fractions."""
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}" if x >= 1 else f"1/{1 / x:g}")
    ax.xaxis.set_minor_locator(NullLocator())


def ticks_at(axis: Any, values: Sequence[float]) -> None:
    """An axis whose only ticks are these values, such as those that were measured at."""
    axis.set_ticks(values, [f"{value:g}" for value in values])
    axis.set_minor_locator(NullLocator())


def ones_twos_fives(axis: Any) -> None:
    """A logarithmic axis of few decades, with numbers at 1, 2 and 5 times each power of ten."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_locator(NullLocator())


def sample(ax: Any, label: str, style: str = "-", **look: Any) -> None:
    """An entry of the legend that stands for a style, without data."""
    ax.plot([], [], style, label=label, **({"color": COLOURS["ink"]} | look))


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
        table: Its name, as given to :func:`lecore.companion.repeated_runs.record_cells`.
        rows: Names of rows, from top to bottom.
        columns: Names of the six columns.
        records: Records of the cells.
        title: Says which run is shown.
        published: The paper's numbers by row, drawn as bars.
        label: Of the horizontal axes.

    Returns:
        The matplotlib figure. Circles are medians, dots single runs, lines their range.
    """
    height = 1.7 + 0.46 * len(rows)
    fig, axes = panels(2, 3, height=height, sharex=True, sharey=True)
    for column, (ax, name) in enumerate(zip(axes.ravel(), columns, strict=True)):
        for y, row in enumerate(rows):
            cell = records.get(key(table, row, name))
            if cell:
                _draw_cell(ax, y, cell, _look(row))
            if row in published:
                at = {"color": PAPER, "markersize": 13, "markeredgewidth": 2}
                ax.plot(published[row][column], y, "|", **at)
        ax.axvline(50, color=PAPER, linewidth=0.6)
        title_of = re.sub(r"^(\w+) ?v ?(\w+)$", r"\1 against \2", name)
        ax.set(title=title_of, yticks=range(len(rows)), yticklabels=rows)
    axes[0, 0].set_ylim(len(rows) - 0.5, -0.5)
    sample(axes[0, 0], "median", "o", markersize=6)
    sample(axes[0, 0], "single runs", ".", markersize=4)
    if published:
        sample(axes[0, 0], "the paper", "|", color=PAPER, markersize=13, markeredgewidth=2)
    fig.supxlabel(label)
    legend_above(fig, title)
    return fig


def _draw_cell(ax: Any, y: float, cell: Mapping[str, Any], look: Mapping[str, Any]) -> None:
    """Median, single runs and their range on a line."""
    if "low" in cell:
        ends = [cell["low"], cell["high"]]
        ax.plot(ends, [y, y], color=look["color"], alpha=0.4, linewidth=3)
    ax.plot(cell["runs"], [y] * len(cell["runs"]), ".", color=look["color"], markersize=4)
    ax.plot(cell["value"], y, "o", markersize=6, **look)


def _look(row: str) -> dict[str, Any]:
    """Colour of a row by its kind of network; random weights are open."""
    if "linear" in row:
        return {"color": COLOURS["linear"]}
    if "random" in row:
        return {"color": COLOURS["relu"], "fillstyle": "none"}
    return {"color": COLOURS["relu" if "ReLU" in row or "trained" in row else "ink"]}


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
    (line,) = ax.plot(x, values, **({"marker": "o", "markersize": 4} | style))
    low, high = ([cells[at].get(end, np.nan) for at in x] for end in ("low", "high"))
    ax.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)


def draw_recorded(
    ax: Any, x: Sequence[float], entry: Mapping[str, Any], style: str = "-", **settings: Any
) -> None:
    """A record of :func:`lecore.companion.repeated_runs.record_curve`, with its range."""
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
