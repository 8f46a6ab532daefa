"""Does a step at x move points of its class more than others? By ranks, for many measures.

Matrices have the shape (runs, T, P, 2P): looks, update points, and test points of which the second
half is held out.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lecore.studies.dan.classification_measures import (
    DEFINITIONS,
    Step,
    kernel_measures,
    signed_change,
    steps_of,
)
from lecore.studies.dan.preference import class_means, superiority
from lecore.studies.dan.shares import Followed, Looked, by_run
from lecore.uncertainty import Interval, over_runs

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

OWN_MEASURES = (
    "signed logit",
    "signed logit, Adam",
    "normalised kernel",
    "stiffness",
    "stiffness of residuals",
)
"""Measures that are made for the question."""

RANKED: dict[str, tuple[str, Step]] = {
    "original, of logits": ("original, of logits", "SGD"),
    "original, one norm": ("original, one norm", "SGD"),
    "new, true divergence": ("new, true divergence", "SGD"),
    "new, true divergence, Adam": ("new, true divergence", "Adam"),
    "new, as coded, Adam": ("new, as coded", "Adam"),
    "new, as coded, no update": ("new, as coded", "none"),
}
"""Definitions of S_rel with a step, by their name in the figure."""

BLOCKS = ("signed logit", "normalised kernel", "stiffness")
"""Measures that are shown as matrices over classes."""

KINDS = ("Adam large", "Adam small", "SGD large", "SGD small")
"""Directions and sizes of :func:`lecore.studies.dan.step_comparison.compare_steps`."""

COMPARED = tuple(name for name in DEFINITIONS if name != "original, as coded")
"""Definitions for small steps; that one is in float32."""


class Pairs(NamedTuple):
    """Which pairs of points are of one class, each of shape (P, P).

    Attributes:
        same: All of them.
        apart: Without self-pairs.
        other: Pairs of two classes.
    """

    same: Mask
    apart: Mask
    other: Mask


def pairs_of(labels: NDArray[np.int64]) -> Pairs:
    """Pairs of points with these classes, shape (P,)."""
    same = np.equal.outer(labels, labels)
    return Pairs(same, same & ~np.eye(len(labels), dtype=bool), ~same)


def moments(looks: Array) -> dict[str, int]:
    """Places of three looks: the start, the last one of the first epoch, and the end.

    Args:
        looks: In epochs, shape (T,).
    """
    first = int(np.searchsorted(looks, 1, side="right")) - 1
    return {"start": 0, "first epoch": first, "end": len(looks) - 1}


def own_measures(followed: Followed, learning_rate: float) -> dict[str, Array]:
    """``OWN_MEASURES`` at all looks of all runs.

    Args:
        followed: One a run.
        learning_rate: Of the SGD steps.
    """
    targets, runs = torch.tensor(followed[0]["labels"]), len(followed)
    points = len(targets) // 2
    found = {}
    steps: dict[str, Step] = {"signed logit": "SGD", "signed logit, Adam": "Adam"}
    for name, step in steps.items():
        taken = [pair for one in followed for pair in steps_of(one, step, learning_rate)]
        signed = [signed_change(change, targets[:points]) for _, change in taken]
        found[name] = by_run(signed, runs)
    of_kernel = [
        kernel_measures(z, targets, torch.tensor(one["kernel"][t]).double())
        for one in followed
        for t, (z, _) in enumerate(steps_of(one, "none", learning_rate))
    ]
    for name in of_kernel[0]:
        found[name] = by_run([at_look[name][:points] for at_look in of_kernel], runs)
    return found


def ranked_definitions(found: Mapping[tuple[str, Step], Looked]) -> dict[str, Array]:
    """The definitions of ``RANKED``, from :func:`lecore.studies.dan.shares.similarities`."""
    return {name: found[words].similarity for name, words in RANKED.items()}


def superiority_curves(values: Array, pairs: Pairs) -> dict[str, Array]:
    """Chance that a point of the same class has a higher value, mean over update points.

    Args:
        values: A measure.
        pairs: Of its points.

    Returns:
        Shape (runs, T), on ``training`` and on ``held-out`` points. Self-pairs don't count.
    """
    points = len(pairs.same)
    places = {
        "training": (values[..., :points], pairs.apart),
        "held-out": (values[..., points:], pairs.same),
    }
    return {
        place: np.nanmean(superiority(part, mates, pairs.other), axis=-1)
        for place, (part, mates) in places.items()
    }


def superiority_numbers(
    curves: Mapping[str, Array], at: Mapping[str, int]
) -> dict[tuple[str, str], Interval]:
    """Those chances by place and moment, with intervals over runs; see :func:`moments`."""
    return {
        (place, moment): over_runs(curve[:, t], bounds=(0, 1))
        for place, curve in curves.items()
        for moment, t in at.items()
    }


def intraclass_ratio(kernel: Array, pairs: Pairs) -> Interval:
    """RR of Chen, He & Su (2020) in per cent, K̄ within over K̄ within plus K̄ between classes.

    Args:
        kernel: Normalised, shape (runs, P, P).
        pairs: Of its points.
    """
    intra, inter = kernel[:, pairs.apart].mean(axis=1), kernel[:, pairs.other].mean(axis=1)
    return over_runs(100 * intra / (intra + inter))


def stiffness_signs(stiffness: Array, pairs: Pairs) -> dict[str, Interval]:
    """Mean sign ``within`` and ``between`` classes (Fort et al., 2019), of shape (runs, P, P)."""
    kinds = {"within": pairs.apart, "between": pairs.other}
    return {
        kind: over_runs(np.sign(stiffness[:, mask]).mean(axis=1), bounds=(-1, 1))
        for kind, mask in kinds.items()
    }


def class_block(values: Array, labels: NDArray[np.int64]) -> Array:
    """Medians over pairs of different points, means over runs, by class.

    Args:
        values: Shape (runs, P, P).
        labels: Shape (P,).

    Returns:
        Shape (K, K).
    """
    medians = class_means(values, labels, labels, self_pairs=False, average="median")
    return np.asarray(medians.mean(axis=0))


def block_record(block: Array) -> dict[str, Any]:
    """A block as a record: how much more it has within classes than between them."""
    inside = np.eye(len(block), dtype=bool)
    gap = block[inside].mean() - block[~inside].mean()
    return {"value": gap, "block": block.round(5).tolist()}


def moment_numbers(
    measures: Mapping[str, Array], labels: NDArray[np.int64], moment: str, t: int
) -> dict[tuple[str, ...], Any]:
    """RR, signs of stiffness, and blocks at one look, by words of the record.

    Args:
        measures: From :func:`own_measures`.
        labels: Classes of the update points, shape (P,).
        moment: Its name.
        t: Its place.
    """
    pairs, points = pairs_of(labels), len(labels)
    at = {name: measures[name][:, t, :, :points] for name in BLOCKS}
    ratio = intraclass_ratio(at["normalised kernel"], pairs)
    numbers: dict[tuple[str, ...], Any] = {("rr", moment): ratio._asdict() | {"digits": 1}}
    for kind, sign in stiffness_signs(at["stiffness"], pairs).items():
        numbers["stiffness sign", kind, moment] = sign
    for name, values in at.items():
        if name == "signed logit":  # by the update point's own change
            values = values / np.diagonal(values, axis1=-2, axis2=-1)[..., None]
        numbers["block", name, moment] = block_record(class_block(values, labels))
    return numbers


def first_order_numbers(followed: Followed, pairs: Pairs) -> dict[str | tuple[str, ...], float]:
    """A step of the learning rate itself, after training, and its first order, by record.

    Args:
        followed: One a run.
        pairs: Of the update points.
    """
    points = len(pairs.same)
    errors = [
        np.abs(one["exact"] - one["first_order"]).max() / np.abs(one["exact"]).max()
        for one in followed
    ]
    numbers: dict[str | tuple[str, ...], float] = {"sgd-first-order-error": max(errors)}
    for name in ("exact", "first_order"):
        # ranks within a row know no denominator, which is 0 where a network is sure of its point
        moved = [
            np.linalg.norm(one[name][:, :points].astype(np.float64), axis=-1) for one in followed
        ]
        chances = [superiority(m, pairs.apart, pairs.other).mean() for m in moved]
        numbers["superiority after training", name] = float(np.mean(chances))
    return numbers


def direction_or_size(compared: Followed, pairs: Pairs) -> dict[tuple[str, str], Interval]:
    """Chance that the same class is higher, by definition and kind of step after training.

    Args:
        compared: From :func:`lecore.studies.dan.step_comparison.compare_steps`, one a run.
        pairs: Of the update points.

    Returns:
        By ``COMPARED`` and ``KINDS``.
    """
    found = {}
    for kind in KINDS:
        size = 1e-6 if "small" in kind else 1.0  # the limit, where nothing depends on it
        for name in COMPARED:
            values = [
                chance_of_own_class(name, one["logits"], one[kind].astype(float) * size, pairs)
                for one in compared
            ]
            found[name, kind] = over_runs(values, bounds=(0, 1))
    return found


def chance_of_own_class(
    definition: str, logits: NDArray[Any], change: NDArray[Any], pairs: Pairs
) -> float:
    """Chance that a training point of the step's class has the higher S_rel, mean over steps.

    Args:
        definition: Of S_rel, a key of ``DEFINITIONS``.
        logits: Of P update points and P held-out ones, shape (2P, C).
        change: Of them, by steps on the former, shape (P, 2P, C).
        pairs: Of the update points.
    """
    z, moved = (torch.tensor(part).double() for part in (logits, change))
    similarity = DEFINITIONS[definition](z, moved).similarity[:, : len(pairs.same)].numpy()
    return float(np.nanmean(superiority(similarity, pairs.apart, pairs.other)))
