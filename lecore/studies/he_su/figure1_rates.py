"""The linear network of Figure 1 and its learning rate, far beyond the largest stable one."""

import itertools
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
from torch import nn

from lecore.errors import DivergenceError
from lecore.similarity import correlation_with_distance
from lecore.studies.he_su.figure1_runs import (
    PAPER_WIDTH,
    Problem,
    largest_stable_rate,
    step_on_each_point,
    train_at_share,
)

PAPER_LINEAR_RATE = 1e-5
"""Learning rate of He & Su's linear networks on synthetic sets."""


def paper_rate_share(problem: Problem) -> float:
    """The rate of He & Su's linear network as a multiple of the largest stable one.

    Stable rates fall like one over the width, so the paper's rate at the paper's width stands for
    a larger one at this width.

    Args:
        problem: A two-layer network of any width at its initial weights.
    """
    hidden = problem.network[1]
    assert isinstance(hidden, nn.Linear)
    rate = PAPER_LINEAR_RATE * PAPER_WIDTH / hidden.out_features
    return rate / largest_stable_rate(problem)


def rate_sweep(
    draw: Callable[[str, int], Problem],
    activations: Iterable[str],
    shares: Iterable[float],
    seeds: Iterable[int],
    *,
    steps: int,
    probe_rate: float,
) -> pd.DataFrame:
    """Networks trained at several learning rates, some of them beyond the largest stable one.

    Args:
        draw: A fresh problem by activation and seed.
        activations: Activations to try.
        shares: Learning rates as shares of the largest stable one.
        seeds: Seeds to try.
        steps: Training steps.
        probe_rate: η of the steps that measure similarity.

    Returns:
        Columns ``activation``, ``share``, ``seed``, ``correlation`` (of S_rel with
        distance after training) and ``peak`` (highest loss on the way over the first one). A run
        whose loss passes 10¹² has no correlation and an infinite peak.
    """

    def outcome(problem: Problem, share: float) -> tuple[float, float]:
        try:
            losses = train_at_share(problem, share, steps, loss_limit=1e12)
        except DivergenceError:
            return np.nan, np.inf
        found = step_on_each_point(problem, probe_rate)
        r = correlation_with_distance(found.similarity, found.distance)
        return r, max(losses) / losses[0]

    rows = [
        (activation, share, seed, *outcome(draw(activation, seed), share))
        for activation, share, seed in itertools.product(activations, shares, seeds)
    ]
    return pd.DataFrame(rows, columns=["activation", "share", "seed", "correlation", "peak"])


def diverged_share(sweep: pd.DataFrame, activation: str) -> float:
    """Share of the runs of :func:`rate_sweep` beyond the limit that diverged; 0 if none is."""
    beyond = sweep[(sweep.activation == activation) & (sweep.share > 1)]
    return float(np.isinf(beyond.peak).mean()) if len(beyond) else 0.0


def strongest_run(sweep: pd.DataFrame, activation: str) -> pd.Series:
    """The run of :func:`rate_sweep` with the strongest fall of similarity with distance."""
    survived = sweep[(sweep.activation == activation) & np.isfinite(sweep.peak)]
    return survived.loc[survived.correlation.idxmin()]
