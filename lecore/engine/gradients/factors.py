"""Per-example gradients as factors: what each layer read, and the signal sent back to it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from lecore.engine.gradients.layers import Scale
from lecore.engine.gradients.structure import Structure
from lecore.engine.network.snapshot import Parameters


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

    @property
    def nbytes(self) -> int:
        """Memory of both."""
        outer = sum(o.read.nbytes + o.signal.nbytes for o in self.outer.values())
        return outer + sum(gradient.nbytes for gradient in self.direct.values())

    def room_for(self, n: int) -> "Factors":
        """The same for n examples, not filled in."""

        def empty(tensor: Tensor) -> Tensor:
            return tensor.new_empty((n, *tensor.shape[1:]))

        return Factors(
            empty(self.prediction),
            {k: Outer(empty(o.read), empty(o.signal), o.bias) for k, o in self.outer.items()},
            {k: empty(d) for k, d in self.direct.items()},
        )

    def put(self, part: slice, piece: "Factors") -> None:
        """Fill in some of the examples."""
        self.prediction[part] = piece.prediction
        for name, outer in piece.outer.items():
            self.outer[name].read[part] = outer.read
            self.outer[name].signal[part] = outer.signal
        for name, gradient in piece.direct.items():
            self.direct[name][part] = gradient


def factors_of(
    structure: Structure,
    prediction: Tensor,
    reads: Sequence[Tensor],
    signals: Sequence[Tensor],
    gradients: Parameters,
) -> Factors:
    """Factors from what the passes of some examples left.

    Args:
        structure: How the parameters enter them.
        prediction: Shape (n, outputs).
        reads: What each call read, shape (n, …).
        signals: What came back to each call's result, shape (n, signals, …).
        gradients: Of the parameters that autograd differentiates, shape (n, signals, …).
    """
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
