"""Losses of one prediction, in the form that per-example gradients need.

Each takes one prediction of shape (outputs,) and one target, and returns a scalar. The target is
a number or a vector of shape (outputs,); for :func:`cross_entropy` a class or probabilities.

A loss of one's own may take any target, and leave out those that are missing (NaN)::

    loss = lambda f, y: ((f - y.nan_to_num()) ** 2 * ~y.isnan()).sum()
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """(f − y)², summed over outputs; what He & Su's code calls MSE, without a factor ½."""
    return ((prediction - target) ** 2).sum()


def half_squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """½(f − y)², summed over outputs; the ℓ2 loss in He & Su's equation (3)."""
    return 0.5 * squared_error(prediction, target)


def binary_cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """−y log p − (1 − y) log(1 − p) of a network that ends in a sigmoid, with y in {0, 1}."""
    target = target.to(prediction.dtype).expand_as(prediction)
    return F.binary_cross_entropy(prediction, target, reduction="sum")


def cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """−log softmax(f)_y of logits, with y the index of the class, or a probability for each."""
    if target.ndim:
        return -(target * prediction.log_softmax(0)).sum()
    return F.cross_entropy(prediction, target.long())


LOSSES: dict[str, Loss] = {
    loss.__name__: loss
    for loss in (squared_error, half_squared_error, binary_cross_entropy, cross_entropy)
}
"""All of them by name."""

NUMBER_LOSSES = (squared_error, half_squared_error, binary_cross_entropy)
"""Losses that take a number for each output, or one for all, and sum over batches too."""
