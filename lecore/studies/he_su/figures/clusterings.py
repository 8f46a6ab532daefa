"""Figures of the chapters on He & Su's clustering, drawn from records."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lecore.companion.figures import MARKERS, draw_curve, halves, legend_above, panels, tones
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
    fig, axes = panels(height=4)
    ax = axes[0, 0]
    for pair, colour, marker in zip(MNIST_PAIRS, tones(len(MNIST_PAIRS)), MARKERS, strict=True):
        chosen = [(p["ratio"], p["value"]) for p in points if p["pair"] == pair]
        x, y = zip(*chosen, strict=True) if chosen else ((), ())
        ax.plot(x, y, marker, color=colour, label=pair.replace("v", " against "))
    ax.set(xlabel="similarity within classes / between classes", ylabel="accuracy (%)")
    legend_above(fig, title)
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
    fig, axes = panels(3, 1, height=6.6, sharex=True)
    rates = rates_recorded(records)
    for ax, quantity in zip(axes[:, 0], LOOKED_AT, strict=True):
        for rate, colour in zip(rates, tones(len(rates)), strict=True):
            draw_curve(ax, "looks", f"{quantity}, {rate}", records, color=colour, label=rate)
        ax.set(xscale="symlog", xlim=(-0.1, None), ylabel=f"accuracy (%),\n{quantity} similarity")
    loss, relative, kernelized = axes[:, 0]
    loss.set(yscale="log", ylabel="loss\n(mean squared error)")
    highest = max(ax.get_ylim()[1] for ax in (relative, kernelized))
    for ax in (relative, kernelized):
        ax.set_ylim(48, highest)
    kernelized.set_xlabel("SGD steps taken")
    legend_above(fig, title)
    return fig


def sweep_figure(records: Records, pairs: Sequence[str], title: str) -> Any:
    """Accuracy by both similarities against learning rate and width.

    Args:
        records: Of the tables "rate_share" and "width", whose rows are similarity and pair.
        pairs: Pairs of digits to show.
        title: Says which run is shown.
    """
    swept = {"rate_share": "learning rate / largest stable one", "width": "hidden units"}
    fig, axes = panels(1, 2, height=4, sharey=True)
    for ax, (variable, label) in zip(axes[0], swept.items(), strict=True):
        for pair, colour, marker in zip(pairs, tones(len(pairs)), MARKERS, strict=False):
            for option, line in zip(BOTH, ("--", "-"), strict=True):
                style = {"color": colour, "linestyle": line, "marker": marker}
                style["label"] = f"{option}, {pair.replace('v', ' against ')}"
                draw_curve(ax, variable, f"{option} {pair}", records, **style)
        halves(ax)
        ax.set(xlabel=label, ylim=(48, None))
    axes[0, 0].set_ylabel("accuracy (%)")
    legend_above(fig, title, columns=2)
    return fig
