"""Numbers of the chapters on our own questions, recorded."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import gmean

from lecore.companion.records import record
from lecore.studies.own.pretrained_measures import Moved
from lecore.uncertainty import over_runs


def record_similar_over_distant(found: Mapping[str, Sequence[Moved]]) -> None:
    """Record how much more similar images are moved than distant ones.

    ``similar-over-distant-p-value`` is the largest over trained networks, with the range;
    ``similar-over-distant-<kind>`` the mean log₁₀ ratio; ``relative-similar`` and
    ``relative-distant`` are medians over trained networks.

    Args:
        found: Results by kind of network, ``trained`` among them, one for each network.
    """
    p_values = [result.p_value for result in found["trained"]]
    low, high = min(p_values), max(p_values)
    record("similar-over-distant-p-value", high, low=low, high=high, digits=4)
    for kind, results in found.items():
        ratio = over_runs([result.log_ratio for result in results])
        record(f"similar-over-distant-{kind}", **ratio._asdict())
    similar, distant = np.median([result.relative for result in found["trained"]], axis=0)
    record("relative-similar", similar)
    record("relative-distant", distant)


def record_batch_changes(ratios: Mapping[str, Sequence[float]]) -> None:
    """Record how much more the classes of a batch are moved than a third one.

    ``batch-change-log-ratio-<kind>`` is the mean log₁₀ ratio; ``batch-change-ratio`` the geometric
    mean over trained networks, with their range.

    Args:
        ratios: By kind of network, ``trained`` among them, one ratio for each network.
    """
    for kind, values in ratios.items():
        record(f"batch-change-log-ratio-{kind}", **over_runs(np.log10(values))._asdict())
    trained = ratios["trained"]
    record("batch-change-ratio", gmean(trained), low=min(trained), high=max(trained), digits=1)
