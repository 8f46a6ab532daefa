"""One look at the forward pass of an example, before anything is measured."""

from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch._ops import HigherOrderOperator
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from lecore.arguments.finite import all_finite
from lecore.engine.network.calling import called
from lecore.engine.network.failures import layer_of
from lecore.engine.network.graphs import has_own_backward, leaves_behind, lowest_type
from lecore.engine.network.in_precision import InPrecision, cast_to
from lecore.engine.network.model_checks import check_gradient_hooks, memory_of
from lecore.engine.network.model_copy import converted
from lecore.engine.network.random_states import generators_left_alone, random_states
from lecore.engine.network.snapshot import Manners, Snapshot
from lecore.errors import LecoreError, in_short

_READS = {
    torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.masked_select,
    torch.ops.aten.equal, torch.ops.aten.is_nonzero, torch.ops.aten._unique2,
    torch.ops.aten.unique_dim, torch.ops.aten.unique_consecutive,
}  # fmt: skip
_READ_BY_PYTHON = {Tensor.numpy, Tensor.__array__, Tensor.tolist, Tensor.item}
_PAST_AUTOGRAD = {
    Tensor.data.__get__, Tensor.data.__set__, Tensor.set_, Tensor.numpy, Tensor.__array__,  # type: ignore[attr-defined]
    Tensor.__dlpack__, Tensor.data_ptr, Tensor.untyped_storage,
}  # fmt: skip
"""Ways to numbers that leave no trace when they are written to."""
_REBOUND = {Tensor.data.__set__, Tensor.set_}  # type: ignore[attr-defined]
_FORWARD = torch._VF._make_dual
_HOOKED = {Tensor.register_hook, getattr(Tensor, "grad_fn").__get__}  # noqa: B009


def look(network: Snapshot, example: Tensor) -> Snapshot:
    """Run one example and find the manners of the network.

    Args:
        network: The network.
        example: Shape (1, …).

    Returns:
        The network with its manners.

    Raises:
        LecoreError: If the network cannot be run or differentiated, or uses the caller's own
            tensors.
    """
    found: list[Manners] = []
    failure: LecoreError | None = None
    for lifted in (False, True) if torch.finfo(network.dtype).bits > 32 else (False,):
        try:
            found.append(_manners(network, example, lifted))
        except LecoreError as error:
            failure = failure or error
        if found and not found[0].shorter:
            break
    if not found:
        assert failure is not None
        raise failure
    # its own float32 is kept only if lifting it brings nothing
    return replace(network, manners=min(reversed(found), key=lambda m: _unit(m.lowest)))


def together(found: list[Manners]) -> Manners:
    """The manners of several examples as those of one network."""
    longest = max(found, key=lambda manners: _unit(manners.lowest))
    return replace(
        longest,
        lifted=any(manners.lifted for manners in found),
        written=frozenset().union(*(manners.written for manners in found)),
        draws=any(manners.draws for manners in found),
        bypassed=max(manners.bypassed for manners in found),
        alone=any(manners.alone for manners in found),
        bent=any(manners.bent for manners in found),
        rebound=any(manners.rebound for manners in found),
        graph=any(manners.graph for manners in found),
        unused=frozenset().union(*(manners.unused for manners in found)),
        forward=any(manners.forward for manners in found),
        activation_bytes=max(manners.activation_bytes for manners in found),
        largest_bytes=max(manners.largest_bytes for manners in found),
    )


def _manners(network: Snapshot, example: Tensor, lifted: bool) -> Manners:
    leaves = {k: converted(p, Tensor.clone, True) for k, p in network.leaves.items()}
    for leaf in leaves.values():
        leaf.requires_grad_()  # those of scripts are plain tensors
    fixed = {k: converted(t, Tensor.clone, True) for k, t in network.fixed.items()}
    versions = {k: t._version for k, t in (*leaves.items(), *fixed.items())}
    module = network.copy().module
    computed = {
        id(vars(module.get_submodule(name)).get(key)): key for name, key in network.computed
    }
    values, python = _Values(), Callers(network.callers, computed)
    python.own = {id(p): name for name, p in module.named_parameters()}
    python.given = {memory_of(t): name for name, t in (*leaves.items(), *fixed.items())}
    python.given.pop(0, None)
    longer = InPrecision(network.dtype, network.owners) if lifted else nullcontext()
    try:
        with generators_left_alone():
            before = random_states()
            given: dict[str, Tensor] = {**leaves, **fixed}
            with torch.enable_grad(), network.dressed(given), values, python, longer:
                output = called(module, given, example.clone())
            draws = random_states() != before
    except Exception as error:
        if python.foreign:
            raise _uses_foreign(python.foreign) from error
        if isinstance(error, LecoreError):  # of a module of ours
            raise
        layer = layer_of(error)
        raise LecoreError(
            f"the model fails on one example of shape {tuple(example.shape)} and type "
            f"{str(example.dtype).removeprefix('torch.')} ({in_short(error)})",
            "check the shape and type of the inputs; tensors that the model makes itself want "
            "the type of what it reads, or take the dtype that it was written for",
            f"layer {layer!r}" if layer else "",
        ) from error
    prediction = network.checked(output, 1)
    if python.foreign:
        raise _uses_foreign(python.foreign)
    if python.stale:
        raise LecoreError(
            f"attribute {python.stale!r} was computed from parameters outside of the forward pass, "
            "and would not follow a step",
            "compute it in the forward pass",
        )
    if not prediction.requires_grad:
        raise LecoreError(
            "no output depends on a trainable parameter in a way that autograd sees",
            "let the forward pass keep its graph (no detach, no_grad or numpy on the way)",
        )
    check_gradient_hooks(module, leaves)
    exposed = python.exposed - {""}
    pairs = [(k, leaves[k], network.parameters[k]) for k in leaves]
    pairs += [(k, fixed[k], network.fixed[k]) for k in fixed]
    # by versions, as one that keeps a norm may have had nothing to do this time; by values, as
    # writes to `.data` leave the version alone
    written = frozenset(
        k
        for k, now, before in pairs
        if k in exposed or now._version != versions[k] or not _equal(now, before)
    )
    reached = leaves_behind(prediction)
    for tensor in (*leaves.values(), *fixed.values()):  # views of these are no activations
        values.sizes.pop(memory_of(tensor), None)
    return Manners(
        written=written,
        alone=values.read or python.read or bool(exposed) or python.rebound,
        lifted=lifted,
        shorter=values.shorter or python.casts,
        lowest=lowest_type(prediction),
        activation_bytes=sum(values.sizes.values()),
        largest_bytes=max(values.sizes.values(), default=0),
        draws=draws,
        bypassed=python.bypassed,
        rebound=python.rebound,
        bent=python.bent or has_own_backward(prediction),
        outputs=prediction.shape[1],
        graph=not draws and not _without_gradients(network, example, longer, prediction),
        unused=frozenset(k for k, leaf in leaves.items() if id(leaf) not in reached),
        forward=python.forward,
    )


def _without_gradients(network: Snapshot, example: Tensor, longer: Any, prediction: Tensor) -> bool:
    """Whether the prediction is the same where no gradients are recorded."""
    given = {
        k: t.detach().clone() for k, t in (*network.parameters.items(), *network.fixed.items())
    }
    module = network.copy().module
    try:
        with generators_left_alone(), torch.no_grad(), network.dressed(given), longer:
            again = network.checked(called(module, given, example.clone()), 1)
    except Exception:
        return False
    if again.shape != prediction.shape:
        return False
    if not all_finite(prediction):  # told where it is looked at
        return True
    rounding = 1e3 * _unit(lowest_type(prediction)) * float(prediction.detach().abs().max())
    return bool(torch.allclose(again, prediction, rtol=0, atol=rounding, equal_nan=True))


def _equal(now: Tensor, before: Tensor) -> bool:
    if now.layout is not torch.strided:
        now, before = now.to_dense(), before.to_dense()
    return torch.equal(now, before)


def _uses_foreign(name: str) -> LecoreError:
    return LecoreError(
        f"the forward pass uses {name!r} of the caller's model and not of its copy, which is "
        "measured",
        "let it reach its layers through `self`, not through a global name",
    )


class _Values(TorchDispatchMode):
    """Sees whether the values of tensors are looked at, also by scripted functions.

    Attributes:
        read: Whether they are.
        shorter: Whether there are float32 numbers.
        sizes: Bytes of what was computed, by its place in memory.
    """

    supports_higher_order_operators = True  # to refuse them

    def __init__(self) -> None:
        super().__init__()
        self.read = self.shorter = False
        self.sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if isinstance(func, HigherOrderOperator):  # torch.cond, flex_attention
            raise LecoreError(
                f"the model calls torch's {func.name()}, which compiles what it is given",
                "write that in Python, with if and for or torch.where",
            )
        self.read |= func.overloadpacket in _READS
        result = func(*args, **(kwargs or {}))
        for leaf in leaves_of(result):
            if isinstance(leaf, Tensor):
                self.shorter |= leaf.dtype in (torch.float32, torch.complex64)
                with suppress(RuntimeError, NotImplementedError):  # sparse, or inside a transform
                    storage = leaf.untyped_storage()
                    self.sizes[storage.data_ptr()] = storage.nbytes()
        return result


class Callers(TorchFunctionMode):
    """Sees values that leave torch, and tensors of the caller's model."""

    def __init__(self, callers: dict[int, str], computed: dict[int, str] | None = None) -> None:
        super().__init__()
        self.callers, self.computed = callers, computed or {}
        self.own: dict[int, str] = {}
        self.given: dict[int, str] = {}
        self.exposed: set[str] = set()
        self.foreign, self.stale, self.bypassed = "", "", ""
        self.read = self.bent = self.casts = self.rebound = self.forward = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.read |= func in _READ_BY_PYTHON
        self.bent |= func in _HOOKED
        self.rebound |= func in _REBOUND
        self.forward |= func is _FORWARD
        if func in _PAST_AUTOGRAD:
            self.exposed.add(self.given.get(memory_of(args[0]), ""))
        self.casts |= cast_to(func, args, kwargs or {}) is not None
        for leaf in leaves_of((args, kwargs)):
            if not isinstance(leaf, Tensor):
                continue
            self.foreign = self.foreign or self.callers.get(id(leaf), "")
            self.foreign = self.foreign or self.callers.get(memory_of(leaf), "")
            self.stale = self.stale or self.computed.get(id(leaf), "")
            self.bypassed = self.bypassed or self.own.get(id(leaf), "")
        return func(*args, **(kwargs or {}))


def leaves_of(value: Any) -> list[Any]:
    """What the lists, tuples and dictionaries of a call hold, in any order."""
    found, waiting = [], [value]
    while waiting:  # for each call of torch: a recursion of generators takes three times as long
        item = waiting.pop()
        if isinstance(item, (list, tuple)):
            waiting += item
        elif isinstance(item, dict):
            waiting += item.values()
        else:
            found.append(item)
    return found


def _unit(dtype: torch.dtype | None) -> float:
    return 0.0 if dtype is None else float(torch.finfo(dtype).eps)
