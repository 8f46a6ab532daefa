"""Intervals of shares and of ratios over independent draws, with how many there were."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from lecore.uncertainty import over_runs


def share(met: ArrayLike) -> dict[str, Any]:
    """Share of draws that meet something, with Wilson's 95 % interval, as a record.

    Args:
        met: True or false, one a draw, of any shape.
    """
    hits = np.asarray(met, dtype=bool)
    test = stats.binomtest(int(hits.sum()), hits.size)
    low, high = test.proportion_ci(method="wilson")
    return {"value": float(hits.mean()), "low": float(low), "high": float(high), "n": hits.size}


def ratio(values: ArrayLike) -> dict[str, Any]:
    """Geometric mean of positive draws with Student's 95 % interval of logarithms, as a record.

    Args:
        values: One a draw, shape (draws,).
    """
    logs = np.log(np.asarray(values, dtype=np.float64))
    value, low, high = np.exp(over_runs(logs))
    return {"value": float(value), "low": float(low), "high": float(high), "n": len(logs)}


def mean(values: ArrayLike, bounds: tuple[float, float] | None = None) -> dict[str, Any]:
    """Mean of draws with Student's 95 % interval, as a record.

    Args:
        values: One a draw, shape (draws,).
        bounds: Range of the quantity.
    """
    return over_runs(values, bounds=bounds)._asdict() | {"n": np.size(values)}


def spread(values: ArrayLike) -> dict[str, Any]:
    """Median of draws with the range that holds 95 % of single ones, as a record.

    Args:
        values: One a draw, shape (draws,).
    """
    low, value, high = np.quantile(np.asarray(values, dtype=np.float64), [0.025, 0.5, 0.975])
    return {"value": float(value), "low": float(low), "high": float(high), "n": np.size(values)}
