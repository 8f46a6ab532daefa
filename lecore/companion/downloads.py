"""Chapters as notebooks that stand alone: figures inside, numbers and references as words."""

import ast
import copy
import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from lecore.companion.documents import read_text
from lecore.companion.project import source
from lecore.companion.records import GLUE
from lecore.errors import LecoreError

ROLE = re.compile(r"\{([a-z:-]+)\}`([^`]+)`")
DIRECTIVE = re.compile(r"^(`{3,}|:{3,})\{([a-z:-]+)\}[ ]*([^\n]*)\n(.*?)^\1[ ]*$", re.M | re.S)
FORMULA = re.compile(r"^\$\$[ ]*\(([\w-]+)\)[ ]*$", re.M)
OPTION = re.compile(r"^:([a-z-]+):[ ]*(.*)\n", re.M)


def standalone(notebook: Any, root: Path, glued: Mapping[str, Mapping[str, Any]]) -> Any:
    """A copy of an executed chapter that reads the same outside the book.

    Glued numbers stand in the text, directives of the book become plain Markdown, references to
    other pages their titles, and figures, formulas and definitions are counted through the page.

    Args:
        notebook: As executed.
        root: The project, for titles and references.
        glued: What each chapter's text can show, from :func:`glued_values`.

    Raises:
        LecoreError: If the text has a role or directive that nothing here can say in words.
    """
    notebook = copy.deepcopy(notebook)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    words = _Words(root, notebook.metadata["lecore"]["chapter"], text, glued)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = words.plain(cell.source)
            continue
        cell["outputs"] = [o for o in cell.get("outputs", []) if not _is_hidden(o)]
    return notebook


def glued_values(notebook: Any) -> dict[str, Any]:
    """What the text of an executed chapter can show, by name."""
    found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            shown = output.get("data", {}).get(f"{GLUE}text/plain")
            if name is not None and shown is not None:
                found[name] = ast.literal_eval(shown)
    return found


def _is_hidden(output: Mapping[str, Any]) -> bool:
    """Whether a notebook shows nothing of an output, which only feeds the text."""
    kinds = output.get("data", {})
    return bool(kinds) and all(kind.startswith(GLUE) for kind in kinds)


class _Words:
    """Says in plain Markdown what the book's roles and directives say."""

    def __init__(
        self, root: Path, chapter: str, text: str, glued: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self.root, self.chapter, self.glued = root, chapter, glued
        self.figures = _counted(re.findall(r"^:name: *(fig-[\w-]+)", text, re.M))
        self.formulas = _counted(FORMULA.findall(text))
        self.exercises = _counted(re.findall(r"\{exercise\}.*\n:label: *([\w-]+)", text))
        self.definitions = _counted(re.findall(r"\{prf:\w+\}.*\n:label: *([\w-]+)", text))
        self.roles: dict[str, Callable[[str], str]] = {
            "glue:text": self._number, "doc": self._title, "cite": self._cited,
            "eq": lambda label: self._referred(label, self.formulas, "formula"),
            "numref": lambda label: self._referred(label, self.figures, "figure"),
            "prf:ref": lambda label: self._referred(label, self.definitions, "definition"),
            "ref": lambda target: target.split("<")[0].strip(),
            "term": lambda target: target.split("<")[0].strip(),
        }  # fmt: skip
        self.roles |= dict.fromkeys(("func", "mod", "class", "meth", "data"), _code)

    def plain(self, text: str) -> str:
        """A Markdown cell in plain words."""
        while (again := DIRECTIVE.sub(self._directive, text)) != text:
            text = again
        text = re.sub(r"^\([\w-]+\)=[ ]*\n", "", text, flags=re.M)  # targets of references
        text = FORMULA.sub(lambda m: rf"\tag{{{self.formulas[m[1]]}}}" + "\n$$", text)
        return ROLE.sub(self._role, text)

    def _role(self, match: re.Match[str]) -> str:
        try:
            return self.roles[match[1]](match[2])
        except (KeyError, ValueError, OSError) as error:
            raise LecoreError(f"{match[0]} cannot be said outside the book ({error})") from error

    def _directive(self, match: re.Match[str]) -> str:
        _, kind, title, body = match.groups()
        options = dict(OPTION.findall(body))
        body = OPTION.sub("", body).strip("\n")
        if kind == "glue:figure":
            return f"*Figure {self.figures[options['name']]}. {' '.join(body.split())}*\n"
        if kind == "solution-end":
            return ""
        if kind == "solution-start":
            return f"**Solution of exercise {self.exercises[title.strip()]}**\n"
        if kind == "exercise":
            title = f"Exercise {self.exercises[options['label']]} ({title})"
        if kind.startswith("prf:"):
            number = self.definitions[options["label"]]
            title = f"{kind.removeprefix('prf:').capitalize()} {number} ({title})"
        lines = [f"**{title}**", "", *body.splitlines()] if title else body.splitlines()
        return "\n".join(f"> {line}".rstrip() for line in lines) + "\n"

    def _number(self, role: str) -> str:
        page, _, rest = role.rpartition("::")
        name, _, form = rest.partition(":")
        chapter = self.chapter
        if page:
            chapter = os.path.normpath(Path(chapter).parent / page.removesuffix(".md"))
        return format(self.glued[chapter][name], form)

    def _title(self, target: str) -> str:
        if "<" in target:
            return target.split("<")[0].strip()
        folder = source(self.root, self.chapter).parent
        return _title_of(folder / f"{target}.md")

    def _referred(self, label: str, here: Mapping[str, int], kind: str) -> str:
        if label in here:
            return f"({here[label]})" if kind == "formula" else f"{kind} {here[label]}"
        for page in sorted((self.root / "book").rglob("*.md")):
            if re.search(
                rf"^(:(label|name): *{label}|\$\$ *\({label}\)) *$", read_text(page), re.M
            ):
                return f"a {kind} of {_title_of(page)}"
        raise KeyError(label)

    def _cited(self, keys: str) -> str:
        entries = _bibliography(read_text(self.root / "book" / "references.bib"))
        found = []
        for key in keys.split(","):
            entry = entries[key.strip()]
            names = [" ".join(person.last_names) for person in entry.persons["author"]]
            who = names[0] if len(names) == 1 else " and ".join(names[:2])
            who = f"{names[0]} et al." if len(names) > 2 else who
            found.append(f"{who}, {entry.fields['year']}")
        return f"({'; '.join(found)})"


@lru_cache(maxsize=1)
def _bibliography(text: str) -> Any:
    from pybtex.database import parse_string

    return parse_string(text, "bibtex").entries


def _title_of(page: Path) -> str:
    found = re.search(r"^# (.+)$", read_text(page), re.M)
    return f"*{found[1] if found else page.stem}*"


def _counted(labels: list[str]) -> dict[str, int]:
    return {label: number for number, label in enumerate(labels, 1)}


def _code(target: str) -> str:
    name = target.rsplit(".", 1)[-1] if target.startswith("~") else target
    return f"`{name}`"
