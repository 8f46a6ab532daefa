"""The runs behind He & Su's Tables 1 to 8: one network, trained, measured and clustered."""

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lecore import features, models
from lecore.algorithm_one import similarities_by_tripling
from lecore.cluster_scores import (
    feature_scores,
    official_score,
    similarity_scores,
    within_over_between,
)
from lecore.clustering import Option, seeding_of_2019
from lecore.images import Images, load, scaled
from lecore.linear_networks import LinearNetwork, linear_network, train_linear
from lecore.losses import Loss, binary_cross_entropy, squared_error
from lecore.sampling import Pair, he_su_sample
from lecore.similarity import normalized_similarity, relative_similarity, symmetrized
from lecore.tangent_kernel import empirical_ntk, stability_limit
from lecore.training import DivergenceError, train

Array = NDArray[np.float64]
Network = Literal["two-layer", "cnn", "skip", "pixels", "principal", "autoencoder", "resnet152"]

LOSSES: dict[str, Loss] = {"squared": squared_error, "cross-entropy": binary_cross_entropy}
CONTROLLED = ("relative", "kernelized")
FEATURES = ("pixels", "principal", "autoencoder", "resnet152")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One network and how it is trained, or one set of features.

    Attributes:
        data: Image set.
        primary: The two primary classes.
        auxiliary: The auxiliary classes.
        network: ``two-layer``, ``cnn``, ``skip`` (the paper's "ResNet"), or the features
            ``pixels``, ``principal`` (PCA), ``autoencoder``, ``resnet152``.
        activation: Of two-layer networks; ``linear`` is the control.
        loss: ``squared`` or ``cross-entropy`` (through a sigmoid).
        width: Hidden units of two-layer and skip networks.
        learning_rate: η, absolute.
        rate_share: Instead of it, η as a share of the largest stable one at the initial weights.
        epochs: Passes over the training set; 0 leaves the random weights.
        batch_size: Examples a step.
        seed: Of weights and order.
        sample: Seed of random images; None takes the first ones, as the paper does.
        per_class: Images of each primary class.
        auxiliary_size: Images of the auxiliary classes together.
        normalized: Whether pixels lie in [−1, 1], else in [0, 1].
        as_coded: Whether to run the paper's float32 loop as well.
        looks: How often to cluster during training, evenly in the logarithm of the step.
    """

    data: str
    primary: tuple[int, int]
    auxiliary: tuple[int, ...]
    network: Network = "two-layer"
    activation: str = "relu"
    loss: Literal["squared", "cross-entropy"] = "squared"
    width: int = 40960
    learning_rate: float = 3e-3
    rate_share: float | None = None
    epochs: int = 200
    batch_size: int = 50
    seed: int = 0
    sample: int | None = None
    per_class: int = 500
    auxiliary_size: int = 1000
    normalized: bool = True
    as_coded: bool = False
    looks: int = 0


def he_su_run(
    data: str, primary: tuple[int, int], auxiliary: tuple[int, ...], **changes: Any
) -> Run:
    """A run with the settings of He & Su's code, except for what is changed.

    Learning rate 3·10⁻³, or 3·10⁻⁵ for linear networks with the squared loss; 200 epochs, or 50 on
    MNIST with cross-entropy; batches of 50 on MNIST, or of 500 for 3 against 5, for the CNN and
    for the skip network, and on CIFAR-10. The skip network has 4,096 units a layer.

    Args:
        data: Image set.
        primary: The two primary classes.
        auxiliary: The auxiliary classes.
        changes: Attributes of :class:`Run`.
    """
    chosen = Run(data=data, primary=primary, auxiliary=auxiliary, **changes)
    cross_entropy, two_layer = chosen.loss == "cross-entropy", chosen.network == "two-layer"
    large = data == "cifar10" or primary == (3, 5) or not two_layer
    settings: dict[str, Any] = {
        "learning_rate": 3e-5 if chosen.activation == "linear" and not cross_entropy else 3e-3,
        "epochs": 50 if cross_entropy and data != "cifar10" else 200,
        "batch_size": 500 if large else 50,
        "width": 4096 if chosen.network == "skip" else 40960,
    }
    return replace(chosen, **{k: v for k, v in settings.items() if k not in changes})


def replicated(run: Run, number: int, *, seed: int = 0) -> list[Run]:
    """A run on the paper's images, then the same with other seeds on random images."""
    return [replace(run, seed=seed + r, sample=None if r == 0 else seed + r) for r in range(number)]


def comparison_runs(
    data: str,
    pairs: Collection[Pair],
    *,
    losses: Iterable[str] = tuple(LOSSES),
    activations: Iterable[str] = ("relu", "linear"),
    replicates: int = 1,
    width: int = 40960,
    coded_width: int = 4096,
    seed: int = 0,
    sample: dict[str, Any] | None = None,
    **training: Any,
) -> list[Run]:
    """The runs of He & Su's Tables 1 and 2.

    Args:
        data: Image set.
        pairs: Primary and auxiliary classes.
        losses: ``squared``, ``cross-entropy`` or both.
        activations: Of the networks; ReLU networks with the squared loss are looked at 8 times.
        replicates: Runs of each kind, see :func:`replicated`.
        width: Hidden units with the squared loss.
        coded_width: Hidden units with the cross-entropy, whose float32 steps are taken as well.
        seed: First seed.
        sample: ``per_class`` and ``auxiliary_size``, where they are not the paper's.
        training: Other attributes of the networks' runs.
    """
    sample = sample or {}
    kinds: list[dict[str, Any]] = [{"network": "pixels"}, {"network": "principal"}]
    for activation in activations:
        for loss in losses:
            kind = {"activation": activation, "loss": loss, "width": width} | training
            if loss == "cross-entropy":
                kind |= {"width": coded_width, "as_coded": True}
            elif activation == "relu":
                kind["looks"] = 8
            kinds.append(kind)
    return [
        run
        for kind in kinds
        for pair in pairs
        for run in replicated(he_su_run(data, *pair, **(kind | sample)), replicates, seed=seed)
    ]


def measure(run: Run, device: str = "cpu") -> dict[str, Any]:
    """Train, measure and cluster.

    Args:
        run: The run.
        device: Where to compute.

    Returns:
        Nothing but what JSON can hold. Always ``seconds``. ``scores``: by similarity, then by
        procedure, see :func:`lecore.cluster_scores.similarity_scores`. Of networks also
        ``within over between`` by similarity; ``rate over limit`` and ``learning rate``; ``largest
        loss`` and ``last loss`` (mean of 40 steps); ``training accuracy`` in per cent; ``silent
        units``, the share of ReLU units that no training example activates; ``looks``, a list of
        step, loss and accuracies. As coded also ``tripled``, the share of points whose step
        was enlarged, and ``own units``, quantiles of a point's own move in units in the last
        place. A run that runs away has ``diverged`` instead of scores.

    Raises:
        ValueError: If the network, activation or a class is unknown.
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
        ValueError: If the network is unknown.
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
        raise ValueError(f"network {run.network!r} is unknown; choose two-layer, cnn or skip")
    return network.append(nn.Sigmoid()) if probability else network


def similarities(run: Run, network: nn.Module, primary: Tensor) -> dict[str, Array]:
    """All similarities of the limit of a small step, symmetrised, by name.

    ``relative``, ``kernelized`` and ``normalized kernelized``; with the cross-entropy of the
    probability, as in the paper, and with ``, logits`` added to the name, of the logits.

    Args:
        run: The run, for its loss.
        network: The network, or its :class:`lecore.linear_networks.LinearNetwork`.
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
