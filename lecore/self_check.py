"""A look at two points before a measurement: is this a network that can be measured, and rightly?

It costs a few passes, and is remembered while the network stays as it is, weights aside.
"""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from inspect import getattr_static
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from lecore.errors import LecoreError
from lecore.gradients import Factors, factors_of_outputs, flat, plain_gradient
from lecore.kernel_tiles import KernelRoute
from lecore.layer_kernels import layer_kernel
from lecore.optimizer_steps import sgd_change
from lecore.points import Side
from lecore.precision import PRODUCT_DTYPES
from lecore.probing import generators_left_alone
from lecore.snapshot import Snapshot
from lecore.step_tiles import ChangedWeights, DenseSteps, StepRoute, TwoLayerSteps
from lecore.watching import Structure, plainly, with_direct

_known: WeakKeyDictionary[nn.Module, dict[Any, Any]] = WeakKeyDictionary()
_lock = threading.Lock()


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


def check_predictions(network: Snapshot, sample: Tensor) -> None:
    """Whether a prediction depends on its input alone.

    Args:
        network: The network.
        sample: A few points, shape (n, …).

    Raises:
        LecoreError: If two predictions under different seeds differ, or one point alone and the
            same point among others; it names the layer.
    """
    first, second, drawn = _twice(network, sample)
    allowed = _tolerance(network) * float(first.abs().max()) + _unit(network)
    if drawn or not _close(first, second, allowed):
        raise LecoreError(
            "the forward pass draws random numbers or changes from call to call",
            "call model.eval(), or take what is random out for the measurement",
            _where(_random_layer(network, sample)),
        )
    if len(sample) == 1 or network.manners.alone:
        return
    alone = torch.cat([network.copy().predict(x[None]) for x in sample])
    if not _close(first, alone, allowed):
        raise LecoreError(
            "predictions depend on the other examples of a batch",
            "let the model treat every example by itself (normalise by running statistics, or "
            "over an example's own dimensions)",
            _where(_mixing_layer(network, sample)),
        )


def checked_structures(
    network: Snapshot, structures: list[Structure], samples: list[Tensor]
) -> list[Structure]:
    """Structures whose factored gradients agree with plain autograd, layer by layer.

    Args:
        network: The network.
        structures: Of row points and of column points.
        samples: A few points of each, shape (n, …).

    Returns:
        The structures; or with the parameters that disagree written out, then one example at a
        time, then by plain autograd.
    """
    if structures[0].route == "plain":
        return structures
    outputs = sorted({0, structures[0].outputs // 2, structures[0].outputs - 1})
    plain = [_plain_gradients(network, samples[0], outputs)] * 2
    if samples[1] is not samples[0]:
        plain[1] = _plain_gradients(network, samples[1], outputs)
    bad = _disagreeing(network, structures, samples, outputs, plain)
    if not bad:
        return structures
    looped = [replace(structure, route="looped") for structure in structures]
    for other in (structures, looped):
        direct = [with_direct(structure, bad) for structure in other]
        if not _disagreeing(network, direct, samples, outputs, plain):
            return direct
    where = min(bad, key=list(network.parameters).index).rpartition(".")[0]
    reason = "its factored gradients and those of autograd differ"
    return [plainly(network, structures[0], where, reason)] * len(structures)


def agrees(route: KernelRoute) -> bool:
    """Whether a kernel route gives what plain autograd gives, for a row and a column point."""
    rows, columns = (side.inputs[:1] for side in (route.rows, route.columns))
    network = route.network
    weighting = _weighting(route.outputs, network)
    left, right = (_plain_sum(network, x[0], weighting) for x in (rows, columns))
    expected = sum(float(flat(left[name]) @ flat(right[name])) for name in left)
    scale = sum(float(flat(g) @ flat(g)) for side in (left, right) for g in side.values())
    bare = replace(route, rows=Side(rows), columns=Side(columns))
    one = slice(0, 1)
    kernel = bare.block(one, one, "full").reshape(route.outputs, route.outputs)
    measured = float(weighting @ kernel @ weighting)
    return abs(measured - expected) <= _tolerance(network) * scale


def checked_steps(route: StepRoute) -> StepRoute | None:
    """The route if it gives what a real step on a copy gives, or ``None``."""
    if isinstance(route, ChangedWeights) and route.how == "plain":
        return route
    network, few = route.network, slice(0, min(2, len(route.rows.inputs)))
    assert route.rows.targets is not None
    rows = Side(route.rows.inputs[few], route.rows.targets[few], route.rows.loss)
    columns = torch.cat([route.columns[:1], route.columns[-1:]])
    small = replace(route, rows=rows, columns=columns)
    step = getattr(route, "step", None)
    if isinstance(route, TwoLayerSteps | DenseSteps):
        # a step that can be seen, whatever the rate: predictions lose digits in the oracle
        probe = ChangedWeights(network, rows, columns, sgd_change(1.0), "plain")
        gradient = probe.loss_gradient(network.copy(), 0)
        size = sum(float(flat(g).square().sum()) for g in gradient.values())
        rate = 1e-3 / size if size > 0 else route.learning_rate
        small, step = (
            replace(route, rows=rows, columns=columns, learning_rate=rate),
            sgd_change(rate),
        )
    assert step is not None
    linearized = isinstance(route, ChangedWeights) and route.linearized
    plain = ChangedWeights(network, rows, columns, step, "plain", linearized)
    every = slice(0, len(rows.inputs)), slice(0, len(columns))
    measured, expected = small.change(*every), plain.change(*every)
    rounding = 0.0 if linearized else 64 * _unit(network) * _size(network, columns)
    allowed = _tolerance(network) * float(expected.abs().max()) + rounding
    if not _close(measured, expected, allowed):
        return None
    if isinstance(small, ChangedWeights) and not _same_gradient(small, plain):
        return None
    return route


def _same_gradient(route: ChangedWeights, plain: ChangedWeights) -> bool:
    """Whether weight changes agree too: a small step hides in the rounding of predictions."""
    ours, theirs = (r.loss_gradient(r.network.copy(), 0) for r in (route, plain))
    scale = max(_peak(g) for g in theirs.values())
    floor = _unit(route.network) * scale
    return all(
        _close(ours[k], g, _tolerance(route.network) * _peak(g) + floor) for k, g in theirs.items()
    )


def _signature(model: nn.Module) -> tuple[Any, ...]:
    """All that the way a network is computed can depend on, but its weights' values."""
    plain = (bool, int, float, str, bytes, tuple, type(None), torch.dtype)
    parts: list[Any] = [len(h) for h in _global_hooks()]
    for name, module in model.named_modules():
        attributes = [(k, repr(v)) for k, v in vars(module).items() if isinstance(v, plain)]
        hooks = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
        functions = [vars(module).get("forward"), getattr_static(type(module), "forward"), *hooks]
        parts.append((name, type(module), *map(_code, functions), *attributes))
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        parts.append((name, tensor.shape, tensor.dtype, tensor.requires_grad, tensor.device))
    return tuple(parts)


def _code(function: Any) -> Any:
    """What a function does; not the function, which may hold the model that is to be forgotten."""
    function = getattr(function, "__func__", function)
    return getattr(function, "__code__", id(function))


def _global_hooks() -> list[Any]:
    everywhere = nn.modules.module
    return [everywhere._global_forward_hooks, everywhere._global_forward_pre_hooks]


def _twice(network: Snapshot, sample: Tensor) -> tuple[Tensor, Tensor, bool]:
    predictions, before, after = [], [], []
    for seed in (1, 2):
        with generators_left_alone():
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            before.append(_states())
            predictions.append(network.copy().predict(sample))
            after.append(_states())
    # one that seeds itself ends in the same state whatever came before
    drawn = any(
        start != end and end != other
        for start, end, other in zip(before[0], after[0], after[1], strict=True)
    )
    return predictions[0], predictions[1], drawn


def _states() -> tuple[Any, ...]:
    kind, keys, *rest = np.random.get_state(legacy=True)
    cuda = torch.cuda.is_initialized()
    state = [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if cuda else [])]
    numbers = (kind, np.asarray(keys).tobytes(), *rest)
    return random.getstate(), numbers, tuple(s.numpy().tobytes() for s in state)


def _disagreeing(
    network: Snapshot,
    structures: list[Structure],
    samples: list[Tensor],
    outputs: list[int],
    plain: list[dict[str, Tensor]],
) -> set[str]:
    """Parameters whose share of the kernel differs; all of the factored ones if it fails."""
    weights = torch.arange(1.0, len(outputs) + 1, dtype=network.dtype, device=network.device)

    def combined(prediction: Tensor, target: Any) -> Tensor:
        return (prediction[outputs] * weights).sum()

    bad: set[str] = set()
    for loss in (None, combined):  # the two ways in which signals are sent back
        try:
            left, right = (
                factors_of_outputs(network.copy(), structure, sample, outputs, loss)
                for structure, sample in zip(structures, samples, strict=True)
            )
        except Exception:
            return set(network.parameters)  # whatever it was, autograd has the last word
        expected = plain
        if loss is not None:
            expected = [
                {k: torch.einsum("c,ncp->np", weights, g)[:, None] for k, g in side.items()}
                for side in plain
            ]
        bad |= _differing(network, structures[0], (left, right), expected)
    return bad


def _differing(
    network: Snapshot,
    structure: Structure,
    factors: tuple[Factors, Factors],
    plain: list[dict[str, Tensor]],
) -> set[str]:
    left, right = factors
    bad: set[str] = set()
    floor = _unit(network) ** 1.2 * _peak(_gram(plain[0], plain[1], list(network.parameters)))
    for name in left.names:
        names = [name, *_joined(structure, name)] if name in left.outer else [name]
        expected = _gram(plain[0], plain[1], names)
        measured = layer_kernel(left, right, [name]).transpose(1, 2).reshape(expected.shape)
        sizes = [_gram(side, side, names).diagonal().sqrt() for side in plain]
        allowed = _tolerance(network) * sizes[0][:, None] * sizes[1] + floor
        if not bool(((measured - expected).abs() <= allowed).all()):
            bad |= set(names)
    return bad


def _joined(structure: Structure, weight: str) -> set[str]:
    return {c.bias for c in structure.calls if c.weight == weight and c.bias_joins and c.bias}


def _gram(left: dict[str, Tensor], right: dict[str, Tensor], names: list[str]) -> Tensor:
    """Inner products of gradients over some parameters, points and outputs in a row."""
    a, b = (torch.cat([side[n].flatten(0, 1) for n in names], dim=1) for side in (left, right))
    return a @ b.T


def _plain_gradients(network: Snapshot, sample: Tensor, outputs: list[int]) -> dict[str, Tensor]:
    """∂f_c(x_i)/∂w of a few outputs, shape (n, c, size) for each parameter."""
    own = network.copy()

    def gradient(x: Tensor, output: int) -> dict[str, Tensor]:
        return plain_gradient(own, lambda: own.predict(x[None], dict(own.leaves))[0, output])

    rows = [[gradient(x, output) for output in outputs] for x in sample]
    return {
        name: torch.stack([torch.stack([flat(g[name]) for g in row]) for row in rows])
        for name in network.parameters
    }


def _plain_sum(network: Snapshot, x: Tensor, weighting: Tensor) -> dict[str, Tensor]:
    own = network.copy()

    def value() -> Tensor:
        return (own.predict(x[None], dict(own.leaves))[0] * weighting).sum()

    return plain_gradient(own, value)


def _weighting(outputs: int, network: Snapshot) -> Tensor:
    """A fixed combination of the outputs, in which none is left out."""
    generator = torch.Generator().manual_seed(0)
    return (0.5 + torch.rand(outputs, generator=generator)).to(network.device, network.dtype)


def _size(network: Snapshot, sample: Tensor) -> float:
    return float(network.copy().predict(sample).abs().max())


def _unit(network: Snapshot) -> float:
    lowest = PRODUCT_DTYPES.get(network.products, network.manners.lowest) or network.dtype
    return float(torch.finfo(lowest).eps)


def _tolerance(network: Snapshot) -> float:
    """What rounding may do in a network that loses some digits on the way."""
    return _unit(network) ** 0.6


def _peak(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0


def _close(a: Tensor, b: Tensor, allowed: float) -> bool:
    return bool(((a - b).abs() <= allowed).all())


def _where(layer: str | None) -> str:
    return "the model's own forward" if not layer else f"layer {layer!r}"


@contextmanager
def _recorded(network: Snapshot) -> Iterator[tuple[Snapshot, list[tuple[str, Any, Any]]]]:
    """A copy that notes what each layer reads and gives, innermost layers first."""
    network, calls = network.copy(), []

    def note(name: str) -> Any:
        return lambda module, inputs, output: calls.append((name, inputs, output))

    handles = [m.register_forward_hook(note(n)) for n, m in network.module.named_modules() if n]
    try:
        yield network, calls
    finally:
        for handle in handles:
            handle.remove()


def _runs(network: Snapshot, batches: list[Tensor]) -> list[list[tuple[str, Any, Any]]]:
    runs = []
    for seed, batch in enumerate(batches):
        with generators_left_alone(), _recorded(network) as (own, calls):
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)
            own.predict(batch)
            runs.append(list(calls))
    return runs


def _random_layer(network: Snapshot, sample: Tensor) -> str:
    """The first layer that gives something else for the same input, or ''."""
    first, second = _runs(network, [sample, sample])
    for (name, read, out), (other_name, other_read, other_out) in zip(first, second, strict=False):
        if name != other_name:
            break
        if _same(read, other_read) and not _same(out, other_out):
            return name
    return ""


def _mixing_layer(network: Snapshot, sample: Tensor) -> str:
    """The first layer that gives something else for an example alone, or ''."""
    together, alone = _runs(replace(network), [sample, sample[:1]])
    for (name, read, out), (other_name, other_read, other_out) in zip(
        together, alone, strict=False
    ):
        if name != other_name:
            break
        if _same(read, other_read, part=True) and not _same(out, other_out, part=True):
            return name
    return ""


def _same(a: Any, b: Any, part: bool = False) -> bool:
    """Whether two things are equal, or the second is the beginning of the first."""
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(_same(x, y, part) for x, y in zip(a, b, strict=True))
    if not isinstance(a, Tensor) or not isinstance(b, Tensor) or a.ndim == 0 or a.ndim != b.ndim:
        return True
    a = a[: len(b)] if part else a
    return a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=1e-6, atol=1e-9)
