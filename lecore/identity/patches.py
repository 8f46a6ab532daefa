"""What somebody put in the place of functions of torch, NumPy and Python."""

import builtins
import math
import sys
import types
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lecore.identity.code_identity import release_of_class, release_of_function

_ABSENT = object()


def _namespaces() -> dict[str, Any]:
    """Where the code of layers and of people finds what it calls."""
    layers = [m for name, m in sys.modules.items() if name.startswith("torch.nn.modules.")]
    classes = {c for m in layers for c in vars(m).values() if isinstance(c, type)}
    found: list[Any] = [torch, F, torch._VF, torch.linalg, torch.fft, torch.special, np, math]
    found += [*layers, *(c for c in classes if issubclass(c, nn.Module)), Tensor]
    return {f"{getattr(s, '__module__', '')} {s.__name__}".strip(): s for s in found}


def patches() -> dict[str, Any]:
    """What is in these namespaces now, by their name and its own, and was not there at first.

    Functions of people's own that were there when this package was imported count too.
    """
    found = dict(_from_the_start)
    for name, value in vars(builtins).items():
        if _own(value):
            found[f"builtins.{name}"] = value
    for place, space in _spaces.items():
        try:
            if _at_first[place] == vars(space):  # by identity first, so it is quick
                continue
        except Exception:  # arrays have no truth
            pass
        now = dict(vars(space))
        changed = {
            f"{place}.{name}": value
            for name, value in now.items()
            if _counts(name, _before(place, name), value) and not _harmless(place, name, value)
        }
        if not changed:  # what the library itself loads or wraps later
            _at_first[place] = now
        found |= changed
    return found


def _before(place: str, name: str) -> Any:
    """What a name stood for, inherited or not."""
    bases = getattr(_spaces[place], "__mro__", ())[1:]
    inherited = next((vars(base)[name] for base in bases if name in vars(base)), _ABSENT)
    return _at_first[place].get(name, inherited)


def _harmless(place: str, name: str, value: Any) -> bool:
    """Whether it is a number by a new name, such as the ``numpy.Inf`` of old libraries."""
    new = isinstance(_spaces[place], types.ModuleType) and name not in _at_first[place]
    return new and isinstance(value, bool | int | float | complex | str)


def _counts(name: str, old: Any, new: Any) -> bool:
    if new is old or isinstance(new, types.ModuleType):
        return False
    if str(getattr(new, "__module__", "")).startswith("torch._dynamo"):
        return False  # a compiler watches how modules are made
    if isinstance(new, types.FunctionType):
        release, before = release_of_function(new), getattr(old, "__code__", None)
        same = before is not None and release_of_function(old) == release
        return not (release and new.__name__ == name and (same or old is _ABSENT))
    if isinstance(new, type) and old is _ABSENT:
        return not release_of_class(new)
    return not name.startswith("_")


def _own(value: Any) -> bool:
    """Whether it is a function of no library; what debuggers put among the builtins is none."""
    if not isinstance(value, types.FunctionType) or str(value.__module__).startswith("_pydev"):
        return False
    return not release_of_function(value)


_spaces = _namespaces()
_at_first = {place: dict(vars(space)) for place, space in _spaces.items()}
_from_the_start = {
    f"{place}.{name}": value
    for place, content in _at_first.items()
    for name, value in content.items()
    if _own(value)
}
