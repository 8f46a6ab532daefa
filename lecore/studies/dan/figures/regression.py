"""Figures of two phases in regression."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from lecore.companion.figures import (
    COLOURS,
    PAPER,
    WIDTH,
    draw_range,
    legend_above,
    panels,
    sample,
    ticks_at,
)
from lecore.studies.dan.phase_controls import CONTROLS
from lecore.studies.dan.phases import GRID
from lecore.studies.dan.regression import RegressionPath
from lecore.studies.dan.shapes import fitted

LOOKS = {
    "two layers": ("relu", "-"),
    "three layers": ("relu", "--"),
    "wide": ("relu", ":"),
    "linear network": ("linear", "-"),
    "linear regression": ("linear", "--"),
}
"""Kinds of networks whose curves are drawn, and how."""

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
        targets: A row each.
    """
    rows = len(targets)
    fig, axes = panels(rows, 2, height=1.1 + 2 * rows, sharex=True, sharey="col")
    for (left, right), target in zip(axes, targets, strict=True):
        for kind, (units, style) in LOOKS.items():
            look: dict[str, Any] = {"color": COLOURS[units], "style": style, "label": kind}
            runs = paths[kind, target]
            similarity = np.array([run.trained / run.trained[0] for run in runs])
            draw_range(left, runs[0].steps, similarity, **look)
            losses = np.array([run.losses for run in runs])
            draw_range(right, runs[0].steps, losses, **look)
        left.set(ylabel=r"$S_{\mathrm{rel}}$ / at the start", xscale="symlog")
        right.set(ylabel="loss", yscale="log", xlim=(0, None), ylim=(1e-6, 10))
        left.set_title(f"target: {target}", loc="left")
    axes[0, 0].set_ylim(0, 1.05 * max(ax.dataLim.y1 for ax in axes[:, 0]))
    for ax in axes[-1]:
        ax.set_xlabel("steps taken")
    legend_above(fig)
    return fig


def corner_or_curve(runs: Mapping[str, RegressionPath]) -> Any:
    """S_rel of single runs with the two lines and the smooth curve that fit it best.

    Args:
        runs: One a panel, by its name.
    """
    fig, axes = panels(1, len(runs), height=3.6)
    looks: tuple[dict[str, Any], ...] = (
        {"label": "two lines", "linestyle": "--", "color": COLOURS["ink"]},
        {"label": "smooth curve", "color": COLOURS["relu"]},
    )
    for ax, (name, run) in zip(axes[0], runs.items(), strict=True):
        times = np.linspace(0, run.steps[-1], GRID)
        curve = np.interp(times, run.steps, run.trained / run.trained[0])
        ax.plot(times, curve, color=PAPER, linewidth=5, alpha=0.5, label="as measured")
        for fit, look in zip(fitted(curve), looks, strict=True):
            ax.plot(times, fit, **look)
        ax.set(xlabel="steps taken", title=name)
    axes[0, 0].set_ylabel(r"$S_{\mathrm{rel}}$ / at the start")
    legend_above(fig)
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
    rows = dict(table) | dict(controls)
    above, below = len(table), len(rows)
    layout: list[Any] = [
        ["change", "plateau height"],
        ["slope ratio", "left ratio"],
        ["shares"] * 2,
    ]
    height = 2.2 + 0.24 * (2 * above + below)
    fig, axes = plt.subplot_mosaic(
        layout, figsize=(WIDTH, height), height_ratios=(above, above, below)
    )
    for quantity, (label, bound) in QUANTITIES.items():
        ax = axes[quantity]
        ax.axvline(bound, color=PAPER, linestyle=":")
        for y, kind in enumerate(table):
            _entry(ax, y, table[kind][quantity], **_look(kind))
        ax.set(xlabel=label, yticks=range(above), yticklabels=list(table))
    for y, (kind, numbers) in enumerate(rows.items()):
        _entry(axes["shares"], y - 0.15, numbers["levels off"], "D", **_look(kind))
        _entry(axes["shares"], y + 0.15, numbers["two phases"], **_look(kind))
    axes["shares"].axvline(0.5, color=PAPER, linestyle=":")
    axes["shares"].set(xlabel="share of curves", xlim=(-0.02, 1.02))
    axes["shares"].set(yticks=range(below), yticklabels=list(rows))
    sample(axes["shares"], "levels off", "D", markersize=4)
    sample(axes["shares"], "two phases", "o", markersize=4)
    for left, right in layout[:2]:
        axes[right].sharey(axes[left])
        axes[right].tick_params(labelleft=False)
    for first, *_ in layout:
        axes[first].invert_yaxis()
    axes["change"].set_xscale("symlog", linthresh=0.01)
    axes["change"].set(xlim=(-0.001, 1))
    ticks_at(axes["change"].xaxis, [0, 0.01, 0.1, 1])
    axes["slope ratio"].set_xscale("log")
    axes["left ratio"].set_xscale("log")
    legend_above(fig)
    return fig


def _look(kind: str) -> dict[str, str]:
    if kind in CONTROLS:
        return {"color": COLOURS["ink"]}
    units = next((name for name in ("linear", "tanh") if name in kind), "relu")
    return {"color": COLOURS[units]}


def _entry(ax: Any, y: float, entry: Mapping[str, float], mark: str = "o", *, color: str) -> None:
    ax.plot([entry["low"], entry["high"]], [y, y], color=color, alpha=0.5, linewidth=3)
    ax.plot(entry["value"], y, mark, color=color, markersize=4)
