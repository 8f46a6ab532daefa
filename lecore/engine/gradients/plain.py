"""Gradients by plain autograd, one example at a time, as a training step takes them."""

from collections.abc import Callable
from threading import RLock

import torch
from torch import Tensor, nn

from lecore.engine.gradients.factors import Factors
from lecore.engine.gradients.structure import Structure
from lecore.engine.network.failures import told
from lecore.engine.network.graphs import has_own_backward, leaves_behind
from lecore.engine.network.snapshot import Snapshot

_one_at_a_time = RLock()


def own_gradients(network: Snapshot, value: Callable[[], Tensor]) -> dict[str, Tensor]:
    """Gradients of a number as plain autograd leaves them for a training step, by parameter.

    Sparse ones stay sparse, and a parameter that the number does not depend on has none.

    Args:
        network: The network.
        value: Computes the number from its leaves.
    """
    leaves, cure = network.leaves, "let one SGD step on one example work first"
    with torch.enable_grad(), told("autograd cannot differentiate the model", cure):
        try:
            for leaf in leaves.values():
                leaf.grad = None
            _backward(value, list(leaves.values()))
            return {k: p.grad.detach() for k, p in leaves.items() if p.grad is not None}
        finally:
            for leaf in leaves.values():
                leaf.grad = None


def plain_gradient(network: Snapshot, value: Callable[[], Tensor]) -> dict[str, Tensor]:
    """The same written out, with zeros for a parameter that the number does not depend on."""
    own = own_gradients(network, value)
    return {
        k: own[k].to_dense() if k in own else torch.zeros_like(w)
        for k, w in network.parameters.items()
    }


def _backward(value: Callable[[], Tensor], leaves: list[nn.Parameter]) -> None:
    """Fill in the gradients of these leaves, and of no others.

    ``inputs=`` keeps to them, but leaves out a checkpoint, or another function of somebody's own
    that runs backwards inside, if only other leaves lie behind it.
    """
    number = value()
    if not (_others(number, leaves) and has_own_backward(number)):
        try:
            torch.autograd.backward(number, inputs=leaves)
            return
        except RuntimeError as error:  # reentrant checkpoints want a way back to all leaves
            if "`inputs`" not in str(error):
                raise
        for leaf in leaves:
            leaf.grad = None
        number = value()
    with _one_at_a_time:
        others = _others(number, leaves)
        before = [other.grad for other in others]
        try:
            for other in others:
                other.grad = None
            number.backward(retain_graph=True)  # the graph may be others' in part
        finally:
            for other, gradient in zip(others, before, strict=True):
                other.grad = gradient


def _others(number: Tensor, leaves: list[nn.Parameter]) -> list[Tensor]:
    own = {id(leaf) for leaf in leaves}
    return [other for key, other in leaves_behind(number).items() if key not in own]


def plain_factors(
    network: Snapshot,
    structure: Structure,
    inputs: Tensor,
    targets: Tensor | None,
    loss: Callable[..., Tensor] | None,
) -> Factors:
    """As :func:`~lecore.engine.gradients.per_example.gradient_factors`, all written out."""
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
