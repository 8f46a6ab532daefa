"""Training loops: SGD or Adam, with callbacks, checkpoints and an early stop for divergence."""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from math import inf, isinf
from typing import Literal

import torch
from torch import Tensor, nn

from lecore.arguments.names import check_name
from lecore.arguments.settings import MOST, SEEDS, flag, function, number, whole
from lecore.engine.checkpoints import Checkpoint
from lecore.engine.optimizer_steps import checked_rate
from lecore.engine.points import training_data
from lecore.engine.routes.two_layer_sgd import two_layer_sgd
from lecore.engine.training_steps import AutogradSteps, Steps, batches, take_steps
from lecore.errors import LecoreError
from lecore.identity.finished_work import identify, shapes
from lecore.losses import Loss

Callback = Callable[[int, nn.Module], None]

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
}


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
    loss_limit: float = inf,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1000,
    key: str = "",
    progress: bool = False,
) -> History:
    """Train a model in place on the mean of a per-example loss.

    Plain SGD of networks with one hidden layer and one output takes the route of
    :mod:`lecore.engine.routes.two_layer_sgd`.

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
        key: A word for what cannot be identified, see :class:`~lecore.engine.tiling.tiles.Tiles`.
        progress: Whether to show a progress bar on standard error.

    Returns:
        The losses of all steps, and of classifiers the accuracies.

    Raises:
        DivergenceError: As soon as a loss is not finite or above ``loss_limit``.
        LecoreError: If an argument is out of range, or the checkpoint is of another run, of more
            epochs, or damaged.
    """
    inputs, targets, loss = training_data(model, inputs, targets, loss)
    learning_rate, seed = checked_rate(learning_rate), whole("seed", seed, -MOST, SEEDS)
    weight_decay = number("weight_decay", weight_decay, lambda w: 0 <= w < inf, "finite and ≥ 0")
    loss_limit = number("loss_limit", loss_limit, lambda limit: limit > -inf, "above -inf")
    batch_size = len(inputs) if batch_size is None else whole("batch_size", batch_size)
    epochs, every = whole("epochs", epochs, 0), whole("checkpoint_every", checkpoint_every)
    check_name("optimizer", optimizer, OPTIMIZERS)
    check_name("shuffle", shuffle, ("once", "each epoch"))
    flag("drop_last", drop_last)
    flag("progress", progress)
    if callback is not None:
        function("callback", callback)
    if drop_last and batch_size > len(inputs):
        raise LecoreError(f"a batch of {batch_size} is more than all {len(inputs)} examples")
    trainable = [p for p in model.parameters() if p.requires_grad]
    update = OPTIMIZERS[optimizer](trainable, lr=learning_rate, weight_decay=weight_decay)
    kept = None
    if checkpoint is not None:
        identity = identify(
            by=__name__, key=key, model=model, **shapes(model), loss=loss, data=(inputs, targets),
            learning_rate=learning_rate, batch_size=batch_size, drop_last=drop_last, seed=seed,
            optimizer=optimizer, weight_decay=weight_decay, shuffle=shuffle,
        )  # fmt: skip
        kept = Checkpoint(checkpoint, model, update, identity)

    def chosen() -> Steps:
        written_out = None
        if optimizer == "sgd" and weight_decay == 0:
            written_out = two_layer_sgd(
                model, inputs, targets, learning_rate=learning_rate, loss=loss
            )
        return written_out or AutogradSteps(model, inputs, targets, update, loss)

    epoch_batches = len(inputs) // batch_size if drop_last else -(-len(inputs) // batch_size)
    wanted = range(epochs * len(inputs) + 1) if callback_steps is None else _steps(callback_steps)
    history = History(*kept.resume(epochs * epoch_batches)) if kept else History()
    if callback and history.steps == 0 and 0 in wanted:
        callback(0, model)
    steps = chosen()
    taken = take_steps(
        lambda: steps,
        batches(
            inputs, batch_size, epochs, seed,
            each_epoch=shuffle == "each epoch", drop_last=drop_last,
        ),
        total=epochs * epoch_batches, first=history.steps,
        learning_rate=learning_rate, loss_limit=loss_limit, progress=progress,
    )  # fmt: skip
    for value, accuracy in taken:
        history.losses.append(value)
        if accuracy is not None:
            history.accuracies.append(accuracy)
        if history.steps % epoch_batches == 0 and history.steps < epochs * epoch_batches:
            steps.end_epoch(history.steps // epoch_batches)
        if callback and history.steps in wanted:
            steps.write_back()
            before = steps.fingerprint()
            callback(history.steps, model)
            if steps.fingerprint() != before:
                steps = chosen()
        if kept and history.steps % every == 0:
            steps.write_back()
            kept.save(history.losses, history.accuracies)
    steps.write_back()
    if kept:
        kept.remove()
    return history


def _steps(chosen: Collection[int]) -> Collection[float]:
    """The chosen steps; those that never come do no harm."""
    if isinstance(chosen, range):
        return chosen
    try:
        steps = list(chosen.tolist() if isinstance(chosen, Tensor) else chosen)
    except TypeError as error:
        kind = type(chosen).__name__
        raise LecoreError(f"callback_steps is of type {kind}", "give a list") from error
    name, fits = "a step of callback_steps", lambda step: isinf(step) or step.is_integer()
    return {number(name, step, fits, "a whole number") for step in steps}
