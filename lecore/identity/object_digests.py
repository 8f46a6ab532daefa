"""How tensors, networks, optimisers and any other objects enter a digest."""

import copyreg
import sys
import types
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from lecore.identity.array_bytes import array_bytes, tensor_bytes
from lecore.identity.code_identity import named, release, release_of_class
from lecore.identity.feed import Feed

OF_EVERY_MODULE = ("_parameters", "_buffers", "_modules")
MADE_FROM_THEM = ("_flat_weights", "_flat_weight_refs")
REDUCERS = ("__reduce__", "__reduce_ex__", "__getstate__")


def module_attributes(module: nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of a module's own attributes, those that are values, and the functions and hooks."""
    values, functions = {}, {}
    numbers = sorted({n for k, v in vars(module).items() if "_hooks" in k and v for n in v})
    for name, value in sorted(vars(module).items()):
        if "_hooks" in name and isinstance(value, dict):  # by order: their numbers are global
            if value:
                functions[name] = [(numbers.index(number), hook) for number, hook in value.items()]
        elif callable(value) and not isinstance(value, nn.Module | type):
            functions[name] = value
        elif name not in OF_EVERY_MODULE + MADE_FROM_THEM:
            values[name] = value
    return values, functions


def class_of(module: nn.Module) -> type:
    """A module's class; that which torch makes for one with parametrizations says nothing more."""
    kind = type(module)
    return kind.__bases__[0] if is_parametrized(module) else kind


def add_tensor(walk: Feed, thing: Tensor, where: str) -> None:
    """A tensor by its values and whatever hangs on it."""
    kind = type(thing)
    walk.feed("tensor", kind.__name__, str(thing.requires_grad))
    if kind not in (Tensor, nn.Parameter, nn.Buffer):
        walk.add(kind, where)
    try:
        for form, data in tensor_bytes(thing):
            walk.feed(form, data)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        walk.unknown(thing, where, error)
    hooks = (thing._backward_hooks, getattr(thing, "_post_accumulate_grad_hooks", None))
    walk.each("hooks", [hook for of in hooks for hook in (of or {}).values()], where)
    walk.named("attributes", getattr(thing, "__dict__", {}), where)


def add_array(walk: Feed, thing: Any, where: str) -> None:
    """An array or scalar by its values."""
    kind, plain = type(thing), np.asarray(thing)
    walk.feed("array", str(plain.dtype.descr), str(plain.shape))
    if kind not in (np.ndarray, np.memmap):
        walk.add(kind, where)
        walk.named("attributes", getattr(thing, "__dict__", {}), where)
    if plain.dtype.hasobject:
        walk.each("objects", plain.reshape(-1).tolist(), where)
    else:
        walk.feed(array_bytes(plain))


def add_network(walk: Feed, thing: nn.Module, where: str) -> None:
    """A network or a loss with its state."""
    values, functions = module_attributes(thing)
    walk.add(class_of(thing), where)
    for name in OF_EVERY_MODULE:  # in order, which is that of the calls in a Sequential
        walk.dictionary(vars(thing)[name], where)
    walk.named("values", values, where)
    walk.named("functions", functions, where)


def add_optimizer(walk: Feed, thing: torch.optim.Optimizer, where: str) -> None:
    """An optimiser with its settings and state."""
    walk.add(type(thing), where)
    walk.each("groups", [sorted(group.items()) for group in thing.param_groups], where)
    walk.dictionary(thing.state_dict()["state"], where)
    hooks = (thing._optimizer_step_pre_hooks, thing._optimizer_step_post_hooks)
    walk.each("hooks", [hook for of in hooks for hook in of.values()], where)


def add_object(walk: Feed, thing: Any, where: str) -> None:
    """Any other object, by its class and by what it holds, or would hold when pickled."""
    kind = type(thing)
    walk.add(kind, where)
    mine = not release_of_class(kind)
    if mine:
        add_own(walk, thing, where)
        if any(name in vars(k) for k in kind.__mro__[:-1] for name in REDUCERS):
            if not any(release_of_class(k) for k in kind.__mro__[:-1]):
                return  # what people pickle may be less than what they use
            mine = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reduce = copyreg.dispatch_table.get(kind)
            made = reduce(thing) if reduce else thing.__reduce_ex__(4)
    except Exception as error:
        walk.unknown(thing, where, error)
        return
    if isinstance(made, str):  # a name in a module
        home = next((m for m in _homes(thing) if named(m, made) is thing), "")
        walk.feed("name", made, home, release(home))
        if not release(home):
            walk.unknown(thing, where)
        return
    function, arguments, state, *items = (*made, None)[: max(3, len(made))]
    walk.each("made by", (function, *arguments), where)
    if not mine:  # else they are seen already
        walk.add(state, where)
    for part in items:
        walk.each("items", list(part) if hasattr(part, "__next__") else [part], where)


def add_own(walk: Feed, thing: Any, where: str) -> None:
    """Attributes, slots and elements of an object of people's own class."""
    attributes = dict(getattr(thing, "__dict__", {}))
    for kind in type(thing).__mro__:
        for name, slot in vars(kind).items():
            if isinstance(slot, types.MemberDescriptorType) and not release_of_class(kind):
                try:
                    attributes[name] = slot.__get__(thing)
                except AttributeError:
                    walk.feed("empty slot", name)
    walk.named("attributes", attributes, where)
    if isinstance(thing, tuple | list):
        walk.each("elements", thing, where)
    elif isinstance(thing, dict):
        walk.dictionary(thing, where)


def _homes(thing: object) -> list[str]:
    """Modules that a thing may be of."""
    home = getattr(thing, "__module__", None)
    return [home] if home else [m for m in sys.modules if m.partition(".")[0] in ("numpy", "scipy")]
