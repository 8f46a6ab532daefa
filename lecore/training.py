"""Training loops: SGD or Adam, with callbacks, checkpoints and an early stop for divergence."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from lecore.errors import LecoreError, in_short
from lecore.files import whole_file
from lecore.identity import Identity, identify, refuse_another, shapes
from lecore.losses import Loss, batch_loss, cross_entropy
from lecore.points import training_data
from lecore.two_layer_sgd import TwoLayerSGD, two_layer_sgd

Callback = Callable[[int, nn.Module], None]

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
}


class DivergenceError(RuntimeError):
    """Training ran away: the loss is no longer finite, or beyond the limit set for it."""


@dataclass
class History:
    """What a training run left behind.

    Attributes:
        losses: Mean loss of each step's batch before the step, one number a step.
        accuracies: Share of that batch classified right; empty unless the loss is
            :func:`~lecore.losses.cross_entropy`.
        steps: Steps taken, the resumed ones included.
    """

    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)

    @property
    def steps(self) -> int:  # noqa: D102
        return len(self.losses)


def train(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    learning_rate: float,
    epochs: int,
    batch_size: int | None = None,
    drop_last: bool = False,
    loss: Loss | None = None,
    optimizer: Literal["sgd", "adam"] = "sgd",
    weight_decay: float = 0.0,
    shuffle: Literal["once", "each epoch"] = "once",
    seed: int = 0,
    callback: Callback | None = None,
    callback_steps: Collection[int] | None = None,
    loss_limit: float = float("inf"),
    checkpoint: Path | None = None,
    checkpoint_every: int = 1000,
    key: str = "",
    progress: bool = False,
) -> History:
    """Train a model in place on the mean of a per-example loss.

    Plain SGD of networks with one hidden layer and one output takes the route of
    :mod:`lecore.two_layer_sgd`.

    Args:
        model: The network; it and the data are used on the model's device.
        inputs: Shape (n, …).
        targets: Shape (n,) or (n, outputs), as the loss wants them.
        learning_rate: Step size, > 0.
        epochs: Passes over the data.
        batch_size: Examples a step; all of them if left out.
        drop_last: Leave out an epoch's last batch if it is smaller.
        loss: Loss of one prediction, see :mod:`lecore.losses`; for targets that are numbers
            :func:`~lecore.losses.squared_error` if left out, for classes it has to be named.
        optimizer: ``sgd`` (no momentum) or ``adam``.
        weight_decay: Factor of the penalty's gradient, as in torch.
        shuffle: Draw the order of the examples once, as He & Su do, or in each epoch.
        seed: Seed of that order.
        callback: Called as ``callback(step, model)`` before the first step (0) and after each.
        callback_steps: Only after these steps.
        loss_limit: Largest loss to go on with. A loss that is not finite always stops.
        checkpoint: File to resume from if it exists, and to write to; removed at the end.
            It is recognised by network, loss, data and settings with their code; what the weights
            were at first, the number of epochs and the callback don't count.
        checkpoint_every: Steps between two checkpoints.
        key: A word for what of that cannot be identified, see :class:`lecore.tiles.Tiles`.
        progress: Whether to show a progress bar on standard error.

    Returns:
        The losses of all steps, and of classifiers the accuracies.

    Raises:
        DivergenceError: As soon as a loss is not finite or above ``loss_limit``.
        LecoreError: If an argument is out of range, or the checkpoint is of another run, of more
            epochs, or damaged.
    """
    inputs, targets, loss = training_data(model, inputs, targets, loss)
    if not 0 < learning_rate < float("inf") or epochs < 0:
        raise LecoreError(
            "learning_rate must be positive and epochs 0 or larger, not "
            f"{learning_rate} and {epochs}"
        )
    if optimizer not in OPTIMIZERS or shuffle not in ("once", "each epoch"):
        raise LecoreError(
            f"optimizer {optimizer!r} or shuffle {shuffle!r} is unknown",
            "take 'sgd' or 'adam', and 'once' or 'each epoch'",
        )
    batch_size = len(inputs) if batch_size is None else batch_size
    if batch_size < 1:
        raise LecoreError(f"batch_size must be 1 or larger, not {batch_size}")
    if drop_last and batch_size > len(inputs):
        raise LecoreError(f"a batch of {batch_size} is more than all {len(inputs)} examples")
    trainable = [p for p in model.parameters() if p.requires_grad]
    update = OPTIMIZERS[optimizer](trainable, lr=learning_rate, weight_decay=weight_decay)
    if checkpoint is not None:
        identity = identify(
            by=__name__, key=key, model=model, **shapes(model), loss=loss, data=(inputs, targets),
            learning_rate=learning_rate, batch_size=batch_size, drop_last=drop_last, seed=seed,
            optimizer=optimizer, weight_decay=weight_decay, shuffle=shuffle,
        )  # fmt: skip
    steps: TwoLayerSGD | _Steps | None = None
    if optimizer == "sgd" and weight_decay == 0:
        steps = two_layer_sgd(model, inputs, targets, learning_rate=learning_rate, loss=loss)
    steps = steps or _Steps(model, inputs, targets, update, loss)
    batches = len(inputs) // batch_size if drop_last else -(-len(inputs) // batch_size)
    wanted = range(epochs * len(inputs) + 1) if callback_steps is None else set(callback_steps)
    history = History()
    if checkpoint is not None and checkpoint.exists():
        history = _resume(checkpoint, model, update, identity, epochs * batches)
    if callback and history.steps == 0 and 0 in wanted:
        callback(0, model)

    order_seed = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(inputs), generator=order_seed).to(inputs.device)
    for step in tqdm(range(epochs * batches), disable=not progress, unit="step", leave=False):
        epoch, batch = divmod(step, batches)
        if shuffle == "each epoch" and batch == 0 and epoch > 0:
            order = torch.randperm(len(inputs), generator=order_seed).to(inputs.device)
        if step < history.steps:  # taken before the checkpoint; only the order is replayed
            continue
        rows = order[batch * batch_size : (batch + 1) * batch_size]
        try:
            value = steps.evaluate(rows)
        except LecoreError:
            raise
        except Exception as error:
            raise _unfit(error, inputs[rows]) from error
        if not value <= loss_limit or value == float("inf"):
            steps.write_back()
            raise DivergenceError(
                f"loss is {value:.3g} at step {step}; take a learning rate below {learning_rate:g}"
            )
        steps.apply()
        history.losses.append(value)
        if isinstance(steps, _Steps) and steps.classifies:
            history.accuracies.append(steps.accuracy)
        if (step + 1) % batches == 0 and (epoch + 1) & epoch == 0:  # after 1, 2, 4, 8 … epochs
            steps.leave_out_silent_units()
        if callback and step + 1 in wanted:
            steps.write_back()
            callback(step + 1, model)
        if checkpoint is not None and history.steps % checkpoint_every == 0:
            steps.write_back()
            _save(checkpoint, model, update, identity, history)
    steps.write_back()
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return history


def batches_once(
    examples: int, batch_size: int | None, seed: int, device: torch.device
) -> tuple[Tensor, ...]:
    """Rows of each batch, in the order that is drawn once for all epochs."""
    order = torch.randperm(examples, generator=torch.Generator().manual_seed(seed))
    return order.to(device).split(examples if batch_size is None else batch_size)


class _Steps:
    """Steps of any optimiser on any network, by autograd."""

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        update: torch.optim.Optimizer,
        loss: Loss,
    ) -> None:
        self.model, self.inputs, self.targets = model, inputs, targets
        self.update, self.loss = update, batch_loss(loss)
        self.classifies = loss is cross_entropy
        self.accuracy = 0.0

    def evaluate(self, rows: Tensor) -> float:
        self.update.zero_grad()
        prediction, targets = self.model(self.inputs[rows]), self.targets[rows]
        mean_loss = self.loss(prediction, targets)
        mean_loss.backward()
        if self.classifies:
            classes = targets if targets.ndim == 1 else targets.argmax(dim=1)
            self.accuracy = float((prediction.argmax(dim=1) == classes).float().mean())
        return mean_loss.item()

    def apply(self) -> None:
        self.update.step()

    def leave_out_silent_units(self) -> None: ...

    def write_back(self) -> None: ...


def _unfit(error: Exception, batch: Tensor) -> LecoreError:
    return LecoreError(
        f"model or loss fail on a batch of shape {tuple(batch.shape)} and type "
        f"{str(batch.dtype).removeprefix('torch.')} ({in_short(error)})",
        "check shape and type of inputs and targets, and the loss (see lecore.losses)",
    )


def _save(
    path: Path,
    model: nn.Module,
    update: torch.optim.Optimizer,
    identity: Identity,
    history: History,
) -> None:
    state = {
        "model": model.state_dict(),
        "optimizer": update.state_dict(),
        "identity": identity,
        "losses": history.losses,
        "accuracies": history.accuracies,
    }
    with whole_file(path) as stream:
        torch.save(state, stream)


def _resume(
    path: Path, model: nn.Module, update: torch.optim.Optimizer, identity: Identity, steps: int
) -> History:
    what, device = f"checkpoint {path}", next(model.parameters()).device
    try:
        state = torch.load(path, weights_only=True, map_location=device)
        known = dict(state["identity"])
        history = History(list(state["losses"]), list(state["accuracies"]))
    except Exception as error:  # damaged files raise errors of many kinds
        raise LecoreError(f"{what} is damaged, or no checkpoint", "delete it") from error
    refuse_another(known, identity, what, "delete it, or take another file")
    if history.steps > steps:
        raise LecoreError(
            f"{what} holds {history.steps} steps, and only {steps} are wanted",
            "take at least as many epochs, or delete it",
        )
    model.load_state_dict(state["model"])
    update.load_state_dict(state["optimizer"])
    return history
