"""Numbers of several networks beside each other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lecore.companion.figures import COLOURS, PAPER, legend_above, panels, sample


def runs_figure(
    found: Mapping[str, Mapping[str, Sequence[float]]],
    label: str,
    *,
    mark: Mapping[str, float] | None = None,
    mark_label: str = "",
) -> Any:
    """Single networks and their mean, a panel for each quantity, a line for each way.

    Args:
        found: By panel, then by line: one number a network.
        label: Of the horizontal axes.
        mark: A number of each panel to compare with, drawn as a dotted line.
        mark_label: What that is.

    Returns:
        The matplotlib figure.
    """
    lines = list(next(iter(found.values())))
    fig, axes = panels(1, len(found), height=1.5 + 0.36 * len(lines), sharey=True)
    for ax, (title, rows) in zip(axes[0], found.items(), strict=True):
        for y, values in enumerate(rows.values()):
            ax.plot(values, [y] * len(values), ".", color=COLOURS["several"], alpha=0.6)
            ax.plot(np.mean(values), y, "o", color=COLOURS["several"], markersize=7)
        if mark is not None:
            ax.axvline(mark[title], color=PAPER, linestyle=":")
        ax.set(title=title, yticks=range(len(lines)), yticklabels=lines)
        ax.set_xlim(left=0)
    axes[0, 0].set_ylim(len(lines) - 0.5, -0.5)
    look = {"color": COLOURS["several"]}
    sample(axes[0, 0], "mean", "o", markersize=7, **look)
    sample(axes[0, 0], "single networks", ".", **look)
    if mark is not None:
        sample(axes[0, 0], mark_label, ":", color=PAPER)
    fig.supxlabel(label)
    legend_above(fig)
    return fig
