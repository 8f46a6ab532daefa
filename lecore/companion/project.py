"""The project on disk: chapters, their parameters, profiles, and the key of a chapter's result."""

import ast
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from modulefinder import ModuleFinder
from pathlib import Path
from types import CodeType
from typing import Any

from lecore.arguments.names import check_name
from lecore.companion.documents import (
    CLAIM,
    PROFILE,
    TOC,
    checked,
    read_text,
    read_yaml,
    yaml_value,
)
from lecore.companion.parameters import check_parameters, parameters
from lecore.errors import LecoreError


@dataclass(frozen=True)
class Profile:
    """A file of ``book/profiles``: how large the chapters run."""

    name: str
    timeout: float
    chapters: Mapping[str, Mapping[str, Any]]


def carried() -> Path:
    """Where an installed package holds its copy of the book; a checkout has none there."""
    return Path(__file__).parent / "carried"


def project_root() -> Path:
    """Nearest folder at or above the current one that holds the book, else the package's own.

    Raises:
        LecoreError: If there is no book in either place.
    """
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).parents[2], carried()):
        if (folder / "_toc.yml").exists() and (folder / "book" / "claims.yml").exists():
            return folder
    raise LecoreError(
        f"no book (_toc.yml with book/claims.yml) at or above {here}",
        "go to a checkout of the repository, or install lecore again",
    )


def book_pages(root: Path) -> list[str]:
    """Every page of ``_toc.yml``, in order, as a path without suffix.

    Raises:
        LecoreError: If the file is damaged, or a page is missing.
    """

    def files(entry: Mapping[str, Any]) -> Iterator[str]:
        if "file" in entry:
            yield entry["file"]
        for below in ("parts", "chapters", "sections"):
            for child in entry.get(below, []):
                yield from files(child)

    toc = read_yaml(root / "_toc.yml", TOC)
    pages = [toc["root"], *files(toc)]
    if missing := [page for page in pages if not (root / f"{page}.md").is_file()]:
        raise LecoreError(f"no page {missing[0]}.md", "", str(root / "_toc.yml"))
    if twice := [page for page in pages if pages.count(page) > 1]:
        raise LecoreError(f"{twice[0]} stands twice", "", str(root / "_toc.yml"))
    return pages


def chapters(root: Path) -> list[str]:
    """The pages that execute, named by their path below ``book/``."""
    names = [page.removeprefix("book/") for page in book_pages(root)]
    return [name for name in names if "{code-cell}" in read_text(source(root, name))]


def source(root: Path, chapter: str) -> Path:
    """The Markdown file of a chapter."""
    return root / "book" / f"{chapter}.md"


def select(root: Path, names: Sequence[str]) -> list[str]:
    """Chapters by name or by part, in the book's order; all of them without names.

    Raises:
        LecoreError: If a name is neither a chapter nor a part.
    """
    known = chapters(root)
    chosen: set[str] = set()
    for name in names:
        name = name.removeprefix("book/").removesuffix(".md").strip("/")
        found = [c for c in known if c == name or c.startswith(f"{name}/")]
        if not found:
            raise LecoreError(f"no chapter or part {name!r}", f"there are {', '.join(known)}")
        chosen.update(found)
    return [c for c in known if c in chosen or not names]


def load_profile(root: Path, name: str) -> Profile:
    """Read ``book/profiles/<name>.yml``.

    Raises:
        LecoreError: If there is no such profile, or it names chapters or parameters that do not
            exist, or gives a parameter what it cannot be.
    """
    check_name("profile", name, profiles(root))
    path = root / "book" / "profiles" / f"{name}.yml"
    data = read_yaml(path, PROFILE)
    known = chapters(root)
    for chapter, values in data["chapters"].items():
        if chapter not in known:
            raise LecoreError(f"there is no chapter {chapter!r}", "", str(path))
        check_parameters(chapter, parameters(read_notebook(root, chapter)), values)
    return Profile(name, data["timeout"], data["chapters"])


def profiles(root: Path) -> list[str]:
    """Names of all profiles."""
    return sorted(path.stem for path in (root / "book" / "profiles").glob("*.yml"))


def reference_paths(root: Path, chapter: str) -> list[Path]:
    """Committed reference runs of a chapter: the main one first, then those of other settings.

    The main one is ``book/results/<chapter>.json``, the others lie in a folder of that name.
    """
    main = root / "book" / "results" / f"{chapter}.json"
    return [path for path in (main, *sorted(main.with_suffix("").glob("*.json"))) if path.exists()]


def load_claims(root: Path) -> list[dict[str, Any]]:
    """Read ``book/claims.yml``.

    Raises:
        LecoreError: If an entry is not what it should be, stands twice, names an unknown profile,
            or has bounds that no number can meet.
    """
    path = root / "book" / "claims.yml"
    return deepcopy(_claims(path, read_text(path), tuple(profiles(root))))


@lru_cache(maxsize=4)
def _claims(path: Path, text: str, known: tuple[str, ...]) -> list[dict[str, Any]]:
    claims: list[dict[str, Any]] = yaml_value(
        text, path, {"type": "array", "items": {"type": "object"}}
    )
    seen = set()
    for place, claim in enumerate(claims, 1):
        where = f"{path}: {claim.get('id', f'entry {place}')}"
        checked(claim, CLAIM, where)
        if claim["id"] in seen:
            raise LecoreError("stands twice", "", where)
        seen.add(claim["id"])
        if unknown := set(claim.get("expected", {})) - set(known):
            raise LecoreError(f"expects something of no profile {sorted(unknown)[0]!r}", "", where)
        for bound in claim["criteria"]:
            if bound.get("at_least", -math.inf) > bound.get("at_most", math.inf):
                raise LecoreError(f"no number is within the bounds of {bound['record']}", "", where)
    return claims


def read_notebook(root: Path, chapter: str) -> Any:
    """A chapter as a notebook without outputs.

    Raises:
        LecoreError: If the page cannot be read as one.
    """
    import jupytext

    path = source(root, chapter)
    try:
        return jupytext.reads(read_text(path), ".md")
    except LecoreError:
        raise
    except Exception as error:  # of YAML, of Markdown, of the notebook's format: all of the page
        raise LecoreError(" ".join(str(error).split()), "", str(path)) from error


def dependencies(code: Iterable[str], root: Path) -> list[Path]:
    """The files of this project that code imports, directly or through others.

    ``from lecore import x`` leads to the file of ``x`` alone.
    """
    home = root if (root / "lecore").is_dir() else Path(__file__).parents[2]
    finder = _LecoreAlone(path=[str(home)])
    module = finder.add_module("chapter")
    tree = _PastFrontDoors(home).visit(ast.parse("\n".join(code), "chapter"))
    finder.scan_code(compile(tree, "chapter", "exec"), module)
    files = {Path(f) for m in finder.modules.values() if (f := getattr(m, "__file__", None))}
    return sorted(files)


class _LecoreAlone(ModuleFinder):
    """Follows ``lecore`` into its modules, and nothing that is installed beside it."""

    def find_module(self, name: str, path: Any, parent: Any = None) -> Any:
        if path is None and name != "lecore":
            raise ImportError(name)
        return super().find_module(name, path, parent)

    def load_module(self, fqname: str, fp: Any, pathname: str, file_info: Any) -> Any:
        if fp is None:  # a folder
            return super().load_module(fqname, fp, pathname, file_info)  # type: ignore[arg-type]
        module: Any = self.add_module(fqname)
        module.__file__ = pathname
        self.scan_code(_compiled(fp.read(), pathname), module)
        return module

    def scan_opcodes(self, co: CodeType) -> Any:
        return _opcodes(co)


@cache  # the same files lie behind all chapters
def _compiled(text: str, path: str) -> CodeType:
    return compile(text, path, "exec")


@cache
def _opcodes(code: CodeType) -> list[Any]:
    return list(ModuleFinder.scan_opcodes(_LecoreAlone(path=[]), code))


class _PastFrontDoors(ast.NodeTransformer):
    """Imports names from their own files, as the stub of a package says where they are."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def visit_ImportFrom(self, node: ast.ImportFrom) -> list[ast.ImportFrom]:
        stub = self.root / str(node.module).replace(".", "/") / "__init__.pyi"
        if not stub.is_file():
            return [node]
        homes = {
            alias.name: f"{node.module}.{door.module}"
            for door in ast.parse(read_text(stub)).body
            if isinstance(door, ast.ImportFrom)
            for alias in door.names
        }
        return [
            ast.copy_location(ast.ImportFrom(homes.get(alias.name, node.module), [alias], 0), node)
            for alias in node.names
        ]


def chapter_key(root: Path, notebook: Any, values: Mapping[str, Any]) -> str:
    """What a chapter's result depends on, as one SHA-256.

    Code cells, parameters (the device among them), every module of the project that the code
    imports, the versions of torch and NumPy, the papers' numbers, the reference results that the
    code names, and the files of images or sentences.

    Raises:
        FileNotFoundError: If the image set is not there.
    """
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    parts = [*code, json.dumps(values, sort_keys=True), version("torch"), version("numpy")]
    parts += [read_text(path) for path in dependencies(code, root)]
    parts += [read_text(path) for path in sorted((root / "book" / "published").glob("*.json"))]
    for chapter in chapters(root):
        if f'"{chapter}"' in "".join(code):
            parts += [read_text(path) for path in reference_paths(root, chapter)]
    parts.append(json.dumps([[claim["id"], claim["published"]] for claim in load_claims(root)]))
    parts.append(data_fingerprint(values))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def data_fingerprint(values: Mapping[str, Any]) -> str:
    """Fingerprint of the image set or the file of sentences that a parameter names; else empty."""
    if not {"data", "text"} & set(values):
        return ""
    from lecore.data.images import data_folder, fingerprint

    if "data" in values:
        return fingerprint(values["data"])
    place = data_folder() / str(values["text"])
    return hashlib.sha256(place.read_bytes()).hexdigest() if place.is_file() else ""
