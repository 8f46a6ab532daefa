"""Learning rates of Figure 1's networks, some of them far beyond the largest stable one."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lecore.errors import DivergenceError
from lecore.similarity import correlation_with_distance
from lecore.studies.he_su.figure1_runs import (
    PAPER_WIDTH,
    Figure1Run,
    share_of_stable_rate,
    step_on_each_point,
    synthetic_problem,
    train_at_share,
)
from lecore.uncertainty import median_range

PAPER_LINEAR_RATE = 1e-5
"""Learning rate of He & Su's linear networks on synthetic sets."""


def paper_rate(width: int) -> float:
    """The rate of He & Su's linear network, or what stands for it at another width.

    Stable rates fall like one over the width, so the paper's rate at the paper's width stands for
    a larger one in a narrower network.
    """
    return PAPER_LINEAR_RATE * PAPER_WIDTH / width


def rate_runs(
    activations: Iterable[str],
    shares: Iterable[float],
    seeds: Iterable[int],
    *,
    width: int = PAPER_WIDTH,
    **settings: Any,
) -> list[Figure1Run]:
    """Networks on the torus, to be trained at several learning rates and at the paper's.

    Args:
        activations: Activations to try.
        shares: Learning rates as shares of the largest stable one.
        seeds: Seeds to try.
        width: Hidden units.
        settings: Other attributes of the runs.
    """
    rates = [{"rate_share": share} for share in shares] + [{"learning_rate": paper_rate(width)}]
    return [
        Figure1Run(name="torus", activation=activation, seed=seed, width=width, **(settings | rate))
        for activation in activations
        for rate in rates
        for seed in seeds
    ]


def train_past_the_edge(run: Figure1Run, device: str = "cpu") -> dict[str, float | None]:
    """Train at a rate that may be too large, and measure what is left of the network.

    Args:
        run: What to train.
        device: Where.

    Returns:
        ``share``, the rate over the largest stable one; ``correlation`` of S_rel with distance
        after training, and ``peak``, the highest loss on the way over the first one. Both are
        None if the loss passed 10¹².
    """
    problem = synthetic_problem(run, device)
    share = share_of_stable_rate(run, problem)
    try:
        losses = train_at_share(problem, share, run.steps, loss_limit=1e12)
    except DivergenceError:
        return {"share": share, "correlation": None, "peak": None}
    found = step_on_each_point(problem, run.probe_rate)
    r = correlation_with_distance(found.similarity, found.distance)
    return {"share": share, "correlation": r, "peak": max(losses) / losses[0]}


def rates_table(
    runs: Sequence[Figure1Run], found: Sequence[dict[str, float | None]]
) -> pd.DataFrame:
    """What :func:`train_past_the_edge` gives, a row a run.

    Args:
        runs: From :func:`rate_runs`.
        found: In their order.

    Returns:
        Columns ``activation``, ``seed``, ``paper`` (whether the rate is the paper's), ``share``,
        ``correlation`` and ``peak``. A run that diverged has no correlation and an infinite peak.
    """
    lines = [
        {"activation": run.activation, "seed": run.seed, "paper": run.learning_rate is not None}
        | one
        for run, one in zip(runs, found, strict=True)
    ]
    table = pd.DataFrame(lines).astype({"share": float, "correlation": float, "peak": float})
    return table.fillna({"peak": np.inf})


def at_the_paper_rate(table: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """What became of the networks that were trained at the paper's rate, by activation.

    Args:
        table: From :func:`rates_table`.

    Returns:
        The mean ``share`` of the largest stable rate, how many ``diverged``, and unless all did
        the median ``correlation`` of the others with their range; of both also each run's.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for activation, runs in table[table.paper].groupby("activation"):
        rest = runs.dropna(subset="correlation")
        shares, correlations = (rest[c].round(3).tolist() for c in ("share", "correlation"))
        share = {"value": runs.share.mean(), "runs": shares}
        found["paper rate share", activation] = share
        found["paper rate diverged", activation] = {"value": len(runs) - len(rest)}
        if len(rest):
            ends = median_range(rest.correlation)._asdict()
            found["paper rate correlation", activation] = ends | {"runs": correlations}
    return found


def diverged_share(table: pd.DataFrame, activation: str) -> float:
    """Share of the runs of :func:`rates_table` beyond the limit that diverged; 0 if none is."""
    beyond = table[(table.activation == activation) & (table.share > 1)]
    return float(np.isinf(beyond.peak).mean()) if len(beyond) else 0.0


def strongest_run(table: pd.DataFrame, activation: str) -> pd.Series:
    """The run of :func:`rates_table` with the strongest fall of similarity with distance."""
    survived = table[(table.activation == activation) & np.isfinite(table.peak)]
    return survived.loc[survived.correlation.idxmin()]
