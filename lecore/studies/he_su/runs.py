"""Which runs He & Su's Tables 1 to 8 are made of, with the settings of their code."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from lecore.arguments.names import check_name
from lecore.data.images import Normalized
from lecore.models import ACTIVATIONS
from lecore.studies.he_su.problems import Pair

Network = Literal["two-layer", "cnn", "skip"]
Features = Literal[
    "pixels", "principal", "autoencoder",
    "resnet152", "efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2",
]  # fmt: skip
LossName = Literal["squared", "cross-entropy"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One network and how it is trained, or one set of features.

    Attributes:
        data: Image set.
        primary: The two primary classes.
        auxiliary: The auxiliary classes.
        method: What is clustered: similarities of a network, ``two-layer``, ``cnn`` or ``skip``
            (the paper's "ResNet"), or the features ``pixels``, ``principal`` (PCA),
            ``autoencoder``, or those of a network of
            :data:`lecore.data.pretrained.PRETRAINED`.
        activation: Of two-layer networks; ``linear`` is the control.
        loss: ``squared`` or ``cross-entropy`` (through a sigmoid).
        width: Hidden units of two-layer and skip networks.
        learning_rate: η, absolute.
        rate_share: Instead of it, η as a share of the largest stable one at the initial weights.
        epochs: Passes over the training set; 0 leaves the random weights.
        batch_size: Examples a step.
        seed: Of weights, and of the order of the training examples if that has none of its own.
        order: Seed of that order.
        sample: Seed of random images; None takes the first ones, as the paper does.
        per_class: Images of each primary class.
        auxiliary_size: Images of the auxiliary classes together.
        normalized: Which pixels lie in [−1, 1], see :func:`lecore.data.images.scaled`.
        as_coded: Whether to run the paper's float32 loop as well.
        looks: How often to cluster during training, evenly in the logarithm of the step.
    """

    data: str
    primary: tuple[int, int]
    auxiliary: tuple[int, ...]
    method: Network | Features = "two-layer"
    activation: str = "relu"
    loss: LossName = "squared"
    width: int = 40960
    learning_rate: float = 3e-3
    rate_share: float | None = None
    epochs: int = 200
    batch_size: int = 50
    seed: int = 0
    order: int | None = None
    sample: int | None = None
    per_class: int = 500
    auxiliary_size: int = 1000
    normalized: Normalized = True
    as_coded: bool = False
    looks: int = 0

    def __post_init__(self) -> None:
        check_name("method", self.method, get_args(Network) + get_args(Features))
        check_name("activation", self.activation, ACTIVATIONS)
        check_name("loss", self.loss, get_args(LossName))


def he_su_run(
    data: str, primary: tuple[int, int], auxiliary: tuple[int, ...], **changes: Any
) -> Run:
    """A run with the settings of He & Su's code, except for what is changed.

    Learning rate 3·10⁻³, or 3·10⁻⁵ for linear networks with the squared loss; 200 epochs, or 50 on
    MNIST with cross-entropy; batches of 50 on MNIST, or of 500 for 3 against 5, for the CNN and
    for the skip network, and on CIFAR-10, where only the first channel is normalised. The skip
    network has 4,096 units a layer.

    Args:
        data: Image set.
        primary: The two primary classes.
        auxiliary: The auxiliary classes.
        changes: Attributes of :class:`Run`.
    """
    chosen = Run(data=data, primary=primary, auxiliary=auxiliary, **changes)
    cross_entropy, two_layer = chosen.loss == "cross-entropy", chosen.method == "two-layer"
    large = data == "cifar10" or primary == (3, 5) or not two_layer
    settings: dict[str, Any] = {
        "learning_rate": 3e-5 if chosen.activation == "linear" and not cross_entropy else 3e-3,
        "epochs": 50 if cross_entropy and data != "cifar10" else 200,
        "batch_size": 500 if large else 50,
        "width": 4096 if chosen.method == "skip" else 40960,
        "normalized": "first channel" if data == "cifar10" else True,
    }
    return replace(chosen, **{k: v for k, v in settings.items() if k not in changes})


def replicated(run: Run, number: int, *, seed: int = 0) -> list[Run]:
    """A run on the paper's images, then the same with other seeds on random images."""
    return [replace(run, seed=seed + r, sample=None if r == 0 else seed + r) for r in range(number)]


def runs_of_pairs(
    data: str, pairs: Iterable[Pair], number: int, *, seed: int = 0, **changes: Any
) -> list[Run]:
    """So many replicates of a run for each pair, with the paper's settings but for the changes.

    Args:
        data: Image set.
        pairs: Primary and auxiliary classes.
        number: Runs a pair, see :func:`replicated`.
        seed: First seed.
        changes: Attributes of :class:`Run`.
    """
    runs = [he_su_run(data, primary, auxiliary, **changes) for primary, auxiliary in pairs]
    return [one for run in runs for one in replicated(run, number, seed=seed)]


def training_settings(epochs: int, rate_share: float) -> dict[str, Any]:
    """Attributes of a :class:`Run` from two parameters of a page, where 0 is the paper's own."""
    return {"rate_share": rate_share or None} | ({"epochs": epochs} if epochs else {})


def comparison_runs(
    data: str,
    pairs: Collection[Pair],
    *,
    losses: Iterable[str] = ("squared", "cross-entropy"),
    activations: Iterable[str] = ("relu", "linear"),
    replicates: int = 1,
    cheap_replicates: int | None = None,
    width: int = 40960,
    coded_width: int = 4096,
    control_width: int | None = None,
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
        cheap_replicates: Runs of those kinds that take seconds, features and linear networks
            with the squared loss; as many if left out.
        width: Hidden units with the squared loss.
        coded_width: Hidden units with the cross-entropy, whose float32 steps are taken as well.
        control_width: The same of linear networks; ``coded_width`` if left out.
        seed: First seed.
        sample: What features and networks share where it is not the paper's: ``per_class``,
            ``auxiliary_size``, ``normalized``.
        training: Other attributes of the networks' runs.
    """
    sample = sample or {}
    kinds: list[dict[str, Any]] = [{"method": "pixels"}, {"method": "principal"}]
    for activation in activations:
        for loss in losses:
            kind = {"activation": activation, "loss": loss, "width": width} | training
            if loss == "cross-entropy":
                units = control_width if activation == "linear" else None
                kind |= {"width": units or coded_width, "as_coded": True}
            elif activation == "relu":
                kind["looks"] = 8
            kinds.append(kind)
    cheap = replicates if cheap_replicates is None else cheap_replicates
    runs = []
    for kind in kinds:
        trained = kind.get("activation") == "relu" or kind.get("loss") == "cross-entropy"
        number = replicates if trained else cheap
        runs += runs_of_pairs(data, pairs, number, seed=seed, **(kind | sample))
    return runs
