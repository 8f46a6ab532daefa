"""What was found out about a model, until it is changed or forgotten.

The way a network is computed depends on its code, on all that the code names, and on Python's
objects that it holds; on numbers in tensors only where it looks at them, and then it is looked at
anew for each measurement. What cannot be identified, files and the environment among it, is not
remembered.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack

from lecore.errors import LecoreError
from lecore.identity.digests import Walk
from lecore.identity.finished_work import GLOBAL_HOOKS
from lecore.identity.object_digests import add_tensor
from lecore.identity.patches import patches

_known: WeakKeyDictionary[nn.Module, tuple[str, dict[Any, Any]]] = WeakKeyDictionary()
_lock = threading.Lock()
_now: ContextVar[tuple[nn.Module, str] | None] = ContextVar("_now", default=None)

SMALL = 64
"""Largest tensor whose values are looked at, as it may be a switch."""


@contextmanager
def as_it_is(model: nn.Module) -> Iterator[None]:
    """Inside, a model is taken to stay as it is now."""
    token = _now.set((model, _signature(model)))
    try:
        yield
    finally:
        _now.reset(token)


def remembered(
    model: nn.Module,
    key: Any,
    find: Callable[[], Any],
    lasts: Callable[[Any], bool] = lambda found: True,
) -> Any:
    """What was found for a model that is as it was then, weights aside.

    Args:
        model: The caller's model.
        key: Of what is looked for.
        find: Finds it; called if it is not known.
        lasts: Whether it holds for other points of the same shape too.
    """
    now = _now.get()
    signature = now[1] if now is not None and now[0] is model else _signature(model)
    with _lock:
        before, found = _known.get(model, ("", {}))
        if before == signature and key in found:
            return found[key]
    value = find()
    if signature and lasts(value):
        with _lock:
            before, found = _known.get(model, ("", {}))
            if before != signature:
                _known[model] = signature, {}
            _known[model][1][key] = value
    return value


def _signature(model: nn.Module) -> str:
    """All that the way a network is computed can depend on, or '' if that is not known."""
    hooks = [[*getattr(nn.modules.module, name).values()] for name in GLOBAL_HOOKS]
    around = _get_current_function_mode_stack(), torch.get_default_dtype()
    walk = _Ways("", {})
    try:
        for thing in (model, hooks, around, patches()):
            walk.add(thing, "")
        return walk.finish()
    except (LecoreError, RecursionError):
        return ""


class _Ways(Walk):
    """A walk that passes by the numbers in tensors."""

    def add(self, thing: Any, where: str) -> None:
        """A thing by value, or by its number; a tensor by its form."""
        if not isinstance(thing, Tensor) or id(thing) in self.seen:
            super().add(thing, where)
            return
        self.seen[id(thing)] = (f"tensor {len(self.seen)}", thing)
        if thing.numel() <= SMALL and not isinstance(thing, nn.Parameter):
            add_tensor(self, thing, where)
        form = thing.shape, thing.dtype, thing.device, thing.layout, thing.requires_grad
        self.feed(f"{type(thing)} {form}")
        self.named("attributes", getattr(thing, "__dict__", {}), where)

    def outside(self, thing: Any, where: str) -> None:
        """Nobody knows."""
        self.unknown(thing, where)
