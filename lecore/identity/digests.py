"""The digest of any thing: the same in every process, for the same content and the same code.

A thing is walked as a graph. Plain values, tuples, sets, arrays and tensors count by value;
functions, classes, lists, dicts and objects get numbers in the order in which they are met, so
that cycles end. What a library made is known by its name and version, what people wrote by its
code. A thing whose content Python does not show is refused, never taken for equal.
"""

import enum
import functools
import hashlib
import types
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lecore.errors import LecoreError
from lecore.identity.code_digests import (
    add_builtin,
    add_cell,
    add_function,
    add_kind,
    add_module,
)
from lecore.identity.code_identity import code_digest
from lecore.identity.object_digests import (
    add_array,
    add_network,
    add_object,
    add_optimizer,
    add_tensor,
)

LAYOUTS = (torch.dtype, torch.device, torch.layout, torch.memory_format)
DESCRIPTORS = (
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)


def digest(
    thing: object, *, where: str = "", key: str = "", labels: Mapping[str, object] | None = None
) -> str:
    """A digest of a thing's content and code, 32 hexadecimal digits.

    Args:
        thing: Anything.
        where: What it is called in an error.
        key: A word of the user's that stands for whatever cannot be identified.
        labels: Objects that are known by a name and aren't entered.

    Raises:
        LecoreError: If a part of it cannot be identified and there is no key.
    """
    walk = Walk(key, {id(known): (name, known) for name, known in (labels or {}).items()})
    try:
        walk.add(thing, where)
        return walk.finish()
    except RecursionError as error:
        raise _unknown(thing, where) from error


def _unknown(thing: object, where: str) -> LecoreError:
    return LecoreError(
        f"a {type(thing).__module__}.{type(thing).__qualname__} cannot be told from another one, "
        "so finished work that depends on it would not be recognised",
        "leave it out, or give key= a word that stands for it and changes with it",
        where,
    )


class Walk:
    """One walk over a graph of objects, which feeds a hash."""

    def __init__(self, key: str, seen: dict[Any, tuple[str, object]]) -> None:
        self.key, self.seen = key, seen
        self.hash = hashlib.blake2b(digest_size=16)
        self.queue: list[tuple[Any, str]] = []
        self.offset = 0  # numbers given before

    def feed(self, *parts: str | bytes | memoryview) -> None:
        """Text and bytes, kept apart."""
        for part in parts:
            data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
            self.hash.update(b"%d:" % len(data))  # else "a" "bc" would be "ab" "c"
            self.hash.update(data)

    def finish(self) -> str:
        """The digest, when all that was met has been entered."""
        for thing, where in self.queue:  # grows
            self.content(thing, where)
        return self.hash.hexdigest()

    def add(self, thing: Any, where: str) -> None:
        """A thing by value, or by its number."""
        kind = type(thing)
        if id(thing) in self.seen:
            self.feed("seen", self.seen[id(thing)][0])
        elif thing is None or kind in (bool, str) or kind in LAYOUTS:
            self.feed(kind.__name__, str(thing))
        elif kind is int:
            self.feed("int", f"{thing:x}")
        elif kind in (float, complex):
            self.feed(kind.__name__, repr(thing))
        elif kind in (bytes, bytearray):
            self.feed(kind.__name__, thing)
        elif thing is Ellipsis or thing is NotImplemented:
            self.feed(repr(thing))
        elif kind is tuple:
            self.each("tuple", thing, where)
        elif kind in (set, frozenset):
            self.feed(kind.__name__, *sorted(self.apart(part, where) for part in thing))
        elif isinstance(thing, Tensor):
            add_tensor(self, thing, where)
        elif isinstance(thing, np.ndarray | np.generic):
            add_array(self, thing, where)
        elif kind is types.MethodType:
            self.each("method", (thing.__func__, thing.__self__), where)
        elif kind in (types.BuiltinFunctionType, types.MethodWrapperType):
            add_builtin(self, thing, where)
        elif isinstance(thing, types.ModuleType):
            add_module(self, thing, None, where)
        elif kind is types.CodeType:
            self.feed("code", code_digest(thing))
        else:
            self.seen[id(thing)] = (f"number {self.offset + len(self.queue)}", thing)
            self.feed("new", self.seen[id(thing)][0])
            self.queue.append((thing, where))

    def each(self, what: str, things: Iterable[Any], where: str) -> None:
        """Things in their order."""
        things = list(things)
        self.feed(what, str(len(things)))
        for thing in things:
            self.add(thing, where)

    def named(self, what: str, things: Mapping[str, Any], where: str) -> None:
        """Things by name, in the order of the names."""
        self.feed(what, str(len(things)))
        for name, thing in sorted(things.items()):
            self.feed(name)
            self.add(thing, f"{where}.{name}" if where else name)

    def apart(self, thing: Any, where: str) -> str:
        """Digest of one element of a set, which does not depend on the others."""
        plain = type(thing) in (bool, int, float, str, bytes)
        walk = Walk(self.key, {} if plain else dict(self.seen))
        walk.offset = self.offset + len(self.queue)
        walk.add(thing, where)
        return walk.finish()

    def content(self, thing: Any, where: str) -> None:
        """What an object consists of."""
        kind = type(thing)
        if kind is list:
            self.each("list", thing, where)
        elif kind in (dict, types.MappingProxyType):
            self.dictionary(thing, where)
        elif kind is types.FunctionType:
            add_function(self, thing, where)
        elif isinstance(thing, type):
            add_kind(self, thing, where)
        elif isinstance(thing, torch.jit.ScriptModule):
            self.unknown(thing, where)
        elif isinstance(thing, nn.Module):
            add_network(self, thing, where)
        elif isinstance(thing, torch.optim.Optimizer):
            add_optimizer(self, thing, where)
        elif isinstance(thing, torch.Generator):
            self.each("generator", (str(thing.device), thing.get_state()), where)
        elif isinstance(thing, property):
            self.each("property", (thing.fget, thing.fset, thing.fdel), where)
        elif isinstance(thing, staticmethod | classmethod):
            self.each(kind.__name__, (thing.__func__,), where)
        elif isinstance(thing, functools.cached_property):  # its lock isn't content
            self.each("cached", (kind, thing.func, thing.attrname), where)
        elif isinstance(thing, functools._lru_cache_wrapper):
            self.outside(thing, where)  # what it has kept
            self.each("cache", (thing.__wrapped__,), where)
        elif isinstance(thing, weakref.ref):
            self.each("weak", (thing(),), where)
        elif isinstance(thing, DESCRIPTORS):
            self.feed("descriptor", thing.__name__)
            self.add(thing.__objclass__, where)
        elif isinstance(thing, enum.Enum):
            self.each("enum", (kind, thing.name, thing.value), where)
        elif isinstance(thing, types.CellType):
            add_cell(self, thing, where)
        else:
            add_object(self, thing, where)

    def dictionary(self, thing: Mapping[Any, Any], where: str) -> None:
        """Keys and values in their order."""
        self.feed("dict", str(len(thing)))
        for name, value in thing.items():
            self.add(name, where)
            self.add(value, f"{where}[{name!r}]" if type(name) in (str, int) else where)

    def unknown(self, thing: Any, where: str, cause: BaseException | None = None) -> None:
        """Refuse a thing, unless the key stands for it."""
        if not self.key:
            raise _unknown(thing, where) from cause
        self.feed("known by the key", type(thing).__module__, type(thing).__qualname__)

    def outside(self, thing: Any, where: str) -> None:
        """What depends on more than objects: not entered."""
