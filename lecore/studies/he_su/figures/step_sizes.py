"""A step of any size: the chart to play with, and its still picture."""

from typing import Any

import altair as alt
import matplotlib.pyplot as plt
import numpy as np

from lecore.companion.charts import QUIET, TEXT, says, slider, specification
from lecore.companion.figures import COLOURS, PAPER, WIDTH
from lecore.studies.he_su.step_sizes import StepSizes

FLOOR = 1e-10
"""Below it, distances and shares are not drawn."""
CURVES = {"distance from the linearisation": "-", "share of units that flip": "--"}
SENTENCE = (
    "'A step with a learning rate of ' + format(datum.rate, '.0e') + ' flips '"
    " + format(datum.flipped, '.1%') + ' of the hidden units. How far points move, relative to the"
    " updated one, differs from the linearisation by up to ' + format(datum.distance, '.2~g') + '.'"
)


def step_sizes_chart(found: StepSizes) -> dict[str, Any]:
    """S_rel against its linearisation at a learning rate that the reader chooses.

    Args:
        found: From :func:`~lecore.studies.he_su.step_sizes.step_sizes`, at equal steps of the
            logarithm of the learning rate.
    """
    powers = np.log10(found.rates).round(3)
    power = slider(
        "power", "learning rate: 10 to the power of", float(powers[-4]), float(powers[0]),
        float(powers[-1]), round(float(powers[1] - powers[0]), 3),
    )  # fmt: skip
    params = [
        power,
        alt.param(name="powers", value=powers.tolist()),
        alt.param(name="linear", value=found.linear.round(4).tolist()),
        alt.param(name="moved", value=found.similarity.round(4).tolist()),
        alt.param(name="k", expr=f"round((power - {powers[0]}) / {powers[1] - powers[0]:.3f})"),
    ]
    base = alt.Chart(alt.sequence(0, len(found.linear), as_="point")).transform_calculate(
        x="linear[datum.point]", y="moved[k][datum.point]"
    )
    scale = alt.Scale(domain=[0, 1.2])
    x = alt.X("x:Q", title="moved by the linearisation", scale=scale)
    y = alt.Y("y:Q", title="moved by the step", scale=scale)
    dots = base.mark_circle(size=60, opacity=0.8, color=COLOURS["relu"], clip=True)
    ends = alt.Chart(alt.Data(values=[{"x": 0, "y": 0}, {"x": 1.2, "y": 1.2}]))
    left = ends.mark_line(**QUIET).encode(x=x, y=y) + dots.encode(x=x, y=y)
    rows = [
        {"rate": float(rate), "distance": float(far), "flipped": float(share), "k": k}
        for k, (rate, far, share) in enumerate(
            zip(found.rates, found.distance, found.flipped, strict=True)
        )
    ]
    here = alt.Chart(alt.Data(values=rows)).transform_filter("datum.k == k")
    left = (left + says(here, SENTENCE)).properties(width=270, height=270)
    return specification(left.add_params(*params), _curves(rows))


def _curves(rows: list[dict[str, float]]) -> Any:
    """How far a step is from its linearisation, and how many units it flips, by its size."""
    names = [*CURVES]
    long = [
        {"rate": row["rate"], "value": row[kind], "curve": name, "k": row["k"]}
        for name, kind in zip(names, ("distance", "flipped"), strict=True)
        for row in rows
        if row[kind] > FLOOR
    ]
    lines = alt.Chart(alt.Data(values=long))
    power = {"type": "log", "nice": False}
    labels = alt.Axis(format="~e", tickCount=5)
    x = alt.X("rate:Q", title="learning rate", scale=alt.Scale(**power), axis=labels)
    y = alt.Y("value:Q", title=None, scale=alt.Scale(**power), axis=labels)
    dash = alt.StrokeDash(
        "curve:N", scale=alt.Scale(domain=names, range=[[1, 0], [5, 3]]),
        legend=alt.Legend(title=None, orient="top", direction="vertical", labelLimit=300,
                          symbolStrokeColor=TEXT),
    )  # fmt: skip
    line = lines.mark_line(strokeWidth=2.5, color=COLOURS["relu"])
    line = line.encode(x=x, y=y, strokeDash=dash)
    here = lines.transform_filter("datum.k == k")
    dots = here.mark_circle(size=70, opacity=1, color=COLOURS["relu"]).encode(x=x, y=y)
    rule = here.mark_rule(**QUIET).encode(x=x)
    return (rule + line + dots).properties(width=270, height=230)


def step_sizes_figure(found: StepSizes) -> Any:
    """The chart's still picture, at the largest learning rate.

    Args:
        found: As for :func:`step_sizes_chart`.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.2))
    left.plot([0, 1.2], [0, 1.2], color=PAPER, linewidth=0.8)
    for k, marker in ((0, "o"), (-1, "x")):
        rate = f"$\\eta$ = {found.rates[k]:.0e}"
        style = {"linestyle": "none", "color": COLOURS["relu"], "markersize": 5}
        left.plot(found.linear, found.similarity[k], marker, mfc="none", label=rate, **style)
    left.set(xlabel="moved by the linearisation", ylabel="moved by the step", aspect="equal")
    left.legend()
    for (name, line), values in zip(CURVES.items(), (found.distance, found.flipped), strict=True):
        seen = values > FLOOR
        right.plot(found.rates[seen], values[seen], line, color=COLOURS["relu"], label=name)
    right.set(xscale="log", yscale="log", xlabel=r"learning rate $\eta$")
    right.legend(loc="lower right", fontsize=8)
    return fig
