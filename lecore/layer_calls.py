"""The torch functions whose parameters have factored gradients, and how to read the factors off.

For a linear map the gradient with respect to the weight is Σ_t signal_t ⊗ read_t; for a
convolution the same with ``read_t`` the patch under the kernel; for a transposed convolution
with the roles of input and output exchanged; for an embedding with ``read_t`` a one-hot vector.
Scales and shifts (normalisation layers, biases) have gradients small enough to be written out.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Kind = Literal["linear", "convolution", "transposed convolution", "embedding", "channels", "last"]


@dataclass(frozen=True)
class Call:
    """One use of parameters in the forward pass of a single example.

    Attributes:
        kind: What the function does; ``channels`` and ``last`` scale and shift the second
            dimension or the last ones, as normalisation layers do.
        read: Gives what to note of the input while the model runs.
        weight: The weight's name, ``None`` if it is not ours to differentiate.
        bias: The bias's name, likewise.
        bias_joins_weight: Whether weight and bias can share one pair of factors.
        output_shape: Shape of the function's result for one example, batch dimension included.
        weight_shape: Shape of the weight.
        options: Stride, padding, dilation and groups of a convolution; an embedding's
            ``padding_idx``.
    """

    kind: Kind
    read: Callable[[], Tensor]
    weight: Any = None
    bias: Any = None
    bias_joins_weight: bool = False
    output_shape: tuple[int, ...] = ()
    weight_shape: tuple[int, ...] = ()
    options: tuple[Any, ...] = ()

    def named(self, names: dict[int, str], output_shape: tuple[int, ...]) -> "Call":
        """The same with the parameters' names in place of the tensors."""
        return replace(
            self,
            weight=names.get(id(self.weight)),
            bias=names.get(id(self.bias)),
            weight_shape=() if self.weight is None else tuple(self.weight.shape),
            output_shape=output_shape,
            read=_nothing,
        )

    def keeping(self, names: set[str]) -> "Call":
        """The same with only these parameters."""
        weight = self.weight if self.weight in names else None
        bias = self.bias if self.bias in names else None
        joins = bool(weight and bias and self.kind in ("linear", "convolution"))
        return replace(self, weight=weight, bias=bias, bias_joins_weight=joins)

    def form(self) -> tuple[Any, ...]:
        """Uses of one weight can be added up if this is the same for all of them."""
        groups = self.options[3] if "convolution" in self.kind else 1
        return self.kind, self.bias, groups, self.weight_shape

    def bias_form(self) -> Any:
        """Likewise for a bias: it joins its weight only if it is never used without it."""
        return (self.weight, self.weight_shape) if self.bias_kind_joins() else self.kind

    def bias_kind_joins(self) -> bool:
        """Whether this kind of call lets a bias share the weight's factors."""
        return self.kind in ("linear", "convolution")


def positions(
    call: Call, read: Tensor, signal: Tensor
) -> tuple[tuple[Tensor, Tensor] | None, dict[str, Tensor]]:
    """Factors (read, signal) of the weight's gradient, and gradients written out.

    Args:
        call: The layer call.
        read: What it read, shape (n, 1, …).
        signal: Gradients with respect to its result, shape (n, outputs, 1, …).

    Returns:
        ``read`` of shape (n, groups, positions, inputs) and ``signal`` of shape
        (n, outputs, groups, positions, units), or ``None``; and a dictionary of gradients of
        shape (n, outputs, size).
    """
    n, outputs = signal.shape[:2]
    direct: dict[str, Tensor] = {}
    if call.kind in ("channels", "last"):
        if call.weight:
            direct[call.weight] = _reduced(signal * read[:, None], call)
        if call.bias:
            direct[call.bias] = _reduced(signal, call)
        return None, direct
    if call.kind in ("linear", "embedding"):
        if call.bias and not call.bias_joins_weight:
            direct[call.bias] = signal.reshape(n, outputs, -1, signal.shape[-1]).sum(2)
        if not call.weight:
            return None, direct
        signal = signal.reshape(n, outputs, 1, -1, signal.shape[-1])
        if call.kind == "linear":
            return (read.reshape(n, 1, -1, read.shape[-1]), signal), direct
        (padding_index,) = call.options
        read = read.reshape(n, 1, -1, 1)
        if padding_index is not None:  # that row of the table never gets a gradient
            signal = signal * (read != padding_index)[:, None]
        return (read, signal), direct

    stride, padding, dilation, groups = call.options
    read, signal = read.flatten(0, 1), signal.flatten(0, 2)
    if call.bias and not call.bias_joins_weight:
        direct[call.bias] = signal.flatten(2).sum(2).view(n, outputs, -1)
    if not call.weight:
        return None, direct
    kernel = call.weight_shape[2:]
    if call.kind == "convolution":
        read = _patches(read, kernel, stride, padding, dilation, groups, signal.shape[2:])
        signal = _by_groups(signal, groups)
    else:
        signal = _patches(signal, kernel, stride, padding, dilation, groups, read.shape[2:])
        read = _by_groups(read, groups)
    return (read, signal.unflatten(0, (n, outputs))), direct


def _reduced(gradient: Tensor, call: Call) -> Tensor:
    """Sum over all positions that share a scale or shift, shape (n, outputs, size)."""
    n, outputs = gradient.shape[:2]
    if call.kind == "channels":
        return gradient.flatten(4).sum(-1).flatten(2) if gradient.ndim > 4 else gradient.flatten(2)
    size = torch.Size(call.weight_shape).numel()
    return gradient.reshape(n, outputs, -1, size).sum(2)


def _by_groups(image: Tensor, groups: int) -> Tensor:
    """(n, channels, …) to (n, groups, positions, channels/groups)."""
    return image.flatten(2).unflatten(1, (groups, -1)).transpose(2, 3)


def _patches(
    image: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
    groups: int,
    places: tuple[int, ...],
) -> Tensor:
    """The patch under the kernel at every place, (n, groups, places, channels/groups · kernel)."""
    padded = F.pad(image, [p for pair in reversed(padding) for p in pair])
    missing = [
        (place - 1) * s + (k - 1) * d + 1 - size
        for place, s, k, d, size in zip(
            places, stride, kernel, dilation, padded.shape[2:], strict=True
        )
    ]
    if max(missing) > 0:  # output_padding reaches past the end
        padded = F.pad(padded, [p for m in reversed(missing) for p in (0, max(m, 0))])
    padded = padded.contiguous()
    n, channels = padded.shape[:2]
    step = padded.stride()[2:]
    view = padded.as_strided(
        (n, groups, channels // groups, *places, *kernel),
        (
            padded.stride(0),
            channels // groups * padded.stride(1),
            padded.stride(1),
            *(a * b for a, b in zip(step, stride, strict=True)),
            *(a * b for a, b in zip(step, dilation, strict=True)),
        ),
    )
    d = len(places)
    # places last in memory: copied in runs
    order = (0, 1, 2, *range(3 + d, 3 + 2 * d), *range(3, 3 + d))
    return view.permute(order).reshape(n, groups, -1, torch.Size(places).numel()).transpose(2, 3)


def _nothing() -> Tensor:
    raise AssertionError("a call without its input")


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Call:
    return Call("linear", lambda: input, weight, bias)


def _matmul(input: Tensor, other: Tensor) -> Call | None:
    # x @ W is a linear map if the parameter is the matrix on the right
    return Call("linear", lambda: input, other) if other.ndim == 2 and input.ndim >= 2 else None


def _convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Call | None:
    d = weight.ndim - 2
    if input.ndim != weight.ndim:
        return None
    stride, dilation = _tuple(stride, d), _tuple(dilation, d)
    if padding == "same":
        extra = [a * (k - 1) for a, k in zip(dilation, weight.shape[2:], strict=True)]
        pairs = tuple((e // 2, e - e // 2) for e in extra)
    else:
        pairs = tuple((p, p) for p in _tuple(0 if padding == "valid" else padding, d))
    options = (stride, pairs, dilation, groups)
    return Call("convolution", lambda: input, weight, bias, options=options)


def _transposed_convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Call | None:
    d = weight.ndim - 2
    if input.ndim != weight.ndim:
        return None
    pairs = tuple((p, p) for p in _tuple(padding, d))
    options = (_tuple(stride, d), pairs, _tuple(dilation, d), groups)
    return Call("transposed convolution", lambda: input, weight, bias, options=options)


def _embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Call | None:
    if max_norm is not None or scale_grad_by_freq:
        return None
    if padding_idx is not None and padding_idx < 0:
        padding_idx += len(weight)
    return Call("embedding", lambda: input, weight, options=(padding_idx,))


def _layer_norm(
    input: Tensor,
    normalized_shape: list[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Call:
    return Call("last", lambda: F.layer_norm(input, normalized_shape, eps=eps), weight, bias)


def _rms_norm(
    input: Tensor, normalized_shape: list[int], weight: Tensor | None = None, eps: Any = None
) -> Call:
    return Call("last", lambda: F.rms_norm(input, normalized_shape, eps=eps), weight)


def _group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Call:
    return Call("channels", lambda: F.group_norm(input, num_groups, eps=eps), weight, bias)


def _batch_norm(
    input: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Call | None:
    if training:
        return None
    return Call(
        "channels", lambda: F.batch_norm(input, running_mean, running_var, eps=eps), weight, bias
    )


def _instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Call:
    def normalized() -> Tensor:
        return F.instance_norm(
            input, running_mean, running_var, use_input_stats=use_input_stats, eps=eps
        )

    return Call("channels", normalized, weight, bias)


def _tuple(value: Any, length: int) -> tuple[int, ...]:
    return (int(value),) * length if isinstance(value, int) else tuple(value)


HANDLED: dict[Any, Callable[..., Call | None]] = {
    F.linear: _linear,
    torch.matmul: _matmul,
    torch.mm: _matmul,
    Tensor.matmul: _matmul,
    Tensor.mm: _matmul,
    Tensor.__matmul__: _matmul,
    F.conv1d: _convolution,
    F.conv2d: _convolution,
    F.conv3d: _convolution,
    F.conv_transpose1d: _transposed_convolution,
    F.conv_transpose2d: _transposed_convolution,
    F.conv_transpose3d: _transposed_convolution,
    F.embedding: _embedding,
    F.layer_norm: _layer_norm,
    F.rms_norm: _rms_norm,
    F.group_norm: _group_norm,
    F.batch_norm: _batch_norm,
    F.instance_norm: _instance_norm,
}
"""What each torch function does with its parameters."""

METADATA = {
    Tensor.size, Tensor.dim, Tensor.numel, Tensor.__len__, Tensor.is_floating_point,
    *(
        getattr(Tensor, name).__get__
        for name in ("shape", "ndim", "dtype", "device", "requires_grad", "is_nested", "layout",
                     "is_cuda", "is_cpu")
    ),
}  # fmt: skip
"""Functions that look at a parameter without using its values."""
