"""Which divergence? All predictions of three classes in a triangle, to play with and still."""

from typing import Any

import altair as alt
import matplotlib.pyplot as plt
import numpy as np

from lecore.companion.charts import SEQUENCE, TEXT, says, slider, specification
from lecore.companion.figures import COLOURS, SEQUENTIAL, WIDTH
from lecore.studies.dan.two_ratios import UPDATE, two_ratios

ROWS = 24
"""Of dots in a triangle."""
BEFORE, AFTER = (0.34, 0.43, 0.23), (0.62, 0.22, 0.16)
"""Where the chart begins: p and p⁺ of a test point."""
RANGES = {"as described": (0, 36, 0.5), "as coded": (0.8, 1.15, 1)}
"""Of the colours, and the power of their scale."""


def _divergence(after: str, before: str) -> str:
    terms = (f"{after}[{k}] * log({after}[{k}] / {before}[{k}])" for k in range(3))
    return f"({' + '.join(terms)})"


def _as_coded(after: str, before: str) -> str:
    terms = (f"{before}[{k}] * (log({before}[{k}]) - {after}[{k}])" for k in range(3))
    return f"(({' + '.join(terms)}) / 3)"


RATIOS = {
    "as described": f"{_divergence('datum.q', 'p')} / {_divergence('after', 'before')}",
    "as coded": f"{_as_coded('datum.q', 'p')} / ({_as_coded('after', 'before')} + 1e-8)",
}
SENTENCE = (
    f"'Between p and p⁺ the divergence is ' + format({_divergence('datum.q', 'p')}, '.3f')"
    " + ', and its ratio to that of the update point ' + format(datum.described, '.2f')"
    f" + '. The code computes ' + format({_as_coded('datum.q', 'p')}, '.3f')"
    " + ' instead, and a ratio of ' + format(datum.coded, '.2f') + '.'"
)


def two_ratios_chart() -> dict[str, Any]:
    """Both ratios of every p⁺ in a triangle, around a p that the reader moves."""
    pick = alt.selection_point(
        name="pick", fields=["first", "second"], on="pointerover", nearest=True, clear=False,
        value=[{"first": AFTER[0], "second": AFTER[1]}],
        bind={
            "first": alt.binding_range(min=0.02, max=0.96, step=0.01, name="p⁺ of class 1"),
            "second": alt.binding_range(min=0.02, max=0.96, step=0.01, name="p⁺ of class 2"),
        },
    )  # fmt: skip
    params = [
        slider("p1", "p of class 1", BEFORE[0], 0.02, 0.96, 0.01),
        slider("p2", "p of class 2", BEFORE[1], 0.02, 0.96, 0.01),
        alt.param(name="rest", expr="max(0.02, min(p2, 0.98 - p1))"),
        alt.param(name="p", expr="[p1, rest, 1 - p1 - rest]"),
        alt.param(name="other", expr="max(0.02, min(pick_second, 0.98 - pick_first))"),
        alt.param(name="chosen", expr="[pick_first, other, 1 - pick_first - other]"),
        alt.param(name="before", value=[*UPDATE[0]]),
        alt.param(name="after", value=[*UPDATE[1]]),
    ]
    panels = [
        _triangle(name, pick if name == "as described" else None, *colours)
        for name, colours in RANGES.items()
    ]
    one = alt.Chart(alt.sequence(1)).transform_calculate(q="chosen")
    one = one.transform_calculate(described=RATIOS["as described"], coded=RATIOS["as coded"])
    panels[0] = (panels[0] + says(one, SENTENCE)).add_params(*params)
    return specification(*panels)


def _triangle(name: str, pick: Any, low: float, high: float, power: float) -> Any:
    """All p⁺, coloured by one of the ratios, with p as a ring and the chosen p⁺ as a cross."""
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-0.06, 1.06]))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-0.09, 0.95]))
    grid = [
        {"first": round((i + 1 / 3) / ROWS, 4), "second": round((j + 1 / 3) / ROWS, 4)}
        for i in range(ROWS) for j in range(ROWS - i)
    ]  # fmt: skip
    colour = alt.Color(
        "ratio:Q",
        scale=alt.Scale(type="pow", exponent=power, domain=[low, high], **SEQUENCE),
        legend=alt.Legend(title=f"ratio {name}", orient="top", gradientLength=180, tickCount=4),
    )  # fmt: skip
    dots = (
        alt.Chart(alt.Data(values=grid))
        .transform_calculate(q="[datum.first, datum.second, 1 - datum.first - datum.second]")
        .transform_calculate(ratio=RATIOS[name], **_place("datum.q"))
        .mark_circle(size=150, opacity=1)
        .encode(x=x, y=y, color=colour)
    )
    if pick is not None:
        dots = dots.add_params(pick)
    marks = dots
    for vector, mark in (
        ("p", {"shape": "circle", "size": 160, "fill": "none", "stroke": TEXT, "strokeWidth": 2}),
        ("chosen", {"shape": "cross", "size": 170, "fill": COLOURS["chosen"]}),
    ):
        point = alt.Chart(alt.sequence(1)).transform_calculate(**_place(vector))
        mark = {"stroke": "white", "strokeWidth": 0.8, "opacity": 1} | mark
        marks += point.mark_point(**mark).encode(x=x, y=y)
    corners = [
        {"x": 0.5, "y": 0.93, "label": "class 1"}, {"x": 0.03, "y": -0.06, "label": "class 2"},
        {"x": 0.97, "y": -0.06, "label": "class 3"},
    ]  # fmt: skip
    names = alt.Chart(alt.Data(values=corners)).mark_text().encode(x=x, y=y, text="label:N")
    return (marks + names).properties(width=310, height=270)


def _place(vector: str) -> dict[str, str]:
    return {"x": f"{vector}[2] + {vector}[0] / 2", "y": f"0.866 * {vector}[0]"}


def two_ratios_figure() -> Any:
    """The chart's still picture."""
    fig, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.2))
    grid = np.array(
        [((i + 1 / 3) / 40, (j + 1 / 3) / 40) for i in range(40) for j in range(40 - i)]
    )
    after = np.c_[grid, 1 - grid.sum(1)]
    found = [two_ratios(BEFORE, one.tolist()) for one in after]
    values = {
        "as described": [one.described for one in found],
        "as coded": [one.coded_ratio for one in found],
    }
    for ax, (name, (low, high, power)) in zip(axes, RANGES.items(), strict=True):
        levels = np.linspace(low**power, high**power, 13) ** (1 / power)
        places = after[:, 2] + after[:, 0] / 2, 0.866 * after[:, 0]
        drawn = ax.tricontourf(*places, values[name], levels=levels, extend="both", cmap=SEQUENTIAL)
        ax.plot(BEFORE[2] + BEFORE[0] / 2, 0.866 * BEFORE[0], "o", mfc="none", mec="black")
        ax.plot(
            AFTER[2] + AFTER[0] / 2, 0.866 * AFTER[0], "P", color=COLOURS["chosen"], mec="white"
        )
        ax.set_title(f"ratio {name}", pad=22)
        ax.set_aspect("equal")
        ax.axis("off")
        for at, label in (
            ((0.5, 0.9), "class 1"),
            ((0, -0.08), "class 2"),
            ((1, -0.08), "class 3"),
        ):
            ax.annotate(label, at, ha="center", annotation_clip=False)
        fig.colorbar(drawn, ax=ax, shrink=0.7, ticks=[low, 1, high])
    return fig
