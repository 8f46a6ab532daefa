"""What was found out about a model, until it is changed or forgotten."""

import threading
from collections.abc import Callable
from inspect import getattr_static
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

_known: WeakKeyDictionary[nn.Module, dict[Any, Any]] = WeakKeyDictionary()
_lock = threading.Lock()


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
    key = (key, _signature(model))
    with _lock:
        found = _known.setdefault(model, {})
        if key in found:
            return found[key]
    value = find()
    if lasts(value):
        with _lock:
            found[key] = value
    return value


def _signature(model: nn.Module) -> tuple[Any, ...]:
    """All that the way a network is computed can depend on, but its weights' values."""
    plain = (bool, int, float, str, bytes, tuple, type(None), torch.dtype)
    parts: list[Any] = [len(h) for h in _global_hooks()]
    for name, module in model.named_modules():
        attributes = [(k, repr(v)) for k, v in vars(module).items() if isinstance(v, plain)]
        hooks = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
        functions = [vars(module).get("forward"), getattr_static(type(module), "forward"), *hooks]
        parts.append((name, type(module), *map(_code, functions), *attributes))
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        parts.append((name, tensor.shape, tensor.dtype, tensor.requires_grad, tensor.device))
    return tuple(parts)


def _code(function: Any) -> Any:
    """What a function does; not the function, which may hold the model that is to be forgotten."""
    function = getattr(function, "__func__", function)
    return getattr(function, "__code__", id(function))


def _global_hooks() -> list[Any]:
    everywhere = nn.modules.module
    return [everywhere._global_forward_hooks, everywhere._global_forward_pre_hooks]
