"""What chance does in the ridge experiment: the pairs, which the released code does not seed.

One draw is the average over as many pairs as the released one has.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lecore.studies.dan.ridge import (
    RELEASED_PAIRS,
    RidgeRun,
    losses,
    pair_similarities,
    released_flow,
)
from lecore.uncertainty import over_ratios, proportion

Array = NDArray[np.float64]


def draw_numbers(run: RidgeRun, draws: int, *, seed: int) -> dict[str, Array]:
    """Ends, rises and ranges of S_rel in time, one number a draw of pairs.

    Args:
        run: The flow, at 6000 and 8000 among its times. Ranges of means depend on how many these
            are, since means have poles.
        draws: How many.
        seed: Of all pairs.

    Returns:
        Shape (draws,) by name. ``as coded`` is the mean over pairs and starts: its ``end``, divided
        once more by the pairs as published, its ``rise``, end over start, its ``late change``, end
        over t = 6000, its ``steadiness``, smallest over largest, and its ``class ratio``,
        intraclass over interclass at the end. ``consistent`` are means at the end (``interclass``
        and ``intraclass``), the ``mean range`` and the ``median range``, largest over smallest in
        time, and the ``steadiness`` of the median. ``matched penalty range`` is that of means with
        the penalty of the printed loss.
    """
    late = int(np.searchsorted(run.times, 6000))
    end = run.at([8000])
    found: dict[str, list[float]] = {}
    for draw in np.random.SeedSequence(seed).generate_state(draws):

        def curve(run: RidgeRun, variant: str, draw: int = int(draw)) -> Array:
            return pair_similarities(run, variant, seed=draw)

        coded = _mean(curve(run, "as coded, interclass"))
        consistent = curve(run, "consistent, interclass")
        matched = curve(run, "penalty of the printed loss, interclass")
        mean, median = _mean(consistent), np.median(consistent, axis=(1, 2))
        numbers = {
            "as coded end": coded[-1] / RELEASED_PAIRS,
            "as coded rise": coded[-1] / coded[0],
            "as coded late change": coded[-1] / coded[late],
            "as coded steadiness": 1 / _range(coded),
            "as coded class ratio": _mean(curve(end, "as coded, intraclass"))[0] / coded[-1],
            "consistent interclass": mean[-1],
            "consistent intraclass": _mean(curve(end, "consistent, intraclass"))[0],
            "consistent mean range": _range(mean),
            "consistent median range": _range(median),
            "consistent steadiness": 1 / _range(median),
            "matched penalty range": _range(_mean(matched)),
        }
        for name, number in numbers.items():
            found.setdefault(name, []).append(float(number))
    return {name: np.array(numbers) for name, numbers in found.items()}


def draw_records(
    drawn: Mapping[str, Array], features: int, published: float
) -> dict[tuple[str, ...], dict[str, Any]]:
    """Geometric means over draws, and what share of the draws looks like the published curve.

    Args:
        drawn: From :func:`draw_numbers`.
        features: p.
        published: End of the published curve.

    Returns:
        Records by words, of each number; the ``spread`` of two, median and central 95 % of single
        draws; shares of draws with the ``end near`` the published one, within a factor of two,
        ``late flat``, within a tenth, and both, ``near and flat``.
    """
    near = np.abs(np.log(drawn["as coded end"] / published)) <= np.log(2)
    flat = np.abs(drawn["as coded late change"] - 1) <= 0.1
    records = {name: over_ratios(values)._asdict() for name, values in drawn.items()}
    records["as coded end spread"] = _spread(drawn["as coded end"])
    records["consistent mean range spread"] = _spread(drawn["consistent mean range"])
    for name, entry in records.items():
        entry["digits"] = 3 if "end" in name or "range" in name else 0 if "rise" in name else 2
    shares = {
        "end near": near, "late flat": flat, "near and flat": near & flat,
        "nearly constant": drawn["consistent mean range"] <= 2,
    }  # fmt: skip
    for name, met in shares.items():
        records[name] = proportion(int(met.sum()), met.size)._asdict()
    return {("ridge", name, f"{features} features"): entry for name, entry in records.items()}


def loss_records(
    features: int, sets: int, *, pairs: int, starts: int, seed: int
) -> dict[tuple[str, ...], dict[str, Any]]:
    """End of the loss as coded, and its decrease from t = 7200 on, over data sets.

    Args:
        features: p.
        sets: How many data sets, each with random features and weights of its own.
        pairs: As in the released flow.
        starts: Of each.
        seed: First seed of the data.
    """
    times = np.array([7200, 8000])
    flows = [
        released_flow(features, times, pairs=pairs, starts=starts, seed=seed + k)
        for k in range(sets)
    ]
    curves = np.array([losses(flow)["as coded"] for flow in flows])
    kept = over_ratios(curves[:, 1] / curves[:, 0])._asdict()
    decrease = {"value": 1 - kept["value"], "low": 1 - kept["high"], "high": 1 - kept["low"]}
    found = {
        "loss as coded end": over_ratios(curves[:, 1])._asdict(),
        "loss as coded late decrease": decrease | {"n": sets, "digits": 4},
    }
    return {("ridge", name, f"{features} features"): entry for name, entry in found.items()}


def _spread(values: Array) -> dict[str, Any]:
    """Median of draws with the range that holds 95 % of single ones, no interval of the median."""
    low, value, high = np.quantile(values, [0.025, 0.5, 0.975])
    return {"value": float(value), "low": float(low), "high": float(high), "n": len(values)}


def _mean(similarity: Array) -> Array:
    """Mean over pairs and starts, shape (T,)."""
    mean: Array = similarity.mean(axis=(1, 2))
    return mean


def _range(curve: Array) -> float:
    """How much a positive curve moves: largest over smallest value."""
    return float(curve.max() / curve.min())
