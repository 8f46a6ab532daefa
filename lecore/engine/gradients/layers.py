"""How the gradients of each kind of layer factor: what it read ⊗ the signal sent back to it.

For a linear map the gradient with respect to the weight is Σ_t signal_t ⊗ read_t; for a
convolution the same with ``read_t`` the patch under the kernel; for a transposed convolution
with the roles of input and output exchanged; for an embedding with ``read_t`` a one-hot vector.
Scales and shifts (normalisation layers, biases) have gradients small enough to be written out.

A layer is described for one example, whose batch may be folded into any dimension: all that is
no channel and no unit counts as a position.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

Factored = tuple[Tensor, Tensor]
"""``read`` (n, groups, positions, inputs) and ``signal`` (n, outputs, groups, positions, units)."""


@dataclass(frozen=True)
class _Layer(ABC):
    """What a layer does with its weight and bias.

    ``read`` is what it noted of its input, shape (n, …), and ``signal`` the gradients with
    respect to its result, shape (n, outputs, …).
    """

    @property
    @abstractmethod
    def form(self) -> tuple[object, ...]:
        """Uses of one weight can be added up if this is the same for all of them."""

    @property
    def bias_joins(self) -> bool:
        """Whether a bias can share the weight's factors, with a read that is always 1."""
        return False

    def operations(self, read: tuple[int, ...], result: tuple[int, ...]) -> int:
        """Multiply-adds for one example, by the shapes of what is read and of the result."""
        return prod(result)

    def places(self, weight: Tensor) -> Tensor:
        """Where in the weight the entries of a gradient written out by factors belong."""
        return torch.arange(weight.numel())

    def bias_gradient(self, signal: Tensor) -> Tensor:
        """The bias's gradient, shape (n, outputs, size)."""
        return signal.flatten(2, -2).sum(2) if signal.ndim > 3 else signal


@dataclass(frozen=True)
class Contraction(_Layer):
    """Linear maps: ``F.linear``, matrix products, ``einsum`` of an input with a weight.

    Attributes:
        weight_form: The weight's dimensions that are groups, units and inputs.
        order: The result's dimensions in the order groups, positions, units.
        sizes: Numbers of groups, positions and units.
    """

    weight_form: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    order: tuple[int, ...]
    sizes: tuple[int, int, int]

    @property
    def form(self) -> tuple[object, ...]:  # noqa: D102
        return self.weight_form

    @property
    def bias_joins(self) -> bool:  # noqa: D102
        return self.sizes[0] == 1

    def places(self, weight: Tensor) -> Tensor:  # noqa: D102
        own = torch.arange(weight.numel()).view(weight.shape)
        return own.permute([d for part in self.weight_form for d in part]).flatten()

    def operations(self, read: tuple[int, ...], result: tuple[int, ...]) -> int:  # noqa: D102
        return prod(read) * self.sizes[2]

    def factors(self, read: Tensor, signal: Tensor) -> Factored:
        """Factors of the weight's gradient."""
        signal = signal.permute(0, 1, *(2 + d for d in self.order))
        return read, signal.reshape(*signal.shape[:2], *self.sizes)


@dataclass(frozen=True)
class Embedding(_Layer):
    """Rows of a table. ``read`` holds indices.

    Attributes:
        padding_index: The row that never gets a gradient.
    """

    padding_index: int | None

    @property
    def form(self) -> tuple[object, ...]:  # noqa: D102
        return ("embedding",)

    def factors(self, read: Tensor, signal: Tensor) -> Factored:
        """Factors of the weight's gradient."""
        read = read.reshape(len(read), 1, -1, 1)
        signal = signal.reshape(*signal.shape[:2], 1, -1, signal.shape[-1])
        if self.padding_index is not None:
            signal = signal * (read != self.padding_index)[:, None]
        return read, signal


@dataclass(frozen=True)
class Convolution(_Layer):
    """Convolutions of one to three dimensions, transposed or not.

    Attributes:
        kernel: Its size.
        stride: Step between places.
        padding: Zeros before and after each dimension.
        dilation: Step inside the kernel.
        groups: Channels fall into so many groups.
        transposed: Whether input and output exchange their roles.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int
    transposed: bool = False

    @property
    def form(self) -> tuple[object, ...]:  # noqa: D102
        return "convolution", self.transposed, self.groups

    @property
    def bias_joins(self) -> bool:  # noqa: D102
        return not self.transposed

    def places(self, weight: Tensor) -> Tensor:  # noqa: D102
        own = torch.arange(weight.numel())
        if not self.transposed:
            return own
        return own.view(self.groups, weight.shape[0] // self.groups, -1).mT.flatten()

    def operations(self, read: tuple[int, ...], result: tuple[int, ...]) -> int:  # noqa: D102
        spread, channels = (read, result[1]) if self.transposed else (result, read[1])
        return prod(spread) * channels // self.groups * prod(self.kernel)

    def factors(self, read: Tensor, signal: Tensor) -> Factored:
        """Factors of the weight's gradient."""
        n, outputs, frames = signal.shape[:3]
        places = (read if self.transposed else signal).shape[-len(self.kernel) :]
        read, signal = read.flatten(0, 1), signal.flatten(0, 2)
        if self.transposed:
            signal, read = self._patches(signal, places), _by_groups(read, self.groups)
        else:
            read, signal = self._patches(read, places), _by_groups(signal, self.groups)
        read, signal = read.unflatten(0, (n, frames)), signal.unflatten(0, (n, outputs, frames))
        if frames == 1:
            return read[:, 0], signal[:, :, 0]
        # the frames of an example are positions too
        return read.transpose(1, 2).flatten(2, 3), signal.transpose(2, 3).flatten(3, 4)

    def bias_gradient(self, signal: Tensor) -> Tensor:  # noqa: D102
        return signal.flatten(4).sum((2, 4))

    def _patches(self, image: Tensor, places: tuple[int, ...]) -> Tensor:
        """The patch under the kernel at every place, (n, groups, places, channels/g · kernel)."""
        padded = F.pad(image, [p for pair in reversed(self.padding) for p in pair])
        sizes = zip(places, self.stride, self.kernel, self.dilation, padded.shape[2:], strict=True)
        missing = [(place - 1) * s + (k - 1) * d + 1 - size for place, s, k, d, size in sizes]
        if max(missing) > 0:  # output_padding reaches past the end
            padded = F.pad(padded, [p for m in reversed(missing) for p in (0, max(m, 0))])
        padded = padded.contiguous()
        n, channels = padded.shape[:2]
        step = padded.stride()[2:]
        view = padded.as_strided(
            (n, self.groups, channels // self.groups, *places, *self.kernel),
            (
                padded.stride(0),
                channels // self.groups * padded.stride(1),
                padded.stride(1),
                *(a * b for a, b in zip(step, self.stride, strict=True)),
                *(a * b for a, b in zip(step, self.dilation, strict=True)),
            ),
        )
        d = len(places)
        # places last in memory: copied in runs
        order = (0, 1, 2, *range(3 + d, 3 + 2 * d), *range(3, 3 + d))
        patches = view.permute(order).reshape(n, self.groups, -1, prod(places))
        return patches.transpose(2, 3)


@dataclass(frozen=True)
class Scale(_Layer):
    """Scales and shifts the second dimension (``channels``) or the last ones, as norms do.

    Attributes:
        shape: Of the scale or shift.
        channels: Which dimensions it belongs to.
    """

    shape: tuple[int, ...]
    channels: bool

    @property
    def form(self) -> tuple[object, ...]:  # noqa: D102
        return "scale", self.channels

    def weight_gradient(self, read: Tensor, signal: Tensor) -> Tensor:
        """The weight's gradient written out, shape (n, outputs, size)."""
        return self.bias_gradient(signal * read[:, None])

    def bias_gradient(self, signal: Tensor) -> Tensor:  # noqa: D102
        if self.channels:
            return signal.flatten(4).sum((2, 4)) if signal.ndim > 4 else signal.sum(2)
        return signal.reshape(*signal.shape[:2], -1, torch.Size(self.shape).numel()).sum(2)


Layer = Contraction | Embedding | Convolution | Scale
"""All kinds; the weight of each but a scale has a factored gradient."""


def _by_groups(image: Tensor, groups: int) -> Tensor:
    """(n, channels, …) to (n, groups, positions, channels/groups)."""
    return image.flatten(2).unflatten(1, (groups, -1)).transpose(2, 3)
