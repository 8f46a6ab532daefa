"""Executed chapters as the book shows them: with today's prose, figures at their places alone."""

import copy
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lecore.companion import project
from lecore.companion.claim_rows import index_entry, slug
from lecore.companion.executed import executed_path, read_executed
from lecore.companion.interactive import charts_of, output_html
from lecore.companion.records import FIGURE, GLUE
from lecore.errors import LecoreError

OF_REFERENCE = re.compile(r"\{glue:text\}`(?:[^`]*\.md::)?reference-[^`]*(?<!-interval)`")
HEADING = re.compile(r"^##+ .+$", re.M)
R = '<abbr class="from-reference" title="read from a committed reference run">R</abbr>'


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
    """A copy with figures where ``glue:figure`` looks for them, and marked reference numbers."""
    notebook = copy.deepcopy(notebook)
    above = 1 + notebook.metadata["lecore"]["chapter"].count("/")
    for output in charts_of(notebook):
        output["data"]["text/html"] = output_html(notebook, output, above=above)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = marked(cell.source)
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get(FIGURE)
            if name is not None:
                shown = "text/html" if "text/html" in output["data"] else "image/svg+xml"
                output["data"] = {GLUE + shown: output["data"][shown]}
                output["metadata"]["scrapbook"] = {"name": name, "mime_prefix": GLUE}
    return notebook


def marked(text: str) -> str:
    """A page's text, with an R behind each number that comes from a committed reference run."""
    return OF_REFERENCE.sub(r"\g<0>" + R, text)


def with_anchors(notebook: Any, chapter: str, claims: Iterable[Mapping[str, Any]]) -> Any:
    """A copy that says where a claim's first record is made which claims that decides.

    It says so below the heading of the section, whose table or figure shows the number, and above
    the cell where there is none. The scorecard's links, the index and ``{ref}`HS-11 <hs-11>` ``
    lead there.

    Args:
        notebook: An executed chapter.
        chapter: Its name.
        claims: Of ``claims.yml``.
    """
    from nbformat.v4 import new_markdown_cell

    notebook = copy.deepcopy(notebook)
    cells: list[Any] = []
    open_claims = [claim for claim in claims if claim["chapter"] == chapter]
    for cell in notebook.cells:
        made = {
            o.get("metadata", {}).get("scrapbook", {}).get("name") for o in cell.get("outputs", [])
        }
        decided = [c["id"] for c in open_claims if c["criteria"][0]["record"] in made]
        if decided:
            open_claims = [claim for claim in open_claims if claim["id"] not in decided]
            told = _decides(decided, "../" * chapter.count("/"))
            if not _below_heading(cells, told):
                cells.append(new_markdown_cell(told))
        cells.append(cell)
    notebook.cells = cells
    return notebook


def _below_heading(cells: list[Any], told: str) -> bool:
    """Put it below the last heading of a section; False if there is none."""
    for cell in reversed(cells):
        headings = [*HEADING.finditer(cell.source)] if cell.cell_type == "markdown" else []
        if headings:
            end = headings[-1].end()
            cell.source = f"{cell.source[:end]}\n\n{told}\n{cell.source[end:]}"
            return True
    return False


def _decides(claim_ids: list[str], up: str) -> str:
    targets = [index_entry(name, slug(name)) for name in claim_ids]
    links = [f'<a href="{up}scorecard.html#claim-{slug(n)}">{n}</a>' for n in claim_ids]
    said = f"```{{container}} claim-decides\nDecides {', '.join(links)}\n```"
    return "\n".join([*targets, said])
