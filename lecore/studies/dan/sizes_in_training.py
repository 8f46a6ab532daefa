"""When does the size of a step take over? Adam's first step at four sizes, through training."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lecore.studies.dan.classification import (
    Probes,
    adam_change,
    classifier,
    logits,
    train_classifier,
)
from lecore.studies.dan.problem import Classification
from lecore.studies.dan.ranks import Pairs, chance_of_own_class
from lecore.studies.dan.shares import Followed
from lecore.tracking import Tracker
from lecore.uncertainty import Interval, over_runs

SIZES = (1.0, 0.3, 0.1, 0.01)
"""Parts of the learning rate of training."""

DEFINED = ("new, true divergence", "original, one norm", "original, of logits")
"""Definitions of S_rel by which points are ranked."""


def size_name(size: float) -> str:
    """Such as 1 or 0.3."""
    return f"{size:g}"


def follow_sizes(run: Classification, device: str, scratch: Path) -> dict[str, NDArray[Any]]:
    """Train a classifier, and every few steps take a new Adam's first step on each probe.

    With P probes, C classes, S ``SIZES`` and T looks, of which the first is before training:

    Args:
        run: What to train.
        device: Where.
        scratch: Folder for what an interrupted run needs to go on.

    Returns:
        ``epochs`` (T,), times of the looks; ``labels`` (2P,); ``logits`` (T, 2P, C); and
        ``changes`` of them, (T, S, P, 2P, C).
    """
    problem, network, probes = classifier(run, device)
    per_epoch = len(problem.targets) // run.batch_size
    looks = range(0, run.epochs * per_epoch + 1, run.every)
    given: dict[str, Any] = {"probes": probes, "learning_rate": run.learning_rate}
    tracker = Tracker(
        {"logits": partial(logits, points=probes.points), "changes": partial(changes, **given)},
        every=1, file=scratch / "sizes.npz",
    )  # fmt: skip
    train_classifier(run, network, problem, scratch, tracker, set(looks))
    return {
        "epochs": np.array(tracker.steps) / per_epoch,
        "labels": probes.labels.cpu().numpy(),
        "logits": tracker.curve("logits").astype(np.float32),
        "changes": tracker.curve("changes").astype(np.float32),
    }


def changes(model: nn.Module, probes: Probes, learning_rate: float) -> Tensor:
    """Change of the logits after a new Adam's step of each size, (S, P, 2P, C)."""
    return torch.stack([adam_change(model, probes, size * learning_rate) for size in SIZES])


def size_curves(followed: Followed, pairs: Pairs) -> dict[tuple[str, float], NDArray[np.float64]]:
    """Chance that a point of the same class has the higher value, through training.

    Args:
        followed: From :func:`follow_sizes`, one a run.
        pairs: Of the update points.

    Returns:
        By definition and size, shape (runs, T).
    """
    return {
        (name, size): np.array(
            [
                [
                    chance_of_own_class(name, z, change[k], pairs)
                    for z, change in zip(one["logits"], one["changes"], strict=True)
                ]
                for one in followed
            ]
        )
        for name in DEFINED
        for k, size in enumerate(SIZES)
    }


def lost_preference(
    curves: dict[tuple[str, float], NDArray[np.float64]],
) -> dict[tuple[str, str], Interval]:
    """How much of the smallest step's preference the largest has lost, early and at the end.

    Args:
        curves: From :func:`size_curves`.

    Returns:
        By definition, and ``start``, ``first`` (the look after it) and ``end``: the chance of the
        smallest step less that of the largest, over runs.
    """
    return {
        (name, when): over_runs(curves[name, min(SIZES)][:, t] - curves[name, max(SIZES)][:, t])
        for name in DEFINED
        for when, t in (("start", 0), ("first", 1), ("end", -1))
    }
