"""Numbers of the chapter on pretrained networks that come from photographs."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lecore.studies.own.photograph_contrasts import Contrast, Moved, contrast, smaller_over_third
from lecore.studies.own.photographs import BATCH, CLASSES, PhotographRun
from lecore.uncertainty import Interval

NAMED_BY = "efficientnet-lite0"
"""The network that named the folders of our photographs; it decides nothing."""

QUESTIONS = {
    "similar over distant": ("tabby", "tiger_cat", "warplane", None),
    "beyond steps on frogs": ("tabby", "tiger_cat", "warplane", "frog"),
    "steps on warplanes": ("warplane", "tiger_cat", "warplane", None),
    "cats over frogs, steps on warplanes": ("warplane", "tiger_cat", "frog", None),
    "batch, tabby over frog": (BATCH, "tabby", "frog", None),
    "batch, warplane over frog": (BATCH, "warplane", "frog", None),
}
"""Class of updates, first and second class of test images, and updates to subtract."""


def photograph_runs(
    networks: Sequence[str], rate: float, folder: str, photographs: str, **sizes: Any
) -> list[PhotographRun]:
    """Each network with a step and one of a tenth of it, and with random weights.

    Args:
        networks: Keys of :data:`lecore.data.pretrained.PRETRAINED`.
        rate: Learning rate of the larger step.
        folder: Of the photographs.
        photographs: Their fingerprint.
        sizes: Other attributes of the runs.
    """
    ways: list[dict[str, Any]] = [
        {"learning_rate": rate},
        {"learning_rate": rate / 10},
        {"learning_rate": rate, "weights": "random"},
    ]
    known = {"folder": folder, "photographs": photographs} | sizes
    return [PhotographRun(network=name, **way, **known) for name in networks for way in ways]


def name_of(run: PhotographRun) -> str:
    """What a run is called in records and tables."""
    weights = "" if run.weights == "ImageNet" else f", {run.weights} weights"
    return f"{run.network}{weights}, rate {run.learning_rate:g}"


def contrasts(found: Mapping[PhotographRun, Moved]) -> dict[PhotographRun, dict[str, Contrast]]:
    """All of :data:`QUESTIONS` for each run."""
    return {
        run: {
            words: contrast(moved, *classes, against=against)
            for words, (*classes, against) in QUESTIONS.items()
        }
        for run, moved in found.items()
    }


def of_each_run(
    found: Mapping[PhotographRun, Moved], answers: Mapping[PhotographRun, Mapping[str, Contrast]]
) -> dict[tuple[str, ...], Any]:
    """Effects, p-values, ratios of mini-batches and mean log₁₀ KL, for each run."""
    numbers: dict[tuple[str, ...], Any] = {}
    for run, moved in found.items():
        name = ("photographs", name_of(run))
        sizes = {kind: list(block.shape) for kind, block in moved.items() if " at " in kind}
        for words, answer in answers[run].items():
            numbers[*name, words] = answer.effect
            numbers[*name, words, "permutation p"] = answer.p_value
            numbers[*name, words, "rank-sum p"] = answer.rank_p_value
        numbers[*name, "batch ratio"] = smaller_over_third(moved)
        for kind, (updates, tests) in sizes.items():
            entry = {"value": float(moved[kind].mean()), "updates": updates, "tests": tests}
            numbers[*name, kind] = entry
        for folder, percent in zip(CLASSES, moved["named right"], strict=True):
            numbers[*name, "named", folder] = {"value": round(float(percent), 4), "unit": "%"}
    return numbers


def worst_of_all(
    found: Mapping[PhotographRun, Moved],
    answers: Mapping[PhotographRun, Mapping[str, Contrast]],
    *,
    without: Collection[str] = (NAMED_BY,),
) -> dict[str, Any]:
    """What the claims are judged by: the worst of all ImageNet networks and sizes of step.

    Args:
        found: What steps moved.
        answers: Of :func:`contrasts`.
        without: Networks that do not count.

    Returns:
        Records; none if no network counts. p-values are the largest, with the range; effects and
        ratios the least, with its interval over images.
    """
    deciding = [r for r in found if r.weights == "ImageNet" and r.network not in without]
    if not deciding:
        return {}
    similar, beyond = (
        [answers[run][words] for run in deciding]
        for words in ("similar over distant", "beyond steps on frogs")
    )
    ratio = min(smaller_over_third(found[run]) for run in deciding)
    return {
        "photographs-similar-over-distant-p-value": _largest([c.rank_p_value for c in similar]),
        "photographs-similar-over-distant-permutation-p-value": _largest(
            [c.p_value for c in similar]
        ),
        "photographs-similar-over-distant": min(c.effect for c in similar),
        "photographs-similar-over-distant-beyond-frogs": min(c.effect for c in beyond),
        "photographs-batch-change-ratio": ratio,
    }


def shown(answers: Mapping[PhotographRun, Mapping[str, Contrast]]) -> pd.DataFrame:
    """Effects with their intervals and the permutation's p, a row for each run."""
    rows = {
        name_of(run): {words: _text(answer) for words, answer in found.items()}
        for run, found in answers.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def _largest(p_values: Sequence[float]) -> dict[str, float]:
    low, high = float(np.min(p_values)), float(np.max(p_values))
    return {"value": high, "low": low, "high": high, "n": len(p_values), "digits": 4}


def _text(answer: Contrast) -> str:
    effect: Interval = answer.effect
    return f"{effect.value:.2f} ({effect.low:.2f} to {effect.high:.2f}), p {answer.p_value:.1g}"
