"""Looking for a point of a box at which two networks differ, or at which a unit is on.

Nothing found proves nothing; it is the test of what
:mod:`~lecore.studies.neighbours.equivalent_networks` proves.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from lecore.errors import LecoreError
from lecore.studies.neighbours.equivalent_networks import WHERE, Box


def check_inside(inputs: Tensor, domain: Box) -> None:
    """Refuse inputs outside the box, where networks may differ.

    Raises:
        LecoreError: With how far the farthest lies outside; or if there are none of its shape.
    """
    x = inputs.detach().cpu().double().flatten(1).numpy()
    if x.shape[1:] != domain.low.shape or not len(x) or np.isnan(x).any():
        what = f"inputs of shape {tuple(inputs.shape)} are none, not of the box, or not numbers"
        raise LecoreError(what, f"give points of {len(domain.low)} numbers", WHERE)
    outside = max(float((domain.low - x).max()), float((x - domain.high).max()))
    if outside > 0:
        what = f"inputs lie outside the box, by up to {outside:.3g}"
        raise LecoreError(what, "scale them, or take a larger box", WHERE)


def points_in(domain: Box, count: int, seed: int = 0) -> Tensor:
    """Random points of a box, every other one a corner; shape (count, inputs), float64."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(size=(count, len(domain.low)))
    share[1::2] = share[1::2].round()
    return torch.from_numpy(domain.low + share * (domain.high - domain.low))


def ascend(
    wanted: Callable[[Tensor], Tensor], points: Tensor, domain: Box, steps: int = 12
) -> Tensor:
    """Points of the box with larger values, by steps along the sign of the gradient.

    The first steps lead from corner to corner, the others are halved again and again.

    Args:
        wanted: One number for each point, shape (n, inputs) to (n,).
        points: Where to begin, shape (n, inputs), float64.
        domain: The box.
        steps: How many.

    Returns:
        The best point met on each way, shape (n, inputs).
    """
    low, high = (torch.from_numpy(np.array(end)) for end in domain)
    best, x = points, points
    most = wanted(points).detach()
    for step in range(steps):
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(wanted(x).sum(), x)
        size = (high - low) * 0.5 ** max(0, step - steps // 3)
        x = torch.clamp(x.detach() + size * slope.sign(), low, high)
        values = wanted(x).detach()
        better = values > most
        best = torch.where(better[:, None], x, best)
        most = torch.where(better, values, most)
    return best


def largest_difference(
    one: nn.Module,
    other: nn.Module,
    domain: Box,
    *,
    inputs: Tensor,
    count: int = 200,
    seed: int = 0,
) -> float:
    """Largest difference of two networks' outputs that is found in a box.

    Looked at are random points, corners, the inputs, and the points that ascent of the difference
    leads to from all of them.

    Args:
        one: A network in float64 that takes (n, inputs).
        other: Another.
        domain: The box.
        inputs: Points inside it, shape (n, …).
        count: Random points and corners.
        seed: Of these.

    Raises:
        LecoreError: If inputs lie outside the box.
    """
    check_inside(inputs, domain)
    some = inputs.detach().cpu().double().flatten(1)
    points = torch.cat([points_in(domain, count, seed), some])

    def apart(x: Tensor) -> Tensor:
        difference: Tensor = one(x) - other(x)
        return difference.abs().amax(1)

    return float(apart(ascend(apart, points, domain)).detach().max())
