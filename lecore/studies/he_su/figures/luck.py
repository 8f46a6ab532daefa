"""Another start, another accuracy: the chart to play with, and its still picture."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import matplotlib.pyplot as plt
import pandas as pd

from lecore.companion.charts import TEXT, choice, says, slider, specification
from lecore.companion.figures import COLOURS, PAPER, WIDTH, legend_above, panels
from lecore.studies.he_su.luck import ROWS

BIN = 2
"""Width of a pile of dots, in points."""
SENTENCE = (
    "datum.n + (datum.n == 1 ? ' start' : ' starts') + ', the last with '"
    " + format(datum.accuracy, '.1f') + ' per cent; the range so far: ' + format(datum.low, '.1f')"
    " + ' to ' + format(datum.high, '.1f') + '. The paper has ' + format(datum.paper, '.1f')"
    " + ', from one start of a network of its own.'"
)


def luck_chart(starts: pd.DataFrame, published: Mapping[str, float], title: str) -> dict[str, Any]:
    """Starts that the reader draws one by one, piled up beside the paper's number.

    Args:
        starts: From :func:`~lecore.studies.he_su.luck.single_starts`.
        published: The paper's accuracy by pair.
        title: Says which run the starts are from.
    """
    pairs = list(starts["pair"].unique())
    named = {pair.replace("v", " against "): pair for pair in _widest_first(starts, pairs)}
    most = int(starts["start"].max())
    params = [
        choice("pair", "digits", named),
        choice("weights", "similarities of", dict(zip(ROWS, ROWS, strict=True))),
        slider("starts", "starts", 5, 1, most, 1),
        alt.param(name="published", value={pair: published[pair] for pair in pairs}),
    ]
    in_bins = starts.assign(pile=starts.accuracy // BIN).groupby(["pair", "weights", "pile"])
    rows = starts.round({"accuracy": 1}).to_dict("records")
    base = (
        alt.Chart(alt.Data(values=rows))
        .transform_filter("datum.pair == pair && datum.weights == weights")
        .transform_filter("datum.start <= starts")
        .transform_calculate(pile=f"{BIN} * floor(datum.accuracy / {BIN}) + {BIN / 2}")
    )
    piled = base.transform_window(
        height="row_number()", groupby=["pile"], sort=[alt.SortField("start")]
    )
    x = alt.X(
        "pile:Q",
        title="accuracy of the clustering (%)",
        scale=alt.Scale(domain=[49, 101], nice=False),
    )
    y = alt.Y(
        "height:Q", title="starts", scale=alt.Scale(domain=[0, int(in_bins.size().max()) + 1])
    )
    style = {"size": 90, "opacity": 1, "color": COLOURS["relu"]}
    last = alt.condition(
        "datum.start == starts", alt.value(COLOURS["chosen"]), alt.value(COLOURS["relu"])
    )
    dots = piled.mark_circle(**style).encode(x=x, y=y, color=last)
    bar = alt.Chart(alt.sequence(1)).transform_calculate(paper="published[pair]")
    paper = {"stroke": TEXT, "strokeWidth": 2, "strokeDash": [4, 3], "opacity": 0.8}
    rule = bar.mark_rule(**paper).encode(x="paper:Q")
    label = bar.mark_text(align="left", dx=5, y=8).encode(x="paper:Q", text=alt.value("paper"))
    summary = (
        base.transform_joinaggregate(n="count()", low="min(accuracy)", high="max(accuracy)")
        .transform_filter("datum.start == datum.n")
        .transform_calculate(paper="published[pair]")
    )
    marks = (dots + rule + label + says(summary, SENTENCE)).properties(
        width=600, height=210, title=title
    )
    return specification(marks.add_params(*params), columns=1, buttons={"starts": "another start"})


def luck_figure(starts: pd.DataFrame, published: Mapping[str, float], title: str) -> Any:
    """The chart's still picture: all starts of the pair that luck moves most.

    Args:
        starts: As for :func:`luck_chart`.
        published: As there.
        title: As there.
    """
    pair = _widest_first(starts, list(starts["pair"].unique()))[0]
    fig, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.8), sharey=True)
    for ax, weights in zip(axes, ROWS, strict=True):
        some = starts[(starts["pair"] == pair) & (starts.weights == weights)]
        ax.hist(some.accuracy, bins=range(50, 103, BIN), color=COLOURS["relu"])
        ax.axvline(published[pair], color=PAPER, linestyle="--", label="paper")
        ax.set(title=f"{pair.replace('v', ' against ')}, {weights}", xlabel="accuracy (%)")
    axes[0].set_ylabel("starts")
    axes[0].legend()
    fig.suptitle(title, fontsize=11)
    return fig


def _widest_first(starts: pd.DataFrame, pairs: list[str]) -> list[str]:
    """Pairs, the one whose starts differ most in front."""
    spread = starts.groupby("pair").accuracy.agg(lambda values: values.max() - values.min())
    return sorted(pairs, key=lambda pair: -spread[pair])


def objective_figure(
    records: Mapping[str, Mapping[str, Any]], pairs: Sequence[str], title: str
) -> Any:
    """Accuracy of single starts of K-means on pixels against their objective, pair by pair.

    Args:
        records: Those of :func:`~lecore.studies.he_su.objective.objective_against_classes` among
            others.
        pairs: Six pairs of digits; those without a record stay empty.
        title: Says which run is shown.
    """
    fig, axes = panels(2, 3, height=4.2, sharey=True)
    for ax, pair in zip(axes.flat, pairs, strict=True):
        ax.set_title(pair.replace("v", " against "))
        ax.locator_params(nbins=3)
        if (entry := records.get(f"objective-lowest-{pair}")) is None:
            continue
        style = {"color": COLOURS["ink"], "alpha": 0.5}
        ax.plot(entry["excess"], entry["accuracy"], "o", markersize=4, label="a start", **style)
        best = {"color": COLOURS["chosen"], "label": "lowest objective"}
        ax.plot(0, entry["value"], "*", markersize=11, **best)
    fig.supxlabel("objective above the lowest (%)")
    for ax in axes[:, 0]:
        ax.set_ylabel("accuracy (%)")
    legend_above(fig, title, columns=2)
    return fig
