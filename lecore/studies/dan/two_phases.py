"""Two phases of S_rel in regression: their numbers over targets and seeds, and those of the fit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gmean

from lecore.studies.dan.phases import phases
from lecore.studies.dan.regression import RegressionPath
from lecore.uncertainty import Interval, over_ratios, over_runs

Paths = Sequence[Sequence[RegressionPath]]
"""Runs of one kind of network, by target and seed."""


def phase_numbers(paths: Paths) -> dict[str, dict[str, Any]]:
    """How S_rel moves in one kind of network, with intervals over seeds.

    Args:
        paths: Its runs.

    Returns:
        Values by quantity, of :class:`~lecore.studies.dan.phases.Phases` as ``rate ratio`` (its
        geometric mean), ``plateau height``, ``change`` and, where every curve has one, ``change
        point``; and ``trained end over start`` and ``held out end over start``.
    """
    judged = [[phases(run.steps, run.trained) for run in of_target] for of_target in paths]
    ratio, height, change, corner, _ = np.moveaxis(np.array(judged), -1, 0)
    numbers = {
        "rate ratio": over_ratios(gmean(ratio, axis=0)),
        "plateau height": over_seeds(height, (0, 1)),
        "change": over_seeds(change, (0, np.inf)),
    }
    if np.isfinite(corner).all():
        numbers["change point"] = over_seeds(corner, (0, 1))
    for name in ("trained", "held_out"):
        curves = [[getattr(run, name) for run in of_target] for of_target in paths]
        ends = np.array([[curve[-1] / curve[0] for curve in of_target] for of_target in curves])
        numbers[f"{name.replace('_', ' ')} end over start"] = over_seeds(ends, (0, np.inf))
    return {name: interval._asdict() for name, interval in numbers.items()}


def over_seeds(values: NDArray[np.float64], bounds: tuple[float, float] | None) -> Interval:
    """Mean over targets, then over seeds with its interval; shape (targets, seeds)."""
    return over_runs(values.mean(axis=0), bounds=bounds)


def corner_difference(paths: Paths) -> Interval:
    """Change point of S_rel less that of the loss, as parts of the time.

    Args:
        paths: Runs by kind and target, and seed.

    Returns:
        Mean over kinds and targets, then over seeds with its interval.
    """

    def difference(run: RegressionPath) -> float:
        of_loss = phases(run.steps, run.losses / run.losses[0] + 1e-12)  # which may end at 0
        return phases(run.steps, run.trained).change_point - of_loss.change_point

    return over_seeds(np.array([[difference(run) for run in runs] for runs in paths]), None)
