"""The committed reference results against the paper's tables, and the shape of the real claims."""

import json
import re
from collections import defaultdict
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest

from lecore.companion import claims, project
from lecore.companion.records import key
from lecore.companion.reference_runs import reference

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("row", ["K-means", "PCA + K-means"])
@pytest.mark.parametrize(("number", "data"), [(1, "mnist"), (2, "cifar10")])
def test_baselines_on_the_papers_samples_agree_to_the_printed_digit(row, number, data):
    run = json.loads((ROOT / f"book/results/clustering/{data}.json").read_text())
    assert run["data"] == data
    assert run["profile"] == "paper"
    published = json.loads((ROOT / "book/published/he-su-2020.json").read_text())
    columns, table = published["pairs"][data], published["tables"][f"table {number}"]
    cells = [run["records"][key(f"table {number}", row, pair)] for pair in columns]
    assert [round(cell["runs"][0], 1) for cell in cells] == table[row]


UNDEFINED = defaultdict(set)  # where the paper's loop divides zero by zero in all replicates
UNDEFINED[1] = {
    f"table-1-cross-entropy-{name}-linear-{pair}"
    for name in ("relative", "kernelized")
    for pair in ("5v8", "3v8")
}


@pytest.mark.parametrize(
    ("number", "chapter"),
    [(1, "mnist"), (2, "cifar10"), *((n, "dependence") for n in range(3, 9))],
)
def test_every_cell_of_the_papers_tables_has_a_record(number, chapter):
    published = json.loads((ROOT / "book/published/he-su-2020.json").read_text())
    columns = published["pairs"]["cifar10" if number == 2 else "mnist"]
    table = published["tables"][f"table {number}"]
    columns = table.pop("aux", columns)
    records = json.loads((ROOT / f"book/results/clustering/{chapter}.json").read_text())["records"]
    wanted = {
        key(f"table {number}", row, c) for row in table if row != "ResNet-152" for c in columns
    }
    assert wanted - records.keys() == UNDEFINED[number]


def test_reference_verdicts_are_the_expected_ones():
    found = claims.reference_results(ROOT)
    assert found
    assert not [r.id for r in found.values() if r.changed or r.expected is None]


def test_the_claims_are_in_order():
    ids = [claim["id"] for claim in project.load_claims(ROOT)]
    papers = [(paper, len([*some])) for paper, some in groupby(i.rpartition("-")[0] for i in ids)]
    assert papers[:2] == [("HS", 26), ("DMDG", 15)]
    assert ids == [f"{paper}-{i}" for paper, count in papers for i in range(1, count + 1)]


def test_every_claim_of_a_written_chapter_has_an_expectation():
    written = project.chapters(ROOT)
    for claim in project.load_claims(ROOT):
        if claim["chapter"] in written:
            assert {"smoke", "quick"} <= set(claim["expected"]), claim["id"]


def test_nothing_made_or_downloaded_is_in_the_book():
    suffixes = {path.suffix for path in (ROOT / "book").rglob("*") if path.is_file()}
    assert suffixes <= {".md", ".yml", ".json", ".bib", ".css", ".js"}


GLUED = re.compile(r"\{glue:text\}`(?:([\w/-]+)\.md::)?reference-([\w-]+)(?::[^`]*)?`")
TYPED = re.compile(r"(.{,60})\bn = (\d+)\b", re.S)


def test_a_typed_number_of_runs_is_that_of_the_record_before_it():
    records_of, seen = cache(reference), []
    for page in (ROOT / "book").rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        for glued in GLUED.finditer(text):
            above = ROOT / "book" if "/" in (glued[1] or "") else page.parent
            chapter = (above / (glued[1] or page.stem)).relative_to(ROOT / "book").as_posix()
            n = records_of(chapter).get(glued[2], {}).get("n")
            typed = TYPED.match(text, glued.end())
            if n is not None and typed and "{glue:" not in typed[1]:
                seen.append((page.name, glued[2], int(typed[2]), n))
    assert seen
    assert [one for one in seen if one[2] != one[3]] == []
