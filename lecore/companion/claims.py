"""Claims: what the papers say, what was measured here, and the verdict."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from lecore.companion import project
from lecore.companion.documents import (
    RUN,
    VERDICTS,
    read_json,
    write_text,
)
from lecore.companion.execution import current_key
from lecore.companion.records import write_json
from lecore.companion.staged import records_path
from lecore.errors import LecoreError

REPRODUCED, PARTLY, NOT_REPRODUCED, NOT_RUN = VERDICTS


@dataclass(frozen=True)
class Result:
    """A claim beside what was measured in one run.

    Attributes:
        id: The claim.
        verdict: One of :data:`VERDICTS`.
        expected: The committed expectation for the profile; None if there is none.
        value: Headline number, that of the first criterion; None if not run.
        low: Lower end of its interval, if it has one.
        high: Upper end.
        paper: The paper's number or words.
        profile: Profile it was measured in.
        chapter: Chapter that measures it.
        reason: Why it was not run, or empty.
        claim: The sentence.
        place: Where in the paper.
        analogue: What stands in for the paper's data, or empty.
    """

    id: str
    verdict: str
    expected: str | None
    value: float | None
    low: float | None
    high: float | None
    paper: float | str | None
    profile: str
    chapter: str
    reason: str
    claim: str
    place: str
    analogue: str = ""

    @property
    def changed(self) -> bool:
        """Whether the verdict differs from a committed expectation."""
        return self.expected is not None and self.verdict != self.expected


def criterion_met(criterion: Mapping[str, Any], record: Mapping[str, Any]) -> float:
    """How far a record meets a criterion: 1, ½ or 0.

    1 if the whole interval does (or the number, where it has no interval), ½ if the number does
    but not all of its interval, else 0.
    """

    def within(number: float) -> bool:
        lowest, highest = criterion.get("at_least", -math.inf), criterion.get("at_most", math.inf)
        return bool(lowest <= number <= highest)

    if not within(record["value"]):
        return 0.0
    ends = (record.get("low", record["value"]), record.get("high", record["value"]))
    return 1.0 if all(map(within, ends)) else 0.5


def verdict(claim: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]]) -> str:
    """The verdict of a claim: all criteria met, none, or something between."""
    if not all(c["record"] in records for c in claim["criteria"]):
        return NOT_RUN
    met = [criterion_met(c, records[c["record"]]) for c in claim["criteria"]]
    if min(met) == 1.0:
        return REPRODUCED
    return NOT_REPRODUCED if max(met) == 0.0 else PARTLY


def check(root: Path, build: Path, profile: str = "quick") -> list[Result]:
    """Compare every claim with the records.

    Args:
        root: The project.
        build: Folder of the records.
        profile: Profile of the expectation for chapters that were not executed.

    Raises:
        LecoreError: If the claims or a record file are damaged.
    """
    written = project.chapters(root)

    def run_of(chapter: str) -> dict[str, Any]:
        return read_run(build, chapter) if chapter in written else {}

    return [_judge(c, run_of(c["chapter"]), written, profile) for c in project.load_claims(root)]


def reference_results(root: Path) -> dict[str, Result]:
    """Claims judged by the committed reference runs in ``book/results``, by id."""
    written, found = project.chapters(root), {}
    for claim in project.load_claims(root):
        path = root / "book" / "results" / f"{claim['chapter']}.json"
        if path.exists():
            found[claim["id"]] = _judge(claim, _read_run(path, claim["chapter"]), written, "paper")
    return found


def settled(here: Result, reference: Result | None) -> Result:
    """The result that settles a claim: the reference run's where the run here is smaller."""
    if reference is None or reference.verdict == NOT_RUN or here.profile == reference.profile:
        return here
    return reference


def _judge(
    claim: Mapping[str, Any], run: Mapping[str, Any], written: list[str], profile: str
) -> Result:
    chapter, records = claim["chapter"], run.get("records", {})
    outcome = verdict(claim, records)
    reason = ""
    if outcome == NOT_RUN:
        missing = [c["record"] for c in claim["criteria"] if c["record"] not in records]
        reason = claim.get("reason") or (
            "chapter to be written" if chapter not in written
            else f"the run has no record {missing[0]}" if run
            else "the chapter was not executed"
        )  # fmt: skip
    ran_in = run.get("profile", profile)
    expected = claim.get("expected", {}).get(ran_in) if chapter in written else NOT_RUN
    shown = records.get(claim["criteria"][0]["record"], {}) if outcome != NOT_RUN else {}
    return Result(
        claim["id"], outcome, expected,
        shown.get("value"), shown.get("low"), shown.get("high"),
        claim["published"], ran_in, chapter, reason,
        claim["claim"], f"{claim['paper']}, {claim['place']}", claim.get("analogue", ""),
    )  # fmt: skip


def read_run(build: Path, chapter: str) -> dict[str, Any]:
    """The record file of a chapter; empty if it was not executed.

    Raises:
        LecoreError: If the file is damaged.
    """
    path = records_path(build, chapter)
    try:
        return _read_run(path, chapter) if path.exists() else {}
    except LecoreError as error:
        cure = f"run `lecore run {chapter}` to replace it"
        raise LecoreError(error.what, cure, error.where) from error


def _read_run(path: Path, chapter: str) -> dict[str, Any]:
    run: dict[str, Any] = read_json(path, RUN)
    if run["chapter"] != chapter:
        raise LecoreError(f"is of chapter {run['chapter']}", "", str(path))
    return run


def stale_chapters(root: Path, build: Path) -> list[str]:
    """Executed chapters whose code, data or packages have changed since."""
    stale = []
    for chapter in project.chapters(root):
        run = read_run(build, chapter)
        try:
            if run and current_key(root, chapter, run["parameters"]) != run["key"]:
                stale.append(chapter)
        except FileNotFoundError:
            continue  # computed elsewhere, from images that are not on this machine
    return stale


def write_check_json(path: Path, results: Iterable[Result]) -> None:
    """Write results as a JSON list of id, verdict, expected, value, paper, profile, chapter."""
    keys = ("id", "verdict", "expected", "value", "paper", "profile", "chapter")
    write_json(path, [{k: asdict(r)[k] for k in keys} for r in results])


def write_junit(path: Path, results: list[Result]) -> None:
    """Write results as JUnit XML: one test a claim, failed if its verdict changed."""
    changed, not_run = (
        [r for r in results if r.changed],
        [r for r in results if r.verdict == NOT_RUN],
    )
    suite = ElementTree.Element(
        "testsuite", name="claims", tests=str(len(results)), failures=str(len(changed)),
        errors="0", skipped=str(len([r for r in not_run if not r.changed])),
    )  # fmt: skip
    for r in results:
        case = ElementTree.SubElement(suite, "testcase", classname=r.chapter, name=r.id)
        if r.changed:
            message = f"{r.verdict}, expected {r.expected} ({r.value} against {r.paper})"
            ElementTree.SubElement(case, "failure", message=message)
        elif r.verdict == NOT_RUN:
            ElementTree.SubElement(case, "skipped", message=r.reason)
    ElementTree.indent(suite)
    write_text(path, ElementTree.tostring(suite, encoding="unicode") + "\n")


def number(value: float | str | None) -> str:
    """A number for a table: three significant digits, words as they are."""
    if value is None:
        return "—"
    return value if isinstance(value, str) else f"{value:.3g}".replace("-", "−")


def measured(result: Result) -> str:
    """The headline number with its interval."""
    if result.low is None or result.high is None:
        return number(result.value)
    return f"{number(result.value)} [{number(result.low)}, {number(result.high)}]"
