"""Pictures of the chapter on the tangent kernel: errors against their power laws, and overlaps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lecore.companion.figures import COLOURS, PAPER, legend_above, panels, scatter_pairs, ticks_at
from lecore.uncertainty import over_runs

Array = NDArray[np.float64]
RELU = COLOURS["relu"]


def finite_step_figure(rates: Sequence[float], errors: ArrayLike) -> Any:
    """Distance of the kernelized similarity from the tangent kernel, beside the power 1.

    Args:
        rates: Learning rates.
        errors: Relative distances at them.
    """
    fig, axes = panels()
    ax = axes[0, 0]
    label = r"largest $|S_{\mathrm{ker}} - \Theta|$ / largest $|\Theta|$"
    ax.plot(rates, errors, "o", color=RELU, label=label)
    _draw_power(ax, rates, errors, 1, "slope 1")
    ax.set(xlabel=r"learning rate $\eta$", ylabel="relative error")
    legend_above(fig)
    return fig


def equation4_figure(widths: Sequence[int], errors: Array) -> Any:
    """Error of equation (4) against width, beside the power −½.

    Args:
        widths: Hidden units.
        errors: Shape (widths, seeds).
    """
    fig, axes = panels()
    _draw_errors(axes[0, 0], widths, errors)
    axes[0, 0].set_ylabel("median relative error")
    legend_above(fig)
    return fig


def overlap_figure(distance: ArrayLike, overlap: ArrayLike) -> Any:
    """Cosine of activation patterns against Euclidean distance (He & Su, Figure 7a)."""
    fig, axes = panels()
    scatter_pairs(axes[0, 0], distance, overlap, alpha=0.3)
    label = "cosine of activation patterns"
    axes[0, 0].set(xlabel="Euclidean distance", ylabel=label, ylim=(0, 1.02))
    return fig


def infinite_width_figure(
    widths: Sequence[int], errors: Array, distance: Array, ratio: Array
) -> Any:
    """Distance of the empirical kernel from its limit, and the limit's own relative similarity.

    Args:
        widths: Hidden units.
        errors: Distance from the limit, shape (widths, seeds).
        distance: Geodesic distance of the points, shape (n, n).
        ratio: Relative similarity of the limit, shape (n, n).
    """
    fig, axes = panels(1, 2)
    left, right = axes[0]
    _draw_errors(left, widths, errors)
    left.set_ylabel("mean error / mean of limit")
    scatter_pairs(right, distance, ratio)
    label = r"$\Theta_\infty(x, x') / \Theta_\infty(x, x)$"
    right.set(xlabel="geodesic distance (radians)", ylabel=label)
    legend_above(fig)
    return fig


def _draw_errors(ax: Any, widths: Sequence[int], errors: Array) -> None:
    """Mean over seeds, with an interval that is cut at a tenth of the mean, and the power −½."""
    value, low, high = np.array([over_runs(row)[:3] for row in errors]).T
    bars = [value - np.maximum(low, value / 10), high - value]
    ax.errorbar(widths, value, yerr=bars, fmt="o-", color=RELU, capsize=3, label="mean")
    _draw_power(ax, widths, value, -0.5, "slope −½")
    ticks_at(ax.xaxis, widths)
    ax.set_xlabel("width $m$ (hidden units)")


def _draw_power(ax: Any, x: ArrayLike, y: ArrayLike, power: float, label: str) -> None:
    """A dotted line of a power through the first value, on logarithmic axes."""
    places, values = np.asarray(x), np.asarray(y)
    line = values[0] * (places / places[0]) ** power
    ax.plot(places, line, ":", color=PAPER, label=label)
    ax.set(xscale="log", yscale="log")
