"""Small regression problems, and S_rel of networks while they learn them.

Dan et al. (2021) describe two phases of S_rel in neural regression without releasing code or
settings; these are ours.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes
from torch import Tensor, nn

from lecore.arguments.names import check_name
from lecore.errors import LecoreError
from lecore.losses import half_squared_error
from lecore.models import ACTIVATIONS, fully_connected
from lecore.seeding import seeded
from lecore.similarity import own_change, relative_similarity
from lecore.tangent_kernel import empirical_ntk, stability_limit
from lecore.tracking import Tracker
from lecore.training import train

TARGETS = ("linear", "sine", "product", "diabetes")
DIMENSIONS = 10


@dataclass(frozen=True, kw_only=True)
class Regression:
    """A network and how it is trained.

    Attributes:
        target: One of ``TARGETS``, see :func:`regression_data`.
        width: Hidden units a layer.
        hidden_layers: 0 is linear regression.
        activation: Of the hidden layers.
        rate_share: Learning rate over the largest stable one at the initial weights.
        batch_size: Examples a step; None for all.
        epochs: Passes over the training points.
        points: Training points.
        probes: Of these, and of held-out points, S_rel is measured.
        looks: How often, half of them evenly in the step and half in its logarithm.
        seed: Of data, weights and order.
    """

    target: str
    width: int = 256
    hidden_layers: int = 1
    activation: str = "relu"
    rate_share: float = 0.5
    batch_size: int | None = None
    epochs: int = 1000
    points: int = 100
    probes: int = 40
    looks: int = 40
    seed: int = 0

    def __post_init__(self) -> None:
        check_name("target", self.target, TARGETS)
        check_name("activation", self.activation, ACTIVATIONS)


class RegressionPath(NamedTuple):
    """S_rel of one network through training.

    Attributes:
        steps: When it was measured, starting with 0, shape (T,).
        trained: Mean S_rel between two different training points, shape (T,).
        held_out: Mean S_rel from training to held-out points, shape (T,).
        losses: Half the mean squared error on the training points, shape (T,).
    """

    steps: NDArray[np.int64]
    trained: NDArray[np.float64]
    held_out: NDArray[np.float64]
    losses: NDArray[np.float64]


def regression_data(target: str, points: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points in ten dimensions with standardised targets.

    ``linear`` is y = a·x with a random unit vector a, ``sine`` is sin(2 a·x), ``product`` is
    x₁ x₂, each with standard normal x; ``diabetes`` is scikit-learn's set of 442 patients.

    Args:
        target: One of ``TARGETS``.
        points: How many, drawn without replacement.
        seed: Of the draw.

    Returns:
        Shapes (points, 10) and (points, 1), float32.

    Raises:
        LecoreError: If the target is unknown or has fewer points.
    """
    check_name("target", target, TARGETS)
    with seeded(seed) as rng:
        if target == "diabetes":
            x, y = load_diabetes(return_X_y=True)
            if points > len(y):
                raise LecoreError(f"diabetes has {len(y)} points, not {points}")
            chosen = rng.permutation(len(y))[:points]
            x, y = (x / x.std(axis=0))[chosen], y[chosen]
        else:
            x = rng.normal(size=(points, DIMENSIONS))
            direction = rng.normal(size=DIMENSIONS)
            along = x @ (direction / np.linalg.norm(direction))
            known = {"linear": along, "sine": np.sin(2 * along), "product": x[:, 0] * x[:, 1]}
            y = known[target]
    y = (y - y.mean()) / y.std()
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)[:, None]


def follow_regression(run: Regression, device: str = "cpu") -> RegressionPath:
    """Train a network on ½(f − y)² and measure S_rel of small SGD steps on the way.

    Args:
        run: What to train.
        device: Where.

    Raises:
        LecoreError: If the target is unknown, or there are more probes than points.
        lecore.errors.DivergenceError: If the learning rate is too large.
    """
    if run.probes > run.points:
        raise LecoreError(f"{run.probes} probes need as many points, not {run.points}")
    inputs, targets = regression_data(run.target, run.points + run.probes, run.seed)
    inputs, targets = inputs.to(device), targets.to(device)
    seen, hidden = inputs[: run.points], inputs[run.points :]
    network = fully_connected(
        DIMENSIONS, run.width, run.hidden_layers, run.activation, seed=run.seed
    ).to(device)
    # the limit is for the mean of (f − y)², and half of it has twice the limit
    limit = 2 * stability_limit(empirical_ntk(network, seen, form="trace"))
    steps = run.epochs * -(-run.points // (run.batch_size or run.points))
    even, early = np.linspace(0, steps, run.looks // 2), np.geomspace(1, steps, run.looks // 2)
    at = np.unique(np.concatenate([even, early]).astype(np.int64))
    probes, columns = seen[: run.probes], torch.cat([seen[: run.probes], hidden])

    def similarity(model: nn.Module) -> Tensor:
        """S_rel from the tangent kernel, defined even where the residual is 0."""
        kernel = empirical_ntk(model, probes, columns, form="trace", dtype=torch.float32)
        return relative_similarity(kernel[..., None], own_change(kernel)[:, None])

    def loss(model: nn.Module) -> Tensor:
        return 0.5 * (model(seen) - targets[: run.points]).square().mean()

    tracker = Tracker({"similarity": similarity, "loss": loss}, every=1)
    train(
        network, seen, targets[: run.points], loss=half_squared_error, seed=run.seed,
        learning_rate=run.rate_share * limit, epochs=run.epochs, batch_size=run.batch_size,
        shuffle="each epoch", callback=tracker, callback_steps=set(at.tolist()),
    )  # fmt: skip
    matrices, different = tracker.curve("similarity"), ~np.eye(run.probes, dtype=bool)
    return RegressionPath(
        at,
        matrices[:, :, : run.probes][:, different].mean(axis=1),
        matrices[:, :, run.probes :].mean(axis=(1, 2)),
        tracker.curve("loss"),
    )
