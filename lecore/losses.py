"""Losses of one prediction, in the form that per-example gradients need.

Each takes one prediction of shape (outputs,) and one target, and returns a scalar. The target is
a number or a vector of shape (outputs,), except for :func:`cross_entropy`, where it is a class.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor
from torch.func import vmap

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
    """−log softmax(f)_y of logits, with y the index of the class."""
    return F.cross_entropy(prediction, target.long())


def batch_loss(loss: Loss) -> Loss:
    """The mean of a loss over a batch: predictions (n, outputs) and n targets to a scalar."""
    if loss in (squared_error, half_squared_error, binary_cross_entropy):  # sums already

        def mean(prediction: Tensor, target: Tensor) -> Tensor:
            return loss(prediction, target.reshape(len(target), -1)) / len(target)

        return mean
    each = vmap(loss)
    return lambda prediction, target: each(prediction, target).mean()
