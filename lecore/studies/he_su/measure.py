"""One run of He & Su's clustering study: a network, trained, measured and clustered."""

import time
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lecore import models
from lecore.clustering.algorithm_one import Option
from lecore.clustering.scores import (
    feature_scores,
    official_score,
    similarity_scores,
    within_over_between,
)
from lecore.data.images import Images, load, scaled
from lecore.errors import LecoreError
from lecore.losses import Loss, binary_cross_entropy, squared_error
from lecore.names import Choices
from lecore.similarity import normalized_similarity, relative_similarity, symmetrized
from lecore.studies.he_su import features
from lecore.studies.he_su.as_coded import similarities_by_tripling
from lecore.studies.he_su.features import seeding_of_2019
from lecore.studies.he_su.linear_networks import LinearNetwork, linear_network, train_linear
from lecore.studies.he_su.problems import he_su_sample
from lecore.studies.he_su.runs import Run
from lecore.tangent_kernel import empirical_ntk, stability_limit
from lecore.training import DivergenceError, train

Array = NDArray[np.float64]

LOSSES: Choices[Loss] = Choices(
    "loss", {"squared": squared_error, "cross-entropy": binary_cross_entropy}
)
CONTROLLED = ("relative", "kernelized")
FEATURES = ("pixels", "principal", "autoencoder", "resnet152")


def measure(run: Run, device: str = "cpu") -> dict[str, Any]:
    """Train, measure and cluster.

    Args:
        run: The run.
        device: Where to compute.

    Returns:
        Nothing but what JSON can hold. Always ``seconds``. ``scores``: by similarity, then by
        procedure, see :func:`lecore.clustering.scores.similarity_scores`. Of networks also
        ``within over between`` by similarity; ``rate over limit`` and ``learning rate``; ``largest
        loss`` and ``last loss`` (mean of 40 steps); ``training accuracy`` in per cent; ``silent
        units``, the share of ReLU units that no training example activates; ``looks``, a list of
        step, loss and accuracies. As coded also ``tripled``, the share of points whose step
        was enlarged, and ``own units``, quantiles of a point's own move in units in the last
        place. A run that runs away has ``diverged`` instead of scores.

    Raises:
        LecoreError: If a class is not in the set.
    """
    start = time.perf_counter()
    sample = he_su_sample(
        _images(run.data), run.primary, run.auxiliary,
        per_class=run.per_class, auxiliary_size=run.auxiliary_size, seed=run.sample,
    )  # fmt: skip
    primary, auxiliary = (
        torch.tensor(scaled(x, normalized=run.normalized), device=device)
        for x in (sample.primary, sample.auxiliary)
    )
    if run.network in ("cnn", "autoencoder"):
        primary, auxiliary = features.at_size_28(primary), features.at_size_28(auxiliary)
    if run.network in FEATURES:
        init = seeding_of_2019 if run.network in ("pixels", "principal") else "k-means++"
        found = feature_scores(_features(run, primary, auxiliary), sample.subclass, init)
        result: dict[str, Any] = {"scores": {"features": found}}
    else:
        try:
            result = _measure_network(run, primary, auxiliary, sample.subclass)
        except DivergenceError as error:
            result = {"diverged": str(error)}
    return result | {"seconds": round(time.perf_counter() - start, 1)}


def _measure_network(
    run: Run, primary: Tensor, auxiliary: Tensor, truth: NDArray[np.int64]
) -> dict[str, Any]:
    inputs = torch.cat([primary, auxiliary])
    targets = torch.cat([inputs.new_ones(len(primary), 1), inputs.new_zeros(len(auxiliary), 1)])
    network: Any = build(run, inputs.shape[1:]).to(inputs.device)
    result: dict[str, Any] = {"looks": []} if run.looks else {}

    def look(step: int, model: nn.Module) -> None:
        scores = {
            name: official_score(s, truth, _option(name)).accuracy
            for name, s in similarities(run, model, primary).items()
        }
        with torch.no_grad():
            loss = LOSSES[run.loss](model(inputs), targets).item() / len(inputs)
        result["looks"].append({"step": step, "loss": loss, "accuracies": scores})

    settings: dict[str, Any] = {
        "epochs": run.epochs, "batch_size": run.batch_size, "loss": LOSSES[run.loss],
        "seed": run.seed, "loss_limit": 1e30, "progress": True,
    }  # fmt: skip
    width_free = run.activation == "linear" and not run.as_coded and not run.looks
    if width_free:  # the same weights and steps, at the cost of a matrix of pixels
        network = linear_network(network)
        inputs, targets, primary = inputs.double(), targets.double(), primary.double()
    if run.epochs:
        limit = stability_limit(_kernel_and_logits(network, inputs)[0])
        rate = run.learning_rate if run.rate_share is None else run.rate_share * limit
        result |= {"learning rate": rate, "rate over limit": rate / limit}
        if width_free:
            losses = train_linear(network, inputs, targets, learning_rate=rate, **settings)
        else:
            steps = run.epochs * -(-len(inputs) // run.batch_size)
            at = {0, *np.geomspace(1, steps, max(run.looks - 1, 1)).astype(int).tolist()}
            losses = train(
                network, inputs, targets, learning_rate=rate,
                callback=look if run.looks else None, callback_steps=at, **settings,
            ).losses  # fmt: skip
        result |= {"largest loss": max(losses), "last loss": float(np.mean(losses[-40:]))}
    with torch.no_grad():
        prediction = network(inputs)
        if not bool(prediction.isfinite().all()):
            raise DivergenceError("the last step left predictions that are not finite")
        right = (prediction > 0.5) == (targets > 0.5)
        result["training accuracy"] = 100 * float(right.double().mean())
        if run.network == "two-layer" and run.activation == "relu":
            active = torch.stack([(network[:2](x) > 0).any(dim=0) for x in inputs.split(200)])
            result["silent units"] = 1 - float(active.any(dim=0).double().mean())

    found = similarities(run, network, primary)
    if run.as_coded:
        found |= _as_coded(run, network, primary, result)
    finite = {name: s for name, s in found.items() if np.isfinite(s).all()}
    result["scores"] = {
        name: similarity_scores(
            s,
            truth,
            _option(name),
            controls=run.loss == "squared" and name in CONTROLLED,
            seed=run.seed,
        )
        for name, s in finite.items()
    }
    result["within over between"] = {
        name: within_over_between(s, truth) for name, s in finite.items()
    }
    return result


def build(run: Run, shape: torch.Size) -> nn.Module:
    """The untrained network of a run for images of shape (channels, height, width).

    Raises:
        LecoreError: If the run is one of features.
    """
    values, probability = shape.numel(), run.loss == "cross-entropy"
    if run.network == "two-layer":
        return models.two_layer(
            values, run.width, run.activation, probability=probability, seed=run.seed
        )
    if run.network == "skip":
        network = models.three_layer_resnet(values, run.width, seed=run.seed)
    elif run.network == "cnn":
        network = models.mnist_cnn(seed=run.seed)
    else:
        raise LecoreError(f"{run.network} is no network", "choose two-layer, cnn or skip")
    return network.append(nn.Sigmoid()) if probability else network


def similarities(run: Run, network: nn.Module, primary: Tensor) -> dict[str, Array]:
    """All similarities of the limit of a small step, symmetrised, by name.

    ``relative``, ``kernelized`` and ``normalized kernelized``; with the cross-entropy of the
    probability, as in the paper, and with ``, logits`` added to the name, of the logits.

    Args:
        run: The run, for its loss.
        network: The network, or its :class:`lecore.studies.he_su.linear_networks.LinearNetwork`.
        primary: Primary images.
    """
    kernel, logits = _kernel_and_logits(network, primary)
    if run.loss == "squared":
        return _three(kernel)
    slope = torch.sigmoid(logits) * torch.sigmoid(-logits)  # dp/dz, without cancellation
    relative = relative_similarity(kernel[..., None]) * (slope / slope[:, None])
    kernelized = slope[:, None] * kernel * slope
    of_logits = {f"{name}, logits": s for name, s in _three(kernel).items()}
    return {
        "relative": symmetrized(relative).cpu().numpy(),
        "kernelized": symmetrized(kernelized).cpu().numpy(),
        "normalized kernelized": of_logits.pop("normalized kernelized, logits"),  # the same
    } | of_logits


def _three(kernel: Tensor) -> dict[str, Array]:
    kernel = symmetrized(kernel)
    relative = symmetrized(relative_similarity(kernel[..., None]))
    both = {"relative": relative, "kernelized": kernel}
    both["normalized kernelized"] = normalized_similarity(kernel)
    return {name: s.cpu().numpy() for name, s in both.items()}


def _kernel_and_logits(network: nn.Module | LinearNetwork, x: Tensor) -> tuple[Tensor, Tensor]:
    if isinstance(network, LinearNetwork):
        return network.tangent_kernel(x), network.logits(x)
    assert isinstance(network, nn.Sequential)
    before = network[:-1] if isinstance(network[-1], nn.Sigmoid) else network
    with torch.no_grad():
        return empirical_ntk(before, x, form="trace"), before(x)[:, 0].double()


def _as_coded(
    run: Run, network: nn.Module, primary: Tensor, result: dict[str, Any]
) -> dict[str, Array]:
    coded = similarities_by_tripling(
        network, primary, primary.new_ones(len(primary), 1),
        loss="squared" if run.loss == "squared" else "cross-entropy", progress=True,
    )  # fmt: skip
    quantiles = coded.own_units.double().quantile(
        coded.own_units.new_tensor([0.1, 0.5, 0.9]).double()
    )
    result["tripled"] = float((coded.learning_rates > 1.5e-6).double().mean())
    result["own units"] = quantiles.tolist()
    named = {f"{k}, as coded": s.double() for k, s in coded.similarities._asdict().items()}
    kernel = named["kernelized, as coded"]
    if bool((kernel.diagonal() > 0).all()):
        named["normalized kernelized, as coded"] = normalized_similarity(kernel)
    return {name: s.cpu().numpy() for name, s in named.items()}


def _features(run: Run, primary: Tensor, auxiliary: Tensor) -> Array:
    if run.network == "pixels":
        return features.pixel_features(primary)
    if run.network == "principal":
        return features.principal_features(primary)
    if run.network == "autoencoder":
        return features.autoencoder_features(primary, auxiliary, epochs=run.epochs, seed=run.seed)
    return features.resnet152_features(primary)


def _option(name: str) -> Option:
    return "relative" if name.startswith("relative") else "kernelized"


@lru_cache(maxsize=2)
def _images(data: str) -> Images:
    return load(data)
