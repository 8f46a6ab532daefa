"""Charts to play with: how a page holds one, and the scripts that draw it, without another host."""

import json
import re
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from lecore.companion.records import FIGURE, VEGA_LITE
from lecore.errors import extra
from lecore.files import whole_file

VEGA = "vega.mjs"
"""The bundle's name: jupyter-book would load a ``.js`` on every page, with a chart or without."""

PICTURES = "_static/charts"
"""Folder of the still pictures."""


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


def stage_charts(notebook: Any, stage: Path) -> None:
    """Write each chart of an executed chapter for pages right below ``book/`` to include.

    Args:
        notebook: With its prose, which says what each chart shows.
        stage: The staging folder; ``book/generated`` gets a text with the name of each chart.
    """
    for output in charts_of(notebook):
        name = output["metadata"][FIGURE]
        with whole_file(stage / PICTURES / f"{name}.svg", "w") as stream:
            stream.write(output["data"]["image/svg+xml"])
        with whole_file(stage / "book" / "generated" / f"{name}.txt", "w") as stream:
            stream.write(f"```{{raw}} html\n{output_html(notebook, output, above=1)}```\n")


def charts_of(notebook: Any) -> list[Any]:
    """Outputs of an executed chapter that hold a chart."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output for output in outputs if VEGA_LITE in output.get("data", {})]


def output_html(notebook: Any, output: Mapping[str, Any], *, above: int) -> str:
    """HTML of a chart, with the alt text of the figure that shows it in its chapter.

    Args:
        notebook: The executed chapter with its prose.
        output: Of it, with a chart.
        above: How many folders the page lies below the book's root.
    """
    name = output["metadata"][FIGURE]
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    found = re.search(rf"{{glue:figure}} {name}\n(?::\w+: .*\n)*?:alt: (.*)\n", prose)
    picture = f"{'../' * above}{PICTURES}/{name}.svg"
    return chart_html(name, output["data"][VEGA_LITE], picture, found[1] if found else name)


def stage_scripts(static: Path) -> list[str]:
    """Write what draws charts, once for the whole book: Vega, and the book's own script and style.

    Args:
        static: Folder of the book's own scripts and styles.

    Returns:
        Names of the files that every page loads; the script among them fetches Vega where a page
        has a chart.
    """
    with whole_file(static / VEGA, "w") as stream:
        stream.write(_vega())
    names = ["charts.js", "charts.css"]
    for name in names:
        with whole_file(static / name, "w") as stream:
            stream.write(files(__package__).joinpath(name).read_text(encoding="utf-8"))
    return names


@cache
def _vega() -> str:
    with extra("companion"):
        import vl_convert

    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return f"(() => {{\n{bundle}\n}})();\n"  # its names are its own: Sphinx has a `_`
