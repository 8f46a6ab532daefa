"""Figures of models whose flow is solved."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from lecore.companion.figures import COLOURS, PAPER, draw_range
from lecore.studies.dan.ridge import RELEASED_PAIRS, VARIANTS
from lecore.studies.dan.small_models import MOMENTS, NUMBERS

Array = NDArray[np.float64]


def ridge_losses(
    times: NDArray[np.int64], curves: Mapping[int, Mapping[str, Array]], paper: Mapping[str, Any]
) -> Any:
    """Losses along the flow, with the released ones as circles.

    Args:
        times: t, shape (T,).
        curves: By number of features and name, from :func:`lecore.studies.dan.ridge.losses`.
        paper: The released numbers.
    """
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
    for ax, (p, losses) in zip(axes, curves.items(), strict=True):
        for (name, loss), dashes in zip(losses.items(), ("-", "--", ":"), strict=True):
            ax.semilogy(times, loss, dashes, label=name)
        released = paper["loss"][f"{p} features, interclass"]
        circles = {"color": PAPER, "fillstyle": "none", "label": "released curve"}
        ax.plot(paper["loss times"], released, "o", **circles)
        ax.set(xlabel="time $t$", title=f"{p} features")
    axes[0].set_ylabel("loss")
    axes[0].legend()
    return fig


def ridge_similarities(
    times: NDArray[np.int64], found: Mapping[int, Mapping[str, Array]], paper: Mapping[str, Any]
) -> Any:
    """S_rel along the flow: means as published, medians of what has poles.

    Args:
        times: t, shape (T,).
        found: Shape (T, pairs, starts) by number of features and variant.
        paper: The released numbers.
    """
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True)
    for ax, (p, variants) in zip(axes, found.items(), strict=True):
        for name, colour in zip(VARIANTS, COLOURS.values(), strict=False):
            if name.startswith("as coded"):
                values, label = variants[name].mean(axis=1) / RELEASED_PAIRS, f"{name} / 20"
                middle = values.mean(axis=1)
            else:  # a mean would follow single ratios whose denominator passes 0
                values, label = np.median(variants[name], axis=1), f"{name}, median"
                middle = np.median(values, axis=1)
            low, high = middle - values.std(axis=1), middle + values.std(axis=1)
            ax.semilogy(times, middle, color=colour, label=label)
            ax.fill_between(times, np.maximum(low, 1e-6), high, color=colour, alpha=0.2)
        circle = {"color": PAPER, "fillstyle": "none", "label": "published end, interclass"}
        ax.plot(8000, paper["end"][f"{p} features, interclass"], "o", clip_on=False, **circle)
        ax.set(xlabel="time $t$", title=f"{p} features", ylim=(1e-5, 20))
    axes[0].set_ylabel(r"$S_{\mathrm{rel}}$")
    axes[1].legend(loc="lower right", fontsize=8)
    return fig


def ridge_draws(drawn: Mapping[int, Mapping[str, Array]], paper: Mapping[str, Any]) -> Any:
    """Histograms over draws of pairs: end and flatness as coded, range with one factor.

    Args:
        drawn: By number of features, from :func:`lecore.studies.dan.ridge_draws.draw_numbers`.
        paper: The released numbers.
    """
    fig, axes = plt.subplots(1, 3, figsize=(10, 3.4))
    for (p, numbers), colour in zip(drawn.items(), COLOURS.values(), strict=False):
        shown = (
            (axes[0], "as coded end", f"{p} features", "-"),
            (axes[1], "as coded late change", f"{p} features", "-"),
            (axes[2], "consistent mean range", f"{p} features, mean", "-"),
            (axes[2], "consistent median range", f"{p} features, median", ":"),
        )
        for ax, name, label, dashes in shown:
            values = numbers[name]
            bins = np.geomspace(values.min(), values.max() * (1 + 1e-9), 25)
            style = {"histtype": "step", "color": colour, "linestyle": dashes, "label": label}
            ax.hist(values, bins=bins, **style)
        axes[0].axvline(paper["end"][f"{p} features, interclass"], color=colour, alpha=0.5)
    axes[1].axvspan(0.9, 1.1, color=PAPER, alpha=0.2)
    axes[2].axvline(2, color=PAPER, linestyle=":")
    labels = (
        "end / 20, as coded",
        "end over $t = 6000$, as coded",
        "largest / smallest, one factor",
    )
    for ax, label in zip(axes, labels, strict=True):
        ax.set(xlabel=label)
        ax.legend(fontsize=7)
    axes[2].set_xscale("log")
    axes[2].set(xticks=(ticks := [1, 2, 5, 10]), xticklabels=[str(tick) for tick in ticks])
    axes[2].minorticks_off()
    axes[0].set_ylabel("draws of pairs")
    return fig


def small_models(runs: Sequence[Mapping[str, Array]]) -> Any:
    """Mean S_rel within and between classes over its value at the start.

    Args:
        runs: From :func:`lecore.studies.dan.small_models.similarity_paths`, one a data set.
    """
    families: dict[str, dict[str, str]] = {
        "ReLU gate": {"": "ReLU gate"},
        "homogeneous": {f"{d} ": f"homogeneous, degree {d}" for d in NUMBERS},
        "deep linear": {f"{d} ": f"deep linear, depth {d}" for d in NUMBERS},
    }
    fig, axes = plt.subplots(1, 3, figsize=(10, 3.6))
    for ax, (family, models) in zip(axes, families.items(), strict=True):
        for (number, model), colour in zip(models.items(), COLOURS.values(), strict=False):
            for k, (kind, dashes) in enumerate((("within", "-"), ("between", "--"))):
                curves = np.array([run[model][k] / run[model][k, 0] for run in runs])
                label = f"{number}{kind} classes"
                draw_range(ax, MOMENTS, curves, dashes, alpha=0.12, color=colour, label=label)
        ax.set_xscale("symlog", linthresh=0.01)
        ax.set(xlabel="time $t$", title=family, xlim=(0, 100), ylim=(0, None))
        ax.legend(fontsize=8)
    axes[0].set_ylabel(r"mean $S_{\mathrm{rel}}$ / its value at the start")
    return fig
