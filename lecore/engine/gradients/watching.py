"""How the parameters of a network enter its forward pass, found by watching torch functions."""

import types
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lecore.engine.gradients.layer_calls import METADATA, Seen, seen
from lecore.engine.gradients.structure import Call, Structure, with_direct
from lecore.engine.network.failures import layer_of
from lecore.engine.network.graphs import leaves_behind
from lecore.engine.network.probing import leaves_of
from lecore.engine.network.snapshot import Snapshot
from lecore.errors import LecoreError


class PlainAutogradWarning(UserWarning):
    """A network takes the slow route, on which every gradient is written out."""


class Watch(TorchFunctionMode):
    """Sees every torch function; adds a tap to the output of each layer call and notes its input.

    Without taps it only finds the calls (``calls``) and the parameters used in any other way
    (``opaque``); the calls are cut from autograd's graph, so that whatever else uses a parameter,
    seen or not, is what is left in there.
    """

    def __init__(self, names: dict[int, str], taps: Sequence[Tensor] | None = None) -> None:
        super().__init__()
        self.names, self.taps = names, taps
        self.calls: list[Call] = []
        self.reads: list[Tensor] = []
        self.opaque: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.multi_head_attention_forward:
            with self:
                return _multi_head_attention(*args, **kwargs)
        places = [self.names[id(v)] for v in leaves_of((args, kwargs)) if id(v) in self.names]
        used = set(places)
        if not used or func in METADATA:
            return func(*args, **kwargs)
        call = None
        if len(used) == len(places):
            call = seen(func, lambda value: id(value) in self.names, args, kwargs)
        if call is None:
            self.opaque |= used
            return func(*args, **kwargs)
        read = call.read()
        if self.taps is None:
            output = func(*self._cut(args), **self._cut(kwargs))
            self._note(call, used, read, output)
            return output + torch.zeros((), requires_grad=True, device=output.device)
        output = func(*args, **kwargs)
        tap = self.taps[len(self.reads)]
        if tap.shape != output.shape:
            raise RuntimeError("another example takes other layers")
        self.reads.append(read)
        return output + tap

    def _cut(self, given: Any) -> Any:
        """The same without a way back to the parameters, so that other uses of them show."""
        if isinstance(given, list | tuple):
            return [self._cut(item) for item in given]
        if isinstance(given, dict):
            return {key: self._cut(item) for key, item in given.items()}
        return given.detach() if id(given) in self.names else given

    def _note(self, call: Seen, used: set[str], read: Tensor, output: Tensor) -> None:
        weight, bias = (self.names.get(id(p)) for p in (call.weight, call.bias))
        self.opaque |= used - {weight, bias}
        shapes = tuple(read.shape), tuple(output.shape)
        self.calls.append(Call(call.layer, weight, bias, False, *shapes))


# torch's own function with its check for overrides off, so that the linear maps inside are seen
_multi_head_attention = types.FunctionType(
    F.multi_head_attention_forward.__code__,
    {**vars(F), "has_torch_function": lambda _: False},
    "multi_head_attention_forward",
    F.multi_head_attention_forward.__defaults__,
)

Trial = Callable[[Structure, Tensor], Any]
"""Tries to take the gradients of one example, shape (1, …)."""


def find_structures(network: Snapshot, sides: Sequence[Tensor], trial: Trial) -> list[Structure]:
    """How the parameters are used for row points and for column points.

    One structure holds for all points of a side: for examples of the same shape that can be
    computed at once nothing else is possible, and others are looked at one by one.

    Args:
        network: The network.
        sides: Points, shape (n, …) each.
        trial: Called to see which route works.

    Returns:
        For each side; they share route and ``direct``.
    """
    shapes = {tuple(side.shape[1:]) for side in sides}
    first = [side[:1] for side in sides] if len(shapes) > 1 else [sides[0][:1]] * len(sides)
    complex_weights = any(p.is_complex() for p in network.parameters.values())
    try:
        watched = [_watched(network, x) for x in first]
    except LecoreError:
        raise
    except Exception as error:  # such as one that takes gradients by its own weights
        bare = Structure((), tuple(network.parameters), network.manners.outputs)
        reason = "its forward pass fails where its weights are cut off"
        return _plain(network, [bare] * len(sides), layer_of(error), reason)
    structures = _agreeing(watched, network)
    if structures is None:
        raise LecoreError(
            "row points and column points have different numbers of outputs",
            "give points of one size",
        )
    if network.manners.bypassed:
        where = network.manners.bypassed.rpartition(".")[0]
        return _plain(network, structures, where, "parameters are reached past their names")
    if network.manners.rebound:
        return _plain(network, structures, "", "it gives tensors other memory")
    if complex_weights:
        return _plain(network, structures, "", "its weights are complex")
    tries = list(zip(structures, first, strict=True))[: len(shapes)]
    # under vmap a number cannot be looked at, and a network may take that for another way
    if not network.manners.alone and _failure(trial, tries) is None:
        return structures
    looped = [replace(structure, route="looped") for structure in structures]
    if not all(_same_everywhere(network, looped, side) for side in sides):
        return _plain(network, structures, "", "examples take different layers")
    failure = _failure(trial, list(zip(looped, first, strict=True)))
    if failure is None:
        return looped
    where = layer_of(failure)
    return _plain(network, structures, where, "torch.func cannot differentiate it")


def plainly(network: Snapshot, structure: Structure, where: str, reason: str) -> Structure:
    """The same by plain autograd, with a warning."""
    warn_plain(where, reason)
    return Structure((), tuple(network.parameters), structure.outputs, "plain")


def warn_plain(where: str, reason: str) -> None:
    """Say once that a network, or a layer of it, takes the slow route."""
    place = f"layer {where!r}" if where else "the network"
    warnings.warn(
        f"{place} is measured by plain autograd, one example at a time, which is slower"
        + (f": {reason}" if reason else ""),
        PlainAutogradWarning,
        stacklevel=2,
    )


def _watched(network: Snapshot, example: Tensor) -> tuple[Watch, int]:
    leaves: dict[str, Tensor] = dict(network.leaves)
    watch = Watch({id(p): name for name, p in leaves.items()})
    with torch.enable_grad(), watch:
        prediction = network.predict(example, leaves)
    watch.opaque |= {watch.names.get(leaf, "") for leaf in leaves_behind(prediction)} - {""}
    return watch, prediction.shape[1]


def _agreeing(watched: list[tuple[Watch, int]], network: Snapshot) -> list[Structure] | None:
    """Structures in which each parameter has one form, whose uses can be added up."""
    forms: dict[str, set[Any]] = {}
    opaque: set[str] = set()
    for watch, _ in watched:
        opaque |= watch.opaque
        for call in watch.calls:
            if call.weight:
                form = ("weight", call.layer.form, call.bias)
                forms.setdefault(call.weight, set()).add(form)
            if call.bias:  # it joins its weight only if it is never used without it
                joined = (
                    (call.weight, call.layer.form) if call.layer.bias_joins else call.layer.form
                )
                forms.setdefault(call.bias, set()).add(("bias", joined))
    shared = {name for name, found in forms.items() if len(found) == 1} - opaque
    if len({outputs for _, outputs in watched}) > 1:
        return None
    structures = []
    for watch, outputs in watched:
        calls = [call.keeping(shared) for call in watch.calls]
        kept = tuple(call for call in calls if call.weight or call.bias)
        direct = tuple(name for name in network.parameters if name not in shared)
        structures.append(Structure(kept, direct, outputs))
    # a parameter that one side factors and another does not use has no factors there
    used = [{n for c in s.calls for n in (c.weight, c.bias) if n} for s in structures]
    uneven = set().union(*used) - set(used[0]).intersection(*used)
    return [with_direct(s, uneven) for s in structures] if uneven else structures


def _failure(trial: Trial, tries: list[tuple[Structure, Tensor]]) -> Exception | None:
    for structure, example in tries:
        try:
            trial(structure, example)
        except Exception as error:
            return error
    return None


def _same_everywhere(network: Snapshot, structures: list[Structure], side: Tensor) -> bool:
    known = {structure.calls for structure in structures}
    factored = {n for s in structures for c in s.calls for n in (c.weight, c.bias) if n}
    for x in side:
        try:
            watch, outputs = _watched(network, x[None])
        except Exception:
            return False
        calls = [call.keeping(factored) for call in watch.calls]
        kept = tuple(call for call in calls if call.weight or call.bias)
        if kept not in known or factored & watch.opaque or outputs != structures[0].outputs:
            return False
    return True


def _plain(
    network: Snapshot, structures: list[Structure], where: str, reason: str
) -> list[Structure]:
    return [plainly(network, structures[0], where, reason)] * len(structures)
