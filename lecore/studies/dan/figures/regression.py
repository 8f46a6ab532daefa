"""Figures of two phases in regression."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from lecore.companion.figures import COLOURS, PAPER, draw_range
from lecore.studies.dan.phase_controls import CONTROLS
from lecore.studies.dan.regression import RegressionPath

SHOWN = ("two layers", "three layers", "wide", "linear network", "linear regression")
"""Kinds of networks whose curves are drawn."""

QUANTITIES: dict[str, tuple[str, float]] = {
    "change": ("change / start", 0.1),
    "plateau height": ("last half / maximum", 0.5),
    "slope ratio": ("slope before / after", 10.0),
    "left ratio": ("left unexplained by\ntwo lines / smooth curve", 1.0),
}
"""Label, and where the criterion stands."""


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


def phase_numbers(
    table: Mapping[str, Mapping[str, Mapping[str, float]]],
    controls: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> Any:
    """Numbers of each kind of network, and shares of runs and of controls, with intervals.

    Args:
        table: By kind, from :func:`lecore.studies.dan.two_phases.phase_numbers`.
        controls: By name, from :func:`lecore.studies.dan.phase_controls.control_shares`.
    """
    fig, axes = plt.subplots(1, 5, figsize=(12, 5), sharey=True)
    rows = dict(table) | dict(controls)
    for ax, (quantity, (label, bound)) in zip(axes, QUANTITIES.items(), strict=False):
        ax.axvline(bound, color=PAPER, linestyle=":")
        for y, kind in enumerate(table):
            _entry(ax, y, table[kind][quantity], _colour(kind))
        ax.set(xlabel=label)
    for y, (kind, numbers) in enumerate(rows.items()):
        _entry(axes[4], y + 0.15, numbers["levels off"], _colour(kind), fillstyle="none")
        _entry(axes[4], y - 0.15, numbers["two phases"], _colour(kind))
    axes[4].axvline(0.5, color=PAPER, linestyle=":")
    axes[4].set(xlabel="share of curves", xlim=(-0.05, 1.05))
    axes[0].set(yticks=range(len(rows)), yticklabels=list(rows))
    axes[0].set_xscale("symlog", linthresh=0.01)
    axes[0].set(xlim=(-0.001, 1), xticks=[0, 0.01, 0.1, 1], xticklabels=["0", "0.01", "0.1", "1"])
    axes[2].set_xscale("log")
    axes[3].set_xscale("log")
    axes[0].invert_yaxis()
    return fig


def _colour(kind: str) -> str:
    if kind in CONTROLS:
        return PAPER
    return COLOURS["linear" if "linear" in kind else "relu"]


def _entry(ax: Any, y: float, entry: Mapping[str, float], colour: str, **style: Any) -> None:
    ax.plot([entry["low"], entry["high"]], [y, y], color=colour, alpha=0.5, linewidth=3)
    ax.plot(entry["value"], y, "o", color=colour, **style)
