"""S_rel between classes, and the pairs of examples behind it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lecore.study.findings import similarities_among, spread

if TYPE_CHECKING:
    from lecore.study.study import Study

SAMPLE = 160
"""Training examples among which they are measured, about."""


class ClassPairs(NamedTuple):
    """S_rel of training examples by their classes.

    Attributes:
        examples: How many were measured.
        medians: Over pairs of different examples; a row is the class of the step.
        strongest: By the numbers of both classes, rows of the training examples of the pair with
            the largest, and this.
    """

    examples: int
    medians: pd.DataFrame
    strongest: dict[tuple[int, int], tuple[int, int, float]]


def class_pairs(study: "Study", names: Sequence[str]) -> ClassPairs | None:
    """Measure S_rel by class, to first order of a plain step; ``None`` if there is no pair.

    Args:
        study: Whose training examples are classes.
        names: Of these.
    """
    targets = study._targets(study.train)
    some = evenly(targets.cpu(), len(names), max(2, SAMPLE // len(names)))
    similarity = similarities_among(study, some)
    similarity.fill_diagonal_(torch.nan)
    if not similarity.isfinite().any():
        return None
    classes, known = targets[some].cpu(), similarity.isfinite()
    medians = np.full((len(names), len(names)), np.nan)
    strongest = {}
    for a in range(len(names)):
        for b in range(len(names)):
            here = known & (classes[:, None] == a) & (classes == b)
            if here.any():
                medians[a, b] = np.median(similarity[here].numpy())
                place = int(similarity.masked_fill(~here, -1).argmax())
                i, j = divmod(place, len(some))
                strongest[a, b] = int(some[i]), int(some[j]), float(similarity[i, j])
    return ClassPairs(len(some), pd.DataFrame(medians, names, names), strongest)


def evenly(targets: Tensor, classes: int, most: int) -> Tensor:
    """Rows of at most so many examples of each class, from its first to its last."""
    found = []
    for number in range(classes):
        rows = (targets == number).nonzero()[:, 0]
        if len(rows):
            found.append(rows[spread(len(rows), most)])
    return torch.cat(found).sort().values
