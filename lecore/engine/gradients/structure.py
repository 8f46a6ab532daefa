"""How the parameters of a network enter its forward pass."""

from dataclasses import dataclass, replace
from typing import Literal

import torch

from lecore.engine.gradients.layers import Layer

Route = Literal["vectorized", "looped", "plain"]
"""All examples at once under ``vmap``; one by one; or one by one by plain autograd alone."""


@dataclass(frozen=True)
class Call:
    """One use of parameters in the forward pass of a single example.

    Attributes:
        layer: What it does.
        weight: The weight's name, ``None`` if it is not ours to differentiate.
        bias: The bias's name, likewise.
        bias_joins: Whether weight and bias share one pair of factors.
        read_shape: Shape of what is noted of its input.
        output_shape: Shape of its result.
    """

    layer: Layer
    weight: str | None
    bias: str | None
    bias_joins: bool
    read_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    def keeping(self, names: set[str]) -> "Call":
        """The same with only these parameters."""
        weight = self.weight if self.weight in names else None
        bias = self.bias if self.bias in names else None
        joins = bool(weight and bias and self.layer.bias_joins)
        return replace(self, weight=weight, bias=bias, bias_joins=joins)


@dataclass(frozen=True)
class Structure:
    """How the trainable parameters of a network enter its forward pass.

    Attributes:
        calls: The layer calls in order, with the names of the parameters taken from each.
        direct: Parameters whose gradients autograd computes example by example.
        outputs: Number of outputs.
        route: How gradients are computed.
    """

    calls: tuple[Call, ...]
    direct: tuple[str, ...]
    outputs: int
    route: Route = "vectorized"

    @property
    def operations(self) -> int:
        """Multiply-adds of a pass of one example through the layers."""
        return sum(c.layer.operations(c.read_shape, c.output_shape) for c in self.calls)

    @property
    def activations(self) -> int:
        """Numbers that the layers give for one example."""
        return sum(torch.Size(call.output_shape).numel() for call in self.calls)


def with_direct(structure: Structure, names: set[str]) -> Structure:
    """The same with more parameters whose gradients are written out."""
    direct = tuple(sorted({*structure.direct, *names}))
    factored = {c.weight for c in structure.calls} | {c.bias for c in structure.calls}
    kept = {name for name in factored if name is not None} - set(direct)
    calls = [call.keeping(kept) for call in structure.calls]
    return replace(structure, calls=tuple(c for c in calls if c.weight or c.bias), direct=direct)
