"""Whose code something is, and what of people's own code counts: all but words and line numbers."""

import dis
import hashlib
import itertools
import os
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

PACKAGE = Path(__file__).parents[1]
PYTHON = "Python {}.{}".format(*sys.version_info)
WORDS = ("__doc__", "__firstlineno__", "__static_attributes__")
"""What a class body stores for people."""


def named(module: str, path: str) -> Any:
    """What a module has under a dotted name, or ``None``."""
    thing: Any = sys.modules.get(module)
    for name in path.split("."):
        thing = getattr(thing, name, None)
    return thing


def release_of_function(function: FunctionType) -> str:
    """As :func:`release`; by its file, for ``functools.wraps`` gives the name of another module."""
    home, file = function.__globals__, function.__code__.co_filename
    module = str(home.get("__name__", ""))
    if file.startswith("<") and home is getattr(sys.modules.get(module), "__dict__", None):
        return release(module)
    return release_of_file(module, file)


def release_of_class(kind: type) -> str:
    """As :func:`release`; a class that its module does not have is people's own."""
    module = kind.__module__
    found = named(module, kind.__qualname__) is kind
    return release(module) if found or module == "builtins" else ""


def release(module: str) -> str:
    """Library and version that a module belongs to; empty for people's own code.

    This package counts by version where it is installed, and by its text where it is developed.
    """
    if module == "__main__":
        return ""
    top = module.partition(".")[0]
    files = (getattr(sys.modules.get(name), "__file__", None) for name in (module, top))
    file = next((f for f in files if f), None)
    if top.startswith("_cython_"):  # shared by all libraries that it compiled
        return top
    if file is None:
        return PYTHON if top in sys.stdlib_module_names else ""
    return release_of_file(module, file)


@cache
def release_of_file(module: str, file: str) -> str:
    """As :func:`release`, of a module that need not be loaded."""
    if file == "built-in" or file.startswith(("<frozen", "frozen")):
        return PYTHON
    path = os.path.realpath(file)
    site = _libraries_above(Path(path))
    if site is None and PACKAGE in Path(path).parents:
        return f"lecore {source_digest(module)}"
    if site is not None:
        top = Path(path).relative_to(site).parts[0].partition(".")[0]
        try:
            return f"{top} {version(top)}"
        except PackageNotFoundError:  # its distribution has another name
            owners = sorted(set(packages_distributions().get(top, ())))
            return ", ".join(f"{owner} {version(owner)}" for owner in owners)
    roots = {os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    return PYTHON if any(path.startswith(root + os.sep) for root in roots) else ""


def _libraries_above(path: Path) -> Path | None:
    """The folder that a file was installed into with its library, such as by ``pip --target``."""
    folders = list(path.parents)
    for folder in folders:
        if folder.name in ("site-packages", "dist-packages"):
            return folder
    return next((f for f in folders if path.relative_to(f).as_posix() in _recorded(f)), None)


@cache
def _recorded(folder: Path) -> frozenset[str]:
    """Files that libraries installed into a folder, from their records."""
    records = (f for f in folder.glob("*.dist-info/RECORD") if os.access(f, os.R_OK))
    lines = (line for f in records for line in f.read_text("utf-8", "replace").splitlines())
    return frozenset(line.rpartition(",")[0].rpartition(",")[0].strip('"') for line in lines)


@cache
def source_digest(module: str) -> str:
    """Digest of a module of this package and of all of the package that it imports."""
    digest, pending, seen = hashlib.blake2b(digest_size=8), [module], set()
    while pending:
        pending.sort()
        name = pending.pop()
        path = _source(name)
        if name in seen or not path.is_file():
            continue
        seen.add(name)
        text, imported = _module(name, path.read_bytes())
        digest.update(text)
        pending += imported
    return digest.hexdigest()


@cache
def _module(name: str, source: bytes) -> tuple[bytes, list[str]]:
    """What a module of this package does, and what of the package it imports."""
    code = compile(source, name, "exec", dont_inherit=True)  # `ast` isn't for threads
    imported: list[str] = []
    for part in all_code(code):
        for (_, names), (operation, home) in itertools.pairwise(instructions(part)):
            if operation == "IMPORT_NAME" and home.partition(".")[0] == "lecore":
                inner = [f"{home}.{name}" for name in names or ()]
                found = [name for name in inner if _source(name).is_file()]
                imported += found if found and len(found) == len(inner) else [home, *found]
    return f"{name}\0{_plain(code)!r}\0".encode(), imported


@lru_cache(maxsize=4096)
def code_digest(code: CodeType) -> str:
    """Digest of what code does."""
    return hashlib.blake2b(repr(_plain(code)).encode(errors="surrogatepass")).hexdigest()


def _plain(thing: Any) -> Any:
    """Code as tuples."""
    if isinstance(thing, CodeType):
        return signature(thing), [
            (name, _plain(argument)) for name, argument in instructions(thing)
        ]
    return sorted(map(repr, thing)) if isinstance(thing, frozenset) else thing


def _source(module: str) -> Path:
    path = PACKAGE.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def versions(by: str) -> str:
    """Python, the libraries that compute, and this package, as the module ``by`` uses it."""
    try:
        own = version("lecore")
    except PackageNotFoundError:  # a folder on the path
        own = ""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy"))
    return f"lecore {own} {source_digest(by)}, {libraries}, {PYTHON}"


@lru_cache(maxsize=4096)
def instructions(code: CodeType) -> tuple[tuple[str, Any], ...]:
    """What a function does: operations with their constants and names, nested code among them.

    Constants that no instruction loads, as docstrings, are not there.
    """
    found: list[tuple[str, Any]] = []
    for step in dis.get_instructions(code):
        if step.opname == "NOP":  # of a text that is there for people
            continue
        if step.opcode in dis.hasjrel or step.opcode in dis.hasjabs:
            found.append((step.opname, step.arg))
        elif step.opname in ("STORE_NAME", "STORE_FAST") and step.argval in WORDS:
            found[-1:] = []
        else:
            found.append((step.opname, step.argval))
    return tuple(found)


def signature(code: CodeType) -> tuple[Any, ...]:
    """What of a code object its instructions don't show."""
    return (
        code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags,
        code.co_varnames, code.co_cellvars, code.co_freevars, code.co_exceptiontable,
    )  # fmt: skip


def all_code(code: CodeType) -> Iterator[CodeType]:
    """A code object and those of the functions and classes defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from all_code(constant)


@lru_cache(maxsize=4096)
def names_of(code: CodeType) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Globals that code loads, modules that it imports itself, and all names that it has."""
    loaded: set[str] = set()
    imported: set[str] = set()
    names: set[str] = set()
    for part in all_code(code):
        names.update(part.co_names)
        for step in dis.get_instructions(part):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                loaded.add(step.argval)
            elif step.opname == "IMPORT_NAME":
                imported.add(step.argval)
    return tuple(sorted(loaded)), tuple(sorted(imported)), tuple(sorted(names))
