"""What of a model can be refused before it is run."""

import types
from bisect import bisect
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

import numpy as np
import torch
from torch import Tensor, nn

from lecore.engine.network.model_copy import unwrapped
from lecore.errors import LecoreError

_LAYOUTS = {
    torch.strided, torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr,
    torch.sparse_bsc,
}  # fmt: skip
"""Of constants."""


def check_layer(name: str, module: nn.Module) -> None:
    """Refuse a layer that draws random numbers, or normalises over the batch."""
    batch_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
    dropout = getattr(module, "dropout", 0.0)
    draws = (
        (isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0)
        or isinstance(module, nn.RReLU)
        or (isinstance(module, nn.RNNBase | nn.MultiheadAttention) and dropout)
    )
    if module.training and (batch_norm or draws):
        raise LecoreError(f"layer {name!r} is in training mode", "call model.eval() first")
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
        raise LecoreError(
            f"layer {name!r} normalises over the batch, so predictions depend on each other",
            "give it track_running_stats=True",
        )


def check_tensor(name: str, tensor: Tensor) -> None:
    """Refuse weights that are not dense, and buffers that hang on weights."""
    weight = tensor.requires_grad and tensor.is_leaf
    layouts = {torch.strided} if weight else _LAYOUTS
    if tensor.is_nested or tensor.layout not in layouts:
        raise LecoreError(f"{name!r} is not dense", "give a dense tensor (to_dense)")
    if tensor.grad_fn is not None and not isinstance(tensor, nn.Parameter):
        raise LecoreError(
            f"buffer {name!r} was computed from parameters outside of the forward pass, and would "
            "not follow a step",
            "compute it in the forward pass",
        )


def computed(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Attributes that were computed from parameters: not to be read, but written over."""
    registered = {id(t) for t in (*model.parameters(), *model.buffers())}
    places = {memory_of(p) for p in model.parameters() if p.requires_grad} - {0}
    for name, module in model.named_modules():
        if module._forward_pre_hooks or isinstance(module, torch.jit.ScriptModule):
            continue  # pruning and older weight norms compute theirs anew
        for key, value in vars(module).items():
            if not isinstance(value, Tensor) or id(value) in registered:
                continue
            if value.grad_fn is not None or memory_of(value) in places:
                yield name, key


def memory_of(thing: Any) -> int:
    """Where the memory of a tensor begins; 0 if it has none of its own or is no tensor."""
    if not isinstance(thing, Tensor):
        return 0
    try:
        return thing.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):  # sparse, or inside a transform
        return 0


def check_sharing(tensors: dict[str, Tensor], held: Iterable[Any]) -> None:
    """Refuse tensors that overlap in memory, which a step on a copy would tear apart.

    Args:
        tensors: Parameters and buffers.
        held: What else the model holds.
    """
    named = {k: t for k, t in tensors.items() if t.layout is torch.strided and t.numel()}
    extents = sorted((*_extent(tensor), name) for name, tensor in named.items())
    for (_, end, other), (start, _, name) in pairwise(extents):
        if start < end:
            raise LecoreError(
                f"{name!r} and {other!r} lie in the same memory, so that a step on one moves the "
                "other",
                "use one parameter under both names, or compute one from the other in the forward "
                "pass",
            )
    trained = [e for e in extents if tensors[e[2]].requires_grad]
    own = {id(tensor) for tensor in tensors.values()}
    for thing in held:
        if id(thing) in own or not isinstance(thing, Tensor | np.ndarray):
            continue
        if isinstance(thing, Tensor) and (thing.layout is not torch.strided or thing.is_meta):
            continue
        start, end = _extent(thing)
        place = bisect(trained, (end,)) - 1
        if place >= 0 and start < trained[place][1]:
            raise LecoreError(
                f"something that the model holds lies in the memory of {trained[place][2]!r}, and "
                "would not follow a step",
                "compute it from the parameter in the forward pass",
            )


def _extent(thing: Any) -> tuple[int, int]:
    """First byte of a tensor or an array, and the one after its last."""
    if isinstance(thing, np.ndarray):
        return np.lib.array_utils.byte_bounds(thing) if thing.size else (0, 0)
    if not thing.numel() or thing.data_ptr() == 0:
        return 0, 0
    sizes = zip(thing.shape, thing.stride(), strict=True)
    last = sum((int(n) - 1) * int(s) for n, s in sizes)
    return thing.data_ptr(), thing.data_ptr() + (last + 1) * thing.element_size()


def check_identities(held: Sequence[Any]) -> None:
    """Refuse a model that finds its parts by the very objects, which a copy would not."""
    parts = {id(thing) for thing in held}
    for thing in held:
        weak = isinstance(thing, WeakKeyDictionary | WeakValueDictionary | WeakSet)
        inside = list(thing) if weak or isinstance(thing, dict | set | frozenset) else []
        if isinstance(thing, WeakValueDictionary):
            inside += thing.values()
        elif isinstance(thing, nn.Module) and unwrapped(thing) is thing:  # compilers keep ids, too
            listed = [v for v in vars(thing).values() if isinstance(v, list | tuple | deque)]
            inside += [*vars(thing).values(), *chain.from_iterable(listed)]
        ids = {id(one) for one in inside} if weak else {one for one in inside if type(one) is int}
        if ids & parts:
            raise LecoreError(
                f"the model {'holds weakly' if weak else 'keeps the id of'} a part of its own, "
                "which it would not find in a copy",
                "look parts up by their names",
            )


def check_copy(model: nn.Module, copied: nn.Module, private: bool) -> None:
    """Refuse a ``__deepcopy__`` of somebody's own that gives something else, or the same."""
    cure = "let copy.deepcopy give a network like it (see its own __deepcopy__ or __getstate__)"
    old, new = dict(model.named_parameters()), dict(copied.named_parameters())
    for name, parameter in old.items():
        same = name in new and new[name].requires_grad == parameter.requires_grad
        shared = private and same and memory_of(parameter) != 0
        shared = shared and memory_of(new[name]) == memory_of(parameter)
        if shared or not same or not _alike(parameter, new[name], set()):
            raise LecoreError(
                f"a copy of the model has another parameter {name!r}, or the very same memory", cure
            )
    modules = dict(copied.named_modules())
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule) or unwrapped(module) is not module:
            continue  # tensors of scripts are parameters; wrappers are left out of a copy
        other = modules.get(name, nn.Identity())
        if _way(other) != _way(module):
            raise LecoreError(f"a copy of the model has another layer {name!r}", cure)
        if _hooks(other) != _hooks(module):
            traced = isinstance(module, torch.fx.GraphModule)  # torch.export's copies lose them
            raise LecoreError(
                f"a copy of the model lacks hooks of layer {name!r}",
                "measure the network that was traced or exported" if traced else cure,
            )
        own, others = vars(module), vars(modules[name])
        for key in {**own, **others, **own["_buffers"]}:
            before = own["_buffers"].get(key, own.get(key))
            after = others["_buffers"].get(key, others.get(key))
            if not key.startswith("_") and not _alike(before, after, set()):
                place = ".".join(filter(None, (name, key)))
                raise LecoreError(f"a copy of the model has another {place!r}", cure)


def _alike(old: Any, new: Any, known: set[int]) -> bool:
    """Whether numbers, words and tensors in a copy are those of what was copied."""
    if old is None:
        return new is None
    if isinstance(old, bool | int | float | complex | str | bytes):
        return type(old) is type(new) and (old == new or old != old)
    if isinstance(old, Tensor):
        if not isinstance(new, Tensor) or old.shape != new.shape or old.layout != new.layout:
            return False
        if old.layout is not torch.strided or old.is_meta or old.is_quantized:
            return True
        value = old.detach().to(new.dtype)
        return torch.equal(value, new) or torch.equal(value.nan_to_num(), new.nan_to_num())
    if isinstance(old, np.ndarray):
        same = isinstance(new, np.ndarray) and old.shape == new.shape and old.dtype == new.dtype
        return same and (old.dtype == object or old.tobytes() == new.tobytes())
    if isinstance(old, set | frozenset):
        words = {item for item in old if isinstance(item, str | int)}
        return type(old) is type(new) and len(old) == len(new) and words <= new
    if id(old) in known or isinstance(old, nn.Module | type | types.ModuleType):
        return True
    known.add(id(old))
    if isinstance(old, list | tuple):
        pairs = zip(old, new, strict=False) if isinstance(new, list | tuple) else ()
        return type(old) is type(new) and len(old) == len(new) and all(
            _alike(a, b, known) for a, b in pairs
        )  # fmt: skip
    if type(old) is dict:
        told = [key for key in old if isinstance(key, str | int)]
        return type(new) is dict and all(_alike(old[k], new.get(k), known) for k in told)
    if hasattr(old, "__dict__"):
        return type(old) is type(new) and _alike(vars(old), vars(new), known)
    return True


def _way(module: nn.Module) -> Any:
    """What a layer does: its class, or its code where each layer has a class of its own."""
    return module.code if isinstance(module, torch.fx.GraphModule) else type(module)


def _hooks(module: nn.Module) -> tuple[int, int]:
    return len(module._forward_hooks), len(module._forward_pre_hooks)


def check_gradient_hooks(model: nn.Module, parameters: dict[str, Any]) -> None:
    """Refuse hooks on gradients, of layers or of these parameters."""
    what = "has a hook on its gradient, which would change a step or see gradients of ours"
    cure = "remove it for the measurement"
    for name, parameter in parameters.items():
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
            raise LecoreError(f"parameter {name!r} {what}", cure)
    everywhere = nn.modules.module
    if everywhere._global_backward_hooks or everywhere._global_backward_pre_hooks:
        raise LecoreError(f"every module {what}", cure)
    for name, module in model.named_modules():
        if module._backward_hooks or module._backward_pre_hooks:
            raise LecoreError(f"layer {name!r} {what}", cure)
