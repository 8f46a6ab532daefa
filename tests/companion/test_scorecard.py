"""The scorecard: rows, criteria, filters, links, pictures of intervals, and colours."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup, Tag
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lecore.companion.claim_rows import OURS, Row, claim_rows
from lecore.companion.claims import Result
from lecore.companion.interval_plot import interval_plot
from lecore.companion.page_notebooks import marked, with_anchors
from lecore.companion.project import load_claims
from lecore.companion.scorecard import dots, scorecard
from lecore.companion.verdicts import Judged, bounds, judged

ROOT = Path(__file__).parents[2]


def shown(rows: list[Row]) -> dict[str, Tag]:
    """The scorecard's rows, by claim."""
    found = BeautifulSoup(scorecard(rows), "html.parser").find_all("details", class_="claim")
    return {text(row.find(class_="claim-id")): row for row in found}


def text(tag: Any) -> str:
    return " ".join(tag.get_text(" ").split())


def edit_claims(root: Path, old: str, new: str) -> None:
    path = root / "book" / "claims.yml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def a_row(criteria: list[dict[str, Any]], **result: Any) -> Row:
    claim = {
        "id": "HS-1", "paper": "He & Su", "place": "Table 1", "claim": "A claim.",
        "quantity": "A number.", "published": 1.0, "chapter": "a/b", "criteria": criteria,
    }  # fmt: skip
    records: dict[str, dict[str, Any]] = result.pop("records", {})
    found = Result(
        "HS-1", "reproduced", None,
        tuple(judged(c, records.get(c["record"])) for c in criteria),
        1.0, "quick", "a/b", "", "A claim.", "Table 1",
    )  # fmt: skip
    return Row(claim, dataclasses.replace(found, **result), None, True)


def test_each_claim_has_a_row_and_a_dot(project: Path) -> None:
    rows = claim_rows(project, project / "_build")
    assert sorted(shown(rows)) == ["C-1", "C-2", "C-3", "C-4"]
    places = re.findall(r'href="scorecard.html#claim-([^"]*)"', dots(rows))
    assert sorted(places) == ["c-1", "c-2", "c-3", "c-4"]


def test_our_own_questions_stand_apart_and_last(project: Path) -> None:
    page = scorecard(claim_rows(project, project / "_build"))
    assert re.findall("^## (.*)$", page, re.M) == ["A", "B", OURS]
    assert page.index("## Our own") < page.index('id="claim-c-3"')


def test_every_criterion_is_shown_with_its_bound_and_whether_it_is_met(project: Path) -> None:
    rows = claim_rows(project, project / "_build")
    found = shown(rows)
    signs = {"C-1": "✓ met", "C-2": "? undecided", "C-3": "✗ missed", "C-4": "not run"}
    for row in rows:
        body = text(found[row.here.id].find(class_="criteria"))
        for criterion in row.here.criteria:
            assert f"{criterion.record} :" in body
            assert f"asked {bounds(criterion)}" in body
        assert signs[row.here.id] in body


def test_all_claims_of_this_book_are_shown_with_all_criteria() -> None:
    rows = claim_rows(ROOT, ROOT / "no build")
    found = shown(rows)
    for claim in load_claims(ROOT):
        names = text(found.pop(claim["id"]).find(class_="criteria"))
        assert all(c["record"].replace("-", " ") in names for c in claim["criteria"])
    assert found == {}


def test_a_row_tells_number_interval_n_and_what_would_settle_it(project: Path) -> None:
    row = shown(claim_rows(project, project / "_build"))["C-2"]
    assert text(row.find(class_="claim-paper")) == "the paper: 9"
    assert text(row.find(class_="claim-here")) == "here: 1 [0.5, 3], n = 3"
    assert "Would be settled by about 75 runs, here 3." in text(row)


def test_a_row_counts_criteria_that_were_judged_differently(project: Path) -> None:
    more = "at_most: 5}, {record: letters, at_least: 5}]"
    edit_claims(project, "at_most: 5}]", more)
    row = shown(claim_rows(project, project / "_build"))["C-3"]
    assert "2 criteria: 1 met, 1 missed" in text(row.find(class_="claim-verdict"))


def test_a_claim_that_was_run_in_part_says_how_much_of_it(project: Path) -> None:
    edit_claims(project, "at_most: 5}]", "at_most: 5}, {record: not-there, at_least: 5}]")
    row = shown(claim_rows(project, project / "_build"))["C-3"]
    assert text(row.find(class_="claim-verdict")).startswith("not run 1 of 2 criteria run this")


def test_a_row_of_a_reference_run_tells_what_is_smaller_than_in_the_paper(project: Path) -> None:
    (row,) = [r for r in claim_rows(project, project / "_build") if r.here.id == "C-1"]
    claim = {**row.claim, "smaller": "a tenth as wide"}
    larger = dataclasses.replace(row.here, profile="paper")
    of_reference = dataclasses.replace(row, claim=claim, reference=larger)
    assert "a tenth as wide" in scorecard([of_reference])
    assert "a tenth as wide" not in scorecard([dataclasses.replace(row, claim=claim)])


def test_a_row_tells_the_history_of_its_criteria(project: Path) -> None:
    told = 'history: [{date: "2026-01-02", change: "Was 7.", reason: none known}]'
    edit_claims(project, "at_most: 5}]}", f"at_most: 5}}], {told}}}")
    row = shown(claim_rows(project, project / "_build"))["C-3"]
    assert "2026-01-02: Was 7. Why: none known." in text(row)


def test_two_tallies(project: Path) -> None:
    page = BeautifulSoup(dots(claim_rows(project, project / "_build")), "html.parser")
    assert [text(p) for p in page.find_all(class_="tally")] == [
        "3 claims of the papers: 1 reproduced 1 undecided 1 not run",
        "1 questions of our own: 1 not reproduced",
    ]


def test_filters_see_paper_verdict_source_and_n(project: Path) -> None:
    found = shown(claim_rows(project, project / "_build"))
    seen = {name: tuple(row[f"data-{k}"] for k in FILTERS) for name, row in found.items()}
    assert seen == {
        "C-1": ("a", "reproduced", "here", "3-9"),
        "C-2": ("a", "undecided", "here", "3-9"),
        "C-3": ("our-own-questions", "not-reproduced", "here", "none"),
        "C-4": ("b", "not-run", "", ""),
    }


FILTERS = ("paper", "verdict", "source", "n")


def test_filters_offer_all_that_rows_have(project: Path) -> None:
    page = BeautifulSoup(scorecard(claim_rows(project, project / "_build")), "html.parser")
    for name in FILTERS:
        offered = {option["value"] for option in page.select(f"select[name={name}] option")}
        assert {row[f"data-{name}"] for row in page.find_all(class_="claim")} <= offered


@pytest.mark.parametrize(
    ("numbers", "group"),
    [([None], "none"), ([2], "1-2"), ([3], "3-9"), ([300, 9], "3-9"), ([None, 10], "10")],
)
def test_the_fewest_n_counts(numbers: list[int | None], group: str) -> None:
    criteria = [{"record": f"r{i}", "at_least": 0} for i in range(len(numbers))]
    records = {
        f"r{i}": {"value": 1.0} | ({} if n is None else {"n": n}) for i, n in enumerate(numbers)
    }
    assert a_row(criteria, records=records).n == group


def test_the_paper_s_number_is_of_the_same_criterion_and_image_set() -> None:
    criteria = [
        {"record": "r", "at_least": 0, "published": {"one": 0.5, "two": 0.7}},
        {"record": "s", "at_least": 0},
    ]
    row = a_row(criteria, data="two")
    first, second = row.here.criteria
    assert row.published(first, row.here) == 0.7
    assert row.published(first, dataclasses.replace(row.here, data="other")) is None
    assert row.published(second, row.here) is None  # the claim's number is of its first criterion
    several = Row(row.claim | {"sets": ["one", "two"]}, row.here, None, True)
    assert several.published(dataclasses.replace(first, record="one r"), row.here) == 0.5


def test_each_image_set_has_its_line() -> None:
    row = a_row([{"record": "r", "at_least": 0, "published": {"one": 0.5, "two": 0.7}}])
    of_sets = [
        dataclasses.replace(row.here.criteria[0], record=f"{data} r", value=value, met=True)
        for data, value in (("one", 0.6), ("two", 0.8))
    ]
    here = dataclasses.replace(row.here, criteria=tuple(of_sets))
    (found,) = shown([Row(row.claim | {"sets": ["one", "two"]}, here, None, True)]).values()
    assert text(found.find(class_="claim-paper")) == "the paper: one: 0.5 two: 0.7"
    assert text(found.find(class_="claim-here")) == "here: one: 0.6 two: 0.8"


def test_the_reference_run_settles_and_both_runs_are_told() -> None:
    here = a_row([{"record": "r", "at_least": 0}], records={"r": {"value": 1.0}})
    run = dataclasses.replace(here.here, profile="paper", data="mnist", outcome="not reproduced")
    row = dataclasses.replace(here, reference=run, files=("a/b.json",))
    (found,) = shown([row]).values()
    assert (found["data-source"], found["data-verdict"]) == ("reference", "not-reproduced")
    assert text(found.find(class_="claim-verdict")) == (
        "not reproduced reference run · paper · mnist"
    )
    heads = [text(head) for head in found.find_all(class_="claim-head")]
    assert heads[:2] == [
        "Reference run: paper profile, data: mnist", "This build: quick profile, data: synthetic",
    ]  # fmt: skip
    assert found.find("a", href="../_static/records/reference/a/b.json")


MARKUP = '<b onclick="x">| `c` *d*</b>'


def test_markup_in_a_claim_shows_as_it_stands() -> None:
    row = a_row([{"record": "r", "at_least": 0}], claim=MARKUP)
    (found,) = shown([row]).values()
    assert text(found.find(class_="claim-says")) == MARKUP
    (dot,) = BeautifulSoup(dots([row]), "html.parser").find_all("a")
    assert dot["title"] == f"HS-1, reproduced: {MARKUP}"


def test_no_row_is_cut_by_an_empty_line(project: Path) -> None:
    page = scorecard(claim_rows(project, project / "_build"))
    for block in re.findall(r'<div class="claims">.*?</details>\n</div>', page, re.S):
        assert "\n\n" not in block  # where Markdown would end the HTML


def place(svg: Tag, kind: str, key: str) -> list[float]:
    return [float(str(tag[key])) for tag in svg.find_all(class_=kind)]


def drawn(criterion: Judged, published: float | None = None) -> Tag:
    svg = BeautifulSoup(interval_plot(criterion, published), "html.parser").svg
    assert svg is not None
    return svg


A_CRITERION = Judged("r", -2.0, 6.0, "", 3.0, 1.0, 4.0, 5, True)


def test_places_in_the_picture_are_those_of_the_numbers() -> None:
    svg = drawn(A_CRITERION, 8.0)
    low, high = place(svg, "bound", "x1")
    assert low < high
    (here,) = place(svg, "here", "cx")
    line, *ends = place(svg, "interval", "x1")
    (diamond,) = svg.find_all(class_="paper")
    paper = float(re.findall(r"M([\d.]+) ", str(diamond["d"]))[0])
    unit = (high - low) / 8
    found = [(x - low) / unit - 2 for x in (here, *ends, paper)]
    assert found == pytest.approx([3, 1, 4, 8], abs=0.01)
    assert (line, place(svg, "interval", "x2")[0]) == tuple(ends)


@pytest.mark.parametrize(
    ("at_least", "at_most", "left", "right"),
    [(1.0, None, True, False), (None, 1.0, False, True), (1.0, 2.0, True, True)],
)
def test_what_meets_the_criterion_is_shaded(
    at_least: float | None, at_most: float | None, left: bool, right: bool
) -> None:
    svg = drawn(Judged("r", at_least, at_most, "", 3.0, None, None, None, False))
    (start,), (width,) = place(svg, "asked", "x"), place(svg, "asked", "width")
    edges = place(svg, "bound", "x1")
    assert (start == edges[0]) is left
    assert (start + width == pytest.approx(edges[-1])) is right


def test_one_number_alone_stands_within_the_picture() -> None:
    svg = drawn(Judged("r", 0.0, None, "", 0.0, None, None, None, True))
    assert place(svg, "here", "cx") == place(svg, "bound", "x1") == [160.0]


def test_the_picture_is_told_in_words() -> None:
    assert drawn(A_CRITERION, 8.0)["aria-label"] == (
        "Here 3 [1, 4], n = 5; asked −2 to 6, which is met; the paper has 8."
    )


def test_a_cell_says_which_claims_it_decides() -> None:
    made = [new_output("display_data", metadata={"scrapbook": {"name": n}}) for n in ("r", "s")]
    cells = [new_code_cell("a"), new_code_cell("b", outputs=made), new_code_cell("c", outputs=made)]
    claims = [
        {"id": f"C-{i}", "chapter": chapter, "criteria": [{"record": record}]}
        for i, (chapter, record) in enumerate(
            [("x/y", "r"), ("x/y", "s"), ("z", "r"), ("x/y", "t")]
        )
    ]
    page = with_anchors(new_notebook(cells=cells), "x/y", claims)
    assert [cell.source for cell in page.cells if cell.cell_type == "code"] == ["a", "b", "c"]
    assert [cell.cell_type for cell in page.cells].index("markdown") == 1
    said = page.cells[1].source
    assert re.findall("^:name: (.*)$", said, re.M) == ["c-0", "c-1"]
    assert re.findall('href="(.*?)"', said) == [
        "../scorecard.html#claim-c-0", "../scorecard.html#claim-c-1",
    ]  # fmt: skip


def test_it_says_so_below_the_heading_of_the_section() -> None:
    made = new_output("display_data", metadata={"scrapbook": {"name": "r"}})
    text = new_markdown_cell("# Page\n\n## Table 5\n\nTwo kinds of weights.")
    cells = [text, new_code_cell("table"), new_code_cell("record", outputs=[made])]
    claims = [{"id": "C-1", "chapter": "x/y", "criteria": [{"record": "r"}]}]
    page = with_anchors(new_notebook(cells=cells), "x/y", claims)
    assert len(page.cells) == 3
    lines = [line for line in page.cells[0].source.splitlines() if line]
    assert lines[1] == "## Table 5"
    assert any("claim-decides" in line for line in lines[2:-1])
    assert lines[-1] == "Two kinds of weights."


@pytest.mark.parametrize(
    ("role", "count"),
    [
        ("{glue:text}`reference-x:.2f`", 1),
        ("{glue:text}`a/b.md::reference-x:.2f` and {glue:text}`reference-y`", 2),
        ("{glue:text}`reference-x-interval`", 0),  # stands behind its number
        ("{glue:text}`x:.2f` and {glue:text}`own-reference-x`", 0),
    ],
)
def test_numbers_of_reference_runs_are_marked(role: str, count: int) -> None:
    assert marked(role).count(">R</abbr>") == count
    assert re.sub("<abbr.*?</abbr>", "", marked(role)) == role


GROUNDS = {":root": ("#ffffff", "#f3f4f5"), 'html[data-theme="dark"]': ("#121212", "#29313d")}


@pytest.mark.parametrize("theme", GROUNDS)
def test_colours_of_verdicts_can_be_read(theme: str) -> None:
    css = (ROOT / "book" / "_static" / "scorecard.css").read_text()
    block = css.split(f"{theme} {{")[1].split("}")[0]
    colours = re.findall(r"--is-[a-z-]+: (#[0-9a-f]{6});", block)
    assert len(set(colours)) == 6
    for colour in colours:
        for ground in GROUNDS[theme]:
            lighter, darker = sorted((luminance(colour), luminance(ground)), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (colour, ground)


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_json_of_the_check_has_no_new_keys(project: Path, command: Any) -> None:
    command("check", "--json", "claims.json")
    (first, *_) = json.loads((project / "claims.json").read_text())
    assert list(first) == [
        "verdict", "id", "ours", "outcome", "expected", "paper", "profile", "chapter", "criteria",
    ]  # fmt: skip
