"""The torus to pull at, anywhere: exact kernels of infinitely wide networks, untrained."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lecore.data.manifolds import Manifold, placed, torus
from lecore.similarity import correlation_with_distance
from lecore.theory.wide_networks import wide_standard_kernel

Array = NDArray[np.float64]

UNITS = {"ReLU": "relu", "linear": "linear", "tanh": "erf"}
"""Activation of the closed form by name of the unit; erf stands in for tanh, which has none."""


class PulledTorus(NamedTuple):
    """One curve of the torus, and what its place does to the correlation of S_rel with distance.

    Attributes:
        points: In the order of their angles, shape (n, 3).
        angles: Shape (n,).
        correlations: Over all ordered pairs, as in He & Su's Figure 1; columns ``units``, ``size``,
            ``shift`` and ``correlation``.
    """

    points: Array
    angles: Array
    correlations: pd.DataFrame


def pulled_torus(
    points: int, seed: int, *, sizes: Iterable[float], shifts: Iterable[float]
) -> PulledTorus:
    """Draw the torus and find its correlations wherever it lies.

    Args:
        points: Of both curves together, one of which is kept.
        seed: Of the points.
        sizes: Factors of all coordinates.
        shifts: Along the last axis after that.
    """
    curves, sizes, shifts = torus(points, seed), list(sizes), list(shifts)
    own = curves.primary
    ordered = own[np.argsort(curves.coordinates[own, 0])]
    rows = [
        (units, size, shift, correlation(curves, units, size=size, shift=shift))
        for units in UNITS for size in sizes for shift in shifts
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["units", "size", "shift", "correlation"])
    return PulledTorus(curves.points[ordered], curves.coordinates[ordered, 0], table)


def correlation(curves: Manifold, units: str, *, size: float, shift: float) -> float:
    """Correlation of S_rel with distance over the primary points of a set, once it was placed."""
    own, there = curves.primary, placed(curves, scale=size, shift=shift)
    similarity = wide_similarity(there.points[own], units)
    return correlation_with_distance(similarity, curves.distance[np.ix_(own, own)])


def wide_similarity(points: Array, units: str) -> Array:
    """S_rel of a tiny step in an infinitely wide network, shape (n, n)."""
    kernel = wide_standard_kernel(points, UNITS[units])
    similarity: Array = np.abs(kernel) / kernel.diagonal()[:, None]
    return similarity
