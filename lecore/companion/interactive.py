"""Charts to play with: how a page holds one, and the scripts that draw it, without another host."""

import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from lecore.errors import extra
from lecore.files import whole_file

VEGA = "vega.mjs"
"""The bundle's name: jupyter-book would load a ``.js`` on every page, with a chart or without."""


def chart_html(name: str, spec: Mapping[str, Any], image: str, alt: str) -> str:
    """What a page holds for a chart: its specification, and a still picture until it is drawn.

    Args:
        name: Of the figure; the page's anchor is ``chart-`` with it.
        spec: Vega-Lite specification.
        image: Address of the picture, which print and browsers without scripts show.
        alt: What the picture shows.

    Returns:
        HTML without a blank line, as Markdown wants it.
    """
    text = json.dumps(spec, separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/")
    return (
        f'<div class="lecore-chart" id="chart-{escape(name)}">\n'
        f'<div class="chart-still"><img src="{escape(image)}" alt="{escape(alt)}"></div>\n'
        f'<script type="application/json">{text}</script>\n'
        "</div>\n"
    )


def stage_scripts(static: Path) -> list[str]:
    """Write what draws charts, once for the whole book: Vega, and the book's own script and style.

    Args:
        static: Folder of the book's own scripts and styles.

    Returns:
        Names of the files that every page loads; the script among them fetches Vega where a page
        has a chart.
    """
    with extra("companion"):
        import vl_convert

    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    with whole_file(static / VEGA, "w") as stream:
        stream.write(bundle)
    names = ["charts.js", "charts.css"]
    for name in names:
        with whole_file(static / name, "w") as stream:
            stream.write(files(__package__).joinpath(name).read_text(encoding="utf-8"))
    return names
