"""What charts of a curve in space share, one point of which is pulled at."""

from typing import Any

from lecore.companion.charts import SEQUENCE, TEXT
from lecore.companion.figures import COLOURS
from lecore.errors import extra

with extra("companion"):
    import altair as alt

SIZES = {"1": 1.0, "½": 0.5, "¼": 0.25, "⅛": 0.125}
ELEVATION = 0.83, 0.56
"""What the second and third coordinate add to the height in the picture."""

EDGE = {"stroke": TEXT, "strokeOpacity": 0.4, "strokeWidth": 0.5}
"""Of dots, so that they are seen on any ground."""


def pulled_point(count: int) -> Any:
    """The point that is pulled at, by pointer or slider: ``pick_point`` of so many points."""
    return alt.selection_point(
        name="pick", fields=["point"], on="pointerover", nearest=True, clear=False,
        value=[{"point": count // 2}],
        bind={"point": alt.binding_range(min=0, max=count - 1, step=1, name="pull at point")},
    )  # fmt: skip


def dots_and_cross(base: Any, pick: Any, x: Any, y: Any) -> Any:
    """All points, coloured by how far they move (``S``), and a cross on the one pulled at.

    Args:
        base: A chart with ``point`` and ``S``.
        pick: From :func:`pulled_point`.
        x: Where they stand.
        y: The same.
    """
    legend = {"title": "moved, relative to the cross", "orient": "top", "gradientLength": 180}
    dots = base.mark_circle(size=46, opacity=1, **EDGE).encode(x=x, y=y, color=_colour(**legend))
    cross = base.transform_filter("datum.point == pick_point").mark_point(
        shape="cross", size=220, filled=True, opacity=1, color=COLOURS["chosen"], stroke="white",
        strokeWidth=0.8,
    )  # fmt: skip
    return dots.add_params(pick) + cross.encode(x=x, y=y)


def falling_with_distance(base: Any, height: int) -> Any:
    """How far each point moves (``S``) against its distance along the curve (``d``)."""
    x = alt.X("d:Q", title="distance from the cross (radians)", scale=alt.Scale(domain=[0, 3.2]))
    y = alt.Y("S:Q", title="moved", scale=alt.Scale(domain=[0, 1.2]), axis=alt.Axis(tickCount=4))
    dots = base.mark_circle(size=22, opacity=1, clip=True, **EDGE).encode(x=x, y=y, color=_colour())
    return dots.properties(width=280, height=height)


def summary(base: Any) -> Any:
    """``near`` and ``far``, means of ``S``, and what its correlation with ``d`` is made of."""
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


def _colour(**legend: Any) -> Any:
    scale = alt.Scale(domain=[0, 1], **SEQUENCE)
    return alt.Color("S:Q", scale=scale, legend=alt.Legend(**legend) if legend else None)
