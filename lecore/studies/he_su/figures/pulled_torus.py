"""Pull a point of the torus: the chart to play with, and its still picture."""

from typing import Any

import altair as alt
import matplotlib.pyplot as plt
import numpy as np

from lecore.companion.charts import QUIET, TEXT, choice, says, slider, specification
from lecore.companion.figures import COLOURS, PAPER, SEQUENTIAL, WIDTH
from lecore.companion.pulled_curve import (
    ELEVATION,
    SIZES,
    dots_and_cross,
    falling_with_distance,
    pulled_point,
    summary,
)
from lecore.studies.he_su.pulled_torus import UNITS, PulledTorus, wide_similarity

# x̄·x̄′ of another point and the pulled one, ‖x̄′‖², and the kernels over that of the pulled point
INNER = "(datum.x * pulled[0] + datum.y * pulled[1] + datum.z * pulled[2] + 1)"
OTHER = "(datum.x * datum.x + datum.y * datum.y + datum.z * datum.z + 1)"
ANGLE = f"acos(max(-1, min(1, {INNER} / sqrt(own * {OTHER}))))"
KERNELS = {
    "ReLU": f"sqrt({OTHER} / own) * (sin(datum.a) + (PI - datum.a) * cos(datum.a)) / PI",
    "linear": f"abs({INNER}) / own",
    "tanh": f"abs(asin({INNER} / sqrt((18 / PI + own) * (18 / PI + {OTHER})))"
    " / asin(own / (18 / PI + own)))",
}
SENTENCE = (
    "units + ' units: a step at the cross moves the points nearby '"
    " + format(datum.near, '.2f') + ' times as far as the cross itself, and those on the far side '"
    " + format(datum.far, '.2f') + ' times. Correlation with distance: '"
    " + format(datum.covariance / sqrt(datum.vd * datum.vS), '.2f') + ' from this point, '"
    " + format(correlations[units][toString(size)][shift], '.2f') + ' over all pairs of points.'"
)


def pulled_torus_chart(torus: PulledTorus) -> dict[str, Any]:
    """A torus to pull at, move and shrink; every kernel is computed in the browser.

    Args:
        torus: Of the sizes of :data:`~lecore.companion.pulled_curve.SIZES`, and shifts 0, 1, 2, ….
    """
    table, n = torus.correlations, len(torus.points)
    pick = pulled_point(n)
    known = {
        units: {
            f"{size:g}": rows.correlation.round(4).tolist() for size, rows in some.groupby("size")
        }
        for units, some in table.groupby("units")
    }
    params = [
        choice("units", "hidden units", {name: name for name in UNITS}),
        choice("size", "size of the torus", SIZES),
        slider("shift", "moved up by", 0, 0, float(table["shift"].max()), 1),
        alt.param(name="places", value=torus.points.round(3).tolist()),
        alt.param(name="angles", value=torus.angles.round(4).tolist()),
        alt.param(name="correlations", value=known),
        alt.param(name="place", expr="places[pick_point]"),
        alt.param(name="pulled", expr="[size*place[0], size*place[1], size*place[2] + shift]"),
        alt.param(
            name="own",
            expr="pulled[0]*pulled[0] + pulled[1]*pulled[1] + pulled[2]*pulled[2] + 1",
        ),
    ]
    base = (
        alt.Chart(alt.sequence(0, n, as_="point"))
        .transform_calculate(
            x="size * places[datum.point][0]", y="size * places[datum.point][1]",
            z="size * places[datum.point][2] + shift",
            apart="abs(angles[datum.point] - angles[pick_point])",
        )
        .transform_calculate(
            a=ANGLE, d="min(datum.apart, 2 * PI - datum.apart)",
            height=f"{ELEVATION[0]} * datum.y + {ELEVATION[1]} * datum.z",
        )
        .transform_calculate(
            S=f"units == 'ReLU' ? {KERNELS['ReLU']} : units == 'linear' ? {KERNELS['linear']}"
            f" : {KERNELS['tanh']}"
        )
    )  # fmt: skip
    space = _space(base, pick) + says(summary(base), SENTENCE)
    panels = (
        space.add_params(*params),
        alt.vconcat(falling_with_distance(base, 160), _moved(table), spacing=14),
    )
    return specification(*panels)


def _space(base: Any, pick: Any) -> Any:
    """The torus in space, seen from the front and above, with the origin of the coordinates."""
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-10, 10]))
    y = alt.Y("height:Q", axis=None, scale=alt.Scale(domain=[-8.5, 14.5]))
    origin = alt.Chart(alt.Data(values=[{"x": 0, "height": 0, "label": "origin"}]))
    ring = origin.mark_point(shape="circle", size=36, stroke=TEXT, opacity=0.8)
    label = origin.mark_text(dx=8, align="left", baseline="middle", opacity=0.8)
    marks = dots_and_cross(base, pick, x, y) + ring.encode(x=x, y=y)
    marks += label.encode(x=x, y=y, text="label:N")
    return marks.properties(width=300, height=345)


def _moved(table: Any) -> Any:
    """Correlation over all pairs of points as the torus moves up, for each kind of unit."""
    rows = table.round({"correlation": 3}).to_dict("records")
    lines = alt.Chart(alt.Data(values=rows)).transform_filter("datum.size == size")
    colours = alt.Scale(domain=[*UNITS], range=[COLOURS[name.lower()] for name in UNITS])
    x = alt.X("shift:Q", title="moved up by")
    y = alt.Y(
        "correlation:Q", title="correlation", scale=alt.Scale(domain=[-1, 0.05]),
        axis=alt.Axis(tickCount=3),
    )  # fmt: skip
    colour = alt.Color(
        "units:N", scale=colours, sort=[*UNITS], legend=alt.Legend(title=None, orient="top-right")
    )
    chosen = alt.condition("datum.units == units", alt.value(1), alt.value(0.6))
    line = lines.mark_line(strokeWidth=2.5).encode(
        x=x, y=y, color=colour, opacity=chosen, strokeDash=alt.StrokeDash("units:N", legend=None,
        scale=alt.Scale(domain=[*UNITS], range=[[1, 0], [1, 0], [5, 3]])),
    )  # fmt: skip
    here = lines.transform_filter("datum.shift == shift")
    dots = here.mark_circle(size=70).encode(x=x, y=y, color=colour, opacity=chosen)
    rule = here.transform_filter("datum.units == units").mark_rule(**QUIET).encode(x=x)
    return (rule + line + dots).properties(width=280, height=125)


def pulled_torus_figure(torus: PulledTorus) -> Any:
    """The chart's still picture: a step on one point, and correlations as the torus moves.

    Args:
        torus: As for :func:`pulled_torus_chart`.
    """
    fig: Any = plt.figure(figsize=(WIDTH, 3.0))
    both, one = fig.subfigures(1, 2, width_ratios=[3, 2])
    (left, middle), right = both.subplots(1, 2), one.subplots()
    pulled, table = len(torus.points) // 2, torus.correlations
    across, height = torus.points[:, 0], torus.points[:, 1:] @ np.array(ELEVATION)
    for ax, units in ((left, "ReLU"), (middle, "linear")):
        s = wide_similarity(torus.points, units)[pulled]
        dots = ax.scatter(across, height, c=s, cmap=SEQUENTIAL, vmin=0, vmax=1, s=10)
        ax.plot(
            across[pulled], height[pulled], "P", color=COLOURS["chosen"], markersize=10, mec="white"
        )
        ax.set(title=f"{units} units", aspect="equal")
        ax.axis("off")
    label = "moved, relative to the cross"
    both.colorbar(dots, ax=[left, middle], orientation="horizontal", shrink=0.6, label=label)
    for units in UNITS:
        rows = table[(table.units == units) & (table["size"] == 1)]
        right.plot(rows["shift"], rows.correlation, color=COLOURS[units.lower()], label=units)
    right.axhline(0, color=PAPER, linewidth=0.8)
    right.set(xlabel="torus moved up by", ylabel="correlation with distance")
    right.legend()
    return fig
