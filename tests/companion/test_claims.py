"""Claims: criteria, verdicts, the check and its reports."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from lecore.companion import claims

from .conftest import Command


def change_record(root: Path, chapter: str, name: str, **values: float) -> None:
    path = root / f"_build/records/{chapter}.json"
    run = json.loads(path.read_text())
    run["records"][name] |= values
    path.write_text(json.dumps(run))


@pytest.mark.parametrize(
    ("record", "met"),
    [
        ({"value": 2.0}, 1.0),
        ({"value": 1.0}, 1.0),
        ({"value": 0.9}, 0.0),
        ({"value": 3.1}, 0.0),
        ({"value": 2.0, "low": 1.0, "high": 3.0}, 1.0),
        ({"value": 2.0, "low": 0.9, "high": 3.0}, 0.5),
        ({"value": 2.0, "low": 1.5, "high": 3.5}, 0.5),
        ({"value": 0.9, "low": 0.8, "high": 2.0}, 0.0),
    ],
)
def test_criterion(record: dict[str, float], met: float) -> None:
    bounds = {"record": "x", "at_least": 1, "at_most": 3}
    assert claims.criterion_met(bounds, record) == met


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (1.0, 1.0, claims.REPRODUCED),
        (1.0, 0.0, claims.PARTLY),
        (0.0, 0.0, claims.NOT_REPRODUCED),
        (1.0, None, claims.NOT_RUN),
    ],
)
def test_verdict(first: float, second: float | None, verdict: str) -> None:
    claim = {"criteria": [{"record": "a", "at_least": 1}, {"record": "b", "at_least": 1}]}
    given = {"a": {"value": first}} | ({} if second is None else {"b": {"value": second}})
    assert claims.verdict(claim, given) == verdict


def test_check_of_the_miniature(project: Path, command: Command) -> None:
    files = ("--json", "check.json", "--junit", "check.xml")
    done = command("check", *files)
    assert done.exit_code == 0, done.output
    assert "4 claims: 1 reproduced, 1 partly, 1 not reproduced, 1 not run" in done.output
    rows: list[dict[str, Any]] = json.loads(Path("check.json").read_text())
    assert rows[1] == {
        "id": "C-2",
        "verdict": "partly",
        "expected": "partly",
        "value": 1.0,
        "paper": 9,
        "profile": "quick",
        "chapter": "first/mean",
    }
    assert rows[2]["expected"] is None
    suite = ElementTree.parse("check.xml").getroot()
    assert suite.attrib["tests"] == "4"
    assert suite.attrib["failures"] == "0"
    assert [c.attrib["name"] for c in suite if c.find("skipped") is not None] == ["C-4"]
    assert "chapter to be written" in ElementTree.tostring(suite, encoding="unicode")


def test_changed_record_fails_the_check_and_names_the_claim(
    project: Path, command: Command
) -> None:
    change_record(project, "first/mean", "mean", value=-1.0)
    done = command("check", "--junit", "check.xml")
    assert done.exit_code == 1
    assert "lecore: C-1 is not reproduced, expected reproduced: The mean is one." in done.output
    failures = [c.attrib["name"] for c in ElementTree.parse("check.xml").getroot() if len(c)]
    assert failures == ["C-1", "C-2", "C-4"]


def test_chapter_that_did_not_run_fails_the_check(fresh: Path, command: Command) -> None:
    done = command("check")
    assert done.exit_code == 1
    assert "C-1 is not run, expected reproduced" in done.output
    assert "the chapter was not executed" in done.output


def test_expectation_is_that_of_the_profile_it_ran_in(project: Path, command: Command) -> None:
    path = project / "_build/records/first/mean.json"
    path.write_text(path.read_text().replace('"quick"', '"large"'))
    done = command("check")
    assert done.exit_code == 0
    assert done.output.count("no expectation for this profile") == 3


def test_records_of_a_chapter_no_longer_in_the_book_count_for_nothing(
    project: Path, command: Command
) -> None:
    old = project / "_build/records/third/later.json"
    old.parent.mkdir()
    old.write_text(json.dumps({"profile": "quick", "records": {"x": {"value": 1.0}}}))
    assert command("check").exit_code == 0


def test_stale_records_are_told_with_the_cure(project: Path, command: Command) -> None:
    (project / "lecore" / "helper.py").write_text("def total(points):\n    return 3\n")
    assert "first/mean is older than the code; run `lecore run first/mean`" in (
        command("check").output
    )


def test_check_needs_no_images(
    project: Path, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LECORE_DATA", str(tmp_path / "nowhere"))
    path = project / "_build/records/first/images.json"
    path.write_text(path.read_text().replace('"data": "digits"', '"data": "mnist"'))
    assert command("check").exit_code == 0


def test_damaged_records_are_told(project: Path, command: Command) -> None:
    (project / "_build/records/first/mean.json").write_text("{")
    done = command("check")
    assert done.exit_code == 2
    assert "lecore run first/mean" in done.output


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("id: C-2", "id: C-1", "claims.yml: C-1: stands twice"),
        (
            "quick: partly",
            "quick: perhaps",
            "C-2: expected.quick: 'perhaps' is not one of",
        ),
        ("at_least: 0.9", "above: 0.9", "claims.yml: C-2: criteria[0]: "),
        ("published: 9,", "", "claims.yml: C-2: 'published' is a required property"),
        ("[{record: letters, at_most: 5}]", "[]", "claims.yml: C-3: criteria: [] "),
    ],
)
def test_damaged_claims_are_told(
    fresh: Path, command: Command, old: str, new: str, message: str
) -> None:
    path = fresh / "book" / "claims.yml"
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    done = command("check")
    assert done.exit_code == 2
    assert message in done.output


def result(profile: str, verdict: str) -> claims.Result:
    return claims.Result(
        "HS-1", verdict, None, 1.0, None, None, None, profile, "a", "", "a claim", "a place"
    )


@pytest.mark.parametrize(
    ("here", "reference", "settled"),
    [
        (("quick", "reproduced"), ("paper", "partly"), "partly"),
        (("paper", "reproduced"), ("paper", "partly"), "reproduced"),
        (("quick", "reproduced"), ("paper", "not run"), "reproduced"),
        (("quick", "reproduced"), None, "reproduced"),
    ],
)
def test_a_reference_run_settles_what_a_smaller_run_cannot(
    here: tuple[str, str], reference: tuple[str, str] | None, settled: str
) -> None:
    other = None if reference is None else result(*reference)
    assert claims.settled(result(*here), other).verdict == settled
