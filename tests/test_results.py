"""The committed reference results against the paper's tables, and the shape of the real claims."""

import json
from pathlib import Path

import pytest

from lecore.companion import claims, project

ROOT = Path(__file__).parents[1]
PAIRS = ["5v8", "4v9", "7v9", "5v9", "3v5", "3v8"]
TABLE = json.loads((ROOT / "book/published/he-su-2020.json").read_text())["tables"]["table 1"]


@pytest.mark.parametrize(("short", "row"), [("kmeans", "K-means"), ("pca-kmeans", "PCA + K-means")])
def test_baselines_on_the_papers_samples_agree_to_the_printed_digit(short, row):
    run = json.loads((ROOT / "book/results/clustering/digits.json").read_text())
    assert run["data"] == "mnist"
    assert run["profile"] == "paper"
    found = [round(run["records"][f"{short}-{pair}"]["value"], 1) for pair in PAIRS]
    assert found == TABLE[row]


def test_reference_verdicts_are_the_expected_ones():
    reference = claims.reference_results(ROOT)
    assert reference
    assert not [r.id for r in reference.values() if r.changed or r.expected is None]


def test_forty_claims_in_order():
    ids = [claim["id"] for claim in claims.load_claims(ROOT)]
    assert ids == [f"HS-{i}" for i in range(1, 26)] + [f"DMDG-{i}" for i in range(1, 16)]


def test_every_claim_of_a_written_chapter_has_an_expectation():
    written = project.chapters(ROOT)
    for claim in claims.load_claims(ROOT):
        if claim["chapter"] in written:
            assert {"smoke", "quick"} <= set(claim["expected"]), claim["id"]


def test_nothing_made_or_downloaded_is_in_the_book():
    suffixes = {path.suffix for path in (ROOT / "book").rglob("*") if path.is_file()}
    assert suffixes <= {".md", ".yml", ".json", ".bib"}
