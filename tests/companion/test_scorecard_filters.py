"""The scorecard's filters in a browser; skipped where there is no Chromium."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lecore.companion.claim_rows import claim_rows
from lecore.companion.scorecard import scorecard

from .conftest import CHROMIUM

STATIC = Path(__file__).parents[2] / "book" / "_static"

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]


@pytest.fixture
def page(project: Path, browser: Any) -> Iterator[Any]:
    """The miniature's scorecard without the book around it."""
    body = scorecard(claim_rows(project, project / "_build"))
    body = re.sub(r"```\{index\}.*?```", "", body, flags=re.S)
    body = re.sub("^## (.*)$", r"</section><section><h2>\1</h2>", body, flags=re.M)
    head = "".join(f'<link rel="stylesheet" href="{css.as_uri()}">' for css in STATIC.glob("*.css"))
    head += f'<script src="{(STATIC / "scorecard.js").as_uri()}"></script>'
    path = project / "page.html"
    path.write_text(f"<!doctype html><html><head>{head}</head><section>{body}</section></html>")
    opened = browser.new_page()
    opened.goto(path.as_uri())
    yield opened
    opened.close()


def seen(page: Any) -> list[str]:
    """Claims whose rows are shown."""
    rows = page.locator("details.claim:visible .claim-id")
    found: list[str] = rows.all_inner_texts()
    return found


def test_rows_are_chosen_and_the_address_keeps_the_choice(page: Any) -> None:
    assert seen(page) == ["C-1", "C-2", "C-4", "C-3"]
    page.select_option("[name=verdict]", "undecided")
    assert seen(page) == ["C-2"]
    assert page.locator("output").inner_text() == "1 of 4 claims"
    assert page.locator(".dot:not(.passed-over)").count() == 1
    assert page.locator("h2:visible").all_inner_texts() == ["A"]
    page.reload()
    assert seen(page) == ["C-2"]
    page.select_option("[name=n]", "10")
    assert seen(page) == []
    page.click("[type=reset]")
    page.locator("details.claim:visible").nth(3).wait_for()  # a form resets after its event


def test_a_dot_opens_its_row_even_if_it_was_hidden(page: Any) -> None:
    page.select_option("[name=paper]", "b")
    page.locator(".dot").first.click()
    assert page.locator("details[open] .claim-id").all_inner_texts() == ["C-1"]
    assert len(seen(page)) == 4


@pytest.mark.thorough
def test_rows_open_together_and_by_the_keyboard(page: Any) -> None:
    page.click(".open-all")
    assert page.locator("details[open]").count() == 4
    page.click(".open-all")
    page.locator("summary").first.press("Enter")
    assert page.locator("details[open]").count() == 1
