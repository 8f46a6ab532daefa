"""How often is S_rel highest within the class of the update point? Shares, averaged in many ways.

Followed runs are those of :func:`lecore.studies.dan.classification.follow_classifier`: T looks,
K classes, P update points, and 2P test points of which the second half is held out.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lecore.studies.dan.classification_measures import (
    DEFINITIONS,
    EPSILON,
    Step,
    agreement_change,
    steps_of,
)
from lecore.studies.dan.preference import class_means, intraclass_share
from lecore.uncertainty import Interval, over_ratios, over_runs

Array = NDArray[np.float64]
Followed = Sequence[Mapping[str, NDArray[Any]]]

TAKEN: dict[Step, tuple[str, ...]] = {
    "Adam": tuple(DEFINITIONS),
    "SGD": tuple(DEFINITIONS),
    "none": ("new, as coded",),
}
"""Definitions by step; without one all others are 0 or 0/0."""

COLUMNS: dict[str, dict[str, Any]] = {
    "as published": {},
    "last epoch": {},
    "without self-pairs": {"self_pairs": False},
    "median": {"average": "median"},
    "ratio of means": {"average": "ratio of means"},
    "held-out points": {"held_out": True},
}
"""Ways to average, as settings of :func:`looks_by_class`."""

CLAIMED: dict[str, tuple[str, Step, str]] = {
    "new-as-coded-intraclass-share": ("new, as coded", "Adam", "as published"),
    "new-as-coded-intraclass-share-last-epoch": ("new, as coded", "Adam", "last epoch"),
    "original-as-coded-intraclass-share": ("original, as coded", "Adam", "as published"),
    "divergence-intraclass-share": ("new, true divergence", "Adam", "as published"),
    "divergence-intraclass-share-last-epoch": ("new, true divergence", "Adam", "last epoch"),
    "original-consistent-intraclass-share": ("original, one norm", "SGD", "as published"),
}
"""The shares that claims are about, by the names they have there."""


class Looked(NamedTuple):
    """A similarity at all looks of all runs.

    Attributes:
        similarity: Shape (runs, T, P, 2P).
        own: Its denominators, shape (runs, T, P).
    """

    similarity: Array
    own: Array


def similarities(followed: Followed, learning_rate: float) -> dict[tuple[str, Step], Looked]:
    """All definitions with all steps, on the same weights at the same looks.

    Args:
        followed: One a run.
        learning_rate: Of the SGD steps.
    """
    found = {}
    for step, names in TAKEN.items():
        taken = [pair for one in followed for pair in steps_of(one, step, learning_rate)]
        for name in names:
            ratios = [DEFINITIONS[name](z, change) for z, change in taken]
            parts = (by_run(list(part), len(followed)) for part in zip(*ratios, strict=True))
            found[name, step] = Looked(*parts)
    return found


def agreements(followed: Followed, step: Step, learning_rate: float) -> Array:
    """⟨p, p⁺ − p⟩ at all looks of all runs, shape (runs, T, P, 2P)."""
    taken = [pair for one in followed for pair in steps_of(one, step, learning_rate)]
    return by_run([agreement_change(z, change) for z, change in taken], len(followed))


def by_run(values: list[Tensor], runs: int) -> Array:
    """Stack what every look of every run gave, shape (runs, T, …)."""
    stacked = torch.stack(values).numpy()
    return stacked.reshape(runs, -1, *stacked.shape[1:])


def looks_by_class(
    looked: Looked, labels: NDArray[np.int64], *, held_out: bool = False, **how: Any
) -> Array:
    """Class means at the looks after the start.

    Args:
        looked: A similarity.
        labels: Classes of the update points, shape (P,); held-out points have the same.
        held_out: Take these as test points.
        **how: Settings of :func:`~lecore.studies.dan.preference.class_means`.

    Returns:
        Shape (runs, T − 1, K, K) by class of update and test point.
    """
    points = len(labels)
    similarity = looked.similarity[:, 1:, :, points:] if held_out else trained(looked.similarity)
    if how.get("average") == "ratio of means":
        how["own"] = looked.own[:, 1:]
    return class_means(similarity, labels, labels, **how)


def trained(values: Array) -> Array:
    """What is seen of the P training points at the looks after the start, (runs, T − 1, P, P)."""
    return values[:, 1:, :, : values.shape[2]]


def first_epoch(looks: Array) -> NDArray[np.bool_]:
    """Which looks after the start are in the first epoch; ``looks`` are in epochs, shape (T,)."""
    return looks[1:] <= 1


def last_epoch(looks: Array) -> NDArray[np.bool_]:
    """Which looks after the start are in the last epoch."""
    return looks[1:] > np.ceil(looks[-1]) - 1


def share_table(
    found: Mapping[tuple[str, Step], Looked], labels: NDArray[np.int64], looks: Array, seed: int
) -> dict[tuple[str, str, str], float | Interval]:
    """Share of runs, update classes and looks whose own class has the highest average.

    Args:
        found: From :func:`similarities`.
        labels: Classes of the update points, shape (P,).
        looks: In epochs, shape (T,).
        seed: Of 20 permutations of the labels, which say what self-pairs alone are worth.

    Returns:
        Values by definition, step and column, those of ``COLUMNS``, and ``labels permuted``.
    """
    table: dict[tuple[str, str, str], float | Interval] = {}
    for (name, step), looked in found.items():
        for column, how in COLUMNS.items():
            means = looks_by_class(looked, labels, **how)
            means = means[:, last_epoch(looks)] if column == "last epoch" else means
            shares = [intraclass_share(of_run) for of_run in means]
            table[name, step, column] = over_runs(shares, bounds=(0, 1))
        rng = np.random.default_rng(seed)
        permuted = [looks_by_class(looked, rng.permutation(labels)) for _ in range(20)]
        table[name, step, "labels permuted"] = float(np.mean([*map(intraclass_share, permuted)]))
    return table


def class_curves(looked: Looked, labels: NDArray[np.int64]) -> dict[tuple[str, str], Array]:
    """Class means through training, (runs, T − 1), by class of update and test point."""
    means = looks_by_class(looked, labels)
    pairs = np.ndindex(means.shape[2], means.shape[3])
    return {(str(update), str(test)): means[:, :, update, test] for update, test in pairs}


def growth(looked: Looked, labels: NDArray[np.int64], looks: Array) -> dict[str, Interval]:
    """Median class mean of the last epoch over that of the first, within and between classes.

    Returns:
        Geometric means over runs, with their intervals, ``intraclass`` and ``interclass``.
    """
    means = looks_by_class(looked, labels)
    inside = np.eye(means.shape[-1], dtype=bool)

    def medians(epoch: Any, pairs: NDArray[np.bool_]) -> Array:
        return np.median(means[:, epoch][..., pairs], axis=(1, 2))

    return {
        kind: over_ratios(medians(last_epoch(looks), pairs) / medians(first_epoch(looks), pairs))
        for kind, pairs in (("intraclass", inside), ("interclass", ~inside))
    }


def denominators(looked: Looked, looks: Array) -> dict[str, float]:
    """Median denominator in the first and the last epoch."""
    own, moments = looked.own[:, 1:], {"first": first_epoch(looks), "last": last_epoch(looks)}
    return {moment: float(np.median(own[:, at])) for moment, at in moments.items()}


def share_with_epsilon(looked: Looked, labels: NDArray[np.int64]) -> float:
    """Intraclass share if ε stood in the denominators, as it does in Dan et al.'s code."""
    damped = looked.similarity * (looked.own / (looked.own + EPSILON))[..., None]
    return intraclass_share(looks_by_class(Looked(damped, looked.own), labels))


def self_similarity_error(looked: Looked) -> float:
    """The largest abs(S_rel(x, x) − 1)."""
    own = np.diagonal(looked.similarity[..., : looked.own.shape[2]], axis1=-2, axis2=-1)
    return float(np.abs(own - 1).max())


def agreement_numbers(agreement: Array, labels: NDArray[np.int64]) -> dict[str, float | Interval]:
    """Do steps reinforce predictions within the class? Without self-pairs, after the start.

    Args:
        agreement: From :func:`agreements`.
        labels: Classes of the update points, shape (P,).

    Returns:
        ``share`` of classes and looks at which it is highest within the class, and its mean
        ``within`` and ``between`` classes.
    """
    means = class_means(trained(agreement), labels, labels, self_pairs=False)
    inside = np.eye(means.shape[-1], dtype=bool)
    return {
        "share": over_runs([intraclass_share(of_run) for of_run in means], bounds=(0, 1)),
        "within": float(means[..., inside].mean()),
        "between": float(means[..., ~inside].mean()),
    }


def claimed_numbers(
    found: Mapping[tuple[str, Step], Looked],
    table: Mapping[tuple[str, str, str], float | Interval],
    labels: NDArray[np.int64],
    looks: Array,
) -> dict[str | tuple[str, ...], float | Interval]:
    """The numbers that text and claims name, by record.

    Args:
        found: From :func:`similarities`.
        table: From :func:`share_table`.
        labels: Classes of the update points, shape (P,).
        looks: In epochs, shape (T,).
    """
    numbers: dict[str | tuple[str, ...], float | Interval] = {
        record: table[words] for record, words in CLAIMED.items()
    }
    error = self_similarity_error(found["original, one norm", "SGD"])
    numbers["original-consistent-self-similarity-error"] = error
    for name in ("original, as coded", "original, of logits"):
        for kind, factor in growth(found[name, "Adam"], labels, looks).items():
            numbers[name, kind, "growth"] = factor
    for moment, below in denominators(found["original, as coded", "Adam"], looks).items():
        numbers[f"denominator-{moment}-epoch"] = below
    damped = share_with_epsilon(found["new, true divergence", "Adam"], labels)
    numbers["share-of-divergence-with-epsilon"] = damped
    return numbers
