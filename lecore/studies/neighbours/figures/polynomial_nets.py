"""Polynomial nets: their torus to pull at, and how they compare with networks of other units."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from numpy.typing import ArrayLike

from lecore.companion.charts import QUIET, SEQUENCE, TEXT, choice, says, slider, specification
from lecore.companion.figures import (
    COLOURS,
    PAPER,
    SEQUENTIAL,
    SPELLED,
    label_ends,
    legend_above,
    panels,
    tones,
)
from lecore.studies.neighbours.polynomial_elasticity import (
    PolynomialTorus,
    by_seed,
    wide_similarity,
)
from lecore.uncertainty import over_runs

SIZES = {"1": 1.0, "½": 0.5, "¼": 0.25, "⅛": 0.125}
ELEVATION = 0.83, 0.56
"""What the second and third coordinate add to the height in the picture."""
EDGE = {"stroke": TEXT, "strokeOpacity": 0.4, "strokeWidth": 0.5}

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
        found: Of degrees 1, 2, 3, … and the sizes of :data:`SIZES`.
    """
    table, n = found.correlations, len(found.points)
    pick = alt.selection_point(
        name="pick", fields=["point"], on="pointerover", nearest=True, clear=False,
        value=[{"point": n // 2}],
        bind={"point": alt.binding_range(min=0, max=n - 1, step=1, name="pull at point")},
    )  # fmt: skip
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
    space = _space(base, pick) + says(_summary(base), SENTENCE)
    return specification(
        space.add_params(*params), alt.vconcat(_fall(base), _by_degree(table), spacing=14)
    )


def _colour(**legend: Any) -> Any:
    scale = alt.Scale(domain=[0, 1], **SEQUENCE)
    return alt.Color("S:Q", scale=scale, legend=alt.Legend(**legend) if legend else None)


def _space(base: Any, pick: Any) -> Any:
    """The torus in space, seen from the front and above."""
    x = alt.X("across:Q", axis=None, scale=alt.Scale(domain=[-10, 10]))
    y = alt.Y("height:Q", axis=None, scale=alt.Scale(domain=[-9, 9]))
    legend = {"title": "moved, relative to the cross", "orient": "top", "gradientLength": 180}
    dots = base.mark_circle(size=46, opacity=1, **EDGE).encode(x=x, y=y, color=_colour(**legend))
    cross = base.transform_filter("datum.point == pick_point").mark_point(
        shape="cross", size=220, filled=True, opacity=1, color=COLOURS["chosen"], stroke="white",
        strokeWidth=0.8,
    )  # fmt: skip
    marks = dots.add_params(pick) + cross.encode(x=x, y=y)
    return marks.properties(width=300, height=290)


def _fall(base: Any) -> Any:
    """How far each point moves against its distance along the curve."""
    x = alt.X("d:Q", title="distance from the cross (radians)", scale=alt.Scale(domain=[0, 3.2]))
    y = alt.Y("S:Q", title="moved", scale=alt.Scale(domain=[0, 1.2]), axis=alt.Axis(tickCount=4))
    dots = base.mark_circle(size=22, opacity=1, clip=True, **EDGE).encode(x=x, y=y, color=_colour())
    return dots.properties(width=280, height=140)


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


def _summary(base: Any) -> Any:
    """Means near and far, and what the correlation from the pulled point is made of."""
    return (
        base.transform_calculate(
            near="datum.d < 0.5 ? datum.S : null", far="datum.d > 2.6 ? datum.S : null"
        )
        .transform_joinaggregate(
            near="mean(near)", far="mean(far)", md="mean(d)", mS="mean(S)",
            vd="variancep(d)", vS="variancep(S)",
        )
        .transform_calculate(product="(datum.d - datum.md) * (datum.S - datum.mS)")
        .transform_joinaggregate(covariance="mean(product)")
    )  # fmt: skip


def polynomial_torus_figure(found: PolynomialTorus) -> Any:
    """The chart's still picture: a step under three degrees, and the correlation by degree.

    Args:
        found: As for :func:`polynomial_torus_chart`.
    """
    fig, axes = panels(1, 4, height=2.9, width_ratios=[1, 1, 1, 1.7])
    pulled = len(found.points) // 2
    across, height = found.points[:, 0], found.points[:, 1:] @ np.array(ELEVATION)
    for ax, degree in zip(axes[0], (1, 2, 4), strict=False):
        s = wide_similarity(found.points, degree)[pulled]
        dots = ax.scatter(across, height, c=s, cmap=SEQUENTIAL, vmin=0, vmax=1, s=9)
        cross = {"color": COLOURS["chosen"], "markersize": 9, "mec": "white"}
        ax.plot(across[pulled], height[pulled], "P", **cross)
        ax.set(title=f"degree {degree}", aspect="equal")
        ax.axis("off")
    label = "moved, relative to the cross"
    fig.colorbar(dots, ax=list(axes[0, :3]), orientation="horizontal", shrink=0.6, label=label)
    ax, table = axes[0, 3], found.correlations
    for (words, size), colour in zip(SIZES.items(), tones(len(SIZES)), strict=True):
        rows = table[table["size"] == size]
        ax.plot(rows.degree, rows.correlation, color=colour, label=f"size {words}")
    ax.set(xlabel="degree", ylabel="correlation with distance", ylim=(-1.02, 0.02))
    label_ends(ax)
    return fig


def on_the_torus_figure(
    random: pd.DataFrame, trained: pd.DataFrame, networks: Sequence[str]
) -> Any:
    """Correlations of each network wherever the torus lies: means and single seeds.

    Args:
        random: Of ``torus_correlations``, at random weights.
        trained: Of trained networks, in the first of the places.
        networks: In the order of the drawing.
    """
    places = list(random.place.unique())
    fig, axes = panels(1, len(places), height=3.2, sharey=True)
    for ax, place in zip(axes[0], places, strict=True):
        for x, name in enumerate(networks):
            colour = COLOURS.get(name, COLOURS["several"])
            for table, fill, shift in ((random, "none", -0.13), (trained, "full", 0.13)):
                values = by_seed(table, name, place)
                ax.plot([x + shift] * len(values), values, ".", color=colour, markersize=3)
                if len(values):
                    ax.plot(x + shift, values.mean(), "o", color=colour, fillstyle=fill)
        ax.set(title=place, xticks=range(len(networks)), ylim=(-1.05, 0.15))
        ax.set_xticklabels([SPELLED.get(n, n) for n in networks], rotation=55, ha="right")
        ax.axhline(0, color=PAPER, linewidth=0.8)
    axes[0, 0].set_ylabel("correlation with distance")
    for words, fill in (("random weights", "none"), ("trained", "full")):
        axes[0, 0].plot([], [], "o", color=COLOURS["ink"], fillstyle=fill, label=words)
    legend_above(fig)
    return fig


def image_networks_figure(
    accuracy: Mapping[str, ArrayLike], superiority: Mapping[str, ArrayLike], title: str
) -> Any:
    """Test accuracy and preference for the own class by network, with 95 % intervals.

    Args:
        accuracy: Per cent by network, shape (runs,) each.
        superiority: From 0 to 1, likewise.
        title: Says which run they are from.
    """
    fig, axes = panels(1, 2, height=2.7, sharey=True)
    labels = ("test accuracy (%)", "chance that a pair of one class\nhas the larger $S_{rel}$")
    for ax, values, label in zip(axes[0], (accuracy, superiority), labels, strict=True):
        for y, (name, runs) in enumerate(values.items()):
            mean, low, high, _ = over_runs(runs)
            colour = COLOURS.get(name, COLOURS["several"])
            ax.plot([low, high], [y, y], color=to_rgb(colour), alpha=0.5, linewidth=3)
            ax.plot(runs, [y] * len(np.asarray(runs)), ".", color=colour, markersize=4)
            ax.plot(mean, y, "o", color=colour)
        ax.set(xlabel=label, yticks=range(len(values)))
        ax.set_yticklabels([SPELLED.get(name, name) for name in values])
    axes[0, 0].invert_yaxis()
    fig.suptitle(title, fontsize=11)
    return fig
