"""Derivatives of predictions along a change of the weights, taken forward."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import jvp
from torch.overrides import TorchFunctionMode

from lecore.engine.network.calling import one_at_a_time
from lecore.engine.network.snapshot import Parameters, Snapshot


def derivative_along(network: Snapshot, inputs: Tensor, direction: Parameters) -> Tensor:
    """How predictions change along a direction, which is their gradient times it.

    Args:
        network: The network.
        inputs: Shape (n, …).
        direction: Of the weights, by parameter.

    Returns:
        Shape (n, outputs).
    """

    def predict(weights: Parameters) -> Tensor:
        # recording, so that what a forward pass keeps out of the record shows
        with torch.enable_grad(), _AsOnTheWayBack():
            return network.predict(inputs, weights)

    with one_at_a_time:  # torch has one level of these derivatives for all threads
        derivative: Tensor = jvp(predict, (network.parameters,), (direction,))[1]
    return derivative


class _AsOnTheWayBack(TorchFunctionMode):
    """What gets no gradient has no derivative forward either, unlike in torch.

    That is what is computed where no gradients are recorded, and the padding rows of tables.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with forward_ad._set_fwd_grad_enabled(torch.is_grad_enabled()):
            result = func(*args, **kwargs)
        if func not in _TABLES:
            return result
        given = dict(zip(_TABLES[func], args, strict=False)) | kwargs
        indices, padding = given["input"], given.get("padding_idx")
        if given.get("scale_grad_by_freq"):
            raise NotImplementedError("gradients scaled by frequency have no derivative forward")
        if padding is None:
            return result
        padding += len(given["weight"]) if padding < 0 and func is F.embedding else 0
        fixed = forward_ad.unpack_dual(result).primal
        return torch.where((indices == padding)[..., None], fixed, result)


_TABLES: dict[Any, tuple[str, ...]] = {
    F.embedding: (
        "input", "weight", "padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse",
    ),
    torch.embedding: ("weight", "input", "padding_idx", "scale_grad_by_freq", "sparse"),
}  # fmt: skip
"""What they are given, in order."""
