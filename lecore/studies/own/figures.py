"""Figures of the chapters on our own questions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from lecore.companion.figures import (
    COLOURS,
    DIVERGING,
    MARKERS,
    PAPER,
    SEQUENTIAL,
    label_ends,
    legend_above,
    ones_twos_fives,
    panels,
    ticks_at,
    tones,
)
from lecore.studies.own.pretrained_measures import Moved
from lecore.uncertainty import over_runs

Array = NDArray[np.float64]

LINE = 62
"""Characters of a line of text in a figure."""


def time_figure(sizes: Sequence[int], seconds: Array) -> Any:
    """Time against the number of points, beside a line of slope 2.

    Args:
        sizes: Numbers of points, ascending.
        seconds: Shape (repeats, sizes); medians are drawn, with bars from fastest to slowest.

    Returns:
        The matplotlib figure.
    """
    fig, ax = _growth("points $n$", "time (seconds)")
    middle = np.median(seconds, axis=0)
    _with_bars(
        ax, sizes, middle, seconds.min(axis=0), seconds.max(axis=0), fmt="o-", label="median"
    )
    ticks_at(ax.xaxis, sizes)
    ones_twos_fives(ax.yaxis)
    square = middle[-1] * (np.array(sizes) / sizes[-1]) ** 2
    ax.plot(sizes, square, ":", color=PAPER, label="slope 2")
    legend_above(fig)
    return fig


def sketch_figure(features: Sequence[int], measured: Array, stated: Array) -> Any:
    """Errors of sketched kernels against the number of features.

    Args:
        features: Sizes of the sketches, ascending.
        measured: Of :func:`lecore.studies.own.large_matrices.sketch_errors`, shape (sizes, seeds);
            means are drawn, with 95 % intervals.
        stated: Likewise; means are drawn.

    Returns:
        The matplotlib figure.
    """
    fig, ax = _growth("features $k$", "error / mean diagonal")
    value, low, high = np.array([over_runs(row)[:3] for row in measured]).T
    low = np.maximum(low, value / 10)  # on a logarithmic axis
    ticks_at(ax.xaxis, features)
    ones_twos_fives(ax.yaxis)
    _with_bars(ax, features, value, low, high, fmt="o", label="measured")
    ax.plot(features, stated.mean(axis=1), ":", color=PAPER, label="stated")
    legend_above(fig)
    return fig


def similar_figure(
    found: Mapping[str, Sequence[Moved]], updated: str, similar: str, distant: str
) -> Any:
    """Movement of similar and distant test images, a panel for each kind of network.

    Args:
        found: Results by kind, one for each network.
        updated: Name of the class that steps are taken on.
        similar: Name of the class that is like it.
        distant: Name of the other.

    Returns:
        The matplotlib figure. Each dot is a test image, each column of dots a network.
    """
    fig, axes = panels(1, len(found), height=3.8)
    for ax, (kind, results) in zip(axes[0], found.items(), strict=True):
        colour = COLOURS["linear" if kind == "linear" else "relu"]
        look = {"color": colour, "fillstyle": "none" if kind == "random" else "full"}
        for place, result in enumerate(results):
            middle = (place - (len(results) - 1) / 2) * 0.28
            _dots(ax, middle, result.similar, look)
            _dots(ax, 1 + middle, result.distant, look)
        ax.set(title=kind, xlim=(-0.6, 1.6), xticks=[0, 1])
        ax.set_xticklabels([f"{similar}\n(similar)", f"{distant}\n(distant)"])
    fig.supylabel("log₁₀ KL divergence (nats)")
    fig.supxlabel("class of the test image")
    fig.suptitle(f"one step on {updated}, this build")
    return fig


def class_movement_figure(movement: Array, class_names: Sequence[str]) -> Any:
    """Which classes one step moves, as a heat map.

    Args:
        movement: Of :func:`lecore.studies.own.pretrained_measures.class_movement`.
        class_names: Name of each class.

    Returns:
        The matplotlib figure.
    """
    fig, axes = panels(height=5.2)
    ax = axes[0, 0]
    image = ax.imshow(movement, cmap=SEQUENTIAL)
    places = range(len(class_names))
    long = max(map(len, class_names)) > 3
    turned: dict[str, Any] = {"rotation": 45, "ha": "right"} if long else {}
    ax.set_xticks(places, class_names, **turned)
    ax.set_yticks(places, class_names)
    ax.set(xlabel="class of the test image", ylabel="class of the update image")
    fig.colorbar(image, label="log₁₀ mean KL divergence (nats)")
    return fig


def caught_figure(parts: Sequence[float], caught: Mapping[str, Array]) -> Any:
    """Part of the wrong labels that are found against the part of all labels that is looked at.

    Args:
        parts: Parts of all labels, ascending.
        caught: By score, shape (runs, parts); means are drawn, and the range over runs.

    Returns:
        The matplotlib figure.
    """
    fig, axes = panels(height=3.8)
    ax = axes[0, 0]
    across = 100 * np.array(parts)
    for (name, runs), tone in zip(caught.items(), tones(len(caught)), strict=True):
        ax.plot(across, 100 * runs.mean(axis=0), color=tone, label=name)
        ends = 100 * runs.min(axis=0), 100 * runs.max(axis=0)
        ax.fill_between(across, *ends, color=tone, alpha=0.15, linewidth=0)
    ax.plot(across, across, ":", color=PAPER, label="in random order")
    ax.set(xlabel="labels looked at (% of all)", ylabel="wrong labels found (%)", ylim=(0, 101))
    label_ends(ax)
    return fig


def same_words_figure(found: Mapping[str, Mapping[str, Any]]) -> Any:
    """Medians of S_rel by what two sentences share.

    Args:
        found: By network and kind of pair, an interval over runs.

    Returns:
        The matplotlib figure.
    """
    fig, axes = panels(height=3.9)
    ax = axes[0, 0]
    kinds = list(next(iter(found.values())))
    shifts = np.linspace(-0.24, 0.24, len(found))
    looks = zip(found.items(), shifts, tones(len(found)), MARKERS, strict=False)
    for (name, medians), shift, colour, mark in looks:
        for x, kind in enumerate(kinds):
            ends = [medians[kind].low, medians[kind].high]
            ax.plot([x + shift] * 2, ends, color=colour, alpha=0.5, lw=3)
            label = None if x else name
            ax.plot(x + shift, medians[kind].value, mark, color=colour, label=label)
    ax.set(xticks=range(len(kinds)), xticklabels=kinds, ylim=(-0.02, None))
    ax.set(xlabel="what the two sentences share", ylabel="median of $S_{\\mathrm{rel}}$")
    legend_above(fig, columns=2)
    return fig


def tokens_figure(sentences: Mapping[str, Sequence[tuple[str, float | None]]]) -> Any:
    """Sentences whose tokens are coloured by how their log-probability moved.

    Args:
        sentences: By a word for the line, pieces with their changes, as
            :func:`lecore.studies.own.whose_sentence.coloured` gives them. The colours end at the
            largest change of all but the first, the one learnt.

    Returns:
        The matplotlib figure.
    """
    cells, starts, line = [], {}, 0
    for name, pieces in sentences.items():
        at, starts[name] = 0, line
        for piece, change in pieces:
            if at + len(piece) > LINE:
                at, line = 0, line + 1
            cells.append((at, line, piece, change or 0.0))
            at += len(piece)
        line += 2
    _, *others = sentences.values()
    top = max(abs(change or 0.0) for pieces in others for _, change in pieces) or 1.0
    fig, axes = panels(height=1.3 + 0.21 * line)
    ax = axes[0, 0]
    for x, y, piece, change in cells:
        shade = DIVERGING((1 + change / top) / 2)
        ax.barh(y, len(piece), 0.9, x, align="edge", color=shade, linewidth=0)
        ink = COLOURS["ground" if abs(change) > 0.6 * top else "ink"]
        for place, character in enumerate(piece):
            ax.text(
                x + place + 0.5, y + 0.45, character.replace("$", r"\$"), color=ink,
                family="monospace", fontsize=10, ha="center", va="center",
            )  # fmt: skip
    ax.set(xlim=(0, LINE), ylim=(line - 1, -0.2), xlabel="characters", frame_on=False)
    ax.set_yticks([start + 0.45 for start in starts.values()], [*starts], fontsize=10)
    ax.tick_params(left=False)
    fig.colorbar(
        ScalarMappable(Normalize(-top, top), DIVERGING), ax=ax, orientation="horizontal",
        aspect=60, pad=0.02, extend="both", label="change of log-probability (nats)",
    )  # fmt: skip
    return fig


def order_figure(rates: Sequence[float], errors: Mapping[str, Array]) -> Any:
    """Errors of first-order changes against the learning rate, beside a line of slope 1.

    Args:
        rates: Learning rates, ascending.
        errors: By name, shape (rates, pairs); medians are drawn, with bars to both ends.

    Returns:
        The matplotlib figure.
    """
    fig, ax = _growth("learning rate $\\eta$", "error / largest change")
    for (name, values), mark in zip(errors.items(), MARKERS, strict=False):
        middle = np.median(values, axis=1)
        _with_bars(
            ax, rates, middle, values.min(axis=1), values.max(axis=1), fmt=f"{mark}-", label=name
        )
    first = np.median(next(iter(errors.values())), axis=1)
    ax.plot(rates, first[0] * np.array(rates) / rates[0], ":", color=PAPER, label="slope 1")
    legend_above(fig)
    return fig


def squeezed_figure(found: Mapping[str, Mapping[str, Array]]) -> Any:
    """Where the mass goes, by the way in which a token was made less likely.

    Args:
        found: By the title of a panel and by way, parts, shape (draws,) each.

    Returns:
        The matplotlib figure. Dots are draws, circles their means.
    """
    fig, axes = panels(1, len(found), height=2.6, sharey=True)
    for ax, (title, ways) in zip(axes[0], found.items(), strict=True):
        for y, values in enumerate(ways.values()):
            ax.plot(values, [y] * len(values), ".", color=COLOURS["ink"], markersize=4)
            ax.plot(np.mean(values), y, "o", color=COLOURS["several"], markersize=7)
        ax.set(xlabel=title, xlim=(-0.03, 1.03), yticks=range(len(ways)), yticklabels=[*ways])
        ax.set_ylim(len(ways) - 0.5, -0.5)
        ax.grid(axis="x", alpha=0.3)
    return fig


def _dots(ax: Any, middle: float, values: Array, look: Mapping[str, str]) -> None:
    """A column of dots, spread a little."""
    x = middle + np.linspace(-0.06, 0.06, len(values))
    y = np.log10(np.maximum(values, 1e-300))
    ax.plot(x, y, "o", markersize=3, alpha=0.7, **look)


def _growth(xlabel: str, ylabel: str) -> Any:
    """A double logarithmic plot."""
    fig, axes = panels()
    axes[0, 0].set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
    return fig, axes[0, 0]


def _with_bars(ax: Any, x: Any, value: Array, low: Array, high: Array, **style: Any) -> None:
    ax.errorbar(
        x, value, yerr=[value - low, high - value], color=COLOURS["ink"], capsize=3, **style
    )
