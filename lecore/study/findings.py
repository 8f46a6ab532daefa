"""What a report says of a study, in numbers."""

from collections.abc import Callable, Sequence
from operator import index
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lecore.changes import linearized_change, linearized_change_by_layer, prediction_change
from lecore.engine.points import kept
from lecore.errors import LecoreError
from lecore.similarity import size_of
from lecore.study.influence import loss_kernel_by_layer
from lecore.study.predictions import Predicted, predicted

if TYPE_CHECKING:
    from lecore.study.study import Study

SAMPLE = 16
"""Training and test examples on which the first order is held against real steps."""


TOGETHER = 32
"""Examples whose own changes are measured together, though only with each other."""


class Trust(NamedTuple):
    """How far the first order is from a real step.

    Attributes:
        rows: Training examples that were looked at.
        columns: Test examples.
        median: Of ‖exact − linear‖ / ‖exact‖ over training examples; NaN if nothing moves, or
            some move beyond all numbers.
        largest: Of it.
    """

    rows: int
    columns: int
    median: float
    largest: float


def spread(count: int, most: int) -> Tensor:
    """Row numbers from the first to the last, evenly, at most so many."""
    places = torch.linspace(0, count - 1, min(count, most), dtype=torch.float64)
    return places.round().long().unique()


def trust(network: Any, rows: Tensor, targets: Tensor, columns: Tensor, **step: Any) -> Trust:
    """Hold the linearised change against real steps, on some examples.

    Args:
        network: From (n, …) to (n, outputs).
        rows: Training points.
        targets: Their targets.
        columns: Test points.
        step: As :func:`~lecore.changes.prediction_change` takes it.
    """
    some, few = spread(len(rows), SAMPLE), spread(len(columns), SAMPLE)
    points = network, rows[some], targets[some], columns[few]
    exact = prediction_change(*points, **step).flatten(1).double().cpu()
    linear = linearized_change(*points, **step).flatten(1).double().cpu()
    size = exact.norm(dim=1)
    off = ((exact - linear).norm(dim=1) / size)[size > 0]
    if not len(off) or not off.isfinite().all():
        return Trust(len(some), len(few), float("nan"), float("nan"))
    return Trust(len(some), len(few), float(np.median(off.numpy())), float(off.max()))


class Held(NamedTuple):
    """How far influences are from what real steps did to the loss.

    Attributes:
        pairs: How many were looked at.
        median: Of ``|fall of the loss − influence| / |fall of the loss|`` over them; NaN if a step
            moves the loss beyond all numbers.
        largest: Of it.
    """

    pairs: int
    median: float
    largest: float


def held(study: "Study", strongest: pd.DataFrame) -> Held | None:
    """Hold influences against the loss after real steps; ``None`` without a learning rate.

    Args:
        study: Whose influences they are.
        strongest: Some of them, with ``train``, ``test`` and ``influence``.
    """
    if study.learning_rate is None or not len(strongest):
        return None
    (left, rows), (right, columns) = (
        torch.tensor(strongest[name].to_numpy()).unique(return_inverse=True)
        for name in ("train", "test")
    )
    points, targets = study._columns, study._targets(study.test)
    with study._trained():
        change = prediction_change(
            study._network, study._rows[left], study._targets(study.train)[left], points[right],
            learning_rate=study.learning_rate, loss=study.loss,
        )  # fmt: skip
    pairs = points[right[columns]], targets[right[columns]]
    before, after = (
        predicted(study._network, *pairs, study.loss, None, moved).losses
        for moved in (None, change[rows.to(change.device), columns.to(change.device)])
    )
    fall = before - after
    off = ((fall - torch.tensor(strongest.influence.to_numpy())) / fall).abs()
    off = off[fall != 0]
    if not len(off):
        return None
    if not off.isfinite().all():
        return Held(len(off), float("nan"), float("nan"))
    return Held(len(off), float(np.median(off.numpy())), float(off.max()))


def similarities_among(study: "Study", rows: Tensor) -> Tensor:
    """S_rel of some training examples, to first order of a plain step.

    Args:
        study: Whose examples they are.
        rows: Of them.

    Returns:
        Shape (some, some), float64; NaN where a step does not move its own prediction.
    """
    with study._trained():
        change = linearized_change(
            study._network, study._rows[rows], study._targets(study.train)[rows],
            learning_rate=1.0, loss=study.loss, dtype=study.dtype,
        )  # fmt: skip
    size = size_of(change).cpu().double()
    own = size.diagonal()
    return size / own.where(own > 0, torch.nan)[:, None]


def own_changes(
    measure: Callable[..., Tensor], network: Any, rows: Tensor, targets: Tensor, **step: Any
) -> Tensor:
    """How far a step on each training example moves its own prediction, shape (n, outputs).

    Args:
        measure: :func:`~lecore.changes.prediction_change` or
            :func:`~lecore.changes.linearized_change`.
        network: From (n, …) to (n, outputs).
        rows: Training points.
        targets: Their targets.
        step: As ``measure`` takes it.
    """
    own = []
    for start in range(0, len(rows), TOGETHER):
        part = slice(start, start + TOGETHER)
        own.append(measure(network, rows[part], targets[part], **step).diagonal().T)
    return torch.cat(own)


def layer_shares(network: Any, rows: Tensor, targets: Tensor, **settings: Any) -> pd.Series:
    """The part of each layer in the self-influence of some training examples, largest first.

    Args:
        network: From (n, …) to (n, outputs).
        rows: Training points.
        targets: Their targets.
        settings: ``loss`` and ``dtype``.
    """
    some = spread(len(rows), SAMPLE)
    found = loss_kernel_by_layer(network, rows[some], targets[some], **settings)
    total = {layer: float(share.diagonal().sum()) for layer, share in found.items()}
    whole = sum(total.values()) or 1.0
    shares = pd.Series({layer: part / whole for layer, part in total.items()}, dtype=float)
    return shares.sort_values(ascending=False)


def plain_rate(learning_rate: float | None) -> float:
    """The rate of a study whose step is a plain one.

    Raises:
        LecoreError: If it is another.
    """
    if learning_rate is None:
        raise LecoreError("shares of layers are those of a plain SGD step", "give learning_rate")
    return learning_rate


def pairs_of(pairs: Any, train: int, test: int) -> list[tuple[int, int]]:
    """Rows of training and test examples, checked.

    Raises:
        LecoreError: If they are no pairs of such rows.
    """
    try:
        found = [(index(i), index(j)) for i, j in pairs]
    except (TypeError, ValueError) as error:
        raise LecoreError(f"{pairs!r} are no pairs of rows", "give [(17, 3)]") from error
    if not found:
        raise LecoreError("there is no pair", "give [(17, 3)]")
    for i, j in found:
        if not (0 <= i < train and 0 <= j < test):
            raise LecoreError(
                f"there is no pair {i, j}", f"rows go up to {train - 1} and {test - 1}"
            )
    return found


def layer_changes(
    network: Any,
    rows: Tensor,
    targets: Tensor,
    columns: Tensor,
    pairs: Sequence[tuple[int, int]],
    outputs: Sequence[int] | None = None,
    **settings: Any,
) -> pd.DataFrame:
    """What each layer adds to the change of some predictions, to first order.

    Args:
        network: From (n, …) to (n, outputs).
        rows: Training points.
        targets: Their targets.
        columns: Test points.
        pairs: Rows of a training and a test example each.
        outputs: Numbers of those that are kept.
        settings: ``learning_rate``, ``loss`` and ``dtype``.

    Returns:
        A line for each pair, layer and output.
    """
    lefts, rights = (sorted(set(side)) for side in zip(*pairs, strict=True))
    shares = linearized_change_by_layer(
        network, rows[lefts], targets[lefts], columns[rights], **settings
    )
    (count,) = {share.shape[2] for share in shares.values()}
    lines = [
        (i, j, layer, output, float(share[lefts.index(i), rights.index(j), output]))
        for i, j in pairs
        for layer, share in shares.items()
        for output in kept(outputs, count) or range(count)
    ]
    return pd.DataFrame(lines, columns=["train", "test", "layer", "output", "change"])


def doubtful(
    seen: Predicted, targets: Tensor, self_influence: pd.Series, classes: bool
) -> pd.DataFrame:
    """Scores by which a training label is doubtful; the larger, the more.

    Args:
        seen: Of the training examples.
        targets: Their targets.
        self_influence: Of them.
        classes: Whether the targets are classes, so that there is a margin.

    Returns:
        By training example ``loss``, ``self-influence`` and, of classes, ``margin``: how far the
        best other class is above the labelled one.
    """
    scores = pd.DataFrame(
        {"loss": seen.losses.double().numpy(), "self-influence": self_influence.to_numpy()}
    )
    if classes:
        own = seen.predictions.gather(1, targets.cpu()[:, None])[:, 0]
        others = seen.predictions.scatter(1, targets.cpu()[:, None], -torch.inf)
        scores["margin"] = (others.amax(1) - own).double().numpy()
    return scores.rename_axis("train")


def overlap(scores: pd.DataFrame, top: int) -> pd.DataFrame:
    """How many of the ``top`` examples by one score are among those by another."""
    chosen = {name: set(column.nlargest(top).index) for name, column in scores.items()}
    return pd.DataFrame({a: {b: len(x & y) for b, y in chosen.items()} for a, x in chosen.items()})
