"""Books of the chapters that were executed: the others keep their page, which says so."""

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lecore.companion.documents import read_text, write_text
from lecore.companion.downloads import ROLE
from lecore.companion.project import source

LABEL = re.compile(r"^(?::(?:label|name): *|\$\$ *\(|\()([\w-]+)\)?=? *$", re.M)
"""What a role can point to: figures and definitions, formulas, headings."""

INCLUDE = re.compile(r"^```\{include\} (\S+)\n```$", re.M)
NOT_HERE = "*The figure of this place is from a chapter that was not executed.*"

POINTING = ("eq", "numref", "prf:ref", "ref")
"""Roles that point to a label."""


def absent_page(root: Path, chapter: str) -> Any:
    """The page of a chapter that was not executed, as a notebook of one cell."""
    from nbformat.v4 import new_markdown_cell, new_notebook

    text = (
        f"# {_title(read_text(source(root, chapter)))}\n\n"
        ":::{note}\nThis chapter was not executed for this book. "
        f"To add it: `lecore run {chapter}`, then `lecore build`.\n:::\n"
    )
    return new_notebook(cells=[new_markdown_cell(text)])


def bridge(root: Path, absent: list[str]) -> Callable[[str, str], str]:
    """What takes from pages what only chapters that were not executed could fill in.

    Their numbers become "…", and references into them the titles of their pages.

    Args:
        root: The project.
        absent: Chapters that were not executed.

    Returns:
        A function of a page's Markdown, and of its path below ``book/``.
    """
    texts = [read_text(source(root, chapter)) for chapter in absent]
    labels = {label: f"*{_title(text)}*" for text in texts for label in LABEL.findall(text)}

    def bridged(text: str, page: str) -> str:
        def role(match: re.Match[str]) -> str:
            kind, target = match.groups()
            if kind == "glue:text" and "::" in target:
                other = posixpath.join(posixpath.dirname(page), target.split("::")[0])
                return "…" if _name(posixpath.normpath(other)) in absent else match[0]
            label = re.sub(r".*<(.*)>$", r"\1", target)
            return labels.get(label, match[0]) if kind in POINTING else match[0]

        return ROLE.sub(role, text)

    return bridged


def drop_absent_includes(stage: Path) -> None:
    """Say of figures that a page borrows from chapters that were not executed that they are not."""
    for path in sorted(stage.rglob("*.md")):
        text = read_text(path)

        def include(match: re.Match[str], folder: Path = path.parent) -> str:
            return match[0] if (folder / match[1]).is_file() else NOT_HERE

        write_text(path, INCLUDE.sub(include, text))


def _name(page: str) -> str:
    return page.removesuffix(".md").removesuffix(".ipynb")


def _title(text: str) -> str:
    found = re.search(r"^# (.+)$", text, re.M)
    return found[1] if found else "Untitled"
