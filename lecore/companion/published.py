"""The papers' own numbers, from data files, never typed into a chapter."""

from typing import Any

from lecore.arguments.names import Choices, check_name
from lecore.companion.documents import PUBLISHED, TABLES, checked, read_json
from lecore.companion.project import load_claims, project_root
from lecore.companion.records import glue


def published(claim_id: str) -> Any:
    """The paper's number for a claim, which the text can show as ``{glue:text}`HS-1-paper` ``.

    Raises:
        LecoreError: If ``book/claims.yml`` has no such claim.
    """
    numbers = {claim["id"]: claim["published"] for claim in load_claims(project_root())}
    number = Choices("claim", numbers)[claim_id]
    glue_published(f"{claim_id}-paper", number)
    return number


def glue_published(name: str, number: Any) -> None:
    """Let the text show a number of a paper that is no claim."""
    glue(name, {"text/plain": repr(number)})


def published_numbers(paper: str) -> dict[str, Any]:
    """All numbers of a paper that are not claims: ``book/published/<paper>.json``.

    Raises:
        LecoreError: If there is no such file, or it is damaged.
    """
    folder = project_root() / "book" / "published"
    check_name("published numbers of", paper, sorted(path.stem for path in folder.glob("*.json")))
    numbers: dict[str, Any] = read_json(folder / f"{paper}.json", PUBLISHED)
    return numbers


def published_table(name: str) -> dict[str, list[float]]:
    """A table of He & Su: rows by name, accuracies in per cent in the order of ``pairs``.

    Raises:
        LecoreError: If there is no such table.
    """
    numbers = published_numbers("he-su-2020")
    tables = checked(numbers.get("tables"), TABLES, "he-su-2020.json: tables")
    rows: dict[str, list[float]] = Choices("table", tables)[name]
    return {row: numbers for row, numbers in rows.items() if row != "aux"}  # Table 6's columns
