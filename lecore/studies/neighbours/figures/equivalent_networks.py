"""Equivalent networks: which units are stable, and what a step says of the same function."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lecore.companion.figures import (
    COLOURS,
    PAPER,
    draw_range,
    legend_above,
    panels,
    tones,
)
from lecore.studies.neighbours.equivalent_networks import Bounds

Array = NDArray[np.float64]


def stable_units_figure(found: Mapping[str, Sequence[Bounds]]) -> Any:
    """What each hidden unit can be on the box, a panel for each network and layer.

    Args:
        found: Bounds of the hidden layers by name of the network.
    """
    deep = len(next(iter(found.values())))
    fig, axes = panels(len(found), deep, height=1.9 * len(found) + 0.5, sharex=True, sharey=True)
    light = tones(3)[-1]
    for row, (name, layers) in zip(axes, found.items(), strict=True):
        for number, (ax, bounds) in enumerate(zip(row, layers, strict=True), 1):
            order = np.argsort(bounds.high + bounds.low)
            size = max(np.abs(bounds.low).max(), np.abs(bounds.high).max())
            for label, colour, which in (
                ("always off", COLOURS["chosen"], bounds.off),
                ("always on", COLOURS["relu"], bounds.on),
                ("either", light, ~(bounds.off | bounds.on)),
            ):
                x = np.flatnonzero(which[order])
                units = order[x]
                ax.vlines(
                    x, bounds.low[units] / size, bounds.high[units] / size, color=colour,
                    linewidth=0.9 if label == "either" else 1.6, label=label,
                )  # fmt: skip
                if label != "either":  # some hardly move, and are seen as a dot
                    middle = (bounds.low + bounds.high)[units] / (2 * size)
                    ax.plot(x, middle, "o", color=colour, markersize=3)
            ax.axhline(0, color=PAPER, linewidth=0.8)
            ax.set(title=f"{name}, layer {number}", yticks=[-1, 0, 1], ylim=(-1.05, 1.05))
    for ax in axes[-1]:
        ax.set_xlabel("hidden units, in order")
    for ax in axes[:, 0]:
        ax.set_ylabel("preactivation")
    legend_above(fig)
    return fig


def same_function_figure(
    similarity: Mapping[str, Array],
    factors: Sequence[float],
    correlation: Mapping[str, ArrayLike],
) -> Any:
    """S_rel of a network against that of its equivalents, and what the factor does.

    Args:
        similarity: Of ``itself``, ``off removed`` and ``rescaled``, shape (n, n) each.
        factors: By which every other unit was rescaled.
        correlation: Rank correlations by name of the network, shape (runs, factors) each.
    """
    fig, axes = panels(1, 3, height=2.9)
    own = similarity["itself"]
    pairs = ~np.eye(len(own), dtype=bool)
    top = 1.05 * max(m[pairs].max() for m in (own, similarity["rescaled"]))
    for ax, name in zip(axes[0], ("off removed", "rescaled"), strict=False):
        ax.plot([0, top], [0, top], color=PAPER, linewidth=0.8)
        ax.plot(
            own[pairs], similarity[name][pairs], ".", color=COLOURS["relu"], markersize=3,
            alpha=0.4, markeredgewidth=0, rasterized=True,
        )  # fmt: skip
        ax.set(title=name, xlabel="$S_{rel}$ before", xlim=(0, top), ylim=(0, top), aspect="equal")
    axes[0, 0].set_ylabel("$S_{rel}$ after")
    axes[0, 1].sharey(axes[0, 0])
    ax = axes[0, 2]
    for (name, values), style, colour in zip(
        correlation.items(), ("-", "--"), (COLOURS["relu"], COLOURS["several"]), strict=False
    ):
        runs = np.asarray(values)
        draw_range(ax, np.asarray(factors), runs, style, color=colour, label=name)
    ax.set(xscale="log", xlabel="factor", ylabel="rank correlation", ylim=(0, 1.03))
    legend_above(fig)
    return fig
