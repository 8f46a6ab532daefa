"""Two phases of S_rel in regression: their numbers over targets and seeds, and those of the fit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gmean

from lecore.studies.dan.phases import phases
from lecore.studies.dan.regression import RegressionPath
from lecore.uncertainty import over_ratios, over_runs, proportion

Paths = Sequence[Sequence[RegressionPath]]
"""Runs of one kind of network, by target and seed."""

BOUNDS: dict[str, tuple[float, float]] = {
    "change": (0, np.inf),
    "plateau height": (0, 1),
    "change point": (0, 1),
    "lines explain": (0, 1),
    "smooth explains": (0, 1),
}
"""Numbers of :class:`~lecore.studies.dan.phases.Phases` whose mean is taken."""


def phase_numbers(paths: Paths) -> dict[str, dict[str, Any]]:
    """How S_rel moves in one kind of network.

    Args:
        paths: Its runs, at least three seeds, all of different data and weights.

    Returns:
        Records by quantity, the numbers of :class:`~lecore.studies.dan.phases.Phases`, averaged
        over targets, with intervals over seeds (``slope ratio`` and ``left ratio``: geometric
        means; ``change point`` only where every curve has one); the shares of runs that ``levels
        off`` and show ``two phases``; ``trained end over start`` and ``held out end over start``.
    """
    judged = [[phases(run.steps, run.trained) for run in of_target] for of_target in paths]

    def each(attribute: str) -> NDArray[np.float64]:
        values = [[getattr(one, attribute) for one in of_target] for of_target in judged]
        return np.array(values, dtype=np.float64)

    numbers = {}
    for name, bounds in BOUNDS.items():
        values = each(name.replace(" ", "_"))
        if np.isfinite(values).all():
            numbers[name] = over_runs(values.mean(axis=0), bounds=bounds)._asdict()
    for name in ("slope ratio", "left ratio"):
        numbers[name] = over_ratios(gmean(each(name.replace(" ", "_")), axis=0))._asdict()
    for name in ("levels off", "two phases"):
        met = each(name.replace(" ", "_"))
        numbers[name] = proportion(int(met.sum()), met.size)._asdict()
    for name in ("trained", "held_out"):
        curves = [[getattr(run, name) for run in of_target] for of_target in paths]
        ends = np.array([[curve[-1] / curve[0] for curve in of_target] for of_target in curves])
        over = over_ratios(gmean(ends, axis=0))._asdict()
        numbers[f"{name.replace('_', ' ')} end over start"] = over
    return numbers


def corner_numbers(paths: Paths) -> dict[str, dict[str, Any]]:
    """Corners of S_rel and of the loss, which two lines always have, and what the lines are worth.

    Args:
        paths: Runs by kind and target, and seed.

    Returns:
        Means over kinds and targets with intervals over seeds, of ``corner difference``, the change
        point of S_rel less that of the loss, as parts of the time; ``similarity lines explain``
        and ``loss lines explain``, the part of the variance that the lines explain.
    """

    def of(run: RegressionPath) -> tuple[float, float, float]:
        of_loss = phases(run.steps, run.losses / run.losses[0] + 1e-12)  # which may end at 0
        found = phases(run.steps, run.trained)
        difference = found.change_point - of_loss.change_point
        return difference, found.lines_explain, of_loss.lines_explain

    each = np.array([[of(run) for run in runs] for runs in paths]).mean(axis=0)
    names = ("corner difference", "similarity lines explain", "loss lines explain")
    bounds = (None, (0.0, 1.0), (0.0, 1.0))
    return {
        name: over_runs(column, bounds=limits)._asdict()
        for name, column, limits in zip(names, each.T, bounds, strict=True)
    }
