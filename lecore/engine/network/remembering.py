"""What was found out about a model, until it is changed or forgotten."""

import threading
import types
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

_known: WeakKeyDictionary[nn.Module, dict[Any, Any]] = WeakKeyDictionary()
_lock = threading.Lock()

SMALL = 64
"""Largest integer buffer whose values are looked at, as a switch may be one."""


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
    parts: list[Any] = [len(h) for h in _global_hooks()]
    for name, module in model.named_modules():
        own = {k: v for k, v in vars(module).items() if k not in ("_parameters", "_modules")}
        parts.append((name, type(module), _code_of(type(module)), _seen(own, 5)))
    for name, tensor in model.named_parameters():
        parts.append((name, tensor.shape, tensor.dtype, tensor.requires_grad, tensor.device))
    return tuple(parts)


def _code_of(kind: type) -> tuple[Any, ...]:
    """Code of all methods below torch's own."""
    below = kind.__mro__[: kind.__mro__.index(nn.Module)]
    return tuple((k, _code(v)) for c in below for k, v in vars(c).items() if callable(v))


def _seen(value: Any, depth: int) -> Any:
    """A value as something that can be compared and kept, and holds nothing of the model."""
    if value is None or isinstance(value, bool | int | float | str | bytes | torch.dtype):
        return value
    if isinstance(value, Tensor):
        flags = not value.is_floating_point() and value.numel() <= SMALL and not value.is_meta
        return value.shape, value.dtype, value.device, repr(value.tolist()) if flags else ""
    if isinstance(value, types.FunctionType | types.MethodType) and depth:
        function = getattr(value, "__func__", value)
        cells = [_content(cell) for cell in function.__closure__ or ()]
        return _code(value), *(_seen(content, depth - 1) for content in cells)
    if isinstance(value, nn.Module | type) or not depth:
        return type(value)
    if isinstance(value, dict):
        return tuple((repr(k), _seen(v, depth - 1)) for k, v in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return type(value), *(_seen(v, depth - 1) for v in value)
    if hasattr(value, "__dict__"):
        return type(value), _seen(vars(value), depth - 1)
    return type(value)


def _code(function: Any) -> Any:
    """What a function does; not the function, which may hold the model that is to be forgotten."""
    function = getattr(function, "__func__", function)
    return getattr(function, "__code__", id(function))


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _global_hooks() -> list[Any]:
    everywhere = nn.modules.module
    return [everywhere._global_forward_hooks, everywhere._global_forward_pre_hooks]
