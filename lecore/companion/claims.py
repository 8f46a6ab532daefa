"""Claims: what the papers say, what was measured here, and the verdict."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

from lecore.companion import project
from lecore.companion.execution import current_key, records_path
from lecore.companion.records import write_atomically, write_json

REPRODUCED, PARTLY, NOT_REPRODUCED, NOT_RUN = VERDICTS = (
    "reproduced",
    "partly",
    "not reproduced",
    "not run",
)


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


def load_claims(root: Path) -> list[dict[str, Any]]:
    """Read ``book/claims.yml``.

    Raises:
        ValueError: If an entry is incomplete, or names an unknown verdict or bound.
    """
    claims: list[dict[str, Any]] = yaml.safe_load((root / "book" / "claims.yml").read_text())
    needed = {"id", "paper", "place", "claim", "quantity", "published", "chapter", "criteria"}
    for claim in claims:
        name = claim.get("id", "an entry")
        if missing := needed - set(claim):
            raise ValueError(f"claims.yml: {name} lacks {', '.join(sorted(missing))}")
        for criterion in claim["criteria"]:
            if not {"record"} < set(criterion) <= {"record", "at_most", "at_least"}:
                raise ValueError(f"claims.yml: {name} has a criterion without record or bound")
        if unknown := set(claim.get("expected", {}).values()) - set(VERDICTS):
            raise ValueError(f"claims.yml: {name} expects {unknown}; verdicts are {VERDICTS}")
        if not claim["criteria"]:
            raise ValueError(f"claims.yml: {name} has no criterion")
    ids = [claim["id"] for claim in claims]
    if twice := {i for i in ids if ids.count(i) > 1}:
        raise ValueError(f"claims.yml: {sorted(twice)[0]} stands twice")
    return claims


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
        ValueError: If the claims or a record file are damaged.
    """
    written = project.chapters(root)

    def run_of(chapter: str) -> dict[str, Any]:
        return read_run(build, chapter) if chapter in written else {}

    return [_judge(c, run_of(c["chapter"]), written, profile) for c in load_claims(root)]


def reference_results(root: Path) -> dict[str, Result]:
    """Claims judged by the committed reference runs in ``book/results``, by id."""
    written, found = project.chapters(root), {}
    for claim in load_claims(root):
        path = root / "book" / "results" / f"{claim['chapter']}.json"
        if path.exists():
            found[claim["id"]] = _judge(claim, json.loads(path.read_text()), written, "paper")
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
        reason = claim.get("reason") or (
            "the chapter was not executed" if chapter in written else "chapter to be written"
        )
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
        ValueError: If the file is damaged.
    """
    path = records_path(build, chapter)
    if not path.exists():
        return {}
    try:
        run: dict[str, Any] = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged; run `lecore run {chapter} --force`") from error
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
    write_atomically(path, ElementTree.tostring(suite, encoding="unicode") + "\n")


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
