"""One step of any size on one point: what it moves, against what its linearisation says."""

import copy
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lecore.changes import linearized_change, prediction_change
from lecore.losses import squared_error
from lecore.similarity import relative_similarity
from lecore.theory.wide_networks import activation_pattern

Array = NDArray[np.float64]


class StepSizes(NamedTuple):
    """S_rel of steps on one of n points.

    Attributes:
        rates: Learning rates of the steps, ascending, shape (k,).
        linear: S_rel of the linearisation, the same for every rate, shape (n,).
        similarity: S_rel of the steps, shape (k, n).
        flipped: Share of hidden units that a step turns on or off, mean over points, shape (k,).
    """

    rates: Array
    linear: Array
    similarity: Array
    flipped: Array

    @property
    def distance(self) -> Array:
        """Largest distance of S_rel from its linearisation, shape (k,)."""
        largest: Array = np.abs(self.similarity - self.linear).max(axis=1)
        return largest


def step_sizes(
    network: nn.Sequential, points: Tensor, targets: Tensor, at: int, rates: Iterable[float]
) -> StepSizes:
    """Take a step on one point at several learning rates, each from the same weights.

    Args:
        network: Two layers with ReLU units, see :func:`lecore.models.two_layer`.
        points: Shape (n, d), float64.
        targets: Shape (n, 1).
        at: Index of the point to step on.
        rates: Learning rates.
    """
    one, rates = slice(at, at + 1), sorted(rates)
    step = network, points[one], targets[one], points

    def relative(change: Tensor) -> Array:
        found: Array = relative_similarity(change, change[:, at])[0].cpu().numpy()
        return found

    changes = [prediction_change(*step, learning_rate=rate) for rate in rates]
    flipped = [_flipped(network, points, targets, at, rate) for rate in rates]
    return StepSizes(
        np.array(rates),
        relative(linearized_change(*step, learning_rate=rates[0])),
        np.array([relative(change) for change in changes]),
        np.array(flipped),
    )


def _flipped(
    network: nn.Sequential, points: Tensor, targets: Tensor, at: int, rate: float
) -> float:
    """Share of units whose sign a step changes, over all points."""
    moved = copy.deepcopy(network).double()
    before = _pattern(moved, points)
    squared_error(moved(points[at : at + 1]), targets[at : at + 1]).backward()
    torch.optim.SGD(moved.parameters(), lr=rate).step()
    return float((_pattern(moved, points) != before).double().mean())


def _pattern(network: nn.Sequential, points: Tensor) -> Tensor:
    hidden = next(layer for layer in network if isinstance(layer, nn.Linear))
    return activation_pattern(hidden.weight.detach(), hidden.bias.detach(), points)
