"""What finished work is the work of: recognised by all that it depends on, wherever it is kept.

Not seen are files, environment variables and the contents of ``functools.lru_cache`` that a
network or a loss reads, attributes of modules that it looks up by a computed name, and settings of
the process such as the number of threads. Who depends on these gives ``key`` a word that changes
with them.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from lecore.errors import LecoreError
from lecore.identity.code_identity import versions
from lecore.identity.digests import digest
from lecore.identity.object_digests import class_of, module_attributes
from lecore.identity.patches import patches

Identity = dict[str, str]
"""Digest of each part of some work by the part's name, such as "loss" or "model attributes"."""

GLOBAL_HOOKS = (
    "_global_forward_pre_hooks", "_global_forward_hooks",
    "_global_backward_pre_hooks", "_global_backward_hooks",
)  # fmt: skip


def identify(
    *, by: str, model: nn.Module | None = None, key: str = "", **things: object
) -> Identity:
    """Identify work by its parts, the same in every process.

    Functions count with their code, defaults, closures and globals, classes with their methods,
    objects with their state; libraries by name and version.

    Args:
        by: The module of this package that does the work; its code is part of the versions.
        model: A network: its class, code, attributes, parameters and buffers are parts each.
        key: The user's word for what cannot be identified.
        **things: Further parts by name, such as ``loss``, or parts of the model to know instead;
            ``None`` is no part.

    Raises:
        LecoreError: If something cannot be identified and there is no key.
    """
    labels = {} if model is None else _labels(model)
    parts: dict[str, Any] = {} if model is None else _parts(model)
    parts |= {name.replace("_", " "): thing for name, thing in things.items() if thing is not None}
    identity = {
        name: digest(thing, where=name, key=key, labels=labels if name.startswith("model ") else {})
        for name, thing in parts.items()
    }
    found = patches()
    if found:
        identity["patches of libraries"] = digest(found, where="patches", key=key, labels=labels)
    around = [mode for of in modes() for mode in of if not isinstance(mode, DeviceContext)]
    if around:
        identity["function modes"] = digest(around, where="modes", key=key, labels=labels)
    identity["default dtype"] = str(torch.get_default_dtype())
    identity["versions"] = versions(by)
    return identity | ({"key": key} if key else {})


def modes() -> tuple[list[Any], list[Any]]:
    """What rewrites torch's functions and operators in this thread."""
    return _get_current_function_mode_stack(), _get_current_dispatch_mode_stack()


def differing(known: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """Names of the parts in which two identities differ."""
    return [name for name in {**here, **known} if known.get(name) != here.get(name)]


def refuse_another(known: Mapping[str, str], here: Mapping[str, str], what: str, cure: str) -> None:
    """Refuse finished work unless it is the very work that is wanted.

    Args:
        known: Identity of the finished work.
        here: Identity of what is wanted.
        what: Where the work is kept.
        cure: What to do about it.

    Raises:
        LecoreError: Which names the parts that differ.
    """
    names = differing(known, here)
    if not names:
        return
    raise LecoreError(
        f"{what} holds the work of {' and '.join(_told(n, known, here) for n in names)}", cure
    )


def _told(name: str, known: Mapping[str, str], here: Mapping[str, str]) -> str:
    several = name == "data" or (name.endswith("s") and not name.endswith("ss"))
    text = f"{'other' if several else 'another'} {name}"
    if name in ("versions", "default dtype", "key"):  # words, not digests
        text += f" ({known.get(name, 'none')} there, {here.get(name, 'none')} here)"
    return text


def shapes(model: nn.Module) -> dict[str, object]:
    """Parameters and buffers without their values, for work that itself changes these."""
    return {
        "parameters": [
            (name, tuple(p.shape), p.dtype, p.requires_grad) for name, p in model.named_parameters()
        ],
        "buffers": [(name, tuple(b.shape), b.dtype) for name, b in model.named_buffers()],
    }


def _labels(model: nn.Module) -> dict[str, object]:
    return {
        f"{kind} {name}": thing
        for kind, of in (
            ("buffer", model.named_buffers()),
            ("parameter", model.named_parameters()),
            ("module", model.named_modules()),
        )
        for name, thing in of
    }


def _parts(model: nn.Module) -> dict[str, Any]:
    modules = dict(model.named_modules(remove_duplicate=False))
    attributes = {name: module_attributes(module) for name, module in modules.items()}
    first = {id(thing): label for label, thing in reversed(_labels(model).items())}
    hooks = [[*getattr(nn.modules.module, name).values()] for name in GLOBAL_HOOKS]
    tensors = (
        {n: (first[id(t)], t.detach(), t.requires_grad, _hooks(t)) for n, t in of}
        for of in (
            model.named_parameters(remove_duplicate=False),
            model.named_buffers(remove_duplicate=False),
        )
    )
    classes = {n: class_of(m) for n, m in modules.items()}
    return {
        "model class": [
            (n, first[id(m)], classes[n].__module__, classes[n].__qualname__)
            for n, m in modules.items()
        ],
        "model code": [
            [(classes[n], functions) for n, (_, functions) in attributes.items()],
            hooks,
        ],
        "model attributes": [(n, values) for n, (values, _) in attributes.items()],
        "parameters": next(tensors),
        "buffers": next(tensors),
    }


def _hooks(tensor: torch.Tensor) -> list[object]:
    hooks = (tensor._backward_hooks, getattr(tensor, "_post_accumulate_grad_hooks", None))
    return [hook for of in hooks for hook in (of or {}).values()]
