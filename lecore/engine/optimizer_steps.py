"""The step that an optimiser would take next, as a function of one example's gradient.

The rules are those of ``torch.optim``, written without in-place updates so that ``torch.func``
transforms can pass through them.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from lecore.arguments.settings import number
from lecore.engine.network.snapshot import Parameters
from lecore.errors import LecoreError

WeightChange = Callable[..., Parameters]
"""Gradient of one example's loss → Δw; both have the names of the trainable parameters. Second come
the weights that the step starts at, if they are not those as found."""

MAX = torch.finfo(torch.float64).max

RULES = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
"""Optimisers whose rule is known here."""

ALL_SETTINGS = ("lr", "weight_decay", "momentum", "dampening", "eps", "betas")
"""Settings of theirs that are numbers."""


def checked_rate(learning_rate: Any) -> float:
    """The learning rate of a plain step.

    Raises:
        LecoreError: If it is no positive number.
    """
    return number(
        "learning_rate", learning_rate, lambda rate: 0 < rate < MAX, "positive and finite"
    )


def sgd_change(learning_rate: float) -> WeightChange:
    """The plain step Δw = −η ∂L/∂w (He & Su 2020, equation 1)."""
    return partial(_plain, learning_rate=learning_rate)


def is_plain(step: WeightChange) -> bool:
    """Whether it is that step, which leaves a weight without a gradient where it is."""
    return isinstance(step, partial) and step.func is _plain


def weight_change(
    optimizer: torch.optim.Optimizer, model: nn.Module, dtype: torch.dtype
) -> WeightChange:
    """What ``optimizer.step()`` would add to the weights, given the gradient of one example.

    The settings of every parameter group and the state (momentum, moments, step count) are copied
    as they are now, so neither the optimiser nor the model changes, and stepping them later does
    not change the result. Weight decay acts as in torch: on the gradient in SGD and Adam, on the
    weights in AdamW. The function takes a gradient for each parameter; one that the loss does not
    use has none in torch, and stays where it is, which its caller has to see to.

    Args:
        optimizer: SGD, Adam or AdamW of ``torch.optim`` with any of their options, fresh or used.
        model: The network whose parameters it updates. Its trainable parameters that are in no
            group stay where they are.
        dtype: Precision of the calculation.

    Returns:
        A pure function from gradients to weight changes; both are dicts with the names of
        ``model.named_parameters()``.

    Raises:
        LecoreError: If its rule is not known, or it is unfit, see :func:`own_names`.
    """
    names = own_names(optimizer, model, ALL_SETTINGS if has_rule(optimizer) else ())
    if not has_rule(optimizer):
        kind = type(optimizer)
        step = f"{kind.__name__} with step hooks" if kind in RULES else kind.__name__
        raise LecoreError(
            f"the step of {step} is not known as a rule with a derivative",
            "take prediction_change, which takes the step itself on a copy",
        )
    rule = _sgd if type(optimizer) is torch.optim.SGD else _adam
    rules: dict[str, Callable[..., Tensor]] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})  # [] would enter the parameter
            rules[names[id(parameter)]] = rule(parameter, group, state, dtype)
    return partial(_by_rules, rules=rules)


def has_rule(optimizer: object) -> bool:
    """Whether :func:`weight_change` knows its step: SGD, Adam or AdamW of torch, without hooks."""
    if type(optimizer) not in RULES:  # a subclass may step otherwise
        return False
    return not any(
        getattr(optimizer, f"_optimizer_step_{place}_hooks") for place in ("pre", "post")
    )


def own_names(
    optimizer: torch.optim.Optimizer, model: nn.Module, settings: tuple[str, ...]
) -> dict[int, str]:
    """Names of the model's parameters by their ids, if an optimiser fits the model.

    Args:
        optimizer: Any optimiser.
        model: The network.
        settings: Names of settings that must be finite numbers.

    Raises:
        LecoreError: If it is no optimiser, its step was replaced, all optimisers have step hooks,
            a setting is no number, or it updates parameters that are not the model's, or one of
            them twice.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise LecoreError(
            f"the optimizer is a {type(optimizer).__name__}", "give one made of model.parameters()"
        )
    step = vars(optimizer).get("step")  # a learning rate's scheduler wraps it
    if step is not None and not hasattr(step, "_wrapped_by_lr_sched"):
        raise LecoreError("the optimizer's step was replaced", "take one that steps as its class")
    if _global_optimizer_pre_hooks or _global_optimizer_post_hooks:
        raise LecoreError(
            "all optimizers have step hooks, which a single step ignores", "remove them"
        )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    held: set[int] = set()
    for group in optimizer.param_groups:
        _check_settings(group, settings)
        for parameter in map(id, group["params"]):
            if parameter in held and parameter in names:
                raise LecoreError(
                    f"the optimizer holds {names[parameter]!r} twice", "give it each weight once"
                )
            held.add(parameter)
    foreign = len(held - names.keys())
    if foreign:
        raise LecoreError(
            f"{foreign} parameters of the optimizer are not the model's",
            "make the optimizer from model.parameters() after the last change of the model",
        )
    return names


def _check_settings(group: dict[str, Any], settings: tuple[str, ...]) -> None:
    """Refuse settings of a parameter group that are no numbers, or a rate that climbs."""
    for name in settings:
        values = group.get(name, 0.0)
        for value in values if isinstance(values, tuple | list) else [values]:
            single = isinstance(value, Tensor) and value.numel() == 1
            plain = isinstance(value, int | float) and not isinstance(value, bool)
            finite = (plain or single) and math.isfinite(value)
            if not finite or (name == "lr" and value < 0):
                raise LecoreError(
                    f"{name} of the optimizer is {value!r}",
                    "give a finite number, of lr one that is 0 or larger",
                )


def _plain(
    gradient: Parameters, weights: Parameters | None = None, *, learning_rate: float
) -> Parameters:
    return {name: -learning_rate * g for name, g in gradient.items()}


def _by_rules(
    gradient: Parameters,
    weights: Parameters | None = None,
    *,
    rules: dict[str, Callable[..., Tensor]],
) -> Parameters:
    def change(name: str, g: Tensor) -> Tensor:
        if name not in rules:
            return torch.zeros_like(g)
        start = {} if weights is None else {"weight": _real(weights[name].detach())}
        moved = rules[name](_real(g), **start)
        return torch.view_as_complex(moved) if g.is_complex() else moved

    return {name: change(name, g) for name, g in gradient.items()}


def _sgd(
    parameter: Tensor, group: dict[str, Any], state: dict[str, Any], dtype: torch.dtype
) -> Callable[..., Tensor]:
    decay = float(group["weight_decay"])
    return partial(
        _sgd_step,
        sign=-1.0 if group["maximize"] else 1.0,
        learning_rate=float(group["lr"]),
        momentum=float(group["momentum"]),
        dampening=float(group["dampening"]),
        nesterov=bool(group["nesterov"]),
        decay=decay,
        weight=_copied(parameter, dtype) if decay else None,
        velocity=_copied(state.get("momentum_buffer"), dtype),
    )


def _sgd_step(
    gradient: Tensor,
    *,
    sign: float,
    learning_rate: float,
    momentum: float,
    dampening: float,
    nesterov: bool,
    decay: float,
    weight: Tensor | None,
    velocity: Tensor | None,
) -> Tensor:
    direction = sign * gradient
    if decay and weight is not None:
        direction = direction + decay * weight
    if momentum:
        # torch does not dampen the first gradient
        moved = direction if velocity is None else momentum * velocity + (1 - dampening) * direction
        direction = direction + momentum * moved if nesterov else moved
    return -learning_rate * direction


def _adam(
    parameter: Tensor, group: dict[str, Any], state: dict[str, Any], dtype: torch.dtype
) -> Callable[..., Tensor]:
    decay, rate = float(group["weight_decay"]), float(group["lr"])
    decoupled = bool(group["decoupled_weight_decay"])
    beta1, beta2 = (float(beta) for beta in group["betas"])
    zeros = torch.zeros_like(parameter.detach())
    return partial(
        _adam_step,
        sign=-1.0 if group["maximize"] else 1.0,
        learning_rate=rate,
        beta1=beta1,
        beta2=beta2,
        epsilon=float(group["eps"]),
        step=float(state.get("step", 0)) + 1,
        first=_copied(state.get("exp_avg", zeros), dtype),
        second=_copied(state.get("exp_avg_sq", zeros), dtype),
        largest=_copied(state.get("max_exp_avg_sq", zeros), dtype) if group["amsgrad"] else None,
        decay=0.0 if decoupled else decay,
        shrinkage=rate * decay if decoupled else 0.0,
        weight=_copied(parameter, dtype) if decay else None,
    )


def _adam_step(
    gradient: Tensor,
    *,
    sign: float,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    step: float,
    first: Tensor,
    second: Tensor,
    largest: Tensor | None,
    decay: float,
    shrinkage: float,
    weight: Tensor | None,
) -> Tensor:
    direction = sign * gradient
    if decay and weight is not None:
        direction = direction + decay * weight
    mean = beta1 * first + (1 - beta1) * direction
    square = beta2 * second + (1 - beta2) * direction * direction
    if largest is not None:
        square = torch.maximum(largest, square)
    scale = (square / (1 - beta2**step)).sqrt() + epsilon
    change = -learning_rate / (1 - beta1**step) * mean / scale
    return change - shrinkage * weight if shrinkage and weight is not None else change


def _copied(tensor: Any, dtype: torch.dtype) -> Any:
    if tensor is None:
        return None
    to = dtype.to_complex() if tensor.is_complex() else dtype
    return _real(tensor.detach().to(to, copy=True))


def _real(tensor: Tensor) -> Tensor:
    """Real and imaginary parts, which Adam takes for numbers of their own."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
