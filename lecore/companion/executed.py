"""Executed chapters on the disk: their notebooks, their records, and their keys."""

import sys
from pathlib import Path
from typing import Any

from lecore.companion.documents import EXECUTED, RUN, read_json, read_text
from lecore.errors import LecoreError


def executed_path(build: Path, chapter: str) -> Path:
    """Where a chapter's executed notebook lies."""
    return build / "executed" / f"{chapter}.ipynb"


def records_path(build: Path, chapter: str) -> Path:
    """Where a chapter's records lie."""
    return build / "records" / f"{chapter}.json"


def executed_key(build: Path, chapter: str) -> str | None:
    """Key of the result that lies there, or None if there is none.

    What cannot be read counts as absent, and the file is named on standard error.
    """
    notebook, records = executed_path(build, chapter), records_path(build, chapter)
    if not (notebook.exists() and records.exists()):
        return None
    try:
        key: str = read_executed(notebook).metadata["lecore"]["key"]
        return key if read_json(records, RUN)["key"] == key else None
    except LecoreError as error:
        print(f"lecore: {error}; {chapter} is executed again", file=sys.stderr)
        return None


def read_executed(path: Path) -> Any:
    """An executed notebook.

    Raises:
        LecoreError: If the file is damaged, or no executed chapter.
    """
    import nbformat

    read_json(path, EXECUTED)
    try:
        notebook = nbformat.reads(read_text(path), as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # nbformat has several, of three libraries
        raise LecoreError("is no notebook", "", str(path)) from error
    return notebook
