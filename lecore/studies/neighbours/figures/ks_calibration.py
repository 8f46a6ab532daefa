"""Calibration error and relative similarity through training."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lecore.companion.figures import COLOURS, draw_range, panels
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
