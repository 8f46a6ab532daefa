"""Claims: what the papers say, what was measured here, and the verdict."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from lecore.companion import project
from lecore.companion.documents import (
    RUN,
    read_json,
    write_text,
)
from lecore.companion.executed import records_path
from lecore.companion.execution import current_key
from lecore.companion.records import write_json
from lecore.companion.verdicts import NOT_RUN, NOT_TESTABLE, Judged, judged, verdict
from lecore.errors import LecoreError

WHOSE = ("claims of the papers", "questions of our own")
"""The two sides of :func:`tally`."""


@dataclass(frozen=True)
class Result:
    """A claim beside what was measured in one run.

    Attributes:
        id: The claim.
        outcome: One of :data:`VERDICTS`, by what was measured.
        expected: The committed expectation for the profile; None if there is none.
        criteria: Each with its number, the headline first.
        paper: The paper's number or words.
        profile: Profile it was measured in.
        chapter: Chapter that measures it.
        reason: Why it was not run, or empty.
        claim: The sentence.
        place: Where in the paper.
        analogue: What stands in for the paper's data, or empty.
        tried: On how many of the paper's image sets, or empty.
        ours: Whether it is a question of this book, and no claim of the paper.
        data: Image set of the run, or several; empty if its data are synthetic.
    """

    id: str
    outcome: str
    expected: str | None
    criteria: tuple[Judged, ...]
    paper: float | str | None
    profile: str
    chapter: str
    reason: str
    claim: str
    place: str
    analogue: str = ""
    tried: str = ""
    ours: bool = False
    data: str = ""

    @property
    def verdict(self) -> str:
        """The outcome; an analogue cannot test the paper's claim."""
        return NOT_TESTABLE if self.analogue and self.outcome != NOT_RUN else self.outcome

    @property
    def headline(self) -> Judged:
        """The first criterion."""
        return self.criteria[0]

    @property
    def changed(self) -> bool:
        """Whether the outcome differs from a committed expectation."""
        return self.expected is not None and self.outcome != self.expected


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
    """Claims judged by the committed reference runs in ``book/results``, by id.

    A claim about several image sets is judged on all of those that a reference run has.
    """
    written, found = project.chapters(root), {}
    for claim in project.load_claims(root):
        chapter = claim["chapter"]
        paths = project.reference_paths(root, chapter)
        runs = [_read_run(path, chapter) for path in paths]
        if "sets" in claim:
            runs = [run for run in runs if run["data"] in claim["sets"]]
        if runs and "sets" in claim:
            claim, run = _on_each_set(claim, runs)
            found[claim["id"]] = _judge(claim, run, written, "paper")
        elif runs:
            found[claim["id"]] = _judge(claim, runs[0], written, "paper")
    return found


def _on_each_set(
    claim: dict[str, Any], runs: list[dict[str, Any]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A claim with its criteria once for each image set, and one run of all of them."""
    named = {f"{run['data']} {name}": r for run in runs for name, r in run["records"].items()}
    criteria = [
        c | {"record": f"{run['data']} {c['record']}"} for run in runs for c in claim["criteria"]
    ]
    tried = f"{len(runs)} of {len(claim['sets'])} data sets"
    data = ", ".join(run["data"] for run in runs)
    return claim | {"criteria": criteria, "tried": tried}, runs[0] | {
        "records": named,
        "data": data,
    }


def settled(here: Result, reference: Result | None) -> Result:
    """The result that settles a claim: the reference run's where the run here is smaller."""
    if reference is None or here.profile == reference.profile:
        return here
    if reference.outcome == NOT_RUN and (
        here.outcome != NOT_RUN or reference.headline.value is None
    ):
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
    return Result(
        claim["id"], outcome, expected,
        tuple(judged(c, records.get(c["record"])) for c in claim["criteria"]),
        claim["published"], ran_in, chapter, reason,
        claim["claim"], f"{claim['paper']}, {claim['place']}", claim.get("analogue", ""),
        claim.get("tried", ""), claim.get("ours", False), run.get("data") or "",
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


def tally(results: Iterable[Result]) -> tuple[dict[str, int], dict[str, int]]:
    """Claims by verdict, those of the papers and then our own questions."""
    found: tuple[dict[str, int], dict[str, int]] = ({}, {})
    for result in results:
        counts = found[result.ours]
        counts[result.verdict] = counts.get(result.verdict, 0) + 1
    return found


def write_check_json(path: Path, results: Iterable[Result]) -> None:
    """Write results as a JSON list: claim, verdict, expectation, every criterion and its number."""
    keys = ("id", "ours", "outcome", "expected", "paper", "profile", "chapter", "criteria")
    write_json(path, [{"verdict": r.verdict} | {k: asdict(r)[k] for k in keys} for r in results])


def write_junit(path: Path, results: list[Result]) -> None:
    """Write results as JUnit XML: one test a claim, failed if its verdict changed."""
    changed, not_run = (
        [r for r in results if r.changed],
        [r for r in results if r.outcome == NOT_RUN],
    )
    suite = ElementTree.Element(
        "testsuite", name="claims", tests=str(len(results)), failures=str(len(changed)),
        errors="0", skipped=str(len([r for r in not_run if not r.changed])),
    )  # fmt: skip
    for r in results:
        case = ElementTree.SubElement(suite, "testcase", classname=r.chapter, name=r.id)
        if r.changed:
            value = r.headline.value
            message = f"{r.outcome}, expected {r.expected} ({value} against {r.paper})"
            ElementTree.SubElement(case, "failure", message=message)
        elif r.outcome == NOT_RUN:
            ElementTree.SubElement(case, "skipped", message=r.reason)
    ElementTree.indent(suite)
    write_text(path, ElementTree.tostring(suite, encoding="unicode") + "\n")
