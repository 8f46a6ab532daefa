"""Curves whose phases are known, judged as S_rel is: how often does the criterion err?"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lecore.seeding import seeded
from lecore.studies.dan.phases import GRID, phases
from lecore.uncertainty import proportion

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, Array], Array]


def logarithm(rng: np.random.Generator, time: Array) -> Array:
    """log(1 + t/τ) with τ from 0.001 to 10 of the time."""
    scale = 10 ** rng.uniform(-3, 1)
    return np.log1p(time / scale) / np.log1p(1 / scale)


def exponential(rng: np.random.Generator, time: Array) -> Array:
    """A relaxation exp(−t/τ) with τ from 0.01 to 1 of the time."""
    relaxation: Array = np.exp(-time / 10 ** rng.uniform(-2, 0))
    return relaxation


def random_walk(rng: np.random.Generator, time: Array) -> Array:
    """A sum of independent steps, over its range."""
    walk = rng.normal(size=GRID).cumsum()
    return np.interp(time, np.linspace(0, 1, GRID), (walk - walk.min()) / np.ptp(walk))


def white_noise(rng: np.random.Generator, time: Array) -> Array:
    """Independent values."""
    return rng.uniform(0, 1, len(time))


def corner(rng: np.random.Generator, time: Array) -> Array:
    """A line that falls up to a corner between 0.05 and 0.4 of the time, then a level one."""
    return np.maximum(1 - time / rng.uniform(0.05, 0.4), 0)


CONTROLS: dict[str, Draw] = {
    "white noise": white_noise,
    "random walk": random_walk,
    "logarithm": logarithm,
    "exponential": exponential,
    "two lines": corner,
}
"""Curves between 0 and 1; only the last has two phases."""


def control_curves(name: str, steps: ArrayLike, count: int, seed: int = 0) -> Array:
    """Curves that change by about half of their start, with noise of 1 % of the change.

    Args:
        name: One of ``CONTROLS``.
        steps: When they are looked at, increasing from 0, shape (T,).
        count: How many.
        seed: Of all.

    Returns:
        Shape (count, T), positive.
    """
    looks = np.asarray(steps, dtype=np.float64)
    time = looks / looks.max()
    with seeded(seed) as rng:
        shapes = [CONTROLS[name](rng, time) for _ in range(count)]
        return 1.5 + 0.5 * (np.stack(shapes) + 0.01 * rng.normal(size=(count, len(time))))


def control_shares(steps: ArrayLike, count: int, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Share of each control that levels off, and that is taken for two phases, by name.

    Args:
        steps: When curves are looked at, shape (T,).
        count: Curves of each control.
        seed: Of all.
    """
    found = {}
    for name in CONTROLS:
        judged = [phases(steps, curve) for curve in control_curves(name, steps, count, seed)]
        found[name] = {
            "levels off": proportion(sum(one.levels_off for one in judged), count)._asdict(),
            "two phases": proportion(sum(one.two_phases for one in judged), count)._asdict(),
        }
    return found
