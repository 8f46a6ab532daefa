"""Charts to play with: how a page holds one, and the scripts that draw it, without another host."""

import json
import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from lecore.companion.records import FIGURE, VEGA_LITE
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


def stage_charts(notebook: Any, stage: Path) -> None:
    """Write each chart of an executed chapter for pages right below ``book/`` to include.

    Args:
        notebook: With its prose, which says what each chart shows.
        stage: The staging folder; ``book/generated`` gets a text with the name of each chart.
    """
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for output in (out for cell in notebook.cells for out in cell.get("outputs", [])):
        if VEGA_LITE not in output.get("data", {}):
            continue
        name = output["metadata"][FIGURE]
        picture = f"_static/charts/{name}.svg"
        with whole_file(stage / picture, "w") as stream:
            stream.write(output["data"]["image/svg+xml"])
        found = re.search(rf"{{glue:figure}} {name}\n(?::\w+: .*\n)*?:alt: (.*)\n", prose)
        html = chart_html(
            name, output["data"][VEGA_LITE], f"../{picture}", found[1] if found else name
        )
        with whole_file(stage / "book" / "generated" / f"{name}.txt", "w") as stream:
            stream.write(f"```{{raw}} html\n{html}```\n")


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
