"""Numbers of the chapter on pretrained networks, by the names of their records."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import gmean

from lecore.studies.own.pretrained_measures import Moved
from lecore.uncertainty import over_runs


def similar_over_distant(found: Mapping[str, Sequence[Moved]]) -> dict[str, Any]:
    """How much more similar images are moved than distant ones.

    ``similar-over-distant-p-value`` is the largest over trained networks, with the range;
    ``similar-over-distant-<kind>`` the mean log₁₀ ratio; ``relative-similar`` and
    ``relative-distant`` are medians over trained networks.

    Args:
        found: Results by kind of network, ``trained`` among them, one for each network.
    """
    p_values = [result.p_value for result in found["trained"]]
    low, high = min(p_values), max(p_values)
    similar, distant = np.median([result.relative for result in found["trained"]], axis=0)
    ratios = {
        f"similar-over-distant-{kind}": over_runs([result.log_ratio for result in results])
        for kind, results in found.items()
    }
    p_value = {"value": high, "low": low, "high": high, "n": len(p_values), "digits": 4}
    return {
        "similar-over-distant-p-value": p_value,
        **ratios,
        "relative-similar": similar,
        "relative-distant": distant,
    }


def batch_changes(ratios: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """How much more the classes of a batch are moved than a third one.

    ``batch-change-log-ratio-<kind>`` is the mean log₁₀ ratio; ``batch-change-ratio`` the geometric
    mean over trained networks, with their range.

    Args:
        ratios: By kind of network, ``trained`` among them, one ratio for each network.
    """
    trained = ratios["trained"]
    logarithms = {
        f"batch-change-log-ratio-{kind}": over_runs(np.log10(values))
        for kind, values in ratios.items()
    }
    ends = {"low": min(trained), "high": max(trained), "n": len(trained)}
    middle = {"value": gmean(trained), **ends, "digits": 1}
    return {**logarithms, "batch-change-ratio": middle}
