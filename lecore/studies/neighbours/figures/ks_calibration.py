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
    shown = (("ks", "KS error (%)", 100), ("ahead", "ahead (%)", 100), ("similarity", "", 1))
    for ax, (name, label, times) in zip(axes[:, 0], shown, strict=True):
        curves = times * np.array([getattr(path, name)[1:] for path in paths])
        draw_range(ax, steps, curves, color=COLOURS["relu"])
        ax.set(xscale="log", ylabel=label or r"mean $S_{\mathrm{rel}}$")
    axes[1, 0].axhline(0, color=COLOURS["ink"], linewidth=0.6, alpha=0.4)
    axes[2, 0].set_xlabel("steps of training")
    return fig


def counts_figure(
    counts: Sequence[int], errors: Mapping[str, Sequence[Sequence[float]]], chance: float
) -> Any:
    """KS errors by the number of calibration images: means and ranges over networks.

    Args:
        counts: Numbers of images.
        errors: By way, one list a network, in per cent.
        chance: What calibrated scores of the same test images have, in per cent.

    Returns:
        The matplotlib figure.
    """
    fig, axes = panels(1, 1, height=3.2)
    ax, styles = axes[0, 0], zip(("--", ":"), tones(3)[1:], "os", strict=True)
    for (way, values), (style, colour, marker) in zip(errors.items(), styles, strict=True):
        look = {"color": colour, "marker": marker, "label": way}
        draw_range(ax, counts, np.array(values), style, **look)
    ax.axhline(chance, color=PAPER, linewidth=1, label="calibrated, by chance")
    ax.set(xscale="log", xlabel="calibration images", ylabel="KS error (%)")
    ax.set_ylim(bottom=0)
    ticks_at(ax.xaxis, counts)
    legend_above(fig)
    return fig
