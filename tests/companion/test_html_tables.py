"""Tables as readers meet them: the HTML is read back and compared with the records."""

from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pytest

from lecore.companion import html_tables, reference_runs, tables
from lecore.companion.html_tables import Cell, Line, html_table
from lecore.companion.records import key

ROWS, PAIRS = ["K-means", "squared, relative (ReLU)"], ["5v8", "4v9", "7v9"]
ABOUT = "This build: digits, width 256"


class Reader(HTMLParser):
    """Reads tables as a grid is read: each cell's texts under its row's and column's names."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: list[dict[str, Any]] = []
        self.folds: list[dict[str, str | None]] = []
        self.depth = 0
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "details":
            self.folds.append(dict(attrs))
            self.depth += 1
        elif tag == "table":
            self.tables.append({"depth": self.depth, "lines": [], "attributes": []})
        elif tag == "tr":
            self.tables[-1]["lines"].append([])
        if tag in ("caption", "th", "td"):
            self.texts = []
        if tag in ("th", "td"):
            self.tables[-1]["attributes"].append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.depth -= tag == "details"
        if tag == "caption":
            self.tables[-1]["caption"] = "".join(self.texts)
        elif tag in ("th", "td"):
            self.tables[-1]["lines"][-1].append(self.texts)
        self.texts = [] if tag in ("caption", "th", "td") else self.texts

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def grid(self, number: int) -> dict[tuple[str, ...], list[str]]:
        """Texts of each cell by the names of its line and of its column."""
        (head, *lines), group = self.tables[number]["lines"], ""
        columns, found = [name[0] for name in head], {}
        named = 2 if "source" in columns else 1
        for line in lines:
            if named == 2:
                group = line.pop(0)[0] if len(line) == len(columns) else group
            names = (group, line[0][0]) if named == 2 else (line[0][0],)
            for column, cell in zip(columns[named:], line[1:], strict=True):
                found[*names, column] = cell
        return found


def entries(start: float, rows: list[str] = ROWS) -> dict[str, dict[str, Any]]:
    """A record of its own number for each cell of a table, with a range around it."""
    return {
        key("table 1", row, pair): {"value": v, "low": v - 1.5, "high": v + 2.5, "n": 3, "runs": []}
        for i, row in enumerate(rows)
        for j, pair in enumerate(PAIRS)
        for v in [start + 10 * i + j]
    }


def shown(**changes: Any) -> Reader:
    values: dict[str, Any] = {
        "published": {row: [60.0 + 10 * i] * 3 for i, row in enumerate(ROWS)},
        "reference": entries(60.0), "here": entries(80.0), "about": ABOUT,
    }  # fmt: skip
    return Reader(tables.side_by_side("table 1", ROWS, PAIRS, **values | changes).data)


@pytest.mark.parametrize(("number", "start", "source"), [(0, 60, ["reference run"]), (1, 80, [])])
def test_each_cell_holds_the_number_and_the_range_of_its_record(number, start, source):
    grid = shown().grid(number)
    for i, row in enumerate(ROWS):
        for j, pair in enumerate(PAIRS):
            v = start + 10.0 * i + j
            assert grid[row, *source, pair] == [f"{v}", f"{v - 1.5}–{v + 2.5}"]


def test_the_paper_stands_above_the_reference_run_and_this_build_is_folded_away():
    read = shown()
    assert [table["depth"] for table in read.tables] == [0, 1]
    lines = [tuple(name[0] for name in line[:2]) for line in read.tables[0]["lines"][1:3]]
    assert lines == [("K-means", "paper"), ("reference run", "60.0")]
    assert {names[1] for names in read.grid(0)} == {"paper", "reference run"}
    numbers = {cell[0] for cell in read.grid(1).values()}
    assert numbers == {f"{entry['value']}" for entry in entries(80.0).values()}


def test_the_fold_is_open_only_where_no_reference_run_is_shown():
    assert "open" not in shown().folds[0]
    assert "open" in shown(reference={}).folds[0]
    assert shown(here={}).folds == []


def test_columns_of_this_build_are_called_what_they_are_on_its_data():
    read = shown(labels={"5v8": "cat v dog"})
    assert {names[-1] for names in read.grid(0)} == {*PAIRS}
    assert {names[-1] for names in read.grid(1)} == {"cat v dog", *PAIRS[1:]}
    assert read.grid(1)["K-means", "cat v dog"][0] == "80.0"


def test_an_arrow_says_in_words_on_which_side_of_the_range_the_paper_is():
    html = tables.side_by_side(
        "table 1", ["K-means"], PAIRS, published={"K-means": [70.0, 60.0, 50.0]},
        reference=entries(60.0), here={}, about=ABOUT,
    ).data  # fmt: skip
    grid = Reader(html).grid(0)
    arrows = ["".join(grid["K-means", "paper", pair]) for pair in PAIRS]
    assert arrows == ["70.0 ↑", "60.0", "50.0 ↓"]
    assert html.count('aria-label="above the range of the reference run"') == 1
    assert html.count('aria-label="below the range of the reference run"') == 1
    note = html.partition('class="lecore-note"')[2]
    assert all(words in note for words in html_tables.ARROWS.values())


def test_two_runs_are_shown_as_they_are_below_their_middle_and_have_no_arrow():
    two = {"value": 61.5, "n": 2, "runs": [61.0, 62.0]}
    one = {"value": 70.0, "n": 1, "runs": [70.0]}
    reference = {"table-1-k-means-5v8": two, "table-1-k-means-4v9": one}
    read = shown(reference=reference)
    grid = read.grid(0)
    cells = [grid["K-means", "reference run", pair] for pair in PAIRS]
    assert cells == [["61.5", "61.0, 62.0"], ["70.0"], ["—"]]
    assert "↑" not in str(grid)
    assert ["reference run", "n = 1 or 2"] in read.tables[0]["lines"][2]


def test_best_rows_come_first_by_the_reference_run():
    def order(read: Reader) -> list[list[str]]:
        found = [[names[0] for names in read.grid(number)] for number in (0, 1)]
        return [list(dict.fromkeys(names)) for names in found]

    assert order(shown()) == [ROWS, ROWS]
    turned = entries(90.0, ROWS[::-1])
    assert order(shown(best_first=True, here=turned)) == [ROWS[::-1], ROWS[::-1]]


def test_rows_that_this_build_did_not_run_are_shown_of_the_paper():
    html = tables.side_by_side(
        "table 1", [], PAIRS, published={"K-means": [50.0] * 3},
        reference=entries(60.0), here={}, about=ABOUT,
    ).data  # fmt: skip
    assert {names[:2] for names in Reader(html).grid(0)} == {
        ("K-means", "paper"), ("K-means", "reference run"),
    }  # fmt: skip


def test_scores_are_sorted_and_their_own_build_is_folded_away():
    numbers = pd.DataFrame({"accuracy (%)": {"a": 60.04, "b": 70.0}, "Rand": {"a": 0.345, "b": 1}})
    html = tables.beside_reference("Scores", numbers, {"accuracy-a": {"value": 80.0}}, ABOUT).data
    read = Reader(html)
    assert read.grid(0) == {("a", "accuracy (%)"): ["80.0"], ("a", "Rand"): ["—"]}
    assert list(read.grid(1).items()) == [
        (("b", "accuracy (%)"), ["70.0"]), (("b", "Rand"), ["1.00"]),
        (("a", "accuracy (%)"), ["60.0"]), (("a", "Rand"), ["0.34"]),
    ]  # fmt: skip


def test_intervals_stand_below_their_numbers_if_they_have_a_width():
    wide = {"value": 0.5, "low": 0.25, "high": 1.0, "n": 5}
    narrow = {"value": 0.5, "low": 0.4999, "high": 0.5001, "n": 3}
    read = Reader(
        tables.interval_table(
            "Shares", ["a", "b", "c"], ["x", "y"], lambda row, column: f"{row}-{column}",
            reference={"a-x": wide, "a-y": narrow}, here={"b-y": {"value": 1 / 3}}, about=ABOUT,
        ).data
    )  # fmt: skip
    assert read.grid(0) == {("a", "x"): ["0.50", "0.25–1.00"], ("a", "y"): ["0.50"]}
    assert read.grid(1) == {("b", "x"): ["—"], ("b", "y"): ["0.33"]}
    assert [line[0] for line in read.tables[0]["lines"]] == [["measure"], ["a", "n = 3 or 5"]]


def test_every_header_has_words_and_a_scope_and_every_table_a_name():
    read = shown()
    for table in read.tables:
        assert all("".join(cell) for line in table["lines"] for cell in line)
        assert all(a["scope"] for tag, a in table["attributes"] if tag == "th")
    names = [table["caption"] for table in read.tables]
    assert names == [
        "Table 1: accuracy in per cent", "Table 1: accuracy in per cent, this build",
    ]  # fmt: skip


def test_cells_know_their_columns_for_the_cards_of_a_phone():
    attributes = shown().tables[0]["attributes"]
    assert [a["data-label"] for tag, a in attributes if tag == "td"] == PAIRS * 4


def test_plain_numbers_stand_under_the_words_of_their_index():
    index = pd.MultiIndex.from_tuples([("torus", "relu"), ("spheres", "tanh")], names=["set", "by"])
    numbers = pd.DataFrame({"x": [0.1234, 2.0], "y": [-1.0, 0.0006]}, index=index)
    read = Reader(tables.number_table("Numbers", numbers, digits=3).data)
    assert read.grid(0) == {
        ("torus, relu", "x"): ["0.123"], ("torus, relu", "y"): ["-1.000"],
        ("spheres, tanh", "x"): ["2.000"], ("spheres, tanh", "y"): ["0.001"],
    }  # fmt: skip
    assert (read.tables[0]["lines"][0][0], read.tables[0]["caption"]) == (["set, by"], "Numbers")


def test_names_show_as_they_stand():
    lines = [Line("<u>", [Cell("<i>", "<s>")], "<b>", "<q>")]
    html = html_table("<a>", "<em>", ['"<p>'], lines, "<tt>") + html_tables.fold("<h1>", "")
    for tag in ("u", "i", "s", "b", "q", "a", "em", "p", "tt", "h1"):
        assert f"&lt;{tag}&gt;" in html
        assert f"<{tag}>" not in html
    assert 'data-label="&quot;&lt;p&gt;"' in html


@pytest.mark.parametrize(("rows", "folded"), [(14, 0), (15, 3), (30, 18)])
def test_long_tables_fold_after_their_twelfth_row(rows, folded):
    lines = [Line(f"row {i}", [Cell(str(i))]) for i in range(rows)]
    read = Reader(html_table("long", "name", ["x"], lines))
    grids = [read.grid(number) for number in range(len(read.tables))]
    assert [len(grid) for grid in grids] == [rows - folded, *([folded] if folded else [])]
    assert [table["depth"] for table in read.tables] == [0, 1][: len(grids)]
    found = {names: cell for grid in grids for names, cell in grid.items()}
    assert found == {(f"row {i}", "x"): [str(i)] for i in range(rows)}


def test_a_table_without_rows_is_nothing():
    assert html_table("none", "name", ["x"], []) == ""
    assert tables.side_by_side(
        "t", ["a"], ["x"], published={}, reference={}, here={}, about=""
    ).data == ""  # fmt: skip


THEMES = {
    "light": ("#222832", "#ffffff"), "light stripe": ("#222832", "#f3f4f5"),
    "dark": ("#ced6dd", "#121212"), "dark stripe": ("#ced6dd", "#29313d"),
}  # fmt: skip
"""Text and ground of tables in the book's theme."""


@pytest.mark.parametrize("theme", THEMES)
def test_text_on_the_strongest_shade_keeps_its_contrast(theme):
    text, page = ([int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in THEMES[theme])
    share = html_tables.DARKEST
    ground = [share * h + (1 - share) * p for h, p in zip(html_tables.HUE, page, strict=True)]

    def luminance(colour: list[float]) -> float:
        parts = [c / 255 for c in colour]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(text), luminance(ground)])
    assert (high + 0.05) / (low + 0.05) >= 4.5  # WCAG 2, level AA


def test_accuracies_are_shaded_from_chance_to_all_and_no_further():
    html = tables.side_by_side(
        "table 1", ["K-means"], PAIRS, published={"K-means": [45.0, 75.0, 100.0]},
        reference={}, here={}, about=ABOUT,
    ).data  # fmt: skip
    styles = [a["style"] for tag, a in Reader(html).tables[0]["attributes"] if tag == "td"]
    shades = [style.partition("background-color: rgba")[2] for style in styles]
    assert shades == ["", "(106, 81, 163, 0.3)", "(106, 81, 163, 0.6)"]


def test_the_fold_says_whether_its_data_are_those_of_the_reference_run():
    other = reference_runs.this_build("clustering/mnist", "digits", width=256, rate_share=0.5)
    assert other == (
        "This build: digits, width 256, rate share 0.5 (other data: the reference run is on mnist)"
    )
    same = reference_runs.this_build("clustering/mnist", "mnist", width=64)
    assert same == "This build: mnist, width 64 (the data of the reference run)"
    assert reference_runs.this_build("clustering/algorithm-one", "digits") == "This build: digits"
