"""How polynomial nets compare with networks of other units, on the torus and on images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lecore.companion.figures import COLOURS, PAPER, SPELLED, legend_above, panels
from lecore.studies.neighbours.polynomial_elasticity import by_seed
from lecore.uncertainty import over_runs


def on_the_torus_figure(
    random: pd.DataFrame, trained: pd.DataFrame, networks: Sequence[str]
) -> Any:
    """Correlations of each network wherever the torus lies: means and single seeds.

    Args:
        random: Of ``torus_correlations``, at random weights.
        trained: Of trained networks, in the first of the places.
        networks: In the order of the drawing.
    """
    places = list(random.place.unique())
    fig, axes = panels(1, len(places), height=3.2, sharey=True)
    for ax, place in zip(axes[0], places, strict=True):
        for x, name in enumerate(networks):
            colour = COLOURS.get(name, COLOURS["several"])
            for table, fill, shift in ((random, "none", -0.13), (trained, "full", 0.13)):
                values = by_seed(table, name, place)
                ax.plot([x + shift] * len(values), values, ".", color=colour, markersize=3)
                if len(values):
                    ax.plot(x + shift, values.mean(), "o", color=colour, fillstyle=fill)
        ax.set(title=place, xticks=range(len(networks)), ylim=(-1.05, 0.15))
        ax.set_xticklabels([SPELLED.get(n, n) for n in networks], rotation=55, ha="right")
        ax.axhline(0, color=PAPER, linewidth=0.8)
    axes[0, 0].set_ylabel("correlation with distance")
    fig.supxlabel("network")
    for words, fill in (("random weights", "none"), ("trained", "full")):
        axes[0, 0].plot([], [], "o", color=COLOURS["ink"], fillstyle=fill, label=words)
    legend_above(fig)
    return fig


def image_networks_figure(
    accuracy: Mapping[str, Mapping[str, ArrayLike]],
    superiority: Mapping[str, ArrayLike],
    title: str,
) -> Any:
    """Test accuracy and preference for the own class by network, with 95 % intervals.

    Args:
        accuracy: Per cent by range of the pixels and network, shape (runs,) each.
        superiority: From 0 to 1 by network, likewise, for the first of the ranges.
        title: Says which run they are from.
    """
    fig, axes = panels(1, 2, height=3.3, sharey=True)
    left, right = axes[0]
    names = list(superiority)
    for place, (pixels, values) in enumerate(accuracy.items()):
        _draw(left, values, names, "os"[place], place * 0.3)
        left.plot([], [], "os"[place], color=COLOURS["ink"], label=f"pixels from {pixels}")
    _draw(right, superiority, names, "o", 0)
    left.set(xlabel="test accuracy (%)", yticks=range(len(names)))
    left.set_yticklabels([SPELLED.get(name, name) for name in names])
    left.invert_yaxis()
    right.set_xlabel("chance that a pair of one class\nhas the larger $S_{rel}$")
    legend_above(fig, title)
    return fig


def _draw(
    ax: Any, values: Mapping[str, ArrayLike], names: Sequence[str], marker: str, shift: float
) -> None:
    """Means with intervals and single runs, a line for each network."""
    for name, runs in values.items():
        mean, low, high, _ = over_runs(runs)
        colour, y = COLOURS.get(name, COLOURS["several"]), names.index(name) + shift
        ax.plot([low, high], [y, y], color=colour, alpha=0.5, linewidth=3)
        ax.plot(runs, [y] * len(np.asarray(runs)), ".", color=colour, markersize=3)
        ax.plot(mean, y, marker, color=colour, markersize=6)
