"""The torch functions whose parameters have factored gradients: which layer each call is."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lecore.engine.gradients.layers import Contraction, Convolution, Embedding, Layer, Scale

Ours = Callable[[Any], bool]
"""Whether something is a parameter of the network."""


@dataclass(frozen=True)
class Seen:
    """A call of a torch function while the model runs.

    Attributes:
        layer: What it does.
        read: Gives what to note of its input.
        weight: The parameter, or ``None``.
        bias: Likewise.
    """

    layer: Layer
    read: Callable[[], Tensor]
    weight: Tensor | None
    bias: Tensor | None = None


def seen(function: Any, ours: Ours, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Seen | None:
    """The layer that a call is, or ``None`` if its gradients do not factor."""
    recognise = _LAYERS.get(function)
    if recognise is None:
        return None
    try:
        return recognise(ours, *args, **kwargs)
    except (TypeError, ValueError, RuntimeError):  # other names, or tensors of another kind
        return None


def _contraction(
    input: Tensor, weight: Tensor, letters: tuple[str, str, str], bias: Any = None
) -> Seen | None:
    """An einsum of an input and a weight, with the letters of input, weight and result."""
    of_input, of_weight, of_result = letters
    if any(len(set(word)) < len(word) for word in letters):
        return None  # diagonals
    if (input.ndim, weight.ndim) != (len(of_input), len(of_weight)):
        return None
    groups = [a for a in of_weight if a in of_input and a in of_result]
    units = [a for a in of_weight if a not in of_input and a in of_result]
    inputs = [a for a in of_weight if a in of_input and a not in of_result]
    positions = [a for a in of_input if a not in of_weight and a in of_result]
    if len(groups) + len(units) + len(inputs) < len(of_weight):
        return None  # summed over before anything is read
    size = dict(zip(of_input, input.shape, strict=True))
    for letter, extent in zip(of_weight, weight.shape, strict=True):
        if size.setdefault(letter, extent) != extent:
            return None  # broadcast
    summed = [d for d, a in enumerate(of_input) if a not in of_weight and a not in of_result]
    kept = [a for a in of_input if a in of_weight or a in of_result]
    order = [kept.index(a) for a in (*groups, *positions, *inputs)]
    sizes = tuple(prod(size[a] for a in part) for part in (groups, positions, inputs, units))

    def read() -> Tensor:
        given = input.sum(summed) if summed else input
        return given.permute(order).reshape(sizes[:3])

    g, u, i = (tuple(of_weight.index(a) for a in part) for part in (groups, units, inputs))
    result_order = tuple(of_result.index(a) for a in (*groups, *positions, *units))
    layer = Contraction((g, u, i), result_order, (sizes[0], sizes[1], sizes[3]))
    return Seen(layer, read, weight, bias)


_LETTERS = "abcdefghijklmnop"


def _linear(ours: Ours, input: Tensor, weight: Tensor, bias: Any = None) -> Seen | None:
    if weight.ndim != 2:
        return None
    lead = _LETTERS[: input.ndim - 1]
    return _contraction(input, weight, (lead + "x", "yx", lead + "y"), bias)


def _matmul(ours: Ours, input: Tensor, other: Tensor, **more: Any) -> Seen | None:
    if more or (ours(input) and ours(other)):
        return None
    left, right = input.ndim, other.ndim
    if ours(other) and right == 2 and left >= 1:
        lead = _LETTERS[: left - 1]
        return _contraction(input, other, (lead + "x", "xy", lead + "y"))
    if ours(other) and right == 3 and left >= 3:
        lead = _LETTERS[: left - 3]
        return _contraction(input, other, (lead + "gzx", "gxy", lead + "gzy"))
    if ours(input) and left == 2 and right >= 2:
        lead = _LETTERS[: right - 2]
        return _contraction(other, input, (lead + "xz", "yx", lead + "yz"))
    if ours(input) and left == 3 and right >= 3:
        lead = _LETTERS[: right - 3]
        return _contraction(other, input, (lead + "gxz", "gyx", lead + "gyz"))
    return None


def _matmul_reversed(ours: Ours, other: Tensor, input: Tensor) -> Seen | None:
    return _matmul(ours, input, other)


def _addmm(
    ours: Ours, input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1,
    **more: Any,
) -> Seen | None:  # fmt: skip
    if beta != 1 or alpha != 1 or input.ndim != 1 or ours(mat1) or mat2.ndim != 2:
        return None
    if len(input) != mat2.shape[1] or more:
        return None
    return _contraction(mat1, mat2, ("ax", "xy", "ay"), input)


def _einsum(ours: Ours, equation: Any, *operands: Any) -> Seen | None:
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    if not isinstance(equation, str) or len(operands) != 2 or "." in equation:
        return None
    if ours(operands[0]) == ours(operands[1]):
        return None
    sources, arrow, result = equation.replace(" ", "").partition("->")
    words = sources.split(",")
    if not arrow:  # letters that occur once, in the order of the alphabet
        result = "".join(sorted(a for a in set(sources) - {","} if sources.count(a) == 1))
    if ours(operands[0]):
        words, operands = words[::-1], operands[::-1]
    return _contraction(operands[0], operands[1], (words[0], words[1], result))


def _convolution(
    ours: Ours, input: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1,
    padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Seen | None:  # fmt: skip
    d = weight.ndim - 2
    if input.ndim != weight.ndim:
        return None
    kernel, stride, dilation = tuple(weight.shape[2:]), _tuple(stride, d), _tuple(dilation, d)
    if padding == "same":
        extra = [a * (k - 1) for a, k in zip(dilation, kernel, strict=True)]
        pairs = tuple((e // 2, e - e // 2) for e in extra)
    else:
        pairs = tuple((p, p) for p in _tuple(0 if padding == "valid" else padding, d))
    layer = Convolution(kernel, stride, pairs, dilation, groups)
    return Seen(layer, lambda: input, weight, bias)


def _transposed_convolution(
    ours: Ours, input: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1,
    padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Seen | None:  # fmt: skip
    d = weight.ndim - 2
    if input.ndim != weight.ndim:
        return None
    kernel, pairs = tuple(weight.shape[2:]), tuple((p, p) for p in _tuple(padding, d))
    layer = Convolution(
        kernel, _tuple(stride, d), pairs, _tuple(dilation, d), groups, transposed=True
    )
    return Seen(layer, lambda: input, weight, bias)


def _embedding(
    ours: Ours, input: Tensor, weight: Tensor, padding_idx: int | None = None,
    max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Seen | None:  # fmt: skip
    if max_norm is not None or scale_grad_by_freq:
        return None
    if padding_idx is not None and padding_idx < 0:
        padding_idx += len(weight)
    return Seen(Embedding(padding_idx), lambda: input, weight)


def _layer_norm(
    ours: Ours, input: Tensor, normalized_shape: list[int], weight: Any = None,
    bias: Any = None, eps: float = 1e-5,
) -> Seen:  # fmt: skip
    layer = Scale(tuple(normalized_shape), channels=False)
    return Seen(layer, lambda: F.layer_norm(input, normalized_shape, eps=eps), weight, bias)


def _rms_norm(
    ours: Ours, input: Tensor, normalized_shape: list[int], weight: Any = None, eps: Any = None
) -> Seen:
    layer = Scale(tuple(normalized_shape), channels=False)
    return Seen(layer, lambda: F.rms_norm(input, normalized_shape, eps=eps), weight)


def _group_norm(
    ours: Ours, input: Tensor, num_groups: int, weight: Any = None, bias: Any = None,
    eps: float = 1e-5,
) -> Seen:  # fmt: skip
    layer = Scale(tuple(input.shape[1:2]), channels=True)
    return Seen(layer, lambda: F.group_norm(input, num_groups, eps=eps), weight, bias)


def _batch_norm(
    ours: Ours, input: Tensor, running_mean: Tensor, running_var: Tensor, weight: Any = None,
    bias: Any = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Seen | None:  # fmt: skip
    if training:
        return None
    layer = Scale(tuple(input.shape[1:2]), channels=True)
    mean, variance = running_mean.clone(), running_var.clone()  # somebody may write to them
    return Seen(layer, lambda: F.batch_norm(input, mean, variance, eps=eps), weight, bias)


def _instance_norm(
    ours: Ours, input: Tensor, running_mean: Any = None, running_var: Any = None,
    weight: Any = None, bias: Any = None, use_input_stats: bool = True, momentum: float = 0.1,
    eps: float = 1e-5,
) -> Seen:  # fmt: skip
    def normalized() -> Tensor:
        if use_input_stats:
            return F.instance_norm(input, eps=eps)
        return F.instance_norm(input, running_mean, running_var, use_input_stats=False, eps=eps)

    return Seen(Scale(tuple(input.shape[1:2]), channels=True), normalized, weight, bias)


def _tuple(value: Any, length: int) -> tuple[int, ...]:
    if isinstance(value, int) or len(value) == 1:  # torch spreads one number over all dimensions
        value = (value if isinstance(value, int) else value[0],) * length
    return tuple(map(int, value))


_LAYERS: dict[Any, Callable[..., Seen | None]] = {
    F.linear: _linear,
    **dict.fromkeys((torch.matmul, torch.mm, torch.bmm), _matmul),
    **dict.fromkeys((Tensor.matmul, Tensor.mm, Tensor.bmm, Tensor.__matmul__), _matmul),
    Tensor.__rmatmul__: _matmul_reversed,
    torch.addmm: _addmm,
    Tensor.addmm: _addmm,
    torch.einsum: _einsum,
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

METADATA = {
    Tensor.size, Tensor.dim, Tensor.numel, Tensor.__len__, Tensor.is_floating_point,
    Tensor.is_complex, Tensor.stride, Tensor.is_contiguous, Tensor.element_size, Tensor.__hash__,
    *(
        getattr(Tensor, name).__get__
        for name in ("shape", "ndim", "dtype", "device", "requires_grad", "is_nested", "layout",
                     "is_cuda", "is_cpu", "is_leaf", "is_meta", "_version")
    ),
}  # fmt: skip
"""Functions that look at a parameter without using its values."""
