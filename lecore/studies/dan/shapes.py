"""How much of a curve two lines that meet explain, and how much one smooth curve does.

Two lines always have a corner, wherever it is needed least. They say something only where they do
better than curves without one that have as many free parameters.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

POWERS = np.geomspace(0.25, 4, 9)
STRETCHES = np.geomspace(0.5, 2, 5)


class TwoLines(NamedTuple):
    """Two lines that meet, fitted to a curve.

    Attributes:
        corner: Where they meet, as a part of the time.
        slope_ratio: Size of the first slope over that of the second, cut at 1e6.
        explained: Part of the variance that they explain.
    """

    corner: float
    slope_ratio: float
    explained: float


def two_lines(curve: ArrayLike) -> TwoLines:
    """Fit a + b t + c (t − k)₊ by least squares, over all inner points as k.

    Args:
        curve: Values at even times, not all the same, shape (n,).
    """
    curve = np.asarray(curve, dtype=np.float64)
    best, explained = _best(_lines(len(curve)), curve)
    time = np.linspace(0, 1, len(curve))
    corner = time[1 + best]
    design = np.stack([np.ones_like(time), time, np.maximum(time - corner, 0)], axis=1)
    _, slope, bend = np.linalg.lstsq(design, curve, rcond=None)[0]
    ratio = min(abs(slope) / max(abs(slope + bend), 1e-300), 1e6)
    return TwoLines(float(corner), float(ratio), explained)


def smooth_explained(curve: ArrayLike) -> float:
    """Part of the variance that the best of these explains, none of which has a corner.

    With at most four free parameters each, as two lines have: a line and an exponential,
    a + b t + c exp(−t/τ); a logarithm, a + b log(1 + t/τ); a power, a + b (1 + t/τ)^(−c); a
    stretched exponential, a + b exp(−(t/τ)^c); a logistic step, a + b / (1 + exp(−(t − m)/s)).
    The nonlinear ones take values of a fine grid, so that no fit depends on where it starts.

    Args:
        curve: Values at even times, not all the same, shape (n,).
    """
    curve = np.asarray(curve, dtype=np.float64)
    return max(_best(family, curve)[1] for family in _smooth(len(curve)))


def fitted(curve: ArrayLike) -> tuple[Array, Array]:
    """The best two lines and the best smooth curve, at the times of a curve.

    Args:
        curve: Values at even times, not all the same, shape (n,).

    Returns:
        The fits of :func:`two_lines` and of :func:`smooth_explained`, shape (n,) each.
    """
    curve = np.asarray(curve, dtype=np.float64)
    fits = []
    for families in ((_lines(len(curve)),), _smooth(len(curve))):
        family = max(families, key=lambda bases: _best(bases, curve)[1])
        basis = family[_best(family, curve)[0]]
        fits.append(basis @ (curve @ basis))
    return fits[0], fits[1]


def _best(bases: Array, curve: Array) -> tuple[int, float]:
    """The best of many linear fits by orthonormal columns, shape (fits, n, p), and its share."""
    centred = curve - curve.mean()
    explained = ((centred @ bases) ** 2).sum(axis=1)
    best = int(explained.argmax())
    return best, min(float(explained[best] / (centred @ centred)), 1.0)


@cache
def _lines(n: int) -> Array:
    time = np.linspace(0, 1, n)
    bends = np.maximum(time - time[1:-1, None], 0)
    return _orthonormal(bends, time)


@cache
def _smooth(n: int) -> tuple[Array, Array]:
    time = np.linspace(0, 1, n)
    slow = np.geomspace(0.003, 3, 60)[:, None]
    fast = np.geomspace(1e-4, 10, 60)[:, None]
    steep, middle = np.geomspace(0.01, 0.5, 15)[:, None], np.linspace(0, 1, 41)
    curves = [np.log1p(time / fast)]
    curves += [(1 + time / fast) ** -c for c in POWERS]
    curves += [np.exp(-((time / slow) ** c)) for c in STRETCHES]
    curves += [1 / (1 + np.exp((m - time) / steep)) for m in middle]
    return _orthonormal(np.exp(-time / slow), time), _orthonormal(np.concatenate(curves))


def _orthonormal(curves: Array, *others: Array) -> Array:
    """Bases of the spans of 1, the others and each curve, shape (curves, n, p)."""
    fixed = [np.broadcast_to(other, curves.shape) for other in (np.ones(()), *others)]
    basis: Array = np.linalg.qr(np.stack([*fixed, curves], axis=2))[0]
    return basis
