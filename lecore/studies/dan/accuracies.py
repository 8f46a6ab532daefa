"""Loss and accuracy of classifiers in training, beside the released numbers of Dan et al."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lecore.uncertainty import over_runs


def training_curves(followed: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Loss and accuracies by epoch, each of shape (runs, epochs).

    Args:
        followed: From :func:`~lecore.studies.dan.classification.follow_classifier`, one a run.
            Loss and accuracy on the training images are means over an epoch's batches, as Dan et
            al. plot them.
    """
    accuracy = np.stack([one["epoch_accuracy"] for one in followed])
    runs, epochs, _ = accuracy.shape
    of_steps = {name: np.stack([one[name] for one in followed]) for name in ("loss", "accuracy")}
    return {
        "training loss": of_steps["loss"].reshape(runs, epochs, -1).mean(axis=2),
        "training accuracy": of_steps["accuracy"].reshape(runs, epochs, -1).mean(axis=2),
        '"test" accuracy': accuracy[..., 1],
        "held-out accuracy": accuracy[..., 2],
    }


def final_accuracies(
    curves: Mapping[str, NDArray[Any]], released: Mapping[str, Any]
) -> dict[tuple[str, ...], Any]:
    """Accuracies after the last epoch in per cent, by words of the record.

    Args:
        curves: From :func:`training_curves`.
        released: Numbers of the released runs on the same images, from which to say the
            difference, ours less theirs; empty if there are none.
    """
    numbers: dict[tuple[str, ...], Any] = {}
    for name, curve in curves.items():
        if "accuracy" not in name:
            continue
        last = over_runs(100 * curve[:, -1], bounds=(0, 100))
        numbers[name,] = last._asdict() | {"digits": 1}
        if name in released:
            off = over_runs(100 * (curve[:, -1] - released[name]["mean"][-1]))
            numbers[name, "difference"] = off._asdict() | {"digits": 1}
    return numbers
