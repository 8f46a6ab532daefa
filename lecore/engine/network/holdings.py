"""What a model holds, however deep: tensors, arrays, and all that a forward pass can write to."""

import array
import copy
import functools
import logging
import threading
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lecore.errors import LecoreError

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
_CLOSED = (
    type, types.ModuleType, types.BuiltinFunctionType, torch.jit.ScriptModule, logging.Logger,
    logging.Handler, threading.Thread,
)  # fmt: skip
_OWN, _FILLED = frozenset(vars(nn.Module())), ("_parameters", "_buffers")
_IN_CLOSURES = (Tensor, np.ndarray, list, tuple, dict, deque)


def holdings(model: nn.Module) -> Iterator[Any]:
    """Everything that a model holds in attributes, each once; of functions what they close over."""
    return held_by(model.modules())


def held_by(things: Iterable[Any]) -> Iterator[Any]:
    """Some things, and everything that they hold, each once."""
    waiting, known = list(things), set()
    while waiting:
        thing = waiting.pop()
        if isinstance(thing, _PLAIN) or id(thing) in known:
            continue
        known.add(id(thing))
        yield thing
        waiting += _inside(thing)


def state(model: nn.Module) -> Iterator[Any]:
    """What a forward pass can leave something behind in."""
    for thing in holdings(model):
        if isinstance(thing, nn.Module) and not isinstance(thing, torch.jit.ScriptModule):
            yield vars(thing)
        changeable = isinstance(thing, dict | list | set | deque | bytearray | array.array)
        changeable = changeable or (isinstance(thing, np.ndarray) and thing.dtype == object)
        if changeable or _slots(thing):
            yield thing


@contextmanager
def left_as_found(state: list[Any], tensors: dict[str, Tensor]) -> Iterator[None]:
    """Put back what a forward pass leaves behind, and refuse writes that nobody foresaw.

    Args:
        state: What a forward pass can leave something in, from :func:`state`.
        tensors: Those that it must not write to.
    """
    put_back = [_as_found(holder) for holder in state]
    versions = [tensor._version for tensor in tensors.values()]
    try:
        yield
    finally:
        for holder in put_back:
            holder()
    for (name, tensor), version in zip(tensors.items(), versions, strict=True):
        if tensor._version != version:
            raise LecoreError(
                f"the forward pass writes to {name!r} for some examples only",
                "let it leave its tensors alone in eval mode",
            )


def _as_found(holder: Any) -> Callable[[], None]:
    """Put clones in the place of tensors and arrays, for whatever writes to them; puts all back."""
    content: Any = None
    if isinstance(holder, np.ndarray):
        content = holder.copy()
        _exchange(enumerate(content.flat), holder.flat.__setitem__)
        return functools.partial(np.copyto, holder, content)
    if isinstance(holder, dict | set):
        content = copy.copy(holder)
        if isinstance(holder, dict):
            _exchange(list(holder.items()), holder.__setitem__)
        return functools.partial(_refill, holder, holder.update, content)
    if isinstance(holder, list | deque):
        content = list(holder)
        _exchange(enumerate(content), holder.__setitem__)
        return functools.partial(_refill, holder, holder.extend, content)
    if isinstance(holder, bytearray | array.array):
        return functools.partial(holder.__setitem__, slice(None), holder[:])
    content = _slots(holder)
    _exchange(content.items(), functools.partial(object.__setattr__, holder))
    return functools.partial(_set_slots, holder, content)


def _inside(thing: Any) -> list[Any]:
    if isinstance(thing, dict):
        return list(thing.values())
    if isinstance(thing, list | tuple | set | frozenset | deque):
        return list(thing)
    if isinstance(thing, np.ndarray):
        return list(thing.flat) if thing.dtype == object else []
    if isinstance(thing, functools.partial):
        return [thing.func, thing.args, thing.keywords]
    if isinstance(thing, types.FunctionType):
        contents = [content_of(cell) for cell in thing.__closure__ or ()]
        return [content for content in contents if isinstance(content, _IN_CLOSURES)]
    if isinstance(thing, types.MethodType):
        return [thing.__func__]
    if isinstance(thing, _CLOSED):
        return []
    if isinstance(thing, nn.Module):  # all but its hooks, where there are none
        own = vars(thing).items()
        return [v for k, v in own if k not in _OWN or k in _FILLED or v]
    return [*([vars(thing)] if hasattr(thing, "__dict__") else []), *_slots(thing).values()]


def _slots(thing: Any) -> dict[str, Any]:
    """What an object keeps outside of a dictionary."""
    if type(thing).__module__ == "builtins" or isinstance(thing, Tensor | types.FunctionType):
        return {}
    found: dict[str, Any] = {}
    for kind in (kind for kind in type(thing).__mro__ if "__slots__" in vars(kind)):
        for name, place in vars(kind).items():
            if isinstance(place, types.MemberDescriptorType) and hasattr(thing, name):
                found[name] = getattr(thing, name)
    return found


def _refill(holder: Any, fill: Callable[[Any], Any], content: Any) -> None:
    holder.clear()
    fill(content)


def _set_slots(thing: Any, content: dict[str, Any]) -> None:
    for name in _slots(thing).keys() - content.keys():
        object.__delattr__(thing, name)
    for name, value in content.items():
        object.__setattr__(thing, name, value)  # frozen ones too


def _exchange(items: Any, put: Callable[[Any, Any], Any]) -> None:
    for key, value in items:
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            clone = value.clone()
            vars(clone).update(vars(value))
            put(key, clone)
        elif isinstance(value, np.ndarray) and value.dtype != object:
            put(key, value.copy())


def content_of(cell: Any) -> Any:
    """What a cell of a closure holds, ``None`` if nothing yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None
