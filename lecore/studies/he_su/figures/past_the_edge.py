"""Past the edge: training at one rate after the other, to play with, and the still picture."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from lecore.companion.charts import QUIET, TEXT, choice, says, slider, specification
from lecore.companion.figures import COLOURS, SEQUENTIAL, WIDTH, tones
from lecore.studies.he_su.past_the_edge import Path

CLASSES = dict(zip(tones(2), ("circle", "square"), strict=True))
"""Colour and shape of the two classes."""
SENTENCE = (
    "'At ' + format(datum.share, '.2~f') + ' times the largest stable rate, after '"
    " + datum.steps + (datum.steps == 1 ? ' step: ' : ' steps: ') + 'loss '"
    " + format(datum.loss, '.3~g') + ', ' + format(datum.silent, '.0f')"
    " + ' per cent of the hidden units silent.'"
    " + (datum.gone ? ' Training has run away.' : '')"
)


def past_the_edge_chart(
    paths: Sequence[Path], truth: NDArray[np.int64], names: Sequence[str], title: str
) -> dict[str, Any]:
    """Loss and silent units by step at a rate that the reader chooses, and a map of the images.

    Args:
        paths: From :func:`lecore.studies.he_su.past_the_edge.paths`.
        truth: As from there.
        names: Of the two classes.
        title: Says what was trained on which images.
    """
    most = max(len(path.steps) for path in paths)
    rows = [
        {
            "share": path.share, "steps": int(path.steps[min(look, len(path.steps) - 1)]),
            "look": look, "k": k, "gone": path.diverged and look >= len(path.steps) - 1,
            "loss": float(f"{path.loss[min(look, len(path.steps) - 1)]:.4g}"),
            "silent": round(float(path.silent[min(look, len(path.steps) - 1)]), 2),
        }
        for k, path in enumerate(paths) for look in range(most)
    ]  # fmt: skip
    rates = {f"{path.share:g}": k for k, path in enumerate(paths)}
    start = next((k for k, path in enumerate(paths) if path.share > 1), len(paths) - 1)
    rate = choice("rate", "rate / largest stable one", rates)
    rate.param.value = start
    params = [
        rate,
        slider("look", "moment", most - 1, 0, most - 1, 1),
        alt.param(name="maps", value=[path.places.round(2).tolist() for path in paths]),
        alt.param(name="truth", value=truth.tolist()),
        alt.param(name="seen", expr="maps[rate][min(look, length(maps[rate]) - 1)]"),
    ]
    space = (_map(len(truth), names) + says(_now(rows), SENTENCE)).properties(
        width=270, height=270, title=title
    )
    loss = _by_step(rows, "loss", "loss", {"type": "log", "nice": False})
    silent = _by_step(rows, "silent", "silent units (%)", {"domain": [0, 100]})
    return specification(space.add_params(*params), alt.vconcat(loss, silent, spacing=14))


def _map(n: int, names: Sequence[str]) -> Any:
    scale = alt.Scale(domain=[-1.05, 1.05])
    x, y = (alt.X("x:Q", axis=None, scale=scale), alt.Y("y:Q", axis=None, scale=scale))
    colours = alt.Scale(domain=[*names], range=[*CLASSES])
    shapes = alt.Scale(domain=[*names], range=[*CLASSES.values()])
    legend = alt.Legend(title="class", orient="top")
    return (
        alt.Chart(alt.sequence(0, n, as_="image"))
        .transform_calculate(
            x="seen[datum.image][0]", y="seen[datum.image][1]",
            name=f"{list(names)}[truth[datum.image]]",
        )
        .mark_point(filled=True, size=40, opacity=0.8)
        .encode(
            x=x, y=y, color=alt.Color("name:N", scale=colours, legend=legend),
            shape=alt.Shape("name:N", scale=shapes, legend=legend),
        )
    )  # fmt: skip


def _now(rows: Sequence[dict[str, Any]]) -> Any:
    here = alt.Chart(alt.Data(values=rows))
    return here.transform_filter("datum.k == rate && datum.look == look")


def _by_step(
    rows: Sequence[dict[str, Any]], quantity: str, title: str, scale: dict[str, Any]
) -> Any:
    """A quantity at every look, the chosen rate in front of the others."""
    axis = alt.Axis(tickCount=4, **({"format": "~e"} if "type" in scale else {}))
    x = alt.X("look:O", title="steps", axis=alt.Axis(labelAngle=0, labelExpr=_steps(rows)))
    y = alt.Y(f"{quantity}:Q", title=title, scale=alt.Scale(**scale), axis=axis)
    lines = alt.Chart(alt.Data(values=rows))
    others = lines.mark_line(**QUIET, strokeWidth=1).encode(x=x, y=y, detail="k:N")
    style = {"strokeWidth": 2.5, "color": COLOURS["relu"]}
    chosen = lines.transform_filter("datum.k == rate").mark_line(**style).encode(x=x, y=y)
    dot = _now(rows).mark_circle(size=80, opacity=1, color=COLOURS["relu"]).encode(x=x, y=y)
    rule = _now(rows).mark_rule(stroke=TEXT, strokeOpacity=0.25).encode(x=x)
    return (others + chosen + rule + dot).properties(width=280, height=115)


def _steps(rows: Sequence[dict[str, Any]]) -> str:
    """Vega expression that says how many steps a look came after."""
    steps: dict[int, int] = {}
    for row in rows:
        steps[row["look"]] = max(steps.get(row["look"], 0), row["steps"])
    return f"{list(steps.values())}[datum.value]"


def past_the_edge_figure(
    paths: Sequence[Path], truth: NDArray[np.int64], names: Sequence[str], title: str
) -> Any:
    """The chart's still picture: all rates, and the map at the end of a stable and a large one.

    Args:
        paths: As for :func:`past_the_edge_chart`.
        truth: As there.
        names: As there.
        title: As there.
    """
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(WIDTH, 2.8))
    for path in paths:
        shade = plt.get_cmap(SEQUENTIAL)(0.2 + np.log2(4 * path.share) / 8)
        left.plot(np.maximum(path.steps, 0.5), path.loss, color=shade, label=f"{path.share:g}")
    left.set(xscale="log", yscale="log", xlabel="steps", ylabel="loss")
    left.legend(fontsize=7, title="rate", title_fontsize=8, ncols=2)
    alive = [path for path in paths if not path.diverged and path.silent[-1] < 99]
    for ax, path in ((middle, alive[0]), (right, alive[-1])):
        for k, (name, (colour, shape)) in enumerate(zip(names, CLASSES.items(), strict=True)):
            style = {
                "marker": {"circle": "o", "square": "s"}[shape],
                "color": colour,
                "s": 8,
                "label": name,
            }
            ax.scatter(*path.places[-1][truth == k].T, **style)
        said = f"rate {path.share:g}\n{path.silent[-1]:.0f} % silent"
        ax.set(xticks=[], yticks=[], title=said, aspect="equal")
    right.legend(fontsize=8)
    fig.suptitle(title, fontsize=10)
    return fig
