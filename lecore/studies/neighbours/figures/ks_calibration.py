"""Calibration error and relative similarity through training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lecore.companion.figures import (
    COLOURS,
    PAPER,
    draw_range,
    legend_above,
    panels,
    ticks_at,
    tones,
)
from lecore.studies.neighbours.ks_elasticity import Path


def training_figure(paths: Sequence[Path]) -> Any:
    """KS error, confidence ahead of accuracy, and S_rel by step: means and ranges over networks.

    Args:
        paths: One a network, with the same looks.
    """
    fig, axes = panels(3, 1, height=5.4, sharex=True)
    steps = paths[0].steps[1:]
    shown = (
        ("ks", "KS error (%)", 100),
        ("ahead", "confidence −\naccuracy (%)", 100),
        ("similarity", r"mean $S_{\mathrm{rel}}$", 1),
    )
    for ax, (name, label, times) in zip(axes[:, 0], shown, strict=True):
        curves = times * np.array([getattr(path, name)[1:] for path in paths])
        draw_range(ax, steps, curves, color=COLOURS["relu"])
        ax.set(xscale="log", ylabel=label)
    axes[1, 0].axhline(0, color=COLOURS["ink"], linewidth=0.6, alpha=0.4)
    axes[2, 0].set_xlabel("steps of training")
    return fig


def knots_figure(
    knots: Sequence[int],
    errors: Mapping[str, Sequence[Sequence[float]]],
    temperature: float,
    chance: float,
) -> Any:
    """KS errors after splines by their number of knots: means and ranges over networks.

    Args:
        knots: How many.
        errors: By what they were fitted on, one list a network, in per cent.
        temperature: Mean error after a temperature.
        chance: What calibrated scores of the same test images have.

    Returns:
        The matplotlib figure.
    """
    fig, axes = panels(1, 1, height=3.2)
    ax, styles = axes[0, 0], zip(("-", ":"), tones(3)[1:], "os", strict=True)
    for (label, values), (style, colour, marker) in zip(errors.items(), styles, strict=True):
        draw_range(
            ax, knots, np.array(values), style, color=colour, marker=marker, label=label
        )  # fmt: skip
    ax.axhline(temperature, color=COLOURS["ink"], linestyle="--", label="temperature")
    ax.axhline(chance, color=PAPER, linewidth=1, label="calibrated, by chance")
    ax.set(xscale="log", xlabel="knots", ylabel="KS error (%)")
    ax.set_ylim(bottom=0)
    ticks_at(ax.xaxis, knots)
    legend_above(fig, columns=2)
    return fig
