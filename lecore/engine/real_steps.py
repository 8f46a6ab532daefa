"""The step that any optimiser would take next, taken by a copy of it on a copy of the weights.

For optimisers whose rule :mod:`lecore.engine.optimizer_steps` does not know: the others of
``torch.optim``, subclasses, optimisers of people's own, and those with step hooks.
"""

import copy
import inspect
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lecore.engine.network.failures import told
from lecore.engine.network.holdings import held_by
from lecore.engine.network.model_checks import memory_of
from lecore.engine.network.model_copy import converted
from lecore.engine.network.probing import leaves_of
from lecore.engine.network.random_states import generators_left_alone, random_states
from lecore.engine.network.snapshot import Parameters, Snapshot
from lecore.engine.optimizer_steps import own_names
from lecore.errors import LecoreError, in_short
from lecore.identity.digests import digest

FAST = ("foreach", "fused", "capturable", "differentiable")
"""Settings that say only how a step is computed; off, one parameter follows the other."""


@dataclass(eq=False)
class Resting:
    """A copy of an optimiser between two steps.

    ``copy.deepcopy`` and pickle would lose what a class of people's own keeps in attributes.

    Attributes:
        kind: Its class.
        hooked: Whether its class has been told to call hooks around a step.
        attributes: All that it holds; other optimisers rest there too.
    """

    kind: type[torch.optim.Optimizer]
    hooked: bool
    attributes: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class RealStep:
    """What an optimiser's own ``step()`` adds to the weights.

    Its gradients are those that autograd leaves: some are sparse, some are not there.

    Attributes:
        parameters: Copies of the model's parameters, by name.
        optimizers: The optimiser, and those that it holds; they refer to these copies.
    """

    parameters: dict[str, nn.Parameter]
    optimizers: tuple[Resting, ...]

    def __call__(
        self, gradient: Parameters, weights: Mapping[str, Tensor] | None = None
    ) -> Parameters:
        """Δw of all trainable parameters.

        Args:
            gradient: Of one example, by name; a parameter without one is left out.
            weights: Where the step starts; the weights that the optimiser was copied at if left
                out.

        Raises:
            LecoreError: If the optimiser fails.
        """
        before = self.parameters | dict(weights or {})
        moved = {
            k: _like(p, before[k].detach()) if p.requires_grad else p  # fixed ones stay, see below
            for k, p in self.parameters.items()
        }
        for name, found in gradient.items():
            moved[name].grad = found
        with told(f"the step of {self.name} fails on a copy", "let it step on one example first"):
            optimizer = self._awake({id(p): moved[k] for k, p in self.parameters.items()})
            type(optimizer).step(optimizer)
        return {k: p.detach() - before[k].detach() for k, p in moved.items() if p.requires_grad}

    def _awake(self, memo: dict[int, Any]) -> torch.optim.Optimizer:
        """Another copy of the optimiser, on the parameters in a memo."""
        awake = [object.__new__(resting.kind) for resting in self.optimizers]
        memo |= {id(r): made for r, made in zip(self.optimizers, awake, strict=True)}
        for resting, made in zip(self.optimizers, awake, strict=True):
            vars(made).update(copy.deepcopy(resting.attributes, memo))
            if resting.hooked:
                made._patch_step_function()  # in another process nobody may have made one
        return awake[0]

    @property
    def name(self) -> str:
        """The optimiser's class."""
        return self.optimizers[0].kind.__name__

    @property
    def bytes(self) -> int:
        """Memory of a step, for all that the optimiser holds twice."""
        return 2 * sum(t.numel() * t.element_size() for t in self.held if isinstance(t, Tensor))

    @property
    def held(self) -> list[Any]:
        """All that the optimiser and the parameters hold."""
        return list(held_by([self.parameters, *(r.attributes for r in self.optimizers)]))


def real_step(optimizer: torch.optim.Optimizer, model: nn.Module, network: Snapshot) -> RealStep:
    """Copy an optimiser with its state onto copies of the parameters.

    Where the calculation has another precision than the model, the state is cast to it.

    Args:
        optimizer: Any optimiser of these parameters. It is not changed.
        model: The caller's network.
        network: Its snapshot.

    Raises:
        LecoreError: If it cannot be copied, or wants more than gradients for a step.
    """
    own_names(optimizer, model, ())
    kind = type(optimizer)
    wanted = list(inspect.signature(kind.step).parameters.values())[1:]
    if any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in wanted):
        raise LecoreError(
            f"{kind.__name__} computes the loss several times in a step, by a closure",
            "take an optimizer that steps from one gradient",
        )
    own = dict(model.named_parameters())
    parameters = {name: _like(p, p.detach()) for name, p in network.module.named_parameters()}
    memo: dict[int, Any] = {id(own[name]): copied for name, copied in parameters.items()}
    held = list(held_by([optimizer]))
    _check_held(kind.__name__, held, own)
    recast = any(p.dtype != parameters[name].dtype for name, p in own.items())
    for tensor in held:
        if isinstance(tensor, Tensor) and id(tensor) not in memo:
            memo[id(tensor)] = _cast(tensor, network.dtype if recast else None)
    inner = [h for h in held if isinstance(h, torch.optim.Optimizer) and h is not optimizer]
    resting = tuple(
        Resting(type(one), bool(getattr(type(one).step, "hooked", False)))
        for one in (optimizer, *inner)
    )
    memo |= {id(one): rests for one, rests in zip((optimizer, *inner), resting, strict=True)}
    for one, rests in zip((optimizer, *inner), resting, strict=True):
        own_step = {name: value for name, value in vars(one).items() if name != "step"}
        try:
            rests.attributes = copy.deepcopy(own_step, memo)
        except Exception as error:
            raise LecoreError(
                f"{kind.__name__} cannot be copied ({in_short(error)})",
                "keep what cannot be copied outside of its attributes",
            ) from error
        _settle(rests.attributes)
    return RealStep(parameters, resting)


def check_real_step(
    step: RealStep, gradient: Parameters, model: nn.Module, callers: dict[int, str]
) -> None:
    """Take a step, and refuse it if it is more than a function of the copy and the gradient.

    Args:
        step: The step.
        gradient: Of one example.
        model: The caller's network, whose weights are put back where the step moves them.
        callers: The caller's tensors, by id and by memory.

    Raises:
        LecoreError: If it uses or moves the caller's own weights and not their copies, moves fixed
            ones, draws random numbers, or leaves something behind.
    """
    own = dict(model.named_parameters())
    grads = {f"{name}.grad": p.grad for name, p in own.items() if p.grad is not None}
    callers = callers | {at: k for k, g in grads.items() for at in (id(g), memory_of(g)) if at}
    before = {name: p.detach().clone() for name, p in own.items()}
    fixed = {k: p.detach().clone() for k, p in step.parameters.items() if not p.requires_grad}
    content, moved = _content(step), []
    try:
        with generators_left_alone(), _NotTheCallers(step.name, callers):
            state = random_states()
            change = step(gradient)
            draws = random_states() != state
    finally:
        for name, p in own.items():
            if not torch.equal(p.detach(), before[name]):
                p.data.copy_(before[name])
                moved.append(name)
    if moved:
        raise _uses(step.name, moved[0])
    for name, value in fixed.items():
        if not torch.equal(step.parameters[name].detach(), value):
            raise LecoreError(
                f"the step of {step.name} moves {name!r}, which is fixed",
                "leave it out of the optimizer's groups, or set requires_grad",
            )
    if draws:
        raise LecoreError(
            f"the step of {step.name} draws random numbers, so that it is never the same",
            "take an optimizer that does not draw",
        )
    if _content(step) != content:
        raise LecoreError(
            f"the step of {step.name}, or a hook of it, changes something outside of the optimizer",
            "remove its hooks, or keep in the optimizer's attributes what it changes",
        )
    groups = [g for r in step.optimizers for g in _groups(r.attributes) if g.get("lr", 1.0)]
    stepped = {id(p) for group in groups for p in group["params"]}
    told_to = [g for k, g in gradient.items() if id(step.parameters[k]) in stepped]
    still = not any(bool(c.any()) for c in change.values())
    if still and any(bool(g.to_dense().any()) for g in told_to):
        raise LecoreError(
            f"the step of {step.name} moves no parameter of a copy",
            "see whether it moves the parameters that stand in its groups",
        )


class _NotTheCallers(TorchFunctionMode):
    """Stops whatever is about to use a tensor of the caller's model."""

    def __init__(self, name: str, callers: dict[int, str]) -> None:
        super().__init__()
        self.name, self.callers = name, callers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for leaf in leaves_of((args, kwargs)):
            found = self.callers.get(id(leaf)) or self.callers.get(memory_of(leaf))
            if found:
                raise _uses(self.name, found)
        return func(*args, **(kwargs or {}))


def _uses(optimizer: str, name: str) -> LecoreError:
    return LecoreError(
        f"the step of {optimizer}, or a hook of it, uses {name!r} of the caller's model itself, "
        "where a copy is measured",
        "let it reach its parameters through its groups",
    )


def _check_held(name: str, held: list[Any], own: dict[str, nn.Parameter]) -> None:
    """Refuse ways to the parameters that a copy of the optimiser would not follow."""
    ids = {id(p) for p in own.values()}
    found = [key for thing in held if isinstance(thing, dict | list | set) for key in thing]
    found += [value for thing in held if isinstance(thing, dict) for value in thing.values()]
    numbers = {key for key in found if type(key) is int}
    numbers |= {id(reference()) for reference in found if isinstance(reference, weakref.ref)}
    if numbers & ids:
        raise LecoreError(
            f"{name} knows parameters by their id or weakly, which a copy cannot follow",
            "let it hold the parameters themselves",
        )
    places = [memory_of(t) for t in held if isinstance(t, Tensor) and id(t) not in ids]
    places = [place for place in places if place]
    taken = {memory_of(t) for p in own.values() for t in (p, p.grad)}
    if len(places) > len(set(places) - taken):
        raise LecoreError(
            f"tensors that {name} holds share memory, with parameters, gradients or each other",
            "give each memory of its own",
        )


def _settle(attributes: dict[str, Any]) -> None:
    """Leave out how an optimiser would compute, and how often hooks were ever registered."""
    for settings in (attributes.get("defaults", {}), *_groups(attributes)):
        settings.update({name: False for name in FAST if settings.get(name)})
    for name, value in attributes.items():
        if "hooks" in name and isinstance(value, dict):
            attributes[name] = type(value)(enumerate(value.values()))


def _groups(attributes: dict[str, Any]) -> Iterable[dict[str, Any]]:
    groups: Iterable[dict[str, Any]] = attributes.get("param_groups", [])
    return groups


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A tensor of the optimiser's, in the precision of the calculation if there is one."""
    numbers = dtype is not None and (tensor.is_floating_point() or tensor.is_complex())
    kind = dtype.to_complex() if dtype and tensor.is_complex() else dtype
    new = converted(tensor, lambda t: t.to(kind, copy=True) if numbers else t.clone(), False)
    vars(new).update(vars(tensor))
    return new


def _like(parameter: nn.Parameter, value: Tensor) -> nn.Parameter:
    """A parameter of the same kind and with the same attributes, at some value."""
    new = converted(parameter, lambda _: value.clone(), True)
    assert isinstance(new, nn.Parameter)
    vars(new).update(vars(parameter))
    return new


def _content(step: RealStep) -> str:
    """What an optimiser's class and hooks are and name now, or '' if that cannot be told."""
    tensors = {f"tensor {i}": t for i, t in enumerate(step.held) if isinstance(t, Tensor)}
    try:
        return digest(step, labels=tensors)  # nothing can reach these
    except LecoreError:
        return ""
