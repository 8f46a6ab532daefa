"""Figures of models whose flow is solved."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lecore.companion.figures import (
    COLOURS,
    PAPER,
    draw_range,
    legend_above,
    panels,
    sample,
    ticks_at,
    tones,
)
from lecore.studies.dan.ridge import RELEASED_PAIRS, VARIANTS
from lecore.studies.dan.small_models import MOMENTS, NUMBERS

Array = NDArray[np.float64]
LINEAR = COLOURS["linear"]
TONES = dict(zip(("share", "", "penalty"), tones(3), strict=True))
"""Of the formula as coded, with one factor, and with the other penalty."""


def ridge_losses(
    times: NDArray[np.int64], curves: Mapping[int, Mapping[str, Array]], paper: Mapping[str, Any]
) -> Any:
    """Losses along the flow, with the released ones as circles.

    Args:
        times: t, shape (T,).
        curves: By number of features and name, from :func:`lecore.studies.dan.ridge.losses`.
        paper: The released numbers.
    """
    fig, axes = panels(1, 2, height=4, sharey=True)
    for ax, (p, losses) in zip(axes[0], curves.items(), strict=True):
        for (name, loss), dashes in zip(losses.items(), ("-", "--", ":"), strict=True):
            ax.semilogy(times, loss, dashes, color=LINEAR, label=name)
        released = paper["loss"][f"{p} features, interclass"]
        circles = {"color": PAPER, "fillstyle": "none", "label": "released curve"}
        ax.plot(paper["loss times"], released, "o", **circles)
        ax.set(xlabel="time $t$", title=f"{p} features")
    axes[0, 0].set_ylabel("loss")
    legend_above(fig, columns=2)
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
    fig, axes = panels(1, 2, height=4.6, sharey=True)
    for ax, (p, variants) in zip(axes[0], found.items(), strict=True):
        for name, (_, changes) in VARIANTS.items():
            if name.startswith("as coded"):
                values, label = variants[name].mean(axis=1) / RELEASED_PAIRS, f"{name} / 20"
                middle = values.mean(axis=1)
            else:  # a mean would follow single ratios whose denominator passes 0
                values, label = np.median(variants[name], axis=1), f"{name}, median"
                middle = np.median(values, axis=1)
            low, high = middle - values.std(axis=1), middle + values.std(axis=1)
            colour = TONES["share" if "share" in changes else "penalty" if changes else ""]
            dashes = "-" if "intraclass" in name else "--"
            ax.semilogy(times, middle, dashes, color=colour, label=label)
            band = {"color": colour, "alpha": 0.2, "linewidth": 0, "rasterized": True}
            ax.fill_between(times, np.maximum(low, 1e-6), high, **band)
        circle = {"color": PAPER, "fillstyle": "none", "label": "published end, interclass"}
        ax.plot(8000, paper["end"][f"{p} features, interclass"], "o", clip_on=False, **circle)
        ax.set(xlabel="time $t$", title=f"{p} features", ylim=(1e-5, 20))
    axes[0, 0].set_ylabel(r"$S_{\mathrm{rel}}$")
    legend_above(fig, columns=2)
    return fig


def ridge_draws(drawn: Mapping[int, Mapping[str, Array]], paper: Mapping[str, Any]) -> Any:
    """Histograms over draws of pairs: end and flatness as coded, range with one factor.

    Args:
        drawn: By number of features, from :func:`lecore.studies.dan.ridge_draws.draw_numbers`.
        paper: The released numbers.
    """
    fig, axes = panels(3, 1, height=7)
    end, late, spread = axes[:, 0]
    for (p, numbers), colour in zip(drawn.items(), tones(len(drawn)), strict=True):
        shown = (
            (end, "as coded end", f"{p} features", "-"),
            (late, "as coded late change", f"{p} features", "-"),
            (spread, "consistent mean range", f"{p} features", "-"),
            (spread, "consistent median range", f"{p} features, median", ":"),
        )
        for ax, name, label, dashes in shown:
            values = numbers[name]
            bins = np.geomspace(values.min(), values.max() * (1 + 1e-9), 25)
            style = {"histtype": "step", "color": colour, "linestyle": dashes, "label": label}
            ax.hist(values, bins=bins, linewidth=1.5, **style)
        published = paper["end"][f"{p} features, interclass"]
        end.axvline(published, color=PAPER, linestyle="-.")
        place = {"transform": end.get_xaxis_transform(), "va": "top", "color": PAPER}
        end.text(published, 1, f" paper, {p} features", fontsize=10, **place)
    end.set_ylim(0, 1.25 * end.get_ylim()[1])
    late.axvspan(0.9, 1.1, color=PAPER, alpha=0.2, linewidth=0)
    spread.axvline(2, color=PAPER, linestyle="-.")
    end.set_xlabel("as coded: $S_{\\mathrm{rel}}$ at the end / 20")
    late.set_xlabel("as coded: $S_{\\mathrm{rel}}$ at the end / at $t = 6000$")
    spread.set_xlabel("with one factor: largest / smallest $S_{\\mathrm{rel}}$ in time")
    spread.set_xscale("log")
    spread.set(xticks=(ticks := [1, 2, 5, 10]), xticklabels=[str(tick) for tick in ticks])
    spread.minorticks_off()
    for ax in axes[:, 0]:
        ax.set_ylabel("draws of pairs")
    legend_above(fig, columns=2)
    return fig


def small_models(runs: Sequence[Mapping[str, Array]]) -> Any:
    """Mean S_rel within and between classes over its value at the start.

    Args:
        runs: From :func:`lecore.studies.dan.small_models.similarity_paths`, one a data set.
    """
    families: dict[str, dict[str, str]] = {
        "ReLU gate": {"": "ReLU gate"},
        "homogeneous": {f"degree {d}": f"homogeneous, degree {d}" for d in NUMBERS},
        "deep linear": {f"depth {d}": f"deep linear, depth {d}" for d in NUMBERS},
    }
    fig, axes = panels(1, 3, height=4.2)
    kinds = ("relu", "several", "linear")
    for ax, kind, (family, models) in zip(axes[0], kinds, families.items(), strict=True):
        colours = tones(len(models), COLOURS[kind])
        for (number, model), colour in zip(models.items(), colours, strict=True):
            for k, dashes in enumerate(("-", "--")):
                paths = np.array([run[model][k] for run in runs])
                with np.errstate(invalid="ignore"):  # a gate may shut for all pairs
                    curves = paths / paths[:, :1]
                label = number if number and not k else "_"
                draw_range(ax, MOMENTS, curves, dashes, alpha=0.12, color=colour, label=label)
        ax.set_xscale("symlog", linthresh=0.01)
        ax.set(xlabel="time $t$", title=family, xlim=(0, 100), ylim=(0, None))
        ticks_at(ax.xaxis, [0, 0.1, 10])
    sample(axes[0, 0], "within classes")
    sample(axes[0, 0], "between classes", "--")
    fig.supylabel(r"mean $S_{\mathrm{rel}}$ / its value at the start")
    legend_above(fig, columns=4)
    return fig
