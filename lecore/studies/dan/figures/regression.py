"""Figures of two phases in regression."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from lecore.companion.figures import COLOURS, draw_range
from lecore.studies.dan.regression import RegressionPath

SHOWN = ("two layers", "three layers", "wide", "linear network", "linear regression")
"""Kinds of networks whose curves are drawn."""

QUANTITIES = {
    "change": "change / start",
    "rate ratio": "rate, first tenth / last half",
    "plateau height": "last half / maximum",
    "change point": "change point (part of time)",
}


def similarity_and_loss(
    paths: Mapping[tuple[str, str], Sequence[RegressionPath]], targets: Sequence[str]
) -> Any:
    """S_rel over its value at the start, and the loss, through training.

    Args:
        paths: Runs by kind and target.
        targets: A column each.
    """
    size = (2.6 * len(targets), 5)
    fig, axes = plt.subplots(
        2, len(targets), figsize=size, sharex=True, sharey="row", squeeze=False
    )
    for (above, below), target in zip(axes.T, targets, strict=True):
        for kind, colour in zip(SHOWN, COLOURS.values(), strict=False):
            runs = paths[kind, target]
            similarity = np.array([run.trained / run.trained[0] for run in runs])
            draw_range(above, runs[0].steps, similarity, color=colour, label=kind)
            losses = np.array([run.losses for run in runs])
            draw_range(below, runs[0].steps, losses, color=colour, label=kind)
        above.set(title=target, xscale="symlog", ylim=(0, None))
        below.set(xlabel="steps taken", yscale="log", xlim=(0, None), ylim=(1e-6, 10))
    axes[0, 0].set_ylabel(r"$S_{\mathrm{rel}}$ / its value at the start")
    axes[1, 0].set_ylabel("half the mean squared error")
    axes[1, 0].legend(fontsize=7)
    return fig


def phase_numbers(table: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Any:
    """Four numbers of each kind of network, with intervals.

    Args:
        table: By kind, from :func:`lecore.studies.dan.two_phases.phase_numbers`.
    """
    fig, axes = plt.subplots(1, 4, figsize=(10, 3.6), sharey=True)
    for ax, (quantity, label) in zip(axes, QUANTITIES.items(), strict=True):
        for y, (kind, numbers) in enumerate(table.items()):
            if entry := numbers.get(quantity):
                colour = COLOURS["linear" if "linear" in kind else "relu"]
                ends = [entry["low"], entry["high"]]
                ax.plot(ends, [y, y], color=colour, alpha=0.5, linewidth=3)
                ax.plot(entry["value"], y, "o", color=colour)
        ax.set(xlabel=label, yticks=range(len(table)), yticklabels=list(table))
    axes[1].set_xscale("log")
    axes[0].invert_yaxis()
    return fig
