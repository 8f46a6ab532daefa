"""Figures of the chapters on He & Su's clustering, drawn from records."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.ticker import NullFormatter

from lecore.companion.figures import COLOURS, draw_curve
from lecore.studies.he_su.problems import MNIST_PAIRS
from lecore.studies.he_su.sources import LOOKED_AT
from lecore.studies.he_su.tables import BOTH

Records = Mapping[str, Mapping[str, Any]]


def elasticity_figure(records: Records, title: str) -> Any:
    """Accuracy against how elastic a model is, a point for each model and pair.

    Args:
        records: Those of :func:`~lecore.studies.he_su.elasticity.elasticity_points` among others.
        title: Says which run is shown.
    """
    points = [entry for name, entry in records.items() if name.startswith("elasticity-of-")]
    fig, ax = plt.subplots(figsize=(6, 4))
    for pair, colour, marker in zip(MNIST_PAIRS, COLOURS.values(), "o^svDP", strict=True):
        chosen = [(p["ratio"], p["value"]) for p in points if p["pair"] == pair]
        x, y = zip(*chosen, strict=True) if chosen else ((), ())
        ax.plot(x, y, marker, color=colour, label=pair.replace("v", " v "))
    ax.set(xlabel="similarity within classes / between classes", ylabel="accuracy (%)", title=title)
    ax.legend(ncols=2)
    return fig


def rates_recorded(records: Records) -> list[str]:
    """Names of learning rates at which a run was looked at, in words, in their order."""
    found = (re.fullmatch(r"looks-loss-(.+)-[0-9]+", name) for name in records)
    return list(dict.fromkeys(match[1].replace("-", " ") for match in found if match))


def looks_figure(records: Records, title: str) -> Any:
    """Loss and accuracy by both similarities against the training step.

    Args:
        records: Of the table "looks", whose rows are quantity and rate, and columns steps.
        title: Says which run is shown.
    """
    fig, axes = plt.subplots(1, 3, figsize=(10, 3.6))
    for ax, quantity in zip(axes, LOOKED_AT, strict=True):
        for rate, colour in zip(rates_recorded(records), COLOURS.values(), strict=False):
            draw_curve(ax, "looks", f"{quantity}, {rate}", records, color=colour, label=rate)
        ax.set(xscale="symlog", xlim=(-0.1, None), xlabel="SGD steps taken", title=quantity)
        if quantity == "loss":
            ax.set(yscale="log", ylabel="mean squared error")
        else:
            ax.set(ylim=(48, 100), ylabel="accuracy (%)")
    axes[0].legend(loc="lower left")
    fig.suptitle(title)
    return fig


def sweep_figure(records: Records, pairs: Sequence[str], title: str) -> Any:
    """Accuracy by both similarities against learning rate and width.

    Args:
        records: Of the tables "rate_share" and "width", whose rows are similarity and pair.
        pairs: Pairs of digits to show.
        title: Says which run is shown.
    """
    swept = {"rate_share": "learning rate / largest stable one", "width": "hidden units"}
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
    for ax, (variable, label) in zip(axes, swept.items(), strict=True):
        for pair, colour in zip(pairs, COLOURS.values(), strict=False):
            for option, line in zip(BOTH, ("--", "-"), strict=True):
                style = {"color": colour, "linestyle": line}
                style["label"] = f"{option}, {pair.replace('v', ' v ')}"
                draw_curve(ax, variable, f"{option} {pair}", records, **style)
        ax.set(xscale="log", xlabel=label, ylim=(48, 100))
        ax.xaxis.set_minor_formatter(NullFormatter())
    axes[0].set_ylabel("accuracy (%)")
    axes[0].legend()
    fig.suptitle(title)
    return fig
