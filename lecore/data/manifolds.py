"""The six synthetic sets of He & Su (2020): two classes, each on a curve or surface of its own."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import cumulative_simpson
from scipy.stats import special_ortho_group

from lecore.arguments.names import Choices
from lecore.arguments.settings import number, whole
from lecore.seeding import seeded

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Manifold:
    """A sample of a synthetic set.

    Attributes:
        name: The set's name, a key of :data:`MANIFOLDS`.
        points: Coordinates in space, shape (n, 2) or (n, 3).
        labels: 1 for the primary class, 0 for the other, shape (n,), alternating.
        coordinates: Intrinsic coordinates (angles, or position along the fold), shape (n, k).
        distance: Geodesic distance as He & Su's code computes it, shape (n, n), in the units of
            the intrinsic coordinates; infinite between the classes, which do not meet.
        arc_length: True geodesic length in space, shape (n, n); infinite between the classes.
    """

    name: str
    points: Array
    labels: NDArray[np.int64]
    coordinates: Array
    distance: Array
    arc_length: Array

    @property
    def primary(self) -> NDArray[np.int64]:
        """Indices of the primary class, shape (n₁,)."""
        return np.flatnonzero(self.labels == 1)


def torus(size: int = 100, seed: int = 0) -> Manifold:
    """Two interlaced closed curves on a torus, winding four times (their Figure 1a).

    He & Su measure distance by the angle between two points; the arc length is the integral of
    the curve's speed along the shorter way round.
    """
    size = len(_alternating(size))
    with seeded(seed) as rng:
        return torus_at(rng.uniform(-np.pi, np.pi, size))


def torus_at(angle: Array) -> Manifold:
    """The :func:`torus` at given angles, shape (n,), those of the two classes in turn."""
    radius, winding, size = 8.0, 4, len(angle)
    labels = _alternating(size)
    side = np.where(labels == 1, 1.0, -1.0)
    tube = radius + side * np.sin(winding * angle)
    points = np.stack(
        [tube * np.cos(angle), tube * np.sin(angle), side * np.cos(winding * angle)], axis=1
    )
    length = np.empty((size, size))
    for sign in (1.0, -1.0):
        own = np.flatnonzero(side == sign)

        def speed(t: Array, sign: float = sign) -> Array:
            return np.hypot(winding, radius + sign * np.sin(winding * t))

        along, total = _length_along(speed, angle[own], -np.pi, np.pi)
        length[np.ix_(own, own)] = _around(along, total)
    return _manifold("torus", points, labels, angle[:, None], _around(angle, 2 * np.pi), length)


def boxes(size: int = 100, seed: int = 0) -> Manifold:
    """Two folded strips, one box inside the other (their Figure 1d).

    The strips unroll without stretching, so distance is Euclidean on the unrolled strip. For the
    way around the box He & Su's code puts the corner at 10 ± 1, though the fold is at
    10 ± 1/1.2; ``arc_length`` has the true corner.
    """
    slope, half, gap = 1.2, 10.0, 1.0
    labels = _alternating(size)
    side = np.where(labels == 1, 1.0, -1.0)
    corner = half + side * gap / slope
    with seeded(seed) as rng:
        x = rng.uniform(-corner, corner)
        z = rng.uniform(-1.0, 1.0, size)
    upper = np.empty(size, dtype=bool)
    for label in (0, 1):  # the first half of either class lies on the upper fold
        own = np.flatnonzero(labels == label)
        upper[own] = np.arange(len(own)) < len(own) // 2
    y = slope * (corner - np.abs(x)) * np.where(upper, 1.0, -1.0)
    stretch = np.hypot(1.0, slope)

    def unrolled(corner: Array) -> Array:
        same = stretch * np.abs(x[:, None] - x)
        over = stretch * (2 * corner[:, None] - x[:, None] - x)
        other = np.minimum(over, 4 * corner[:, None] * stretch - over)
        return np.hypot(np.where(upper[:, None] == upper, same, other), z[:, None] - z)

    coordinates = np.stack([x, np.where(upper, 1.0, -1.0), z], axis=1)
    points = np.stack([x, y, z], axis=1)
    return _manifold(
        "boxes", points, labels, coordinates, unrolled(half + side * gap), unrolled(corner)
    )


def helix(size: int = 100, seed: int = 0) -> Manifold:
    """A double helix; distance is the difference of the angles, arc length √(1 + k²) times it."""
    winding = 1.5
    labels = _alternating(size)
    with seeded(seed) as rng:
        angle = rng.uniform(-np.pi / 2, np.pi / 2, size)
    side = np.where(labels == 1, 1.0, -1.0)
    points = np.stack(
        [side * np.cos(winding * angle), side * np.sin(winding * angle), angle], axis=1
    )
    distance = np.abs(angle[:, None] - angle)
    length = np.hypot(1.0, winding) * distance
    return _manifold("helix", points, labels, angle[:, None], distance, length)


def cosines(size: int = 100, seed: int = 0) -> Manifold:
    """Two cosine curves, one above the other; distance is along the axis, not along the curve."""
    labels = _alternating(size)
    with seeded(seed) as rng:
        x = rng.uniform(-0.6 * np.pi, 0.6 * np.pi, size)
    points = np.stack([x, np.cos(x) + np.where(labels == 1, 0.2, -0.2)], axis=1)
    along, _ = _length_along(lambda t: np.hypot(1.0, np.sin(t)), x, -0.6 * np.pi, 0.6 * np.pi)
    distance, length = np.abs(x[:, None] - x), np.abs(along[:, None] - along)
    return _manifold("cosines", points, labels, x[:, None], distance, length)


def spheres(size: int = 100, seed: int = 0) -> Manifold:
    """Two concentric spheres; distance is the angle, arc length the radius times it.

    Both angles are drawn uniformly, as in He & Su's code, so points crowd at the poles.
    """
    labels = _alternating(size)
    with seeded(seed) as rng:
        polar, azimuth = rng.uniform(0, np.pi, size), rng.uniform(0, 2 * np.pi, size)
    unit = np.stack(
        [np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=1
    )
    radius = np.where(labels == 1, 10.0, 20.0)
    distance = np.arccos(np.clip(unit @ unit.T, -1.0, 1.0))
    np.fill_diagonal(distance, 0.0)
    coordinates = np.stack([polar, azimuth], axis=1)
    length = radius[:, None] * distance
    return _manifold("spheres", radius[:, None] * unit, labels, coordinates, distance, length)


def cycles(size: int = 100, seed: int = 0) -> Manifold:
    """Two concentric circles; distance is the angle, arc length the radius times it."""
    labels = _alternating(size)
    with seeded(seed) as rng:
        angle = rng.uniform(-np.pi, np.pi, size)
    radius = np.where(labels == 1, 10.0, 50.0)
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    distance = _around(angle, 2 * np.pi)
    length = radius[:, None] * distance
    return _manifold("cycles", points, labels, angle[:, None], distance, length)


MANIFOLDS: Choices[Callable[..., Manifold]] = Choices(
    "manifold",
    {
        "torus": torus,
        "boxes": boxes,
        "cosines": cosines,
        "helix": helix,
        "cycles": cycles,
        "spheres": spheres,
    },
)
"""Every set by name; each function takes ``size`` (both classes together) and ``seed``."""


def placed(
    manifold: Manifold, *, scale: float = 1.0, shift: float = 0.0, turn: int | None = None
) -> Manifold:
    """The same set somewhere else: turned about the origin, then scaled, then moved.

    Args:
        manifold: The set.
        scale: Factor of all coordinates, > 0, and so of the arc length.
        shift: Added to the last coordinate after that.
        turn: Seed of the turn, uniform among all; none if left out.

    Raises:
        LecoreError: If the scale is not positive.
    """
    scale = number("scale", scale, lambda s: 0 < s < np.inf, "positive and finite")
    shift = number("shift", shift, np.isfinite, "finite")
    if turn is not None:
        turn = whole("turn", turn, 0, 2**32 - 1)
    points, d = manifold.points, manifold.points.shape[1]
    if turn is not None:
        points = points @ special_ortho_group(d, seed=turn).rvs().T
    points = scale * points + shift * np.eye(d)[-1]
    return replace(manifold, points=points, arc_length=scale * manifold.arc_length)


def _alternating(size: int) -> NDArray[np.int64]:
    return (np.arange(whole("size", size, 4)) + 1) % 2  # two points a class


def _around(position: Array, total: float) -> Array:
    """Distance along a closed curve, the shorter way round."""
    gap = np.abs(position[:, None] - position)
    return np.minimum(gap, total - gap)


def _length_along(
    speed: Callable[[Array], Array], at: Array, start: float, stop: float
) -> tuple[Array, float]:
    """Arc length from ``start`` to each parameter in ``at``, and to ``stop``."""
    grid = np.linspace(start, stop, 20_001)
    length = cumulative_simpson(speed(grid), x=grid, initial=0.0)
    return np.interp(at, grid, length), float(length[-1])


def _manifold(
    name: str,
    points: Array,
    labels: NDArray[np.int64],
    coordinates: Array,
    distance: Array,
    length: Array,
) -> Manifold:
    apart = labels[:, None] != labels
    distance, length = (np.where(apart, np.inf, matrix) for matrix in (distance, length))
    return Manifold(name, points, labels, coordinates, distance, length)
