"""Claims: criteria, verdicts, the check and its reports."""

import dataclasses
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from lecore.companion import claims, verdicts

from .conftest import Command


def change_record(root: Path, chapter: str, name: str, **values: float) -> None:
    path = root / f"_build/records/{chapter}.json"
    run = json.loads(path.read_text())
    run["records"][name] |= values
    path.write_text(json.dumps(run))


@pytest.mark.parametrize(
    ("record", "met"),
    [
        ({"value": 2.0}, True),
        ({"value": 1.0}, True),
        ({"value": 0.9}, False),
        ({"value": 3.1}, False),
        ({"value": 2.0, "low": 1.0, "high": 3.0}, True),
        ({"value": 2.0, "low": 0.9, "high": 3.0}, None),
        ({"value": 2.0, "low": 1.5, "high": 3.5}, None),
        ({"value": 0.9, "low": 0.8, "high": 2.0}, None),
        ({"value": 0.5, "low": 0.1, "high": 0.9, "n": 5}, False),
        ({"value": 4.0, "low": 3.1, "high": 5.0, "n": 5}, False),
        ({"value": 2.0, "low": 0.0, "high": 4.0, "n": 5}, None),
        ({"value": 2.0, "n": 2}, None),
        ({"value": 9.0, "n": 1}, None),
        ({"value": 2.0, "n": 3}, None),
    ],
)
def test_criterion(record: dict[str, float], met: bool | None) -> None:
    bounds = {"record": "x", "at_least": 1, "at_most": 3}
    assert verdicts.criterion_met(bounds, record) is met


@pytest.mark.parametrize(("n", "met"), [(2, None), (3, True)])
def test_a_number_of_the_runs_at_hand_decides_without_an_interval(n: int, met: bool | None) -> None:
    worst = {"record": "x", "at_most": 3, "of_these_runs": True}
    assert verdicts.criterion_met(worst, {"value": 2.0, "n": n}) is met


def test_the_rule_is_symmetric() -> None:
    for value, low, high in ((2.0, 1.5, 2.5), (0.5, 0.2, 0.9), (1.1, 0.5, 1.7)):
        up = verdicts.criterion_met({"at_least": 1}, {"value": value, "low": low, "high": high})
        mirrored = {"value": -value, "low": -high, "high": -low}
        down = verdicts.criterion_met({"at_most": -1}, mirrored)
        other = verdicts.criterion_met({"at_most": 1}, {"value": value, "low": low, "high": high})
        assert up is down
        assert (up is None) == (other is None)
        assert up is None or up is not other


MET = {"value": 2.0}
MISSED = {"value": 0.0}
OPEN = {"value": 1.0, "low": 0.0, "high": 2.0, "n": 4}


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ((MET, MET), verdicts.REPRODUCED),
        ((MET, MISSED), verdicts.PARTLY),
        ((MISSED, MISSED), verdicts.NOT_REPRODUCED),
        ((MET,), verdicts.NOT_RUN),
        ((MET, OPEN), verdicts.UNDECIDED),
        ((MISSED, OPEN), verdicts.UNDECIDED),
        ((OPEN, OPEN), verdicts.UNDECIDED),
        ((MET, MISSED, OPEN), verdicts.PARTLY),
    ],
)
def test_verdict(given: tuple[dict[str, float], ...], verdict: str) -> None:
    names = "abc"[: max(2, len(given))]
    claim = {"criteria": [{"record": name, "at_least": 1} for name in names]}
    assert verdicts.verdict(claim, dict(zip(names, given, strict=False))) == verdict


@pytest.mark.parametrize(
    ("low", "high", "n", "told"),
    [
        (1.5, 2.5, 4, ""),
        (None, None, 2, "at least 3 runs, here 2"),
        (None, None, 3, "an interval"),
        (0.0, 4.0, 4, "about 16 runs, here 4"),  # twice as narrow would do
        (-99.0, 103.0, 4, "a number farther from 1"),
    ],
)
def test_what_would_settle_it_is_told(
    low: float | None, high: float | None, n: int, told: str
) -> None:
    record: dict[str, Any] = {"value": 2.0, "n": n}
    if low is not None and high is not None:
        record |= {"low": low, "high": high}
    met = verdicts.criterion_met({"at_least": 1}, record)
    judged = verdicts.Judged("x", 1, None, "", 2.0, low, high, n, met)
    assert judged.settled_by == told


def test_check_of_the_miniature(project: Path, command: Command) -> None:
    files = ("--json", "check.json", "--junit", "check.xml")
    done = command("check", *files)
    assert done.exit_code == 0, done.output
    assert "3 claims of the papers: 1 reproduced, 1 undecided, 1 not run" in done.output
    assert "1 questions of our own: 1 not reproduced" in done.output
    rows: list[dict[str, Any]] = json.loads(Path("check.json").read_text())
    assert rows[1] == {
        "verdict": "undecided",
        "id": "C-2",
        "ours": False,
        "outcome": "undecided",
        "expected": "undecided",
        "paper": 9,
        "profile": "quick",
        "chapter": "first/mean",
        "criteria": [
            {
                "record": "mean", "at_least": 0.9, "at_most": None, "unit": "",
                "value": 1.0, "low": 0.5, "high": 3.0, "n": 3, "met": None,
            }
        ],
    }  # fmt: skip
    assert rows[2]["expected"] is None
    suite = ElementTree.parse("check.xml").getroot()
    assert suite.attrib["tests"] == "4"
    assert suite.attrib["failures"] == "0"
    assert [c.attrib["name"] for c in suite if c.find("skipped") is not None] == ["C-4"]
    assert "chapter to be written" in ElementTree.tostring(suite, encoding="unicode")


def test_changed_record_fails_the_check_and_names_the_claim(
    project: Path, command: Command
) -> None:
    change_record(project, "first/mean", "mean", value=-1.0, low=-2.0, high=0.1)
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
            "quick: undecided",
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
        "HS-1", verdict, None, (), None, profile, "a", "", "a claim", "a place"
    )  # fmt: skip


def test_an_analogue_cannot_test_the_claim() -> None:
    found = dataclasses.replace(result("quick", verdicts.REPRODUCED), analogue="other images")
    assert (found.verdict, found.outcome) == (verdicts.NOT_TESTABLE, verdicts.REPRODUCED)
    assert dataclasses.replace(found, outcome=verdicts.NOT_RUN).verdict == verdicts.NOT_RUN


def test_the_papers_claims_and_our_questions_are_counted_apart() -> None:
    found = [result("quick", verdicts.REPRODUCED), result("quick", verdicts.PARTLY)]
    ours = dataclasses.replace(found[0], ours=True)
    assert claims.tally([*found, ours, ours]) == (
        {verdicts.REPRODUCED: 1, verdicts.PARTLY: 1}, {verdicts.REPRODUCED: 2},
    )  # fmt: skip


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


@pytest.mark.parametrize("value", [None, 5.0])
def test_of_two_runs_that_miss_a_criterion_the_reference_is_shown_if_it_has_a_number(
    value: float | None,
) -> None:
    here = dataclasses.replace(result("quick", "not run"), criteria=(number_of(2.0),))
    reference = dataclasses.replace(result("paper", "not run"), criteria=(number_of(value),))
    assert claims.settled(here, reference) is (here if value is None else reference)


def number_of(value: float | None) -> verdicts.Judged:
    return verdicts.Judged("x", 1, None, "", value, None, None, None, None)


def run_on(data: str, value: float) -> dict[str, Any]:
    return {
        "chapter": "first/mean", "profile": "paper", "parameters": {}, "key": "k", "device": "cpu",
        "data": data, "data_sha256": None, "seed": 0, "versions": {}, "commit": None,
        "started": "2026-01-01T00:00", "seconds": 1.0, "records": {"mean": {"value": value}},
    }  # fmt: skip


@pytest.mark.parametrize(("second", "outcome"), [(1.0, "reproduced"), (9.0, "partly")])
def test_a_claim_about_several_sets_is_judged_on_each(
    fresh: Path, second: float, outcome: str
) -> None:
    path = fresh / "book" / "claims.yml"
    more = "expected: {quick: reproduced}, sets: [a, b, c]}"
    path.write_text(path.read_text().replace("expected: {quick: reproduced}}", more))
    results = fresh / "book" / "results" / "first"
    (results / "mean").mkdir(parents=True)
    (results / "mean.json").write_text(json.dumps(run_on("a", 1.0)))
    (results / "mean" / "b.json").write_text(json.dumps(run_on("b", second)))
    (results / "mean" / "other.json").write_text(json.dumps(run_on("other", 99.0)))
    found = claims.reference_results(fresh)["C-1"]
    assert (found.outcome, found.tried) == (outcome, "2 of 3 data sets")
    assert [c.record for c in found.criteria] == ["a mean", "b mean"]
    assert claims.reference_results(fresh)["C-2"].headline.value == 1.0  # of the main one alone


def test_runs_on_other_sets_alone_decide_nothing(fresh: Path) -> None:
    path = fresh / "book" / "claims.yml"
    more = "expected: {quick: reproduced}, sets: [a]}"
    path.write_text(path.read_text().replace("expected: {quick: reproduced}}", more))
    (fresh / "book" / "results" / "first").mkdir(parents=True)
    (fresh / "book" / "results" / "first" / "mean.json").write_text(json.dumps(run_on("b", 1.0)))
    assert "C-1" not in claims.reference_results(fresh)
