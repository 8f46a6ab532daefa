"""Pictures of the chapters on Figure 1: one step on the torus, and similarity against distance."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from numpy.typing import NDArray

from lecore.companion.figures import COLOURS, PAPER, scatter_pairs
from lecore.similarity import correlation_with_distance
from lecore.studies.he_su.figure1 import WAYS
from lecore.studies.he_su.figure1_placements import PLACEMENTS, of_place
from lecore.studies.he_su.figure1_runs import Measured
from lecore.uncertainty import Interval, over_runs

Array = NDArray[np.float64]
MARKERS = {"relu": "o", "linear": "s", "tanh": "^"}


def one_step_figure(points: Array, similarity: Mapping[str, Array], start: int) -> Any:
    """A curve in space, coloured by how far a step on one of its points moves the others.

    Args:
        points: Shape (n, 3).
        similarity: S_rel by activation, shape (n, n).
        start: Index of the update point, which gets a star.
    """
    fig = plt.figure(figsize=(9, 4))
    ticks = {"xticks": [-8, 0, 8], "yticks": [-8, 0, 8], "zticks": []}
    for k, (name, s) in enumerate(similarity.items(), 1):
        ax: Any = fig.add_subplot(1, 2, k, projection="3d", box_aspect=(1, 1, 0.35))
        shown = ax.scatter(*points.T, c=s[start], cmap="viridis", vmin=0, vmax=1, s=14)
        ax.scatter(*points[start], color="crimson", marker="*", s=170, depthshade=False)
        title = f"{'ReLU' if name == 'relu' else name} units"
        ax.set(title=title, xlabel="$x_1$", ylabel="$x_2$", **ticks)
        ax.view_init(elev=55, azim=-60)
    fig.colorbar(shown, ax=fig.axes, shrink=0.6, label=r"relative similarity $S_{\mathrm{rel}}$")
    return fig


def similarity_figure(
    distance: Array,
    similarity: Mapping[str, Array],
    correlation: Mapping[str, Interval],
    *,
    seed: int = 0,
) -> Any:
    """Relative similarity against distance in radians, with the median and its spread.

    Args:
        distance: Shape (n, n).
        similarity: By activation, shape (n, n).
        correlation: By activation.
        seed: Seed of the 4,000 pairs that are drawn as dots.
    """
    fig, axes = plt.subplots(1, len(similarity), figsize=(9, 3.4), sharey=True)
    edges = np.linspace(0, np.pi, 13)
    middle = (edges[1:] + edges[:-1]) / 2
    for ax, (name, s) in zip(axes, similarity.items(), strict=True):
        some = np.random.default_rng(seed).choice(s.size, min(s.size, 4000), replace=False)
        scatter_pairs(ax, distance.ravel()[some], s.ravel()[some], COLOURS[name], alpha=0.25)
        low, median, high = _quantiles_between(edges, distance, s)
        ax.plot(middle, median, color="black", label="median")
        ax.fill_between(middle, low, high, color="black", alpha=0.15, label="10 % to 90 %")
        value, lower, upper, _ = correlation[name]
        title = f"{name} units: r = {value:.3f} [{lower:.3f}, {upper:.3f}]"
        ax.set(title=title, xlabel="geodesic distance (radians)")
    axes[0].set_ylabel(r"$S_{\mathrm{rel}}$")
    axes[0].legend()
    return fig


def figure1_again(panels: Mapping[tuple[str, str], Measured], paper: Mapping[Any, float]) -> Any:
    """He & Su's Figure 1: similarity against distance, a panel for each network.

    Args:
        panels: By set and activation.
        paper: The paper's correlations by set and activation.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=(11, 2.9), sharey=True)
    for ax, ((name, activation), found) in zip(axes, panels.items(), strict=True):
        scatter_pairs(ax, found.distance, found.similarity, COLOURS[activation])
        here = correlation_with_distance(found.similarity, found.distance)
        there = paper[name, activation]
        unit = " (rad)" if name == "torus" else ""
        ax.set(
            title=f"{name}, {activation}\nhere {here:.2f}, paper {there}",
            xlabel=f"geodesic distance{unit}", ylim=(0, 1.6),
        )  # fmt: skip
    axes[0].set_ylabel(r"$S_{\mathrm{rel}}$")
    return fig


def all_sets_figure(
    table: pd.DataFrame,
    cases: Sequence[tuple[str, str]],
    paper: Mapping[tuple[str, str], float],
) -> Any:
    """Correlation with distance, random and trained, with Student's intervals over seeds.

    Args:
        table: From :func:`~lecore.studies.he_su.figure1.correlation_table`.
        cases: Sets and activations from top to bottom.
        paper: The paper's correlations by set and activation, drawn as bars.
    """
    fig, ax = plt.subplots(figsize=(8, 5))
    order = [", ".join(case) for case in cases]
    sns.pointplot(
        table.assign(case=table.set + ", " + table.activation), y="case", x=WAYS[0], hue="weights",
        order=order, dodge=0.4, linestyle="none", errorbar=lambda values: over_runs(values)[1:3],
        capsize=0.2, markersize=5, err_kws={"linewidth": 1.5}, ax=ax,
    )  # fmt: skip
    rows = [order.index(", ".join(case)) for case in paper]
    bar = {"marker": "|", "s": 260, "color": PAPER, "linewidths": 2, "zorder": 3}
    ax.scatter([*paper.values()], rows, label="paper", **bar)  # type: ignore[arg-type]
    ax.axvline(0, color=PAPER, linewidth=0.8)
    label = r"Pearson correlation of $S_{\mathrm{rel}}$ with geodesic distance"
    ax.set(xlabel=label, ylabel="")
    ax.legend()
    return fig


def placements_figure(table: pd.DataFrame) -> Any:
    """Correlation with distance wherever the sets lie: a panel for each place, dots are seeds.

    Args:
        table: From :func:`~lecore.studies.he_su.figure1_placements.placed_correlations`.
    """
    fig, axes = plt.subplots(1, len(PLACEMENTS), figsize=(11, 3.4), sharex=True, sharey=True)
    sets = list(dict.fromkeys(name for name, _ in table.index))
    activations = list(dict.fromkeys(activation for _, activation in table.index))
    for ax, where in zip(axes, PLACEMENTS, strict=True):
        for k, activation in enumerate(activations):
            values = np.array([of_place(table, (name, activation), where) for name in sets])
            rows = np.arange(len(sets)) + 0.22 * (k - 1)
            style = {"color": COLOURS[activation], "marker": MARKERS[activation]}
            ax.plot(values.mean(axis=1), rows, linestyle="none", label=activation, **style)
            ax.plot(values, rows, ".", color=COLOURS[activation], alpha=0.5, markersize=3)
        ax.axvline(0, color=PAPER, linewidth=0.8)
        ax.set(title=where, xlabel="correlation", yticks=range(len(sets)), yticklabels=sets)
    axes[0].invert_yaxis()
    axes[0].legend(fontsize=8)
    return fig


def along_figure(curves: Mapping[str, Mapping[str, pd.DataFrame]]) -> Any:
    """Correlation with distance as a set moves away from the origin, and as it grows.

    Args:
        curves: By activation, from :func:`~lecore.studies.he_su.figure1_placements.along`.
    """
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
    labels = {"shift": "moved by (radii of the set)", "scale": "size (1: as in the paper)"}
    for ax, (name, label) in zip(axes, labels.items(), strict=True):
        for activation, found in curves.items():
            values, colour = found[name], COLOURS[activation]
            ax.plot(values.mean(axis=1), color=colour, marker=MARKERS[activation], label=activation)
            ends = values.min(axis=1), values.max(axis=1)
            ax.fill_between(values.index, *ends, color=colour, alpha=0.15, linewidth=0)
        ax.axhline(0, color=PAPER, linewidth=0.8)
        ax.set_xlabel(label)
    axes[1].set_xscale("log", base=2)
    axes[0].set_ylabel("correlation with distance")
    axes[0].legend()
    return fig


def rates_figure(sweep: pd.DataFrame, paper_share: float, paper_correlation: float) -> Any:
    """Correlation and highest loss against learning rate: each seed, and the median.

    Args:
        sweep: From :func:`~lecore.studies.he_su.figure1_rates.rate_sweep`; runs that diverged are
            left out.
        paper_share: Learning rate of the paper's linear network over the largest stable one.
        paper_correlation: Of that network.
    """
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.2))
    finite = sweep[np.isfinite(sweep.peak)]
    for ax, column in zip(axes, ("correlation", "peak"), strict=True):
        for activation in sweep.activation.unique():
            rows, colour = finite[finite.activation == activation], COLOURS[activation]
            ax.plot(rows.share, rows[column], "o", color=colour, alpha=0.6, markersize=4)
            ax.plot(rows.groupby("share")[column].median(), color=colour, label=activation)
        ax.axvline(1, color=PAPER, linestyle=":")
        ax.axvline(paper_share, color=PAPER, linestyle="--")
        ax.set(xscale="log", xlabel=r"learning rate / largest stable one $\eta_c$")
    axes[0].axhline(paper_correlation, color=PAPER, linewidth=0.8)
    beginning = (sweep.share.min(), paper_correlation)
    axes[0].annotate("paper, linear", beginning, va="bottom", color=PAPER, fontsize=9)
    axes[0].set_ylabel("correlation after training")
    axes[1].set(yscale="log", ylabel="peak loss / first loss")
    axes[0].legend(loc="center left", bbox_to_anchor=(0, 0.3))
    return fig


def _quantiles_between(edges: Array, distance: Array, values: Array) -> Array:
    inside = [
        values[(distance >= low) & (distance <= high)] for low, high in itertools.pairwise(edges)
    ]
    none = np.full(3, np.nan)
    found = [np.quantile(some, [0.1, 0.5, 0.9]) if len(some) else none for some in inside]
    return np.array(found).T
