"""The graph that autograd keeps of a prediction: what is in it, whoever called it."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction


def nodes_behind(result: Tensor) -> Iterator[Any]:
    """Every operation between a result and the leaves, and these."""
    waiting: list[Any] = [result.grad_fn]
    known: set[Any] = {None}
    while waiting:
        node = waiting.pop()
        if node not in known:
            known.add(node)
            yield node
            waiting += [after for after, _ in node.next_functions]


def leaves_behind(result: Tensor) -> dict[int, Tensor]:
    """The leaves that a gradient of the result would reach, by id."""
    found = (getattr(node, "variable", None) for node in nodes_behind(result))
    return {id(leaf): leaf for leaf in found if leaf is not None}


def has_own_backward(result: Tensor) -> bool:
    """Whether a function of somebody's own is on the way, whose way back can be anything."""
    return any(isinstance(node, BackwardCFunction) for node in nodes_behind(result))


def lowest_type(result: Tensor, known: torch.dtype | None = None) -> torch.dtype:
    """The shortest type on the way, or one that is known and shorter."""
    types = [m.dtype for node in nodes_behind(result) for m in node._input_metadata]
    types += [result.dtype] if known is None else [result.dtype, known]
    real = [dtype for dtype in types if dtype.is_floating_point]
    return max(real, key=lambda dtype: torch.finfo(dtype).eps)
