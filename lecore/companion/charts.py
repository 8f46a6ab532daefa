"""What all charts to play with share: their look, and the sentence that says what they show."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from lecore.errors import extra

with extra("companion"):
    import altair as alt

TEXT = "currentColor"
"""The colour of the page's text, whatever its theme."""

SEQUENCE = {"scheme": "cividis", "reverse": True, "clamp": True}
"""How numbers from 0 on are coloured, as in the still figures, in the words of Vega."""

QUIET = {"stroke": TEXT, "strokeOpacity": 0.25}


def specification(
    *panels: Any, columns: int = 2, buttons: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """Panels side by side as one Vega-Lite specification; narrow pages put them in one column.

    Args:
        panels: Altair's charts.
        columns: How many stand in a row.
        buttons: Sliders that get a button as well, which counts them up, with what it says.

    Returns:
        The specification, validated.
    """
    text = {"labelColor": TEXT, "titleColor": TEXT, "titleFontWeight": "normal"}
    sizes = {"labelFontSize": 12, "titleFontSize": 13}
    look = alt.Config(
        background="transparent", aria=False, font="inherit",
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(
            **text, **sizes, grid=False, domainColor=TEXT, domainOpacity=0.4, tickColor=TEXT,
            tickOpacity=0.4,
        ),
        axisY=alt.AxisConfig(minExtent=48),  # the page's font is wider than the one measured
        legend=alt.LegendConfig(**text, **sizes),
        title=alt.TitleConfig(color=TEXT, fontSize=14, fontWeight="normal", anchor="start"),
        text=alt.MarkConfig(color=TEXT, fontSize=12),
    )  # fmt: skip
    scales = dict.fromkeys(["color", "size", "strokeDash", "shape"], "independent")
    # all at once: each method of a chart would copy it with its data, for seconds
    chart = alt.concat(
        *panels, columns=columns, spacing=28, config=look,
        resolve=alt.Resolve(scale=alt.ScaleResolveMap(**scales)),
    )  # fmt: skip
    spec: dict[str, Any] = chart.to_dict()
    for layer in (layer for panel in spec["concat"] for layer in panel.get("layer", [])):
        if layer["encoding"].get("text", {}).get("field") == "said":
            layer["name"] = "says"  # named before, Altair would count it among a selection's views
    spec["usermeta"] = {"buttons": dict(buttons)}
    return spec


def says(chart: Any, expression: str) -> Any:
    """A sentence that the page shows below a chart, and screen readers read.

    Args:
        chart: With the data that the sentence is about; its first row is enough.
        expression: Vega expression of the sentence.
    """
    line = chart.transform_calculate(said=expression).transform_window(
        row="row_number()"
    ).transform_filter("datum.row == 1")  # fmt: skip
    return line.mark_text(opacity=0, x=0, y=0, fontSize=0).encode(text="said:N")


def slider(name: str, label: str, value: float, low: float, high: float, step: float) -> Any:
    """A number that the reader slides."""
    return alt.param(
        name=name, value=value, bind=alt.binding_range(min=low, max=high, step=step, name=label)
    )


def choice(name: str, label: str, options: dict[str, Any]) -> Any:
    """One of several values, chosen by radio buttons; the first one to begin with."""
    values = [*options.values()]
    bind = alt.binding_radio(options=values, labels=[*options], name=label)
    return alt.param(name=name, value=values[0], bind=bind)
