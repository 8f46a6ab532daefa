"""Rows of He & Su's tables against each other, and against the printed numbers."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from lecore.errors import LecoreError
from lecore.studies.he_su.tables import OURS, Rows
from lecore.uncertainty import FEWEST, Interval, over_runs, proportion


def pairs_won(
    better: Sequence[pd.Series], worse: Sequence[pd.Series], *, ties: bool = False
) -> Interval:
    """Number of pairs won, by :func:`wins`: the sum of their shares of the replicates."""
    by_pair = wins(better, worse, ties=ties).groupby(level=0)
    return total_of_shares(by_pair.sum(), by_pair.size())


def total_of_shares(successes: ArrayLike, n: int | ArrayLike, confidence: float = 0.95) -> Interval:
    """Sum of the shares of several kinds of trial, such as the pairs of digits that are won.

    Covers the sum of their chances. Each share has its exact interval, and the distances of their
    ends add like standard errors (MOVER; Zou & Donner, 2008), so that a method that won every
    trial has an interval that reaches below all.

    Args:
        successes: Of each kind, shape (kinds,).
        n: Trials of each kind.
        confidence: Coverage in (0, 1).

    Raises:
        LecoreError: As :func:`lecore.uncertainty.proportion`, or if there are no kinds.
    """
    won = np.atleast_1d(np.asarray(successes, dtype=np.int64))
    trials = np.broadcast_to(np.asarray(n, dtype=np.int64), won.shape)
    if not len(won):
        raise LecoreError("need at least one kind of trial")
    parts = [proportion(k, m, confidence) for k, m in zip(won, trials, strict=True)]
    value, low, high, _ = np.array(parts).T
    total, fewest = float(value.sum()), int(trials.min())
    if fewest < FEWEST:
        return Interval(total, math.nan, math.nan, fewest)
    below, above = np.linalg.norm(value - low), np.linalg.norm(high - value)
    ends = max(total - float(below), 0.0), min(total + float(above), float(len(won)))
    return Interval(total, *ends, fewest)


def chance_of_all(rows: Rows, ours: Sequence[str] = OURS) -> float:
    """Chance that one run wins every pair, if each is won as often as here, independently."""
    return float(wins(*_split(rows, ours)).groupby(level=0).mean().prod())


def wins(
    better: Sequence[pd.Series], worse: Sequence[pd.Series], *, ties: bool = False
) -> pd.Series:
    """Whether the best of some rows is above the best of others.

    Both sides choose after the fact, so they are compared within each replicate.

    Args:
        better: Rows, as :func:`~lecore.studies.he_su.tables.accuracies` gives them: accuracies by
            pair and replicate.
        worse: Rows that they are compared with.
        ties: Whether a tie counts as won.

    Returns:
        By pair and replicate, of the replicates that all rows have.
    """

    def best(rows: Sequence[pd.Series]) -> pd.DataFrame:
        return pd.concat(rows).groupby(level=[0, 1]).max()

    numbers = {"better": best(better), "worse": best(worse)}
    both = pd.concat(numbers, axis=1, join="inner")
    won = both.better > both.worse
    if ties:
        won |= both.better == both.worse
    return won


def against_the_rest(rows: Rows, ours: Sequence[str] = OURS, *, ties: bool = False) -> Interval:
    """:func:`pairs_won` of some rows of a table, by name, against all others."""
    return pairs_won(*_split(rows, ours), ties=ties)


def _split(rows: Rows, ours: Sequence[str]) -> tuple[list[pd.Series], list[pd.Series]]:
    """Rows by those names, and all others."""
    return (
        [values for name, values in rows.items() if name in ours],
        [values for name, values in rows.items() if name not in ours],
    )


def off_printed(
    rows: Rows, printed: Mapping[str, Sequence[float]], names: Sequence[str], pairs: Sequence[str]
) -> NDArray[np.float64]:
    """How far cells on the paper's own images are from the printed numbers, to their digit.

    Args:
        rows: Rows of a table; replicate 0 has the paper's images.
        printed: Rows of the same table in the paper.
        names: Rows to compare.
        pairs: The columns of the printed table.

    Returns:
        Absolute differences in points, shape (rows · pairs,).
    """
    ours = [[float(rows[name].loc[pair, 0]) for pair in pairs] for name in names]
    difference: NDArray[np.float64] = np.abs(np.round(ours, 1) - [printed[n] for n in names])
    return difference.ravel()


def inside_ranges(
    rows: Rows, printed: Mapping[str, Sequence[float]], names: Sequence[str], pairs: Sequence[str]
) -> NDArray[np.bool_]:
    """Whether printed numbers lie in the range of our replicates, to their digit.

    Args:
        rows: Rows of a table.
        printed: Rows of the same table in the paper.
        names: Rows to compare.
        pairs: The columns of the printed table.

    Returns:
        Shape (rows · pairs,).
    """
    cells = [rows[name].loc[pair] for name in names for pair in pairs]
    low, high = (np.round([getattr(cell, end)() for cell in cells], 1) for end in ("min", "max"))
    numbers = np.ravel([printed[name] for name in names])
    within: NDArray[np.bool_] = (low <= numbers) & (numbers <= high)
    return within


def over_replicates(row: pd.Series, bounds: tuple[float, float] | None = None) -> Interval:
    """Mean over pairs of a row, or of a difference of two, with its interval over replicates."""
    return over_runs(row.groupby(level="replicate").mean().to_numpy(), bounds=bounds)


def margin(row: pd.Series, column: str) -> Interval:
    """How far a column of a row is above the best of the other columns, over replicates."""
    wide = row.unstack(level=0).dropna()
    return over_runs(wide[column] - wide.drop(columns=column).max(axis=1))
