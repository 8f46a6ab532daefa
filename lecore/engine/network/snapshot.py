"""A network at fixed weights: what every measurement starts from, and never changes."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lecore.arguments.finite import all_finite
from lecore.engine.network.calling import called
from lecore.engine.network.failures import joined
from lecore.engine.network.flags import Precision, Products, fixed_flags
from lecore.engine.network.holdings import holdings, left_as_found, state
from lecore.engine.network.in_precision import InPrecision, keep_epsilons
from lecore.engine.network.model_checks import (
    check_copy,
    check_gradient_hooks,
    check_identities,
    check_layer,
    check_sharing,
    check_tensor,
    computed,
    memory_of,
)
from lecore.engine.network.model_copy import private_copy, unwrapped
from lecore.engine.network.random_states import generators_left_alone, random_states
from lecore.engine.routes.chains import chain
from lecore.errors import LecoreError

Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class Manners:
    """How a forward pass behaves, as :func:`lecore.engine.network.probing.look` finds it.

    Attributes:
        written: Names of the tensors that it writes to.
        alone: Whether it looks at values to decide what to do, so that each example has to be
            given to it alone.
        lifted: Whether float32 inside it counts as float64.
        shorter: Whether there is float32 inside it, or a cast.
        lowest: The shortest type that a prediction passes through.
        activation_bytes: Memory of all that is computed on the way.
        largest_bytes: That of the largest tensor among it.
        draws: Whether it changes a random state.
        bypassed: A parameter that it reaches past its name, as through a list of them, or ''.
        outputs: Number of outputs of an example.
        lasting: Tensors that what is written to them stays in.
        rebound: Whether it gives a tensor other memory, which torch.func may not survive.
        bent: Whether something on the way back need not be linear, as a hook that clips.
        graph: Whether it predicts something else, or nothing, where no gradients are recorded.
        unused: Parameters that a prediction does not depend on.
        forward: Whether it takes derivatives forward.
    """

    written: frozenset[str] = frozenset()
    alone: bool = False
    lifted: bool = False
    shorter: bool = False
    lowest: torch.dtype | None = None
    activation_bytes: int = 0
    largest_bytes: int = 0
    draws: bool = False
    bypassed: str = ""
    outputs: int = 0
    lasting: frozenset[str] = frozenset()
    bent: bool = False
    rebound: bool = False
    graph: bool = False
    unused: frozenset[str] = frozenset()
    forward: bool = False


@dataclass(frozen=True)
class Snapshot:
    """A private copy of a model, which stays as it is whatever its forward pass writes.

    Attributes:
        module: The copy.
        products: How float32 matrix products are computed.
        manners: How its forward pass behaves.
        callers: The caller's own tensors, by id, which the copy must never use.
        computed: Layers and attributes that hold what was computed from parameters.
        drawn: Whether copying it changes a random state.
        owners: Type of all numbers of the caller's model, ``None`` if it has several.
    """

    module: nn.Module
    products: Products = "ieee"
    manners: Manners = Manners()
    callers: dict[int, str] = field(default_factory=dict, repr=False)
    computed: frozenset[tuple[str, str]] = frozenset()
    drawn: bool = False
    owners: torch.dtype | None = None

    @cached_property
    def leaves(self) -> dict[str, nn.Parameter]:
        """What a step changes, by name, as plain autograd sees it."""
        return {k: p for k, p in self.module.named_parameters() if p.requires_grad}

    @cached_property
    def parameters(self) -> Parameters:
        """What a step changes, by name."""
        return {name: p.detach() for name, p in self.leaves.items()}

    @cached_property
    def fixed(self) -> Parameters:
        """Buffers and parameters with ``requires_grad=False``, by name."""
        frozen = {k: p for k, p in self.module.named_parameters() if not p.requires_grad}
        return {**frozen, **dict(self.module.named_buffers())}

    @cached_property
    def state(self) -> list[Any]:
        """What a forward pass can leave something behind in."""
        return list(state(self.module))

    def predict(self, inputs: Tensor, parameters: Parameters | None = None) -> Tensor:
        """f(x) at these or at other weights, shape (n, outputs).

        Raises:
            LecoreError: If the model does not map (n, …) to (n, outputs), or writes to its
                tensors for some examples only.
        """
        if self.manners.alone and len(inputs) > 1:
            return joined([self.predict(x[None], parameters) for x in inputs])
        given = dict(self.leaves) if parameters is None else parameters
        tensors: Parameters = {**given, **self.fixed}
        for name in (self.manners.written - self.manners.lasting) & tensors.keys():
            tensors[name] = tensors[name].clone()
        known = {id(t) for own in (self.parameters, self.leaves, self.fixed) for t in own.values()}
        ours = {
            name: t
            for name, t in tensors.items()
            if id(t) in known and name not in self.manners.lasting
        }
        lifted = InPrecision(self.dtype, self.owners) if self.manners.lifted else nullcontext()
        try:
            recorded = torch.is_grad_enabled() and parameters is not None
            with (
                torch.set_grad_enabled(recorded or self.manners.graph),
                left_as_found(self.state, ours),
                self.dressed(tensors),
                lifted,
            ):
                prediction = called(self.module, tensors, inputs.clone(), self.manners.forward)
        except LecoreError:
            raise
        except Exception:
            if len(inputs) == 1:
                raise
            # it may take fewer at once
            return joined([self.predict(x[None], parameters) for x in inputs])
        prediction = self.checked(prediction, len(inputs))
        return prediction if recorded or not self.manners.graph else prediction.detach()

    @contextmanager
    def dressed(self, tensors: Parameters) -> Iterator[None]:
        """Give tensors the attributes of those whose place they take, for a while."""
        before = {name: dict(vars(tensor)) for name, tensor in tensors.items()}
        for name, own in self.attributes.items():
            vars(tensors[name]).update(own)
        try:
            yield
        finally:
            for name, content in before.items():
                own = vars(tensors[name])
                if own or content:
                    own.clear()
                    own.update(content)

    @cached_property
    def attributes(self) -> dict[str, dict[str, Any]]:
        """What somebody keeps on parameters and buffers themselves."""
        named = {**self.leaves, **self.fixed}
        return {name: dict(vars(tensor)) for name, tensor in named.items() if vars(tensor)}

    def checked(self, prediction: Any, n: int) -> Tensor:
        """The predictions of n examples, or an error if they are none."""
        cure = "return such a tensor, or use lecore.Study, whose output= says what predictions are"
        if not isinstance(prediction, Tensor):
            what = f"the model must map (n, …) to (n, outputs), this one gives {_kind(prediction)}"
            raise LecoreError(what, cure)
        if prediction.ndim != 2 or len(prediction) != n:
            few = "one example" if n == 1 else f"{n} examples"
            what = f"the model must map (n, …) to (n, outputs); {few} gave shape "
            raise LecoreError(what + str(tuple(prediction.shape)), cure)
        if prediction.layout is not torch.strided:
            raise LecoreError("the model's outputs are not dense", "give a dense tensor (to_dense)")
        if prediction.shape[1] == 0:
            raise LecoreError("the model has no outputs", cure)
        if not prediction.is_floating_point():
            raise LecoreError(f"the model's outputs are {prediction.dtype}, not real numbers", cure)
        return prediction.to(self.dtype)

    def copy(self, tensors: Callable[[Tensor], Tensor] = lambda tensor: tensor) -> "Snapshot":
        """One of its own for a thread: running a model swaps tensors in and out of it."""
        with generators_left_alone() if self.drawn else nullcontext():
            return replace(self, module=private_copy(self.module, tensors), callers={})

    def __getstate__(self) -> dict[str, Any]:
        # tensors travel once, in the module; ids mean nothing elsewhere
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"callers": {}}

    @cached_property
    def dtype(self) -> torch.dtype:
        """Precision of the calculation."""
        first = next(iter(self.leaves.values()))
        return first.real.dtype if first.is_complex() else first.dtype

    @cached_property
    def device(self) -> torch.device:
        """Where the calculation runs."""
        return next(iter(self.leaves.values())).device

    def flags(self) -> AbstractContextManager[None]:
        """Settings of the process that its calculations need."""
        return fixed_flags(self.products, self.device.type, self.module)

    @property
    def parameter_bytes(self) -> int:
        """Memory of one set of the weights that a step changes."""
        return sum(p.numel() * p.element_size() for p in self.parameters.values())


def snapshot(model: nn.Module, dtype: Precision | None = None) -> Snapshot:
    """Take a snapshot of a model, cast to a precision.

    Args:
        model: Any module that maps (n, …) to (n, outputs); wrappers that compile it or spread
            it over devices are taken off.
        dtype: Precision of the calculation; float64 if left out (float32 on Apple's MPS, which
            has no float64). ``tf32`` on CUDA and ``bf16`` on CPUs are float32 with shorter and
            faster products.

    Raises:
        LecoreError: If nothing is trainable, a layer in training mode would mix up examples or
            draw random numbers, gradients are changed on their way, the weights lie on several
            devices, or one is not finite.
    """
    if not isinstance(model, nn.Module):
        raise LecoreError(f"the model is {_kind(model)}", "give a torch.nn.Module")
    model = unwrapped(model)
    if isinstance(model, torch.jit.ScriptModule):
        raise LecoreError(
            "a scripted or traced model cannot be given other weights as it is",
            "give the module that it was made from, or torch.nn.Sequential(model)",
        )
    for name, module in model.named_modules():
        check_layer(name, module)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name, tensor in tensors.items():
        if nn.parameter.is_lazy(tensor):
            raise LecoreError(f"parameter {name!r} has no shape yet", "run the model once first")
        check_tensor(name, tensor)
    devices = {t.device for t in tensors.values()}
    if len(devices) > 1:
        raise LecoreError(f"the model lies on several devices ({devices})", "move it to one")
    trainable = {k: p for k, p in model.named_parameters() if p.requires_grad}
    if not trainable:
        raise LecoreError(
            "the model has no parameter with requires_grad=True", "set it where a step may act"
        )
    check_gradient_hooks(model, dict(model.named_parameters()))
    device = next(iter(devices))
    if device.type == "meta":
        raise LecoreError("the weights are on the meta device", "load them first")
    cast_to, products = _precision(dtype, device.type)
    # nothing is run in a chain of plain layers, so nothing can be written to
    private = chain(model) is None

    def cast(tensor: Tensor) -> Tensor:
        if tensor.is_floating_point():
            return tensor.to(cast_to, copy=private or tensor.is_inference())
        if tensor.is_complex():
            return tensor.to(cast_to.to_complex(), copy=True)
        return tensor.clone()

    attributes = {  # those that may be written over, see computed
        id(a) for m in model.modules() for a in vars(m).values() if isinstance(a, Tensor)
    }
    held = list(holdings(model))
    check_sharing(tensors, (h for h in held if id(h) not in attributes))
    check_identities(held)
    types = {t.dtype for t in tensors.values() if t.is_floating_point()}
    with torch.inference_mode(False), generators_left_alone():
        before = random_states()
        copied = private_copy(model, cast)
        network = Snapshot(
            copied,
            products,
            callers={p: k for k, t in tensors.items() for p in (id(t), memory_of(t)) if p},
            computed=frozenset(computed(model)),
            drawn=random_states() != before,
            owners=types.pop() if len(types) == 1 else None,
        )
        for name, parameter in network.parameters.items():
            if not all_finite(parameter):
                raise LecoreError(f"parameter {name!r} is not finite", "the training has diverged")
        check_copy(model, copied, private)
        keep_epsilons(copied, model)
    return network


def _precision(dtype: Precision | None, device: str) -> tuple[torch.dtype, Products]:
    if isinstance(dtype, str):
        known = {"cuda": "tf32", "cpu": "bf16"}.get(device)
        if dtype != known:
            cure = f"take {known!r} or a torch.dtype" if known else "take a torch.dtype"
            raise LecoreError(f"{device} has no products of kind {dtype!r}", cure)
        return torch.float32, dtype
    if dtype is None:
        return torch.float32 if device == "mps" else torch.float64, "ieee"
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise LecoreError(
            f"dtype is {dtype!r}", "take a torch.dtype of real numbers, 'bf16' or 'tf32'"
        )
    return dtype, "ieee"


def _kind(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
