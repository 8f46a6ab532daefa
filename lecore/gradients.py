"""Per-example gradients in factored form: what each layer read, and the signal sent back to it.

The gradient of output c at one example with respect to a linear map's weight is
Σ_t signal[c, t] ⊗ read[t], a sum of outer products over the positions t at which the map was
applied (one for a plain linear layer, one for each place of the kernel for a convolution). These
factors are far smaller than the gradient itself. They are found by watching which torch
functions the parameters enter, so any module that calls ``F.linear``, ``F.conv2d``, … has them;
a parameter used in any other way falls back to an ordinary per-example gradient.
"""

import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import grad, vjp, vmap
from torch.overrides import TorchFunctionMode

from lecore.layer_calls import HANDLED, METADATA, Call, positions
from lecore.losses import Loss
from lecore.snapshot import Parameters, Snapshot

CHUNK_BYTES = 2**24
"""Activations held at a time; small enough for the allocator to reuse without page faults."""


class Outer(NamedTuple):
    """Factors of a weight's per-example gradients, Σ_t signal[:, c, g, t] ⊗ read[:, g, t].

    Attributes:
        read: What the layer read, shape (n, groups, positions, inputs); for an embedding the
            indices, an integer tensor of shape (n, 1, positions, 1).
        signal: What came back, shape (n, outputs, groups, positions, units).
        bias: Whether a bias shares the signal, so that ``read`` has one more input, always 1.
    """

    read: Tensor
    signal: Tensor
    bias: bool


@dataclass
class Factors:
    """Per-example gradients of all outputs (or of chosen combinations of them).

    Attributes:
        prediction: f(x_i), shape (n, outputs).
        outer: Factored gradients, by the weight's name.
        direct: Gradients themselves, shape (n, outputs, size), by the parameter's name.
    """

    prediction: Tensor
    outer: dict[str, Outer] = field(default_factory=dict)
    direct: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Structure:
    """How the trainable parameters of a model enter its forward pass.

    Attributes:
        calls: The layer calls in order, with the names of the parameters taken from each.
        direct: Parameters whose gradients autograd computes example by example.
        outputs: Number of outputs.
        vectorized: Whether the model runs under :func:`torch.func.vmap`.
        activation_bytes: Memory of all layer outputs of one example.
    """

    calls: list[Call]
    direct: list[str]
    outputs: int
    vectorized: bool
    activation_bytes: int


class _Watch(TorchFunctionMode):
    """Sees every torch function; adds a tap to the output of each layer call and notes its input.

    Without taps it only finds the calls (``calls``) and the parameters used in any other way
    (``opaque``).
    """

    def __init__(self, names: dict[int, str], taps: list[Tensor] | None = None) -> None:
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
        used = {self.names[id(leaf)] for leaf in _leaves((args, kwargs)) if id(leaf) in self.names}
        if not used or func in METADATA:
            return func(*args, **kwargs)
        call = HANDLED[func](*args, **kwargs) if func in HANDLED else None
        if call is None:
            self.opaque |= used
            return func(*args, **kwargs)
        output = func(*args, **kwargs)
        if self.taps is None:
            call = call.named(self.names, tuple(output.shape))
            self.opaque |= used - {call.weight, call.bias}
            self.calls.append(call)
            return output
        self.reads.append(call.read())
        return output + self.taps[len(self.reads) - 1]


# torch's own function with its check for overrides off, so that the linear maps inside are seen
_multi_head_attention = types.FunctionType(
    F.multi_head_attention_forward.__code__,
    {**vars(F), "has_torch_function": lambda _: False},
    "multi_head_attention_forward",
    F.multi_head_attention_forward.__defaults__,
)


def find_structure(network: Snapshot, example: Tensor) -> Structure:
    """Run the model on one example, shape (1, …), and see how its parameters are used.

    Raises:
        ValueError: If the model does not map (1, …) to (1, outputs).
    """
    watch = _Watch({id(p): name for name, p in network.parameters.items()})
    with torch.no_grad(), watch:
        prediction = network.predict(example)
    if not isinstance(prediction, Tensor) or prediction.ndim != 2 or len(prediction) != 1:
        shape = tuple(prediction.shape) if isinstance(prediction, Tensor) else type(prediction)
        raise ValueError(f"the model must map (n, …) to (n, outputs); one example gave {shape}")
    shared = _compatible(watch.calls, set(network.parameters) - watch.opaque)
    kept = [call.keeping(shared) for call in watch.calls]
    calls = [call for call in kept if call.weight or call.bias]
    direct = [name for name in network.parameters if name not in shared]
    size = sum(torch.Size(call.output_shape).numel() for call in calls)
    activation_bytes = size * prediction.element_size()
    structure = Structure(calls, direct, prediction.shape[1], True, activation_bytes)
    try:
        with torch.no_grad():
            _capture(network, structure, example, None, None)
    except (RuntimeError, NotImplementedError):
        structure.vectorized = False
    return structure


def gradient_factors(
    network: Snapshot,
    structure: Structure,
    inputs: Tensor,
    targets: Tensor | None = None,
    loss: Loss | None = None,
    form: Callable[[Factors], Factors] | None = None,
) -> Factors:
    """Factors of the per-example gradients of every output, or of a loss.

    Args:
        network: The network.
        structure: From :func:`find_structure`.
        inputs: Shape (n, …).
        targets: Targets of the loss, shape (n, …).
        loss: If given, the one "output" differentiated is the loss of the prediction.
        form: What to make of the factors of each chunk of examples.
    """
    signals = 1 if loss else structure.outputs
    chunk = max(1, CHUNK_BYTES // max(1, structure.activation_bytes * (1 + signals)))
    chunks = [slice(start, start + chunk) for start in range(0, len(inputs), chunk)]
    assembled: Factors | None = None
    with torch.no_grad():
        for part in chunks:
            own_targets = None if targets is None else targets[part]
            piece = _factors_of(
                structure, *_capture(network, structure, inputs[part], own_targets, loss)
            )
            if form is not None:
                piece = form(piece)
            if len(chunks) == 1:
                return piece
            if assembled is None:
                assembled = _empty_like(piece, len(inputs))
            _fill(assembled, part, piece)
    assert assembled is not None
    return assembled


def _capture(
    network: Snapshot,
    structure: Structure,
    inputs: Tensor,
    targets: Tensor | None,
    loss: Loss | None,
) -> tuple[Tensor, list[Tensor], list[Tensor], Parameters]:
    """Predictions, what each call read, the signal at each call's output, direct gradients."""
    parameters = network.parameters
    names = {id(p): name for name, p in parameters.items() if name not in structure.direct}
    direct = {name: parameters[name] for name in structure.direct}
    zero = torch.zeros((), dtype=network.dtype, device=network.device)
    taps = [zero.expand(call.output_shape) for call in structure.calls]

    def one(x: Tensor, y: Tensor | None) -> Any:
        def predict(taps: list[Tensor], direct: Parameters) -> tuple[Tensor, list[Tensor]]:
            watch = _Watch(names, taps)
            with watch:
                out = network.predict(x[None], {**parameters, **direct})
            return out[0], watch.reads

        prediction, pull, reads = vjp(predict, taps, direct, has_aux=True)  # type: ignore[misc]
        if loss is None:
            wanted = torch.eye(len(prediction), dtype=prediction.dtype, device=prediction.device)
        else:
            wanted = grad(loss)(prediction, y)[None]  # type: ignore[arg-type]
        if structure.vectorized:
            signals, gradients = vmap(pull)(wanted)
        else:
            pulled = [pull(w) for w in wanted]
            signals = [torch.stack(s) for s in zip(*(p[0] for p in pulled), strict=True)]
            gradients = {k: torch.stack([p[1][k] for p in pulled]) for k in direct}
        return prediction, reads, signals, gradients

    if structure.vectorized:
        return vmap(one, in_dims=(0, None if targets is None else 0))(inputs, targets)
    with torch.enable_grad():  # fused recurrent layers keep nothing for the way back without it
        rows = [one(x, None if targets is None else targets[i]) for i, x in enumerate(inputs)]
    predictions, reads, signals, gradients = zip(*rows, strict=True)
    return (
        torch.stack(predictions),
        [torch.stack(r) for r in zip(*reads, strict=True)],
        [torch.stack(s) for s in zip(*signals, strict=True)],
        {k: torch.stack([g[k] for g in gradients]) for k in direct},
    )


def _factors_of(
    structure: Structure,
    prediction: Tensor,
    reads: list[Tensor],
    signals: list[Tensor],
    gradients: Parameters,
) -> Factors:
    direct = {name: g.reshape(*g.shape[:2], -1) for name, g in gradients.items()}
    factors = Factors(prediction, direct=direct)
    pieces: dict[str, list[Outer]] = {}
    for call, read, signal in zip(structure.calls, reads, signals, strict=True):
        outer, direct = positions(call, read, signal)
        if outer is not None and call.weight is not None:
            pieces.setdefault(call.weight, []).append(Outer(*outer, call.bias_joins_weight))
        for name, gradient in direct.items():
            # a parameter used several times collects the sum over its uses
            known = factors.direct.get(name)
            factors.direct[name] = gradient if known is None else known + gradient
    for name, uses in pieces.items():
        factors.outer[name] = (
            uses[0]
            if len(uses) == 1
            else Outer(
                torch.cat([u.read for u in uses], dim=2),
                torch.cat([u.signal for u in uses], dim=3),
                uses[0].bias,
            )
        )
    return factors


def _compatible(calls: list[Call], candidates: set[str]) -> set[str]:
    """Parameters all of whose uses have the same form, so that the uses can be added up."""
    forms: dict[str, set[Any]] = {}
    for call in calls:
        if call.weight:
            forms.setdefault(call.weight, set()).add(("weight", *call.form()))
        if call.bias:
            forms.setdefault(call.bias, set()).add(("bias", call.bias_form()))
    return {name for name, found in forms.items() if name in candidates and len(found) == 1}


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, dict):
        yield from _leaves(list(value.values()))
    else:
        yield value


def _empty_like(piece: Factors, n: int) -> Factors:
    def empty(tensor: Tensor) -> Tensor:
        return tensor.new_empty((n, *tensor.shape[1:]))

    return Factors(
        empty(piece.prediction),
        {k: Outer(empty(o.read), empty(o.signal), o.bias) for k, o in piece.outer.items()},
        {k: empty(d) for k, d in piece.direct.items()},
    )


def _fill(target: Factors, part: slice, piece: Factors) -> None:
    target.prediction[part] = piece.prediction
    for name, outer in piece.outer.items():
        target.outer[name].read[part] = outer.read
        target.outer[name].signal[part] = outer.signal
    for name, gradient in piece.direct.items():
        target.direct[name][part] = gradient
