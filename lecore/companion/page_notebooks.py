"""Executed chapters as the book shows them: with today's prose, figures at their places alone."""

import copy
from pathlib import Path
from typing import Any

from lecore.companion import project
from lecore.companion.executed import executed_path, read_executed
from lecore.companion.interactive import charts_of, output_html
from lecore.companion.records import FIGURE, GLUE
from lecore.errors import LecoreError


def with_prose(root: Path, build: Path, chapter: str) -> Any:
    """An executed chapter with the prose and tags of its source as they are now.

    Prose is no part of a chapter's key, so that mending a sentence costs no execution; an equal
    key says that the code cells are still the executed ones, in the same order.

    Raises:
        LecoreError: If they are not.
    """
    path = executed_path(build, chapter)
    notebook = read_executed(path)
    executed = [cell for cell in notebook.cells if cell.cell_type == "code"]
    cells = []
    for cell in project.read_notebook(root, chapter).cells:
        if cell.cell_type != "code":
            cells.append(cell)
            continue
        if not executed:
            raise LecoreError(
                "has other cells than its page", f"run `lecore run {chapter} --force`", str(path)
            )
        result = executed.pop(0)
        result.metadata["tags"] = cell.metadata.get("tags", [])
        cells.append(result)
    notebook.cells = [*cells, notebook.cells[-1]]  # the last says where the numbers come from
    return notebook


def for_page(notebook: Any) -> Any:
    """A copy whose figures are no cell's output, but what ``glue:figure`` looks for."""
    notebook = copy.deepcopy(notebook)
    above = 1 + notebook.metadata["lecore"]["chapter"].count("/")
    for output in charts_of(notebook):
        output["data"]["text/html"] = output_html(notebook, output, above=above)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get(FIGURE)
            if name is not None:
                shown = "text/html" if "text/html" in output["data"] else "image/svg+xml"
                output["data"] = {GLUE + shown: output["data"][shown]}
                output["metadata"]["scrapbook"] = {"name": name, "mime_prefix": GLUE}
    return notebook
