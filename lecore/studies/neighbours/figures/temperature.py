"""A temperature to slide, and what it does to the KS error: the chart and its still picture."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from lecore.companion.charts import QUIET, TEXT, says, slider, specification
from lecore.companion.figures import COLOURS, legend_above, panels, tones
from lecore.studies.neighbours.calibration_error import Scores, cumulative_gap, ks_error

Array = NDArray[np.float64]

SHOWN = ("raw", "temperature", "spline")
"""Ways whose gaps are drawn."""
DASHES = {"raw": [1, 0], "temperature": [6, 3], "spline": [2, 2]}
LABELS = {"raw": "as trained", "temperature": "likeliest temperature", "spline": "spline"}
SENTENCE = (
    "'At temperature ' + format(T, '.1f') + ' the KS error is ' + format(datum.ks, '.2f')"
    " + ' per cent, and the mean confidence is ' + format(abs(datum.mean), '.2f')"
    " + ' points ' + (datum.mean < 0 ? 'below' : 'above') + ' the accuracy. The likeliest '"
    " + 'temperature, ' + format(best, '.1f') + ', has ' + format(cooled, '.2f')"
    " + ' per cent, the spline ' + format(splined, '.2f') + '.'"
)


def temperature_chart(
    logits: Array, labels: NDArray[np.int64], by_way: Mapping[str, Scores], best: float
) -> dict[str, Any]:
    """How far confidence runs ahead of accuracy, at a temperature that the reader slides.

    Args:
        logits: Of the test images, shape (n, C).
        labels: Shape (n,).
        by_way: Scores of the same images, from
            :func:`~lecore.studies.neighbours.ks_calibration.recalibrated`.
        best: The likeliest temperature.
    """
    below = np.sort(logits.max(1, keepdims=True) - logits, axis=1)[:, 1:].round(2)
    hits, n = logits.argmax(1) == labels, len(labels)
    rows = [{"m": m.tolist(), "hit": int(hit)} for m, hit in zip(below, hits, strict=True)]
    rest = " + ".join(f"exp(-datum.m[{k}] / T)" for k in range(below.shape[1]))
    moving = (
        alt.Chart(alt.Data(values=rows))
        .transform_calculate(rest=rest)
        .transform_calculate(unsure="datum.rest / (1 + datum.rest)")
        .transform_calculate(gap=f"100 * (1 - datum.unsure - datum.hit) / {n}")
        .transform_window(
            h="sum(gap)", k="row_number()", frame=[None, 0],
            sort=[alt.SortField("unsure", order="descending")],
        )
        .transform_calculate(share=f"100 * datum.k / {n}", size="abs(datum.h)")
    )  # fmt: skip
    few = alt.Axis(tickCount=5)
    x = alt.X("share:Q", title="test images, from the least sure one on (%)", axis=few)
    y = alt.Y("h:Q", title="confidence ahead of accuracy, added up (%)")
    still = [
        {"share": round(100 * a, 2), "h": round(100 * b, 4), "way": LABELS[way]}
        for way in SHOWN for a, b in zip(*cumulative_gap(*by_way[way]), strict=True)
    ]  # fmt: skip
    ways = [LABELS[way] for way in SHOWN]
    dash = alt.StrokeDash(
        "way:N", title=None, legend=alt.Legend(orient="top", columns=1, symbolStrokeColor=TEXT),
        scale=alt.Scale(domain=ways, range=[DASHES[way] for way in SHOWN]),
    )  # fmt: skip
    lines = (
        alt.Chart(alt.Data(values=still))
        .mark_line(stroke=TEXT, strokeWidth=1.2, strokeOpacity=0.7)
        .encode(x=x, y=y, strokeDash=dash)
    )
    drawn = moving.mark_line(strokeWidth=3, color=COLOURS["chosen"]).encode(
        x=x, y=y, order=alt.Order("share:Q")
    )
    ground = alt.Chart(alt.sequence(1)).mark_rule(**QUIET).encode(y=alt.datum(0))
    summary = moving.transform_joinaggregate(ks="max(size)", mean="sum(gap)")
    params = [
        slider("T", "temperature", 1, 0.5, 6, 0.1),
        *(
            alt.param(name=name, value=round(float(value), 4))
            for name, value in (
                ("best", best), ("cooled", 100 * ks_error(*by_way["temperature"])),
                ("splined", 100 * ks_error(*by_way["spline"])),
            )
        ),
    ]  # fmt: skip
    marks = (ground + lines + drawn + says(summary, SENTENCE)).properties(width=600, height=260)
    return specification(marks.add_params(*params), columns=1)


def gap_figure(by_way: Mapping[str, Scores]) -> Any:
    """The chart's still picture: the gap of the scores as trained, and after calibration.

    Args:
        by_way: As for :func:`temperature_chart`.
    """
    fig, axes = panels(1, 1, height=3.2)
    styles = zip(SHOWN, ("-", "--", ":"), tones(3), strict=True)
    for way, style, colour in styles:
        share, gap = cumulative_gap(*by_way[way])
        label = f"{LABELS[way]}: KS error {100 * ks_error(*by_way[way]):.2f} %"
        axes[0, 0].plot(100 * share, 100 * gap, style, color=colour, label=label)
    axes[0, 0].axhline(0, color=COLOURS["ink"], linewidth=0.6, alpha=0.4)
    axes[0, 0].set(
        xlabel="test images, from the least sure one on (%)",
        ylabel="confidence ahead\nof accuracy, added up (%)",
    )
    legend_above(fig, columns=1)
    return fig
