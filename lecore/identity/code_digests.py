"""How functions, classes and modules enter a digest: by what they do, and by all that they use."""

import builtins
import importlib
import os
import sys
import types
from importlib.util import find_spec
from typing import Any

from lecore.identity.code_identity import (
    code_digest,
    named,
    names_of,
    release,
    release_of_class,
    release_of_file,
    release_of_function,
)
from lecore.identity.feed import Feed

Names = tuple[str, ...] | None
"""Names that code has, through which it may use a module; ``None`` if they aren't known."""

PLAIN = (bool, int, float, complex, str, bytes)
"""Values that a library's module may hold as a setting."""

OUTSIDE: tuple[Any, ...] = (os.environ, os.getenv, open)
"""What reads from outside of the process's own objects."""

UNSEEN = {name: getattr(builtins, name) for name in ("eval", "exec", "globals", "__import__")}
"""Built-in functions through which a function may depend on anything."""

OF_EVERY_CLASS = {
    "__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annotations__",
    "__annotate__", "__annotate_func__", "__annotations_cache__", "__firstlineno__",
    "__static_attributes__", "__abstractmethods__", "_abc_impl", "__parameters__",
    "__dataclass_fields__", "__dataclass_params__", "__match_args__",
}  # fmt: skip


def add_builtin(walk: Feed, thing: Any, where: str) -> None:
    """A function written in C, or a method of an object with the object."""
    owner = getattr(thing, "__self__", None)
    walk.feed("builtin", thing.__qualname__, str(getattr(thing, "__module__", "")))
    if owner is None or isinstance(owner, types.ModuleType):
        walk.feed(release(str(thing.__module__)))
    else:
        walk.add(owner, where)


def add_module(walk: Feed, thing: types.ModuleType, names: Names, where: str) -> None:
    """A library by name, version and settings; of people's own module, what code can name of it."""
    version = release(thing.__name__)
    walk.feed("module", thing.__name__, version)
    if (thing.__name__, names) in walk.seen:
        return
    walk.seen[thing.__name__, names] = ("module", thing)
    if not version and names is None:
        walk.unknown(thing, where)
    for name in names or ():
        value = vars(thing).get(name)
        if any(value is outside for outside in OUTSIDE):
            walk.outside(value, f"{where}.{name}")
        plain = type(value) in PLAIN and not name.startswith("__")
        if name in vars(thing) and (not version or plain or _patched(value)):
            walk.feed(name)
            add_loaded(walk, value, names, f"{where}.{name}")


def add_loaded(walk: Feed, thing: Any, names: Names, where: str) -> None:
    """A thing that code with these names has loaded."""
    if isinstance(thing, types.ModuleType):
        add_module(walk, thing, names, where)
    else:
        walk.add(thing, where)


def add_cell(walk: Feed, cell: types.CellType, where: str, names: Names = None) -> None:
    """What a closure holds."""
    try:
        value = cell.cell_contents
    except ValueError:
        walk.feed("empty cell")
    else:
        add_loaded(walk, value, names, where)


def add_function(walk: Feed, thing: types.FunctionType, where: str) -> None:
    """A library's function by its version and closure; people's own by its code and globals."""
    version, home = release_of_function(thing), thing.__globals__
    walk.feed("function", str(home.get("__name__")), str(thing.__module__))
    walk.feed(thing.__qualname__, version)
    # what a library puts around a function of people's own has that one's name
    theirs = version and release(str(thing.__module__))
    if theirs and named(thing.__module__, thing.__qualname__) is thing:
        return
    code = thing.__code__
    walk.feed("code", code_digest(code))
    loaded, imported, names = names_of(code)
    place = f"{where}: {thing.__qualname__}" if where else thing.__qualname__
    for name, cell in zip(code.co_freevars, thing.__closure__ or (), strict=True):
        walk.feed(name)
        add_cell(walk, cell, f"{place} uses {name}", names)
    walk.each("defaults", thing.__defaults__ or (), f"{place} has a default")
    walk.named("keyword defaults", thing.__kwdefaults__ or {}, place)
    kept = {k: v for k, v in vars(thing).items() if not k.startswith("_torchdynamo_")}  # ids
    walk.named("attributes", kept, place)
    if version:
        return
    for name in loaded:
        walk.feed("global", name)
        if name in home:
            add_loaded(walk, home[name], names, f"{place} uses {name}")
        elif name in UNSEEN:
            walk.unknown(UNSEEN[name], f"{place} uses {name}")
        elif name == "open":
            walk.outside(open, f"{place} uses {name}")
    for name in imported:
        add_imported(walk, name, home, names, place)


def add_imported(walk: Feed, name: str, home: dict[str, Any], names: Names, where: str) -> None:
    """A module that a function imports when it runs; a library isn't imported for it now."""
    relative = f"{home.get('__package__')}.{name}"
    name = relative if relative in sys.modules else name
    walk.feed("import", name)
    try:
        spec = None if name in sys.modules else find_spec(name.partition(".")[0])
        version = release_of_file(name, spec.origin or "") if spec else release(name)
        if version:
            walk.feed("module", name, version)  # loaded or not
        else:
            add_module(walk, importlib.import_module(name), names, where)
    except ImportError:
        walk.feed("is missing")


def add_kind(walk: Feed, thing: type, where: str) -> None:
    """A class: a library's by its version and what was patched, people's own by its content."""
    version = release_of_class(thing)
    walk.feed("class", thing.__module__, thing.__qualname__, version)
    place = f"{where}: {thing.__qualname__}" if where else thing.__qualname__
    content = dict(vars(thing))
    if version:
        content = {name: value for name, value in content.items() if _patched(value)}
    else:
        walk.add(type(thing), place)
    walk.each("bases", thing.__bases__, place)
    content = {name: value for name, value in content.items() if name not in OF_EVERY_CLASS}
    walk.named("content", content, place)


def _patched(thing: object) -> bool:
    """Whether something that a library has is a function of people's own."""
    if not isinstance(thing, types.FunctionType) or release_of_function(thing):
        return False
    home = thing.__globals__  # else a library made it by itself, as namedtuple does
    return home is getattr(sys.modules.get(str(home.get("__name__"))), "__dict__", None)
