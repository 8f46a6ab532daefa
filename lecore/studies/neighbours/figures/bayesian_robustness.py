"""Figures on probabilistic robustness, and the chart that draws posterior samples one by one."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lecore.companion.charts import TEXT, choice, says, slider, specification
from lecore.companion.figures import COLOURS, PAPER, legend_above, panels, tones
from lecore.uncertainty import Interval

Array = NDArray[np.float64]

LABELS = {
    "attacked": "nearest image, given the margin",
    "bounded": "the same, risk from bounds",
    "distance": "… given the distance, too",
    "dealt": "random image, given the margin",
    "mode": "nearest image, the mode alone",
    "similarity": "nearest image, margin ignored",
    "margin": r"margin instead of $S_\mathrm{rel}$",
}
"""What each correlation of the study is called."""
SENTENCE = (
    "'After ' + datum.n + (datum.n == 1 ? ' sample ' : ' samples ') + datum.k"
    " + (datum.k == 1 ? ' is robust' : ' are robust') + ': '"
    " + format(datum.value, '.3f') + ', interval ' + format(datum.low, '.3f') + ' to '"
    " + format(datum.high, '.3f') + '. The scheme asks for ' + datum.needed + ' samples'"
    " + (datum.stops ? ' and stops.' : ' and goes on.')"
)


def robustness_figure(radii: Sequence[float], broken: Array, open_: Array, wide: Array) -> Any:
    """Shares of posterior samples, by radius: broken, undecided, robust.

    Args:
        radii: Of the boxes.
        broken: Shares that an attack broke, shape (networks, radii); means are drawn.
        open_: Shares that bounds do not show to be robust.
        wide: The same with intervals alone.

    Returns:
        The matplotlib figure.
    """
    fig, axes = panels(height=3.2)
    ax = axes[0, 0]
    low, high = broken.mean(0), open_.mean(0)
    dark, middle, light = tones(3)
    ax.fill_between(radii, 0, low, color=dark, label="an attack found another class")
    ax.fill_between(radii, low, high, color=middle, label="undecided")
    ax.fill_between(radii, high, 1, color=light, label="shown robust by bounds")
    ax.plot(
        radii, wide.mean(0), "--", color=COLOURS["ink"], label="above: robust by intervals alone"
    )
    ax.set(
        xlabel="radius of the box (pixels from 0 to 1)", ylabel="share of posterior samples",
        xlim=(radii[0], radii[-1]), ylim=(0, 1),
    )  # fmt: skip
    legend_above(fig, columns=2)
    return fig


def coverage_figure(chances: Array, found: Mapping[str, tuple[Array, Array]], wanted: float) -> Any:
    """How often an estimate is within its error, and what it costs, by the true probability.

    Args:
        chances: True probabilities.
        found: Coverage and expected samples by name of the scheme.
        wanted: The confidence that was fixed beforehand.

    Returns:
        The matplotlib figure.
    """
    fig, axes = panels(1, 2, height=3.2)
    styles = ("-", "--", ":")
    for (name, (covered, samples)), style, colour in zip(
        found.items(), styles, tones(3), strict=False
    ):
        axes[0, 0].plot(chances, covered, style, color=colour, label=name)
        axes[0, 1].plot(chances, samples, style, color=colour)
    axes[0, 0].axhline(wanted, color=PAPER, linewidth=1)
    axes[0, 0].set(
        xlabel="true share of robust samples", ylabel="chance to be within the error",
        ylim=(wanted - 0.01, 1.002),
    )  # fmt: skip
    axes[0, 1].set(
        xlabel="true share of robust samples", ylabel="samples, expected", ylim=(0, None)
    )
    legend_above(fig)
    return fig


def scatter_figure(similar: Array, margin: Array, broken: Array) -> Any:
    """Risk of each image against S_rel, and against the margin.

    Args:
        similar: S_rel at the nearest image of another class, shape (n,).
        margin: Of each image.
        broken: Its risk.

    Returns:
        The matplotlib figure.
    """
    fig, axes = panels(1, 2, height=3.0, sharey=True)
    sides = (
        (similar, r"$S_\mathrm{rel}$ at the nearest image of another class"),
        (margin, "margin"),
    )
    for ax, (x, label) in zip(axes[0], sides, strict=True):
        ax.plot(x, broken, "o", color=COLOURS["relu"], markersize=4, alpha=0.7)
        ax.set(xlabel=label)
    axes[0, 0].set_ylabel("risk, mean over radii")
    return fig


def correlations_figure(found: Sequence[Mapping[str, Interval]]) -> Any:
    """Each network's correlations with its intervals, kind by kind.

    Args:
        found: Of each network, from :func:`lecore.studies.neighbours.bayesian_elasticity
            .correlations`.

    Returns:
        The matplotlib figure.
    """
    fig, axes = panels(height=3.8)
    ax = axes[0, 0]
    for row, name in enumerate(LABELS):
        for k, one in enumerate(found):
            interval = one[name]
            y = row + 0.5 * ((k + 0.5) / len(found) - 0.5)
            ax.plot([interval.low, interval.high], [y, y], color=COLOURS["relu"], linewidth=1.2)
            ax.plot(interval.value, y, "o", color=COLOURS["relu"], markersize=4)
    ax.axvline(0, color=PAPER, linewidth=1)
    ax.set(xlabel="correlation of ranks with the risk", xlim=(-1.02, 1.02))
    ax.set_yticks(range(len(LABELS)), list(LABELS.values()))
    ax.invert_yaxis()
    return fig


def sampling_chart(paths: pd.DataFrame, error: float) -> dict[str, Any]:
    """Posterior samples that the reader draws one by one, until the scheme stops.

    Args:
        paths: From :func:`lecore.studies.neighbours.bayesian_estimate.sampling_path`, one after the
            other, with the name of each in ``image``.
        error: Of the scheme.
    """
    names = list(paths["image"].unique())
    last = paths.groupby("image").n.max()
    params = [
        choice("image", "image", dict(zip(names, names, strict=True))),
        slider("samples", "posterior samples", 20, 1, int(last.max()), 1),
    ]
    rows = paths.round(4).to_dict("records")
    base = (
        alt.Chart(alt.Data(values=rows))
        .transform_filter("datum.image == image")
        .transform_filter("datum.n <= samples")
    )
    x = alt.X(
        "n:Q", title="posterior samples", scale=alt.Scale(domain=[0, int(last.max())], nice=False)
    )
    share = alt.Scale(domain=[0, 1])
    band = base.mark_area(color=COLOURS["relu"], opacity=0.25).encode(
        x=x, y=alt.Y("low:Q", title="share that is robust", scale=share), y2="high:Q"
    )
    line = base.mark_line(color=COLOURS["relu"]).encode(x=x, y=alt.Y("value:Q", scale=share))
    end = base.transform_joinaggregate(last="max(n)").transform_filter("datum.n == datum.last")
    dot = end.mark_circle(size=80, opacity=1, color=COLOURS["chosen"]).encode(x=x, y="value:Q")
    asked = end.mark_rule(stroke=TEXT, strokeDash=[4, 3], opacity=0.8).encode(x="needed:Q")
    marks = (band + line + dot + asked + says(end, SENTENCE)).properties(
        width=600, height=220, title=f"until the estimate is within {error}"
    )
    return specification(marks.add_params(*params), columns=1, buttons={"samples": "another one"})


def sampling_figure(paths: pd.DataFrame, error: float) -> Any:
    """The chart's still picture: all images, each until the scheme stops.

    Args:
        paths: As for :func:`sampling_chart`.
        error: As there.
    """
    groups = list(paths.groupby("image", sort=False))
    fig, axes = panels(1, len(groups), height=2.8, sharey=True, sharex=True)
    for ax, (name, path) in zip(axes[0], groups, strict=True):
        ax.fill_between(path.n, path.low, path.high, color=COLOURS["relu"], alpha=0.25, linewidth=0)
        ax.plot(path.n, path.value, color=COLOURS["relu"])
        ax.axvline(path.n.max(), color=PAPER, linestyle="--")
        ax.set(title=name, ylim=(0, 1))
    axes[0, 0].set_ylabel("share that is robust")
    fig.supxlabel(f"posterior samples until the estimate is within {error}")
    return fig
