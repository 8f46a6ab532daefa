"""The experiment on ridge regression behind Dan et al.'s Figures 6 to 9.

Data, flow and formulas are :mod:`lecore.theory.ridge_flow`; here is what the released code makes of
them, and the same with one factor and one penalty throughout.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from lecore.errors import LecoreError
from lecore.seeding import seeded
from lecore.theory.one_step import change_by_steps
from lecore.theory.ridge_flow import (
    gaussian_classes,
    ridge_flow,
    ridge_loss,
    ridge_loss_as_coded,
    ridge_similarity,
)

Array = NDArray[np.float64]

EXAMPLES, CLASSES = 2000, 2
"""N and K."""

PENALTY, PENALTY_OF_LOSS = EXAMPLES * 1.0 / CLASSES, 1.0 / CLASSES
"""Nλ/K, which the released flow has, and λ/K, which its loss has, with λ = 1."""

RATE = 1e-6
"""θ², the speed of the flow."""

RELEASED_PAIRS = 20
"""Pairs of points, by which the released code divides twice."""

FAR = np.array([0.0, 1.0])
"""One-hot target of the far class, on which all steps are taken."""

VARIANTS: dict[str, tuple[int, dict[str, float]]] = {
    "as coded, interclass": (0, {"share": 1 / EXAMPLES}),
    "as coded, intraclass": (1, {"share": 1 / EXAMPLES}),
    "consistent, interclass": (0, {}),
    "consistent, intraclass": (1, {}),
    "penalty of the printed loss, interclass": (0, {"penalty": PENALTY_OF_LOSS}),
}
"""Class of the test points, and settings of :func:`lecore.theory.ridge_flow.ridge_similarity`."""


class RidgeRun(NamedTuple):
    """The released data with p features, and weights along the flow.

    Attributes:
        times: t, shape (T,).
        features: h, shape (N, p).
        labels: 0 near, 1 far, shape (N,).
        weights: W(t), shape (T, pairs, starts, K, p).
    """

    times: NDArray[np.int64]
    features: Array
    labels: NDArray[np.int64]
    weights: Array

    def at(self, times: ArrayLike) -> "RidgeRun":
        """The same at fewer times, all of them among its own."""
        chosen = np.searchsorted(self.times, times)
        if not np.array_equal(self.times[np.minimum(chosen, len(self.times) - 1)], times):
            raise LecoreError(
                f"the flow was not solved at all of t = {np.asarray(times)}", "solve it there"
            )
        return self._replace(times=self.times[chosen], weights=self.weights[chosen])

    @property
    def targets(self) -> Array:
        """One-hot, shape (N, K)."""
        return np.eye(CLASSES)[self.labels]


def released_flow(
    features: int, times: NDArray[np.int64], *, pairs: int, starts: int, seed: int = 5
) -> RidgeRun:
    """Solve the flow of the released code.

    Args:
        features: p.
        times: t, shape (T,).
        pairs: Pairs of points, each of which has initial weights of its own.
        starts: Initial weights of each.
        seed: Of data and weights; 5 in the released code.
    """
    hidden, labels, state = gaussian_classes(features, seed=seed)
    initial, targets = state.randn(pairs, starts, CLASSES, features), np.eye(CLASSES)[labels]
    weights = ridge_flow(times, initial, hidden, targets, penalty=PENALTY, rate=RATE)
    return RidgeRun(times, hidden, labels, weights)


def losses(run: RidgeRun) -> dict[str, Array]:
    """Mean over pairs and starts of three losses along the flow, each of shape (T,).

    ``as coded`` with the broadcast; ``as printed`` without it; and that ``of the flow``, with N
    times their penalty.
    """
    h, y, small = run.features, run.targets, PENALTY_OF_LOSS
    found = {
        "as coded": ridge_loss_as_coded(run.weights, h, penalty=small),
        "as printed": ridge_loss(run.weights, h, y, penalty=small),
        "of the flow": ridge_loss(run.weights, h, y, penalty=PENALTY),
    }
    return {name: loss.mean(axis=(1, 2)) for name, loss in found.items()}


def loss_errors(run: RidgeRun, coded: Array, paper: Mapping[str, Any]) -> dict[str, float]:
    """Largest relative differences of the loss as coded from the released ones, by record.

    Args:
        run: With 10 features.
        coded: Its mean loss as coded, from :func:`losses`.
        paper: The released numbers, ``ridge`` of ``book/published/dan-2021.json``.
    """
    at = [0, *np.searchsorted(run.times, paper["loss times"][1:])]
    mean = np.abs(coded[at] / np.array(paper["loss"]["10 features, interclass"]) - 1)
    at = np.searchsorted(run.times, paper["first loss times"])  # one start, with all its digits
    first = ridge_loss_as_coded(run.weights[at, 0, 0], run.features, penalty=PENALTY_OF_LOSS)
    path = np.abs(first / np.array(paper["first loss path, 10 features"]) - 1)
    return {
        "ridge-loss-mean-error-10-features": mean.max(),
        "ridge-loss-as-coded-error-10-features": path.max(),
    }


def pair_similarities(run: RidgeRun, variant: str, *, seed: int) -> Array:
    """S_rel along the flow for random pairs, the step on a point of the far class.

    Args:
        run: The flow; it says how many pairs.
        variant: One of ``VARIANTS``.
        seed: Of the pairs, which the released code does not seed.

    Returns:
        Shape (T, pairs, starts).
    """
    test_class, changes = VARIANTS[variant]
    pairs, settings = run.weights.shape[1], {"penalty": PENALTY} | changes
    with seeded(seed) as rng:
        own = rng.choice(np.flatnonzero(run.labels == 1), size=(pairs,), replace=False)
        others = rng.choice(np.flatnonzero(run.labels == test_class), size=(pairs,), replace=False)
    h, weights = run.features, run.weights
    found = [
        ridge_similarity(weights[:, k], h[i], FAR, h[j], **settings)
        for k, (i, j) in enumerate(zip(own, others, strict=True))
    ]
    return np.stack(found, axis=1)


def step_errors(run: RidgeRun, weights: Iterable[Array], device: str) -> dict[str, float]:
    """Largest differences of both formulas from a step that is really taken, by record.

    The step is on the first point of the far class; S_rel is that of the first point of the near
    class, and of the far point itself, where it should be 1. Predictions are linear in the
    weights, so the size of the step plays no part.

    Args:
        run: Whose features.
        weights: W, each of shape (K, p).
        device: Where to take the steps.
    """
    points = np.stack([run.features[run.labels == label][0] for label in (1, 0)])
    inputs, target = torch.tensor(points, device=device), torch.tensor(FAR, device=device)
    model = nn.Linear(points.shape[1], CLASSES, bias=False).double().to(device)
    shares = {"as-coded": 1 / EXAMPLES, "consistent": 1.0}
    off: dict[str, list[Array]] = {name: [] for name in shares}
    for matrix in weights:
        with torch.no_grad():
            model.weight.copy_(torch.tensor(matrix))
        change = change_by_steps(
            model, inputs[:1], target[None], inputs, learning_rate=1e-4, penalty=PENALTY
        )
        size = change.norm(dim=2)[0]
        stepped = np.array([1.0, float(size[1] / size[0])])
        for name, share in shares.items():
            formula = [
                ridge_similarity(matrix, points[0], FAR, h, penalty=PENALTY, share=share)
                for h in points
            ]
            off[name].append(np.abs(np.array(formula) - stepped))
    largest = {name: np.max(errors, axis=0) for name, errors in off.items()}
    return {
        f"ridge-{name}-{kind}-error": float(errors[place])
        for name, errors in largest.items()
        for place, kind in enumerate(("self-similarity", "step"))
    }
