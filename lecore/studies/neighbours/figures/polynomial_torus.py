"""The torus under a polynomial of any degree: the chart to play with, and its still picture."""

from typing import Any

import altair as alt
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lecore.companion.charts import QUIET, choice, says, slider, specification
from lecore.companion.figures import COLOURS, SEQUENTIAL, WIDTH, tones
from lecore.companion.pulled_curve import (
    ELEVATION,
    SIZES,
    dots_and_cross,
    falling_with_distance,
    pulled_point,
    summary,
)
from lecore.studies.neighbours.polynomial_elasticity import PolynomialTorus, wide_similarity

# (z·z′ + 1)/9 at another point and at the pulled one, and the kernel over that of the pulled one
COVARIANCE = (
    "(size * size * (datum.x * place[0] + datum.y * place[1] + datum.z * place[2]) + 1) / 9"
)
SIMILARITY = "abs(datum.k / own * pow((1 + datum.k) / (1 + own), degree - 1))"
SENTENCE = (
    "'Degree ' + degree + ': a step at the cross moves the points nearby by '"
    " + format(datum.near, '.2f') + ' of what it moves the cross itself, and those on the far side"
    " by ' + format(datum.far, '.2f') + '. Correlation with distance: '"
    " + format(datum.covariance / sqrt(datum.vd * datum.vS), '.2f') + ' from this point, '"
    " + format(correlations[toString(size)][degree - 1], '.2f') + ' over all pairs of points.'"
)


def polynomial_torus_chart(found: PolynomialTorus) -> dict[str, Any]:
    """A torus to pull at and to shrink, under a polynomial of any degree.

    Args:
        found: Of degrees 1, 2, 3, … and the sizes of ``SIZES``.
    """
    table, n = found.correlations, len(found.points)
    pick = pulled_point(n)
    known = {
        f"{size:g}": rows.sort_values("degree").correlation.round(4).tolist()
        for size, rows in table.groupby("size")
    }
    params = [
        slider("degree", "degree", 1, 1, int(table.degree.max()), 1),
        choice("size", "size of the torus", SIZES),
        alt.param(name="places", value=found.points.round(3).tolist()),
        alt.param(name="angles", value=found.angles.round(4).tolist()),
        alt.param(name="correlations", value=known),
        alt.param(name="place", expr="places[pick_point]"),
        alt.param(
            name="own",
            expr="(size*size*(place[0]*place[0] + place[1]*place[1] + place[2]*place[2]) + 1) / 9",
        ),
    ]
    base = (
        alt.Chart(alt.sequence(0, n, as_="point"))
        .transform_calculate(
            x="places[datum.point][0]", y="places[datum.point][1]", z="places[datum.point][2]",
            apart="abs(angles[datum.point] - angles[pick_point])",
        )
        .transform_calculate(
            k=COVARIANCE, d="min(datum.apart, 2 * PI - datum.apart)",
            across="size * datum.x",
            height=f"size * ({ELEVATION[0]} * datum.y + {ELEVATION[1]} * datum.z)",
        )
        .transform_calculate(S=SIMILARITY)
    )  # fmt: skip
    space = _space(base, pick) + says(summary(base), SENTENCE)
    return specification(
        space.add_params(*params),
        alt.vconcat(falling_with_distance(base, 140), _by_degree(table), spacing=14),
    )


def _space(base: Any, pick: Any) -> Any:
    """The torus in space, seen from the front and above."""
    x = alt.X("across:Q", axis=None, scale=alt.Scale(domain=[-10, 10]))
    y = alt.Y("height:Q", axis=None, scale=alt.Scale(domain=[-9, 9]))
    return dots_and_cross(base, pick, x, y).properties(width=300, height=290)


def _by_degree(table: pd.DataFrame) -> Any:
    """Correlation over all pairs against the degree, for the chosen size."""
    rows = table.round({"correlation": 3}).to_dict("records")
    lines = alt.Chart(alt.Data(values=rows)).transform_filter("datum.size == size")
    x = alt.X("degree:Q", title="degree", axis=alt.Axis(tickMinStep=1))
    y = alt.Y(
        "correlation:Q", title="correlation", scale=alt.Scale(domain=[-1, 0.05]),
        axis=alt.Axis(tickCount=3),
    )  # fmt: skip
    line = lines.mark_line(strokeWidth=2.5, color=COLOURS["several"]).encode(x=x, y=y)
    here = lines.transform_filter("datum.degree == degree")
    dot = here.mark_circle(size=80, opacity=1, color=COLOURS["several"]).encode(x=x, y=y)
    return (here.mark_rule(**QUIET).encode(x=x) + line + dot).properties(width=280, height=115)


def polynomial_torus_figure(found: PolynomialTorus) -> Any:
    """The chart's still picture: a step under three degrees, and the correlation by degree.

    Args:
        found: As for :func:`polynomial_torus_chart`.
    """
    fig: Any = plt.figure(figsize=(WIDTH, 2.9))
    three, one = fig.subfigures(1, 2, width_ratios=[3, 2])
    pulled, axes = len(found.points) // 2, three.subplots(1, 3)
    across, height = found.points[:, 0], found.points[:, 1:] @ np.array(ELEVATION)
    for ax, degree in zip(axes, (1, 2, 4), strict=True):
        s = wide_similarity(found.points, degree)[pulled]
        dots = ax.scatter(across, height, c=s, cmap=SEQUENTIAL, vmin=0, vmax=1, s=9)
        cross = {"color": COLOURS["chosen"], "markersize": 9, "mec": "white"}
        ax.plot(across[pulled], height[pulled], "P", **cross)
        ax.set(title=f"degree {degree}", aspect="equal")
        ax.axis("off")
    label = "moved, relative to the cross"
    three.colorbar(dots, ax=axes, orientation="horizontal", shrink=0.6, label=label)
    ax, table = one.subplots(), found.correlations
    for (words, size), colour in zip(SIZES.items(), tones(len(SIZES)), strict=True):
        rows = table[table["size"] == size]
        ax.plot(rows.degree, rows.correlation, color=colour, label=f"size {words}")
    ax.set(xlabel="degree", ylabel="correlation", ylim=(-1.02, 0.02))
    ax.legend(loc="upper right")
    return fig
