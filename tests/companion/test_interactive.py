"""Charts as pages hold them."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

from lecore.companion.interactive import chart_html, stage_charts
from lecore.companion.records import FIGURE, VEGA_LITE

SPEC = {"mark": "point", "title": "</script><b>", "data": {"values": [{"a": "é"}]}}


class Found(HTMLParser):
    """Tags, the image's attributes, and the text of the script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.image: dict[str, str | None] = {}
        self.script = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.image = dict(attrs)

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "script":
            self.script += data


def test_html_holds_the_specification_and_a_picture() -> None:
    found = Found(chart_html("play", SPEC, 'a"b.svg', "1 < 2"))
    assert found.tags == ["div", "div", "img", "script"]
    assert json.loads(found.script) == SPEC
    assert found.image == {"src": 'a"b.svg', "alt": "1 < 2"}


def test_html_has_no_blank_line() -> None:
    assert not re.search(r"\n\s*\n", chart_html("play", SPEC | {"title": "\n\n"}, "a.svg", "alt"))


def test_charts_of_a_chapter_are_staged_with_picture_and_alt_text(tmp_path: Path) -> None:
    data = {VEGA_LITE: SPEC, "image/svg+xml": "<svg/>"}
    cells = [
        SimpleNamespace(cell_type="code", get=lambda *_: [
            {"data": data, "metadata": {FIGURE: "play"}},
            {"data": {"image/svg+xml": "<svg/>"}, "metadata": {FIGURE: "still"}},
        ]),
        SimpleNamespace(
            cell_type="markdown", get=lambda *_: [],
            source="```{glue:figure} play\n:name: fig-play\n:alt: What it shows.\n\nCaption\n```\n",
        ),
    ]  # fmt: skip
    stage_charts(SimpleNamespace(cells=cells), tmp_path)
    (text,) = (tmp_path / "book" / "generated").iterdir()
    assert text.name == "play.txt"
    assert 'alt="What it shows."' in text.read_text()
    assert (tmp_path / "_static" / "charts" / "play.svg").read_text() == "<svg/>"
