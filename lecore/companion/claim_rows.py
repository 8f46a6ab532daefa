"""What the scorecard knows of each claim: its entry, both runs, and what the filters look at."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lecore.companion import project
from lecore.companion.claims import Result, check, reference_results, settled
from lecore.companion.verdicts import FEWEST, NOT_RUN, Judged

OURS = "Our own questions"
"""Group of the claims that no paper makes."""

N_CLASSES = {"none": "without n", "1-2": "1 or 2", "3-9": "3 to 9", "10": "10 or more"}
"""How the filter groups claims by the fewest runs or points of a criterion."""


@dataclass(frozen=True)
class Row:
    """A claim with all that is known of it.

    Attributes:
        claim: Its entry of ``claims.yml``.
        here: What this build measured.
        reference: What the reference run measured, if there is one.
        written: Whether its chapter is in the book.
        files: Record files of its reference run, below ``book/results``.
    """

    claim: Mapping[str, Any]
    here: Result
    reference: Result | None
    written: bool
    files: tuple[str, ...] = ()

    @property
    def final(self) -> Result:
        """The result that settles it."""
        return settled(self.here, self.reference)

    @property
    def group(self) -> str:
        """The paper, or :data:`OURS`."""
        return OURS if self.here.ours else self.claim["paper"]

    @property
    def source(self) -> str:
        """Where the verdict comes from: ``reference``, ``here``, or empty if it was not run."""
        if self.final.outcome == NOT_RUN:
            return ""
        return "reference" if self.final is self.reference else "here"

    @property
    def n(self) -> str:
        """A key of :data:`N_CLASSES`; empty if it was not run."""
        if not self.source:
            return ""
        fewest = min((c.n for c in self.final.criteria if c.n is not None), default=None)
        if fewest is None:
            return "none"
        return "1-2" if fewest < FEWEST else "3-9" if fewest < 10 else "10"

    def published(self, judged: Judged, result: Result) -> float | None:
        """The paper's number for a criterion, on the same image set."""
        name, data = judged.record, result.data
        if "sets" in self.claim and " " in name:
            data, name = name.split(" ", 1)
        place = [c["record"] for c in self.claim["criteria"]].index(name)
        first = None if place else self.claim["published"]
        paper = self.claim["criteria"][place].get("published", first)
        found = paper.get(data) if isinstance(paper, Mapping) else paper
        return None if isinstance(found, str) else found


def claim_rows(root: Path, build: Path) -> list[Row]:
    """All claims, in the order of ``claims.yml``.

    Args:
        root: The project.
        build: Folder of the records.
    """
    written, reference = project.chapters(root), reference_results(root)
    found = []
    for claim, here in zip(project.load_claims(root), check(root, build), strict=True):
        paths = project.reference_paths(root, here.chapter)[: None if "sets" in claim else 1]
        files = tuple(str(path.relative_to(root / "book" / "results")) for path in paths)
        result = reference.get(here.id)
        found.append(Row(claim, here, result, here.chapter in written, files))
    return found


def by_paper(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Claims by paper, our own questions last."""
    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.here.ours):
        found.setdefault(row.group, []).append(row)
    return found


def slug(words: str) -> str:
    """Words as an identifier of HTML.

    That of a claim is its anchor on the chapter's page, and with ``claim-`` before it, its row.
    """
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def index_entry(claim_id: str, target: str) -> str:
    """Markdown that leads from the index, from the search and from ``{ref}`` to what follows it."""
    return f"```{{index}} {claim_id}\n:name: {target}\n```\n"
