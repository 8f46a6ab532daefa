"""The project on disk: chapters, their parameters, profiles, and the key of a chapter's result."""

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

import yaml

TYPES: dict[str, type | tuple[type, ...]] = {
    "int": int,
    "float": (int, float),
    "bool": bool,
    "str": str,
    "list": list,
    "dict": dict,
}


@dataclass(frozen=True)
class Parameter:
    """One line of a chapter's parameters cell: ``name: type = default  # help``."""

    name: str
    type: str
    default: str
    help: str


@dataclass(frozen=True)
class Profile:
    """A file of ``book/profiles``: how large the chapters run."""

    name: str
    timeout: float
    chapters: Mapping[str, Mapping[str, Any]]


def project_root() -> Path:
    """Nearest folder at or above the current one that holds the book, else the package's own.

    Raises:
        FileNotFoundError: If there is no book in either place.
    """
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).parents[2]):
        if (folder / "_toc.yml").exists() and (folder / "book" / "claims.yml").exists():
            return folder
    raise FileNotFoundError(f"no _toc.yml with book/claims.yml at or above {here}; go to the book")


def book_pages(root: Path) -> list[str]:
    """Every page of ``_toc.yml``, in order, as a path without suffix."""

    def files(entry: Mapping[str, Any]) -> Iterator[str]:
        if "file" in entry:
            yield entry["file"]
        for below in ("parts", "chapters", "sections"):
            for child in entry.get(below, []):
                yield from files(child)

    toc = yaml.safe_load((root / "_toc.yml").read_text())
    return [toc["root"], *files(toc)]


def chapters(root: Path) -> list[str]:
    """The pages that execute, named by their path below ``book/``."""
    names = [page.removeprefix("book/") for page in book_pages(root)]
    return [name for name in names if "{code-cell}" in source(root, name).read_text()]


def source(root: Path, chapter: str) -> Path:
    """The Markdown file of a chapter."""
    return root / "book" / f"{chapter}.md"


def select(root: Path, names: Sequence[str]) -> list[str]:
    """Chapters by name or by part, in the book's order; all of them without names.

    Raises:
        ValueError: If a name is neither a chapter nor a part.
    """
    known = chapters(root)
    chosen: set[str] = set()
    for name in names:
        name = name.removeprefix("book/").removesuffix(".md").strip("/")
        found = [c for c in known if c == name or c.startswith(f"{name}/")]
        if not found:
            raise ValueError(f"no chapter or part {name!r}; there are {', '.join(known)}")
        chosen.update(found)
    return [c for c in known if c in chosen or not names]


def load_profile(root: Path, name: str) -> Profile:
    """Read ``book/profiles/<name>.yml``.

    Raises:
        ValueError: If there is no such profile, or it names chapters that do not exist.
    """
    folder = root / "book" / "profiles"
    path = folder / f"{name}.yml"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yml")))
        raise ValueError(f"no profile {name!r}; there are {known}")
    data = yaml.safe_load(path.read_text())
    if not isinstance(data, dict) or set(data) != {"timeout", "chapters"}:
        raise ValueError(f"{path.name} must have the keys timeout and chapters, and no others")
    if unknown := set(data["chapters"]) - set(chapters(root)):
        raise ValueError(f"{path.name} names chapters that do not exist: {sorted(unknown)}")
    return Profile(name, float(data["timeout"]), data["chapters"])


def read_notebook(root: Path, chapter: str) -> Any:
    """A chapter as a notebook without outputs."""
    import jupytext

    return jupytext.read(source(root, chapter))


def parameters(notebook: Any) -> dict[str, Parameter]:
    """What a chapter's parameters cell declares, by name.

    Raises:
        ValueError: If there is no such cell; overrides would be silently lost.
    """
    from papermill.translators import PythonTranslator

    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            found = PythonTranslator.inspect(cell)
            return {
                p.name: Parameter(p.name, p.inferred_type_name, p.default, p.help.strip("# "))
                for p in found
            }
    raise ValueError("the chapter has no cell tagged 'parameters'")


def check_parameters(
    chapter: str, known: Mapping[str, Parameter], values: Mapping[str, Any]
) -> None:
    """Refuse overrides that a chapter does not declare, or of another type.

    Raises:
        ValueError: Naming the chapter, the parameter, and what it may be.
    """
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"{chapter} has no parameter {name!r}; it has {', '.join(known)}")
        kind = known[name].type
        allowed = TYPES.get(kind.split("[")[0])
        wrong_bool = isinstance(value, bool) and allowed is not bool
        if allowed and (wrong_bool or not isinstance(value, allowed)):
            raise ValueError(f"{chapter}: {name} must be {kind}, not {value!r}")


def effective_parameters(
    known: Mapping[str, Parameter], values: Mapping[str, Any]
) -> dict[str, Any]:
    """All parameters of a run: the defaults of the page, overridden by ``values``."""
    return {name: ast.literal_eval(p.default) for name, p in known.items()} | dict(values)


def dependencies(code: Iterable[str], root: Path) -> list[Path]:
    """The files of this project that code imports, directly or through others."""
    finder = ModuleFinder(path=[str(root)])
    module = finder.add_module("chapter")
    finder.scan_code(compile("\n".join(code), "chapter", "exec"), module)
    files = {Path(f) for m in finder.modules.values() if (f := getattr(m, "__file__", None))}
    return sorted(files)


def chapter_key(root: Path, notebook: Any, values: Mapping[str, Any]) -> str:
    """What a chapter's result depends on, as one SHA-256.

    Code cells, parameters (the device among them), every module of the project that the code
    imports, the versions of torch and NumPy, the papers' numbers, the reference results that the
    code names, and the image files.

    Raises:
        FileNotFoundError: If the image set is not there.
    """
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    parts = [*code, json.dumps(values, sort_keys=True), version("torch"), version("numpy")]
    parts += [path.read_text() for path in dependencies(code, root)]
    parts += [path.read_text() for path in sorted((root / "book" / "published").glob("*.json"))]
    results = root / "book" / "results"
    for path in sorted(results.rglob("*.json")):
        if f'"{path.relative_to(results).with_suffix("")}"' in "".join(code):
            parts.append(path.read_text())
    claims = yaml.safe_load((root / "book" / "claims.yml").read_text())
    parts.append(json.dumps([[claim.get("id"), claim.get("published")] for claim in claims]))
    parts.append(data_fingerprint(values))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def data_fingerprint(values: Mapping[str, Any]) -> str:
    """Fingerprint of the image set that the ``data`` parameter names; empty without one."""
    if "data" not in values:
        return ""
    from lecore.images import fingerprint

    return fingerprint(values["data"])
