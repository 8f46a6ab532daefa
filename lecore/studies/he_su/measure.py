"""One run of He & Su's clustering study: a network, trained, measured and clustered."""

import time
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lecore import models
from lecore.arguments.names import Choices
from lecore.clustering.scores import (
    feature_scores,
    official_score,
    similarity_scores,
    within_over_between,
)
from lecore.data.images import Images, load, scaled
from lecore.data.pretrained import PRETRAINED
from lecore.errors import DivergenceError, LecoreError
from lecore.losses import Loss, binary_cross_entropy, squared_error
from lecore.studies.he_su import features
from lecore.studies.he_su.linear_networks import LinearNetwork, linear_network, train_linear
from lecore.studies.he_su.problems import he_su_sample
from lecore.studies.he_su.runs import Features, Run
from lecore.studies.he_su.similarities import (
    CLUSTERED_AS,
    Similarity,
    coded_similarities,
    exact_similarities,
    kernel_and_logits,
)
from lecore.tangent_kernel import stability_limit
from lecore.training import train

LOSSES: Choices[Loss] = Choices(
    "loss", {"squared": squared_error, "cross-entropy": binary_cross_entropy}
)


class Problem(NamedTuple):
    """A clustering problem as tensors.

    Attributes:
        inputs: Primary images, then auxiliary ones, shape (n + m, channels, height, width).
        targets: 1 for primary images and 0 for auxiliary ones, shape (n + m, 1).
        truth: Which of the two primary classes each image is of, shape (n,).
    """

    inputs: Tensor
    targets: Tensor
    truth: NDArray[np.int64]

    @property
    def primary(self) -> Tensor:
        """Shape (n, channels, height, width)."""
        return self.inputs[: len(self.truth)]

    @property
    def auxiliary(self) -> Tensor:
        """Shape (m, channels, height, width)."""
        return self.inputs[len(self.truth) :]


class Measured(NamedTuple):
    """What a run of any kind gives; nothing but what JSON can hold.

    Attributes:
        clusterings: For each similarity its ``similarity`` and ``way`` (see
            :class:`~lecore.studies.he_su.similarities.Similarity`; both None for features),
            ``within over between``, and ``scores`` by procedure (see
            :func:`lecore.clustering.scores.similarity_scores`). Similarities that are not finite
            are left out.
        numbers: Of networks the ``training accuracy`` in per cent; of trained ones ``rate over
            limit``, ``learning rate``, ``largest loss`` and ``last loss`` (mean of 40 steps); of
            two-layer ReLU networks ``silent percent``, of hidden units that no training example
            activates; as coded also the numbers of
            :func:`~lecore.studies.he_su.similarities.coded_similarities`.
        looks: During training, ``step``, ``loss`` and ``accuracies`` by similarity.
        diverged: Why training stopped, if it ran away; then there is nothing else.
    """

    clusterings: Sequence[dict[str, Any]]
    numbers: dict[str, float]
    looks: Sequence[dict[str, Any]] = ()
    diverged: str | None = None


def measure(run: Run, device: str = "cpu") -> dict[str, Any]:
    """Train, measure and cluster.

    Args:
        run: The run.
        device: Where to compute.

    Returns:
        The attributes of :class:`Measured` by name, and ``seconds``.

    Raises:
        LecoreError: If a class is not in the set.
    """
    start = time.perf_counter()
    problem = problem_of(run, device)
    try:
        if run.method in get_args(Features):
            found = _measure_features(run, problem)
        elif run.activation == "linear" and not run.as_coded and not run.looks:
            found = _measure_without_width(run, problem)
        else:
            found = _measure_network(run, problem)
    except DivergenceError as error:
        found = Measured([], {}, diverged=str(error))
    return found._asdict() | {"seconds": round(time.perf_counter() - start, 1)}


def problem_of(run: Run, device: str = "cpu") -> Problem:
    """The images of a run, scaled, and stretched for networks that are built for MNIST."""
    sample = he_su_sample(
        _images(run.data), run.primary, run.auxiliary,
        per_class=run.per_class, auxiliary_size=run.auxiliary_size, seed=run.sample,
    )  # fmt: skip
    primary, auxiliary = (
        torch.tensor(scaled(x, normalized=run.normalized), device=device)
        for x in (sample.primary, sample.auxiliary)
    )
    inputs = torch.cat([primary, auxiliary])
    if run.method in ("cnn", "autoencoder"):
        inputs = features.at_size_28(inputs)
    targets = torch.cat([inputs.new_ones(len(primary), 1), inputs.new_zeros(len(auxiliary), 1)])
    return Problem(inputs, targets, sample.subclass)


def build(run: Run, shape: torch.Size) -> nn.Module:
    """The untrained network of a run for images of shape (channels, height, width).

    Raises:
        LecoreError: If the run is one of features.
    """
    values, probability = shape.numel(), run.loss == "cross-entropy"
    if run.method == "two-layer":
        return models.two_layer(
            values, run.width, run.activation, probability=probability, seed=run.seed
        )
    if run.method == "skip":
        network = models.three_layer_resnet(values, run.width, seed=run.seed)
    elif run.method == "cnn":
        network = models.mnist_cnn(seed=run.seed)
    else:
        raise LecoreError(f"{run.method} is no network", "choose two-layer, cnn or skip")
    return network.append(nn.Sigmoid()) if probability else network


def _measure_features(run: Run, problem: Problem) -> Measured:
    init: object = "k-means++"
    if run.method == "autoencoder":
        found = features.autoencoder_features(
            problem.primary, problem.auxiliary, epochs=run.epochs, seed=run.seed
        )
    elif run.method in PRETRAINED:
        found = features.pretrained_features(problem.primary, run.method)
    else:
        init = features.seeding_of_2019
        pixels = run.method == "pixels"
        found = (features.pixel_features if pixels else features.principal_features)(
            problem.primary
        )
    scores = feature_scores(found, problem.truth, init)
    of_no_network = {"similarity": None, "way": None, "within over between": None}
    return Measured([of_no_network | {"scores": scores}], {})


def _measure_without_width(run: Run, problem: Problem) -> Measured:
    """A linear network: the same weights and steps, at the cost of a matrix of pixels."""
    network = linear_network(_untrained(run, problem))
    problem = problem._replace(inputs=problem.inputs.double(), targets=problem.targets.double())
    numbers = {}
    if run.epochs:
        numbers = _rates(run, network, problem)
        losses = train_linear(
            network, problem.inputs, problem.targets,
            learning_rate=numbers["learning rate"], **_settings(run),
        )  # fmt: skip
        numbers |= _losses(losses)
    numbers |= {"training accuracy": _training_accuracy(network, problem)}
    found = exact_similarities(network, problem.primary, run.loss)
    return Measured(_clusterings(run, found, problem.truth), numbers)


def _measure_network(run: Run, problem: Problem) -> Measured:
    network = _untrained(run, problem)
    looks: list[dict[str, Any]] = []

    def look(step: int, model: nn.Module) -> None:
        looks.append({"step": step} | _look(run, model, problem))

    numbers = {}
    if run.epochs:
        numbers = _rates(run, network, problem)
        history = train(
            network, problem.inputs, problem.targets, learning_rate=numbers["learning rate"],
            callback=look if run.looks else None, callback_steps=_look_steps(run, problem),
            **_settings(run),
        )  # fmt: skip
        numbers |= _losses(history.losses)
    numbers |= {"training accuracy": _training_accuracy(network, problem)}
    if run.method == "two-layer" and run.activation == "relu":
        numbers["silent percent"] = _silent_percent(network, problem)
    found = exact_similarities(network, problem.primary, run.loss)
    if run.as_coded:
        coded, rounding = coded_similarities(network, problem.primary, run.loss)
        found, numbers = found + coded, numbers | rounding
    return Measured(_clusterings(run, found, problem.truth), numbers, looks)


def _untrained(run: Run, problem: Problem) -> nn.Sequential:
    network = build(run, problem.inputs.shape[1:]).to(problem.inputs.device)
    assert isinstance(network, nn.Sequential)
    return network


def _settings(run: Run) -> dict[str, Any]:
    return {
        "epochs": run.epochs, "batch_size": run.batch_size, "loss": LOSSES[run.loss],
        "seed": run.seed if run.order is None else run.order,
        "loss_limit": 1e30, "progress": True,
    }  # fmt: skip


def _rates(run: Run, network: nn.Module | LinearNetwork, problem: Problem) -> dict[str, float]:
    limit = stability_limit(kernel_and_logits(network, problem.inputs)[0])
    rate = run.learning_rate if run.rate_share is None else run.rate_share * limit
    return {"learning rate": rate, "rate over limit": rate / limit}


def _losses(losses: Sequence[float]) -> dict[str, float]:
    return {"largest loss": max(losses), "last loss": float(np.mean(losses[-40:]))}


def _look_steps(run: Run, problem: Problem) -> Collection[int]:
    steps = run.epochs * -(-len(problem.inputs) // run.batch_size)
    return {0, *np.geomspace(1, steps, max(run.looks - 1, 1)).astype(int).tolist()}


def _look(run: Run, model: nn.Module, problem: Problem) -> dict[str, Any]:
    accuracies = {
        s.name: official_score(s.matrix, problem.truth, CLUSTERED_AS[s.name]).accuracy
        for s in exact_similarities(model, problem.primary, run.loss)
        if s.way == "exact"
    }
    with torch.no_grad():
        total = LOSSES[run.loss](model(problem.inputs), problem.targets)
    return {"loss": total.item() / len(problem.inputs), "accuracies": accuracies}


def _training_accuracy(network: nn.Module | LinearNetwork, problem: Problem) -> float:
    with torch.no_grad():
        prediction = network(problem.inputs)
    if not bool(prediction.isfinite().all()):
        raise DivergenceError("the last step left predictions that are not finite")
    right = (prediction > 0.5) == (problem.targets > 0.5)
    return 100 * float(right.double().mean())


@torch.no_grad()
def _silent_percent(network: nn.Sequential, problem: Problem) -> float:
    hidden = network[:2]
    active = torch.stack([(hidden(x) > 0).any(dim=0) for x in problem.inputs.split(200)])
    return 100 * (1 - float(active.any(dim=0).double().mean()))


def _clusterings(
    run: Run, similarities: Sequence[Similarity], truth: NDArray[np.int64]
) -> list[dict[str, Any]]:
    lines = []
    for name, way, matrix in similarities:
        if not np.isfinite(matrix).all():
            continue
        controls = run.loss == "squared" and name != "normalized kernelized"
        scores = similarity_scores(
            matrix, truth, CLUSTERED_AS[name], controls=controls, seed=run.seed
        )
        ratio = within_over_between(matrix, truth)
        named = {"similarity": name, "way": way}
        lines.append(named | {"within over between": ratio, "scores": scores})
    return lines


@lru_cache(maxsize=2)
def _images(data: str) -> Images:
    return load(data)
