"""A study over the checkpoints of a training, in a line each."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from lecore.study.findings import similarities_among, spread

if TYPE_CHECKING:
    from lecore.study.study import Study

SAMPLE = 64
"""Training examples among which similarities are measured."""


def over_checkpoints(
    study: "Study", checkpoints: Iterable[tuple[str, "Study"]], classes: bool
) -> pd.DataFrame:
    """Losses, accuracies and relative similarities, then and now.

    Args:
        study: At the present weights, which come last.
        checkpoints: Names and studies at earlier ones.
        classes: Whether the targets are classes.

    Returns:
        A line each with ``weights``; ``training loss`` and ``test loss``, means; of classes
        ``test, right (%)``; and medians of S_rel over pairs of training examples, ``S_rel within
        classes`` and ``S_rel between classes``, or ``S_rel`` of other targets.
    """
    lines = [_line(name, then, classes) for name, then in checkpoints]
    return pd.DataFrame([*lines, _line("now", study, classes)])


def _line(name: str, study: "Study", classes: bool) -> dict[str, Any]:
    train, test = study.predicted()
    line = {
        "weights": name,
        "training loss": float(train.losses.mean()),
        "test loss": float(test.losses.mean()),
    }
    if classes and study.test.targets is not None:
        right = test.predictions.argmax(1) == study.test.targets.cpu()
        line["test, right (%)"] = 100 * float(right.double().mean())
    return line | _similarities(study, classes)


def _similarities(study: "Study", classes: bool) -> dict[str, float]:
    some = spread(len(study.train), SAMPLE)
    targets, similarity = study._targets(study.train)[some], similarities_among(study, some)
    others = ~torch.eye(len(some), dtype=torch.bool)
    if not classes:
        return {"S_rel": _median(similarity[others])}
    same = (targets[:, None] == targets).cpu()
    return {
        "S_rel within classes": _median(similarity[others & same]),
        "S_rel between classes": _median(similarity[~same]),
    }


def _median(values: torch.Tensor) -> float:
    known = values[values.isfinite()].double().numpy()
    return float(np.median(known)) if known.size else float("nan")
