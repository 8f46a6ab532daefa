"""Pictures of the chapters on Figure 1: one step on the torus, and similarity against distance."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lecore.companion.figures import (
    COLOURS,
    PAPER,
    SEQUENTIAL,
    SPELLED,
    WIDTH,
    halves,
    label_ends,
    legend_above,
    panels,
    sample,
    scatter_pairs,
)
from lecore.similarity import correlation_with_distance
from lecore.studies.he_su.figure1 import WAYS
from lecore.studies.he_su.figure1_placements import PLACEMENTS, of_place
from lecore.studies.he_su.figure1_runs import Measured
from lecore.uncertainty import Interval, over_runs

Array = NDArray[np.float64]
MARKERS = {"relu": "o", "linear": "s", "tanh": "^"}
INK = COLOURS["ink"]


def one_step_figure(
    points: Array, similarity: Mapping[str, Array], start: int, second: Array | None = None
) -> Any:
    """A curve in space, coloured by how far a step on one of its points moves the others.

    Args:
        points: Shape (n, 3).
        similarity: S_rel by activation, shape (n, n).
        start: Index of the update point, which gets a star.
        second: Points of the other class, drawn small, shape (n₂, 3).
    """
    fig = plt.figure(figsize=(WIDTH, 3.9))
    ticks = {"xticks": [-8, 0, 8], "yticks": [-8, 0, 8], "zticks": [-1, 1]}
    for k, (name, s) in enumerate(similarity.items(), 1):
        ax: Any = fig.add_subplot(1, 2, k, projection="3d", computed_zorder=False)
        ax.set_box_aspect((1, 1, 0.35), zoom=1.12)
        if second is not None:
            dots = {"color": PAPER, "s": 5, "linewidths": 0, "depthshade": False}
            ax.scatter(*second.T, label="points of the other class", **dots)
        colours = {"cmap": SEQUENTIAL, "vmin": 0, "vmax": 1}
        shown = ax.scatter(*points.T, c=s[start], s=16, depthshade=False, **colours)
        star = {"color": COLOURS["chosen"], "marker": "*", "s": 150, "depthshade": False}
        ax.scatter(*points[start], label="update point", **star)
        ax.set(title=f"{SPELLED.get(name, name)} units", **ticks)
        ax.set(xlabel="$x_1$", ylabel="$x_2$", zlabel="$x_3$")
        ax.zaxis.labelpad = -3
        ax.view_init(elev=55, azim=-60)
    label = r"relative similarity $S_{\mathrm{rel}}$"
    fig.colorbar(shown, ax=fig.axes, label=label, location="bottom", shrink=0.6, aspect=30)
    legend_above(fig)
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
    fig, axes = panels(1, len(similarity), height=3.8, sharey=True)
    edges = np.linspace(0, np.pi, 13)
    middle = (edges[1:] + edges[:-1]) / 2
    for ax, (name, s) in zip(axes[0], similarity.items(), strict=True):
        some = np.random.default_rng(seed).choice(s.size, min(s.size, 4000), replace=False)
        scatter_pairs(ax, distance.ravel()[some], s.ravel()[some], COLOURS[name], alpha=0.25)
        low, median, high = _quantiles_between(edges, distance, s)
        ax.plot(middle, median, color=INK, label="median")
        ax.fill_between(middle, low, high, color=INK, alpha=0.15, lw=0, label="10 % to 90 %")
        value, lower, upper, _ = correlation[name]
        numbers = f"r = {value:.3f} [{lower:.3f}, {upper:.3f}]".replace("-", "−")
        ax.set(title=f"{SPELLED.get(name, name)} units\n{numbers}")
        ax.set(xlabel="geodesic distance (radians)", ylim=(0, None))
    axes[0, 0].set_ylabel(r"$S_{\mathrm{rel}}$")
    legend_above(fig)
    return fig


def figure1_again(panels_of: Mapping[tuple[str, str], Measured], paper: Mapping[Any, float]) -> Any:
    """He & Su's Figure 1: similarity against distance, a panel for each network.

    Args:
        panels_of: By set and activation.
        paper: The paper's correlations by set and activation.
    """
    rows = -(-len(panels_of) // 2)
    fig, axes = panels(rows, 2, height=0.4 + 2.7 * rows, sharey=True)
    for ax, ((name, activation), found) in zip(axes.flat, panels_of.items(), strict=True):
        scatter_pairs(ax, found.distance, found.similarity, COLOURS[activation])
        here = correlation_with_distance(found.similarity, found.distance)
        numbers = f"here {here:.2f}, paper {paper[name, activation]:.2f}".replace("-", "−")
        unit = "radians" if name == "torus" else "length"
        ax.set(
            title=f"{name}, {SPELLED.get(activation, activation)}\n{numbers}",
            xlabel=f"geodesic distance ({unit})", ylim=(0, 1.6),
        )  # fmt: skip
    for ax in axes[:, 0]:
        ax.set_ylabel(r"$S_{\mathrm{rel}}$")
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
    fig, axes = panels(height=1.4 + 0.3 * len(cases))
    ax = axes[0, 0]
    for weights, fill in (("random", "none"), ("trained", "full")):
        sample(ax, f"{weights} weights", "o", markersize=5, fillstyle=fill)
    groups = table.groupby(["set", "activation", "weights"])[WAYS[0]]
    for (name, activation, weights), values in groups:
        if (name, activation) in cases:
            y = cases.index((name, activation)) + (-0.15 if weights == "random" else 0.15)
            value, low, high, _ = over_runs(values)
            look = {"color": COLOURS[activation], "markersize": 5, "capsize": 3}
            look["fillstyle"] = "none" if weights == "random" else "full"
            ax.errorbar(value, y, xerr=[[value - low], [high - value]], fmt="o", **look)
    rows = [cases.index(case) for case in paper]
    bar = {"marker": "|", "s": 260, "color": PAPER, "linewidths": 2, "zorder": 3}
    ax.scatter([*paper.values()], rows, label="paper", **bar)
    ax.axvline(0, color=PAPER, linewidth=0.8)
    names = [f"{name}, {SPELLED.get(activation, activation)}" for name, activation in cases]
    ax.set(yticks=range(len(cases)), yticklabels=names, ylim=(len(cases) - 0.5, -0.5))
    ax.set(xlabel=r"Pearson correlation of $S_{\mathrm{rel}}$ with geodesic distance")
    legend_above(fig)
    return fig


def placements_figure(table: pd.DataFrame) -> Any:
    """Correlation with distance wherever the sets lie: a panel for each place, dots are seeds.

    Args:
        table: From :func:`~lecore.studies.he_su.figure1_placements.placed_correlations`.
    """
    fig, axes = panels(2, 2, height=5.6, sharex=True, sharey=True)
    sets = list(dict.fromkeys(name for name, _ in table.index))
    activations = list(dict.fromkeys(activation for _, activation in table.index))
    for ax, where in zip(axes.flat, PLACEMENTS, strict=True):
        for k, activation in enumerate(activations):
            values = np.array([of_place(table, (name, activation), where) for name in sets])
            rows = np.arange(len(sets)) + 0.22 * (k - 1)
            style = {"color": COLOURS[activation], "marker": MARKERS[activation]}
            style |= {"label": SPELLED.get(activation, activation), "linestyle": "none"}
            ax.plot(values.mean(axis=1), rows, markersize=5, fillstyle="none", **style)
            ax.plot(values, rows, ".", color=COLOURS[activation], alpha=0.5, markersize=3)
        ax.axvline(0, color=PAPER, linewidth=0.8)
        ax.set(title=where, yticks=range(len(sets)), yticklabels=sets)
    axes[0, 0].invert_yaxis()
    for ax in axes[-1]:
        ax.set_xlabel("correlation with distance")
    legend_above(fig)
    return fig


def along_figure(curves: Mapping[str, Mapping[str, pd.DataFrame]]) -> Any:
    """Correlation with distance as a set moves away from the origin, and as it grows.

    Args:
        curves: By activation, from :func:`~lecore.studies.he_su.figure1_placements.along`.
    """
    fig, axes = panels(1, 2, sharey=True)
    labels = {"shift": "moved by (radii of the set)", "scale": "size (1: as in the paper)"}
    for ax, (name, label) in zip(axes[0], labels.items(), strict=True):
        for activation, found in curves.items():
            values, colour = found[name], COLOURS[activation]
            style = {"color": colour, "marker": MARKERS[activation], "markersize": 5}
            style["label"] = SPELLED.get(activation, activation)
            ax.plot(values.mean(axis=1), fillstyle="none", **style)
            ends = values.min(axis=1), values.max(axis=1)
            ax.fill_between(values.index, *ends, color=colour, alpha=0.15, linewidth=0)
        ax.axhline(0, color=PAPER, linewidth=0.8)
        ax.set_xlabel(label)
    halves(axes[0, 1])
    axes[0, 0].set_ylabel("correlation with distance")
    label_ends(axes[0, 1])
    return fig


def rates_figure(
    sweep: pd.DataFrame,
    paper_correlation: float,
    reference: Mapping[str, Mapping[str, Any]] | None = None,
) -> Any:
    """Correlation and highest loss against learning rate: each seed, and the median.

    Args:
        sweep: From :func:`~lecore.studies.he_su.figure1_rates.rates_table`; runs that diverged
            are left out.
        paper_correlation: Of the paper's linear network.
        reference: Records of a run at the paper's size, whose linear networks at the paper's rate
            are drawn as well.
    """
    fig, axes = panels(1, 2, height=3.8)
    left, right = axes[0]
    finite = sweep[np.isfinite(sweep.peak)]
    at_paper_rate = sweep[sweep.paper & (sweep.activation == "linear")].share.mean()
    for ax, column in ((left, "correlation"), (right, "peak")):
        for activation in sweep.activation.unique():
            rows, colour = finite[finite.activation == activation], COLOURS[activation]
            chosen, papers = rows[~rows.paper], rows[rows.paper]
            style = {"color": colour, "alpha": 0.6, "markersize": 4}
            ax.plot(chosen.share, chosen[column], "o", **style)
            ax.plot(papers.share, papers[column], "s", **style)
            middle = chosen.groupby("share")[column].median()
            ax.plot(middle, color=colour, label=SPELLED.get(activation, activation))
        ax.axvline(1, color=PAPER, linestyle=":", label="largest stable rate")
        ax.axvline(
            at_paper_rate, color=PAPER, linestyle="--", label="rate of the paper's linear network"
        )
        halves(ax)
        ax.set_xlabel(r"learning rate / largest stable $\eta_c$")
    left.plot(at_paper_rate, paper_correlation, "D", color=PAPER, label="its correlation")
    if reference:
        share, r = (reference[f"paper-rate-{word}-linear"] for word in ("share", "correlation"))
        style = {"color": COLOURS["linear"], "markersize": 7, "fillstyle": "none"}
        left.plot(share["runs"], r["runs"], "^", label="linear, at the paper's size", **style)
    left.set_ylabel("correlation after training")
    right.set(yscale="log", ylabel="peak loss / first loss")
    legend_above(fig, columns=3)
    return fig


def draws_figure(table: pd.DataFrame, printed: tuple[float, float]) -> Any:
    """Correlation and mean similarity of networks that differ in their first weights alone.

    Args:
        table: From :func:`~lecore.studies.he_su.linear_draws.linear_draws`.
        printed: The paper's two numbers.
    """
    fig, axes = panels(1, 1, height=3.4)
    ax = axes[0][0]
    style = {"color": COLOURS["linear"], "alpha": 0.5, "markersize": 4}
    name = "linear networks, other first weights"
    ax.plot(table.correlation, table.similarity, "s", label=name, **style)
    ax.axvline(printed[0], color=PAPER, linestyle=":")
    ax.plot(*printed, "D", color=PAPER, label="the paper's linear network")
    ax.set(xlabel="correlation of similarity with distance", ylabel=r"mean $S_{\mathrm{rel}}$")
    legend_above(fig, columns=2)
    return fig


def _quantiles_between(edges: Array, distance: Array, values: Array) -> Array:
    inside = [
        values[(distance >= low) & (distance <= high)] for low, high in itertools.pairwise(edges)
    ]
    none = np.full(3, np.nan)
    found = [np.quantile(some, [0.1, 0.5, 0.9]) if len(some) else none for some in inside]
    return np.array(found).T
