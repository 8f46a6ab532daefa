"""Per-example gradients in factored form: what each layer read, and the signal sent back to it.

The gradient of output c at one example with respect to a linear map's weight is
Σ_t signal[c, t] ⊗ read[t], a sum of outer products over the positions t at which the map was
applied (one for a plain linear layer, one for each place of the kernel for a convolution). These
factors are far smaller than the gradient itself. They are found by watching which torch
functions the parameters enter, so any module that calls ``F.linear``, ``F.conv2d``, … has them;
a parameter used in any other way falls back to an ordinary per-example gradient.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import grad, vjp, vmap

from lecore.engine.gradients.layers import Embedding, Scale
from lecore.engine.gradients.watching import Structure, Watch, find_structures
from lecore.engine.network.failures import layer_of
from lecore.engine.network.snapshot import Parameters, Snapshot
from lecore.errors import LecoreError, in_short
from lecore.losses import Loss

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

    @property
    def names(self) -> list[str]:
        """Keys of both."""
        return [*self.outer, *self.direct]


def structures_of(
    network: Snapshot, sides: Sequence[Tensor], both_ways: bool = True
) -> list[Structure]:
    """How the parameters enter the forward pass of row points and of column points.

    Args:
        network: The network.
        sides: Row points and column points.
        both_ways: Whether to try the signal of a loss, too; a self-check does that itself.
    """

    def trial(structure: Structure, example: Tensor) -> None:
        # one signal shows what works; a pass for each output would only take longer
        several = torch.cat([example, example])
        with torch.no_grad():
            _capture(network, structure, several, None, None, outputs=[0])
            if both_ways:
                _capture(network, structure, several, None, _total)

    return find_structures(network, sides, trial)


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
        structure: From :func:`structures_of`.
        inputs: Shape (n, …).
        targets: Targets of the loss, shape (n, …).
        loss: If given, the one "output" differentiated is the loss of the prediction.
        form: What to make of the factors of each chunk of examples.
    """
    step = chunk_size(network, structure, loss)
    chunks = [slice(start, start + step) for start in range(0, len(inputs), step)]
    assembled: Factors | None = None
    with torch.no_grad():
        for part in chunks:
            own_targets = None if targets is None else targets[part]
            if structure.route == "plain":
                piece = _plain(network, structure, inputs[part], own_targets, loss)
            else:
                captured = _capture(network, structure, inputs[part], own_targets, loss)
                piece = factors_of(structure, *captured)
            if form is not None:
                piece = form(piece)
            if len(chunks) == 1:
                return piece
            if assembled is None:
                assembled = _empty_like(piece, len(inputs))
            _fill(assembled, part, piece)
    assert assembled is not None
    return assembled


def factors_of_outputs(
    network: Snapshot,
    structure: Structure,
    inputs: Tensor,
    outputs: list[int],
    loss: Loss | None = None,
) -> Factors:
    """Factors for a few of the outputs, or for a loss that needs no targets."""
    with torch.no_grad():
        captured = _capture(network, structure, inputs, None, loss, outputs)
        return factors_of(structure, *captured)


def chunk_size(network: Snapshot, structure: Structure, loss: Loss | None) -> int:
    """Examples whose activations are held at a time."""
    signals = 1 if loss else structure.outputs
    if structure.route == "plain":
        return max(1, CHUNK_BYTES // (network.parameter_bytes * signals))
    taps = structure.activations * network.dtype.itemsize * (1 + signals)
    return max(1, CHUNK_BYTES // max(1, taps, (taps + network.manners.activation_bytes) // 4))


def pass_bytes(network: Snapshot, structure: Structure, loss: Loss | None, n: int) -> int:
    """Memory of the passes of n points through the network that are under way at a time."""
    signals = 1 if loss else structure.outputs
    size = structure.activations * network.dtype.itemsize
    one = network.manners.activation_bytes + size * signals
    if structure.route == "plain":
        one = network.manners.activation_bytes + 2 * network.parameter_bytes
    return min(n, chunk_size(network, structure, loss)) * one


def factor_bytes(
    network: Snapshot,
    structure: Structure,
    loss: Loss | None,
    form: Callable[[Factors], Factors],
) -> int:
    """Memory of the factors of one example, from their shapes alone."""

    def empty(*shape: int, dtype: torch.dtype = network.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    signals = 1 if loss else structure.outputs
    integer = [isinstance(call.layer, Embedding) for call in structure.calls]
    reads = [
        empty(1, *call.read_shape, dtype=torch.long if whole else network.dtype)
        for call, whole in zip(structure.calls, integer, strict=True)
    ]
    taps = [empty(1, signals, *call.output_shape) for call in structure.calls]
    direct = {k: empty(1, signals, network.parameters[k].numel()) for k in structure.direct}
    factors = form(factors_of(structure, empty(1, structure.outputs), reads, taps, direct))
    outer = sum(o.read.nbytes + o.signal.nbytes for o in factors.outer.values())
    return outer + sum(gradient.nbytes for gradient in factors.direct.values())


def factors_of(
    structure: Structure,
    prediction: Tensor,
    reads: Sequence[Tensor],
    signals: Sequence[Tensor],
    gradients: Parameters,
) -> Factors:
    """Factors from what :func:`_capture` gives."""
    direct = {name: g.reshape(*g.shape[:2], -1) for name, g in gradients.items()}
    factors = Factors(prediction, direct=direct)
    pieces: dict[str, list[Outer]] = {}

    def add(name: str, gradient: Tensor) -> None:
        # a parameter used several times collects the sum over its uses
        known = factors.direct.get(name)
        factors.direct[name] = gradient if known is None else known + gradient

    for call, read, signal in zip(structure.calls, reads, signals, strict=True):
        if call.bias and not call.bias_joins:
            add(call.bias, call.layer.bias_gradient(signal))
        if call.weight is None:
            continue
        if isinstance(call.layer, Scale):
            add(call.weight, call.layer.weight_gradient(read, signal))
        else:
            outer = Outer(*call.layer.factors(read, signal), call.bias_joins)
            pieces.setdefault(call.weight, []).append(outer)
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


def plain_gradient(network: Snapshot, value: Callable[[], Tensor]) -> dict[str, Tensor]:
    """Gradient of a number by plain autograd, as a training step takes it, by parameter."""
    with torch.enable_grad():
        try:
            for leaf in network.leaves.values():
                leaf.grad = None
            value().backward()
            gradients = {k: p.grad for k, p in network.leaves.items()}
        except LecoreError:
            raise
        except Exception as error:
            layer = layer_of(error)
            raise LecoreError(
                f"autograd cannot differentiate the model ({in_short(error)})",
                "let one SGD step on one example work first",
                f"layer {layer!r}" if layer else "",
            ) from error
        finally:
            for leaf in network.leaves.values():
                leaf.grad = None
    return {
        k: torch.zeros_like(network.parameters[k]) if g is None else g.to_dense().detach()
        for k, g in gradients.items()
    }


def _total(prediction: Tensor, target: Any) -> Tensor:
    return prediction.sum()


def _plain(
    network: Snapshot,
    structure: Structure,
    inputs: Tensor,
    targets: Tensor | None,
    loss: Callable[..., Tensor] | None,
) -> Factors:
    predictions, rows = [], []
    for i, x in enumerate(inputs):
        predictions.append(network.predict(x[None])[0])

        def value(c: int, x: Tensor = x, i: int = i) -> Tensor:
            prediction = network.predict(x[None], dict(network.leaves))[0]
            if loss is None:
                return prediction[c]
            return loss(prediction, None if targets is None else targets[i])

        signals = range(1 if loss else structure.outputs)
        # the forward pass anew for each output: a graph can be used only once in general
        rows.append([plain_gradient(network, lambda c=c, v=value: v(c)) for c in signals])  # type: ignore[misc]
    direct = {
        name: torch.stack([torch.stack([flat(g[name]) for g in row]) for row in rows])
        for name in network.parameters
    }
    return Factors(torch.stack(predictions), direct=direct)


def flat(gradient: Tensor) -> Tensor:
    """Real numbers in a row, whose inner products are those of the gradients."""
    real = torch.view_as_real(gradient.resolve_conj()) if gradient.is_complex() else gradient
    return real.reshape(-1)


def _capture(
    network: Snapshot,
    structure: Structure,
    inputs: Tensor,
    targets: Tensor | None,
    loss: Callable[..., Tensor] | None,
    outputs: list[int] | None = None,
) -> tuple[Tensor, list[Tensor], list[Tensor], Parameters]:
    """Predictions, what each call read, the signal at each call's output, direct gradients."""
    parameters = network.parameters
    names = {id(p): name for name, p in parameters.items() if name not in structure.direct}
    direct = {name: parameters[name] for name in structure.direct}
    zero = torch.zeros((), dtype=network.dtype, device=network.device)
    taps = [zero.expand(call.output_shape) for call in structure.calls]

    def one(x: Tensor, y: Tensor | None) -> Any:
        def predict(taps: list[Tensor], direct: Parameters) -> tuple[Tensor, list[Tensor]]:
            watch = Watch(names, taps)
            with watch:
                out = network.predict(x[None], {**parameters, **direct})
            if len(watch.reads) != len(taps):
                raise RuntimeError("another example takes other layers")
            return out[0], watch.reads

        prediction, pull, reads = vjp(predict, taps, direct, has_aux=True)  # type: ignore[misc]
        if loss is None:
            every = torch.eye(len(prediction), dtype=prediction.dtype, device=prediction.device)
            wanted = every if outputs is None else every[outputs]
        else:
            wanted = grad(loss)(prediction, y)[None]
        if structure.route == "vectorized":
            sent, gradients = vmap(pull)(wanted)
        else:
            pulled = [pull(w) for w in wanted]
            sent = [torch.stack(s) for s in zip(*(p[0] for p in pulled), strict=True)]
            gradients = {k: torch.stack([p[1][k] for p in pulled]) for k in direct}
        return prediction, reads, sent, gradients

    if structure.route == "vectorized":
        captured = vmap(one, in_dims=(0, None if targets is None else 0))(inputs, targets)
        count = 1 if loss is not None else len(outputs or range(structure.outputs))
        wanted = [
            (g, call.output_shape) for g, call in zip(captured[2], structure.calls, strict=True)
        ]
        wanted += [(gradient, direct[name].shape) for name, gradient in captured[3].items()]
        if any(g.shape != (len(inputs), count, *shape) for g, shape in wanted):
            raise RuntimeError("a batching rule of torch is wrong")  # such as that of prelu
        return captured
    with torch.enable_grad():  # fused recurrent layers keep nothing for the way back without it
        rows = [one(x, None if targets is None else targets[i]) for i, x in enumerate(inputs)]
    predictions, reads, sent, gradients = zip(*rows, strict=True)
    return (
        torch.stack(predictions),
        [torch.stack(r) for r in zip(*reads, strict=True)],
        [torch.stack(s) for s in zip(*sent, strict=True)],
        {k: torch.stack([g[k] for g in gradients]) for k in direct},
    )


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
