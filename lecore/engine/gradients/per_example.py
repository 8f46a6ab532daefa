"""Per-example gradients in factored form: what each layer read, and the signal sent back to it.

The gradient of output c at one example with respect to a linear map's weight is
Σ_t signal[c, t] ⊗ read[t], a sum of outer products over the positions t at which the map was
applied (one for a plain linear layer, one for each place of the kernel for a convolution). These
factors are far smaller than the gradient itself. They are found by watching which torch
functions the parameters enter, so any module that calls ``F.linear``, ``F.conv2d``, … has them;
a parameter used in any other way falls back to an ordinary per-example gradient.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vjp, vmap

from lecore.engine.gradients.factors import Factors, factors_of
from lecore.engine.gradients.memory import chunk_size
from lecore.engine.gradients.plain import plain_factors
from lecore.engine.gradients.structure import Structure
from lecore.engine.gradients.watching import Watch, find_structures
from lecore.engine.network.snapshot import Parameters, Snapshot
from lecore.losses import Loss


def structures_of(
    network: Snapshot, sides: Sequence[Tensor], both_ways: bool = True
) -> list[Structure]:
    """How the parameters enter the forward pass of row points and of column points.

    Args:
        network: The network.
        sides: Row points and column points.
        both_ways: Whether to try the signal of a loss, too; a self-check does that itself.
    """
    zeros = partial(torch.zeros, dtype=network.dtype, device=network.device)

    def trial(structure: Structure, example: Tensor) -> None:
        # one signal shows what works; a pass for each output would only take longer
        several, first = torch.cat([example, example]), zeros(1, structure.outputs)
        first[0, 0] = 1
        with torch.no_grad():
            _capture(network, structure, several, None, None, first)
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
    assembled: Factors | None = None
    for part, piece in factors_by_chunks(network, structure, inputs, targets, loss, form):
        if len(piece.prediction) == len(inputs):
            return piece
        if assembled is None:
            assembled = piece.room_for(len(inputs))
        assembled.put(part, piece)
    assert assembled is not None
    return assembled


def factors_by_chunks(
    network: Snapshot,
    structure: Structure,
    inputs: Tensor,
    targets: Tensor | None = None,
    loss: Loss | None = None,
    form: Callable[[Factors], Factors] | None = None,
) -> Iterator[tuple[slice, Factors]]:
    """The same of as many examples at a time as their activations allow, with their place."""
    step = chunk_size(network, structure, loss)
    for start in range(0, len(inputs), step):
        part = slice(start, start + step)
        own_targets = None if targets is None else targets[part]
        with torch.no_grad():
            if structure.route == "plain":
                piece = plain_factors(network, structure, inputs[part], own_targets, loss)
            else:
                captured = _capture(network, structure, inputs[part], own_targets, loss)
                piece = factors_of(structure, *captured)
            piece = piece if form is None else form(piece)
        yield part, piece


def factors_of_outputs(
    network: Snapshot,
    structure: Structure,
    inputs: Tensor,
    signals: Tensor,
    loss: Loss | None = None,
) -> Factors:
    """Factors for some combinations of the outputs, or for a loss that needs no targets."""
    with torch.no_grad():
        captured = _capture(network, structure, inputs, None, loss, signals)
        return factors_of(structure, *captured)


def _total(prediction: Tensor, target: Any) -> Tensor:
    return prediction.sum()


def _capture(
    network: Snapshot,
    structure: Structure,
    inputs: Tensor,
    targets: Tensor | None,
    loss: Callable[..., Tensor] | None,
    signals: Tensor | None = None,
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
            wanted = every if signals is None else signals
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
        count = structure.outputs if signals is None else len(signals)
        count = 1 if loss is not None else count
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
