"""The papers' own numbers, from data files, never typed into a chapter."""

import json
from typing import Any

import yaml

from lecore.companion.project import project_root
from lecore.companion.records import glue


def published(claim_id: str) -> Any:
    """The paper's number for a claim, which the text can show as ``{glue:text}`HS-1-paper` ``.

    Raises:
        ValueError: If ``book/claims.yml`` has no such claim.
    """
    claims = yaml.safe_load((project_root() / "book" / "claims.yml").read_text())
    for claim in claims:
        if claim["id"] == claim_id:
            glue(f"{claim_id}-paper", {"text/plain": repr(claim["published"])})
            return claim["published"]
    raise ValueError(f"no claim {claim_id!r} in claims.yml")


def published_numbers(paper: str) -> dict[str, Any]:
    """All numbers of a paper that are not claims: ``book/published/<paper>.json``.

    Raises:
        ValueError: If there is no such file.
    """
    path = project_root() / "book" / "published" / f"{paper}.json"
    if not path.exists():
        raise ValueError(f"no published numbers of {paper!r}")
    numbers: dict[str, Any] = json.loads(path.read_text())
    return numbers


def published_table(name: str) -> dict[str, list[float]]:
    """A table of He & Su: rows by name, accuracies in per cent in the order of ``pairs``.

    Raises:
        ValueError: If there is no such table.
    """
    tables: dict[str, Any] = published_numbers("he-su-2020")["tables"]
    if name not in tables:
        raise ValueError(f"no table {name!r}; there are {', '.join(tables)}")
    rows: dict[str, list[float]] = tables[name]
    return rows
