"""A copy of a model that shares nothing with it, however the model was put together.

``copy.deepcopy`` stops at functions: a patched ``layer.forward``, a hook or a lambda kept as an
attribute would go on using the layers that it closes over, those of the caller's model. And it
refuses tensors that were computed, such as the weight of a pruned layer.
"""

import copy
import functools
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from lecore.engine.network.holdings import holdings
from lecore.errors import LecoreError, in_short

Cast = Callable[[Tensor], Tensor]


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside wrappers that spread it over devices or compile it."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif type(model).__name__ == "OptimizedModule" and hasattr(model, "_orig_mod"):
            model = cast("nn.Module", model._orig_mod)  # torch.compile's; its class is private
        else:
            return model


def private_copy(model: nn.Module, convert: Cast) -> nn.Module:
    """Copy a model, all of its tensors converted.

    Args:
        model: The model, without wrappers around it; those inside are taken off the copy.
        convert: From a tensor to the one that stands in its place; where it shares memory with the
            old one, so do the models.

    Raises:
        LecoreError: If a part of it cannot be copied.
    """
    registered = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    held = list(holdings(model))
    tensors = [thing for thing in held if isinstance(thing, Tensor)]
    memo: dict[int, Any] = {id(t): converted(t, convert, id(t) in registered) for t in tensors}
    memo |= {id(thing): thing for thing in held if type(thing) is object}  # sentinels
    memo |= {id(thing): type(thing)() for thing in _empty(model)}
    named = [(memo[id(tensor)], vars(tensor)) for tensor in tensors if vars(tensor)]
    with torch.no_grad():  # else a scripted part would still send gradients to the old one
        (copied, named), memo = _deep_copy(model, named, memo)
    for tensor, attributes in named:
        vars(tensor).update(_rebound(attributes, memo))
    trained = {name: p.requires_grad for name, p in model.named_parameters()}
    for name, module in copied.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            module._apply(convert, recurse=False)  # its tensors live outside of Python
            for key, parameter in module.named_parameters(name, recurse=False):
                parameter.requires_grad_(trained.get(key, False))
            continue
        module._compiled_call_impl = None
        for key, value in list(vars(module).items()):
            vars(module)[key] = _rebound(value, memo)
        for key, child in module._modules.items():
            if child is not None and unwrapped(child) is not child:
                module._modules[key] = _Bare(child)
    return copied


def _empty(model: nn.Module) -> Iterator[Any]:
    """The empty collections of modules, of hooks most of them, half of the work of ``deepcopy``."""
    for module in model.modules():
        for own in vars(module).values():
            kept = type(own) in (OrderedDict, dict, set) and not own
            if kept and not getattr(own, "__dict__", None):
                yield own


class _Bare(nn.Module):
    """What is inside of a wrapper, under the same names."""

    def __init__(self, wrapper: nn.Module) -> None:
        super().__init__()
        for name, inner in wrapper.named_children():
            self.add_module(name, _Bare(inner) if unwrapped(inner) is not inner else inner)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return next(self.children())(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        inside = vars(self).get("_modules", {})
        if name in inside or not inside:
            return super().__getattr__(name)
        return getattr(next(iter(inside.values())), name)


def converted(tensor: Tensor, convert: Cast, registered: bool) -> Tensor:
    """A tensor of the same kind in another's place."""
    new = convert(tensor.detach())
    if not registered:  # anything may be written to it
        new = new.clone()
    if isinstance(tensor, nn.Parameter):
        kind = type(tensor)
        if kind.__torch_dispatch__ is Tensor.__torch_dispatch__ and issubclass(kind, nn.Parameter):
            return Tensor._make_subclass(kind, new.detach(), tensor.requires_grad)
        new = nn.Parameter(new.detach(), tensor.requires_grad)
    return new


def _deep_copy(model: nn.Module, named: list[Any], known: dict[int, Any]) -> tuple[Any, Any]:
    """A deep copy, which shares what cannot be copied, such as a lock, and its memo.

    Args:
        model: The model.
        named: Its new tensors, each with the attributes of the old one.
        known: What is copied already.
    """
    known = known | {id(new): new for new, _ in named}
    memo = dict(known)
    try:
        return copy.deepcopy((model, named), memo), memo
    except Exception as error:
        failure = error
    memo = dict(known)
    for own in (*(vars(module) for module in model.modules()), *(own for _, own in named)):
        for value in own.values():
            if isinstance(value, Tensor | nn.Module | dict):
                continue
            try:
                copy.deepcopy(value, dict(known))
            except Exception:
                memo[id(value)] = _shallow(value)
    try:
        return copy.deepcopy((model, named), memo), memo
    except Exception:
        raise LecoreError(
            f"the model cannot be copied ({in_short(failure)})",
            "keep what cannot be copied outside of its attributes",
        ) from failure


def _shallow(value: Any) -> Any:
    try:
        return copy.copy(value) if hasattr(value, "__dict__") else value
    except Exception:
        return value


def _rebound(value: Any, memo: dict[int, Any]) -> Any:
    """A value whose functions close over the copies of what they closed over."""
    if isinstance(value, types.FunctionType):
        return _rebound_function(value, memo)
    if isinstance(value, types.MethodType):
        function = _rebound(value.__func__, memo)
        return types.MethodType(function, value.__self__)  # deepcopy has bound it to the copy
    if isinstance(value, functools.partial):
        arguments = [_rebound(a, memo) for a in value.args]  # deepcopy has copied them
        named = {k: _rebound(a, memo) for k, a in value.keywords.items()}
        return functools.partial(_rebound(value.func, memo), *arguments, **named)
    if type(value) in (list, tuple):
        return type(value)([_rebound(item, memo) for item in value])
    if isinstance(value, dict):
        for key, item in value.items():  # in place: it may be an ordered or a default dict
            value[key] = _rebound(item, memo)
    return value


def _rebound_function(function: types.FunctionType, memo: dict[int, Any]) -> Any:
    if id(function) in memo:
        return memo[id(function)]
    closure = function.__closure__ or ()
    cells = tuple(types.CellType() for _ in closure)
    copied = {k: memo[id(v)] for k, v in _globals(function) if id(v) in memo}
    bound = {
        k: types.MethodType(v.__func__, memo[id(v.__self__)])
        for k, v in _globals(function)
        if isinstance(v, types.MethodType) and id(v.__self__) in memo
    }
    if not cells and not copied and not bound:
        return function
    new = types.FunctionType(
        function.__code__,
        {**function.__globals__, **copied, **bound} if copied or bound else function.__globals__,
        function.__name__,
        function.__defaults__,
        cells,
    )
    new.__kwdefaults__ = function.__kwdefaults__
    new.__dict__.update(function.__dict__)
    memo[id(function)] = new
    for cell, old in zip(cells, closure, strict=True):
        try:
            content = old.cell_contents
        except ValueError:  # not filled yet
            continue
        cell.cell_contents = _copied(content, memo)
    return new


def _globals(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Global things that a function names, as those at the top of a notebook are."""
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        for name in code.co_names:
            if name in function.__globals__:
                yield name, function.__globals__[name]


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """A copy of what a function refers to; what cannot be copied is no part of the model."""
    try:
        return _rebound(copy.deepcopy(value, memo), memo)
    except Exception:
        return value
