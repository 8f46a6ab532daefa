"""The book of ``make chapters`` by axe-core and by keyboard, in a real browser."""

from pathlib import Path
from typing import Any

import pytest

from .conftest import CHROMIUM

BOOK = Path(__file__).parents[2] / "_build" / "test" / "html"
PAGES = [
    *sorted((BOOK / "book").glob("*.html")),
    *sorted((BOOK / "book").glob("[!a]*/*.html")),
    BOOK / "book" / "api" / "companion.html",  # for all pages of docstrings, which take minutes
    BOOK / "search.html",
]
ALL_COLOURS = {
    "intro", "glossary", "scorecard", "reproduction-notes", "mnist", "classification",
    "wrong-labels", "whose-sentence", "what-can-go-wrong", "what-is-local-elasticity",
    "ks-calibration", "companion", "search",
}  # fmt: skip
"""Pages that have all colours of the book between them: these are looked at for them, since that
takes longer than all else; the others, in the light, with ``--thorough``."""
OF_COLOURS = ["color-contrast", "link-in-text-block"]
COUNTED = {"serious", "critical"}
CONTENTS = ".bd-sidebar-primary"
"""The list of all pages, which is the same on each: looked at once a part."""
OF_MANY = ["details.claim:not(:nth-of-type(3n+1))", "dl.py:not(:nth-of-type(3n+1))"]
"""Claims and docstrings, made by one rule each: two of three are left out."""
STOPS = 6
PATIENCE = 120_000
"""Milliseconds that a page may take to load, beside tests that have both cores."""
pytestmark = [
    pytest.mark.book,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: pages were not looked at"),
    pytest.mark.skipif(not BOOK.exists(), reason="no book here: `make chapters` builds one"),
]


@pytest.fixture(scope="module")
def axe() -> str:
    """The text of axe-core, which the package carries."""
    package = pytest.importorskip("axe_playwright_python")
    return (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


def serious(page: Any, axe: str, rules: dict[str, Any], framed: bool) -> list[str]:
    """What axe finds on a page that hinders somebody, with all open and drawn: rule and place."""
    page.add_style_tag(content="* { animation: none !important; transition: none !important; }")
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    for chart in page.locator(".lecore-chart").all():
        chart.scroll_into_view_if_needed()
    page.wait_for_function("!document.querySelector('.lecore-chart:not(.chart-drawn)')")
    page.evaluate(axe)
    options = {"resultTypes": ["violations"], "preload": False} | rules
    # code is half of all elements, and its colours are the highlighter's
    left_out = [[".highlight pre"], *([one] for one in OF_MANY), *([] if framed else [[CONTENTS]])]
    where = {"include": [["html"]], "exclude": left_out}
    asked = {"where": where, "options": options}
    found = page.evaluate("({where, options}) => axe.run(where, options)", asked)["violations"]
    return [
        f"{one['id']} at {node['target'][0]}"
        for one in found
        if one["impact"] in COUNTED
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("part", range(6))
def test_axe_finds_nothing_serious(
    browser: Any, axe: str, part: int, pytestconfig: pytest.Config
) -> None:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    context.add_init_script("localStorage.mode = localStorage.theme = 'light'")
    page = context.new_page()
    faults = {}
    for path in PAGES[part::6]:
        page.goto(path.as_uri())
        theme = page.locator("html")
        assert theme.get_attribute("data-theme") == "light"
        first = path == PAGES[part]
        coloured = path.stem in ALL_COLOURS
        asked = coloured or pytestconfig.getoption("thorough")
        rules = {rule: {"enabled": asked} for rule in OF_COLOURS} | {"region": {"enabled": False}}
        found = serious(page, axe, {"rules": rules}, first)  # a region missed is moderate
        if coloured:
            theme.evaluate("(html) => html.setAttribute('data-theme', 'dark')")
            # the rest is the same in both
            found += serious(page, axe, {"runOnly": OF_COLOURS}, first)
        if found:
            faults[str(path.relative_to(BOOK))] = found
    context.close()
    assert faults == {}


def stops(page: Any) -> list[dict[str, Any]]:
    """What has the focus, tab by tab, until it is in the text or past it."""
    met: list[dict[str, Any]] = []
    while not met or (len(met) < 50 and not met[-1]["past"]):
        page.keyboard.press("Tab")
        met.append(
            page.evaluate(
                """() => {
                    const here = document.activeElement, text = document.querySelector("article");
                    const style = getComputedStyle(here);
                    const after = text.compareDocumentPosition(here);
                    return {
                        href: here.getAttribute("href"),
                        framed: style.outlineStyle !== "none" || style.boxShadow !== "none",
                        past: Boolean(after & Node.DOCUMENT_POSITION_FOLLOWING),
                    };
                }"""
            )
        )
    return met[:-1]


@pytest.mark.parametrize("width", [1280, 390])
def test_the_text_is_a_few_stops_away_and_each_is_seen(browser: Any, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.goto((BOOK / "book" / "glossary.html").as_uri())
    met = stops(page)
    page.close()
    assert met[0]["href"] == "#main-content"
    assert len(met) <= STOPS
    assert all(stop["framed"] for stop in met)


@pytest.mark.parametrize("width", [1280, 390])
def test_there_is_one_search_box(browser: Any, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.goto((BOOK / "book" / "glossary.html").as_uri())
    boxes = page.locator(".search-button__button").all()
    seen = [box for box in boxes if box.is_visible()]
    page.close()
    assert len(seen) == 1
