"""Steps of gradient descent on batches, however they are computed, and the loop that takes them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from tqdm import tqdm

from lecore.engine.network.random_states import generators_left_alone
from lecore.engine.one_example import batch_loss, is_own, of_one_example, refuse_batches
from lecore.errors import DivergenceError, LecoreError, in_short
from lecore.losses import Loss, cross_entropy

FEW = 4
"""Targets that a loss is tried on."""


def batches(
    examples: Tensor,
    batch_size: int,
    epochs: int,
    seed: int,
    *,
    each_epoch: bool = False,
    drop_last: bool = False,
) -> Iterator[Tensor]:
    """Rows of each batch, in an order that is drawn once, or in each epoch.

    Args:
        examples: Training examples, shape (n, …).
        batch_size: Examples a batch.
        epochs: Passes over the examples.
        seed: Seed of the order.
        each_epoch: Whether to draw another order in each epoch.
        drop_last: Leave out an epoch's last batch if it is smaller.
    """
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        if epoch == 0 or each_epoch:
            order = torch.randperm(len(examples), generator=generator).to(examples.device)
        whole = len(order) - len(order) % batch_size if drop_last else len(order)
        yield from order[:whole].split(batch_size)


class Steps(ABC):
    """A way to take steps.

    Attributes:
        accuracy: Share of the last batch classified right; ``None`` unless it is known.
    """

    accuracy: float | None = None

    @abstractmethod
    def evaluate(self, rows: Tensor) -> float:
        """Mean loss of a batch; what :meth:`apply` needs is kept."""

    @abstractmethod
    def apply(self) -> None:
        """Take the step of the last batch."""

    def end_epoch(self, epoch: int) -> None:  # noqa: B027 - most have nothing to do
        """Told after so many passes over the data."""

    def write_back(self) -> None:  # noqa: B027
        """Bring the network up to date with what is held beside it."""

    def fingerprint(self) -> object:
        """Another one says that somebody has changed what is held beside the network."""
        return None


def take_steps(
    steps: Callable[[], Steps],
    batches: Iterable[Tensor],
    *,
    total: int,
    first: int = 0,
    learning_rate: float,
    loss_limit: float = float("inf"),
    progress: bool = False,
) -> Iterator[tuple[float, float | None]]:
    """Take a step on each batch, and give its loss before the step and its accuracy.

    Args:
        steps: Gives the steps to go on with.
        batches: Rows of each batch.
        total: Number of batches.
        first: Batches to leave out, as taken before.
        learning_rate: For the message.
        loss_limit: Largest loss to go on with.
        progress: Whether to show a progress bar on standard error.

    Raises:
        DivergenceError: As soon as a loss is not finite or above ``loss_limit``.
    """
    shown = tqdm(batches, total=total, disable=not progress, unit="step", leave=False)
    for number, rows in enumerate(shown):
        if number < first:
            continue
        now = steps()
        loss = now.evaluate(rows)
        if not loss <= loss_limit or loss == float("inf"):
            now.write_back()
            raise DivergenceError(
                f"loss is {loss:.3g} at step {number}; take a learning rate below {learning_rate:g}"
            )
        now.apply()
        yield loss, now.accuracy


class AutogradSteps(Steps):
    """Steps of any optimiser on any network.

    Args:
        model: The network.
        inputs: Training examples, shape (n, …).
        targets: Their targets, as the loss wants them.
        update: The optimiser.
        loss: Loss of one prediction.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        update: torch.optim.Optimizer,
        loss: Loss,
    ) -> None:
        self.model, self.inputs, self.targets = model, inputs, targets
        self.update, self.loss, self.unseen = update, batch_loss(loss), not is_own(loss)
        self.of_one = of_one_example(loss)
        self.classifies = loss is cross_entropy

    def evaluate(self, rows: Tensor) -> float:
        """Mean loss of a batch before the step; leaves its gradient in the network."""
        batch, targets = self.inputs[rows], self.targets[rows]
        self.update.zero_grad()
        try:
            prediction = self.model(batch)
            if self.unseen:
                self.unseen = False
                with generators_left_alone():
                    refuse_batches(self.of_one, prediction[0].detach(), targets[:FEW])
            loss = self.loss(prediction, targets)
            loss.backward()
        except LecoreError:
            raise
        except Exception as error:
            raise _unfit(error, batch) from error
        if self.classifies:
            classes = targets if targets.ndim == 1 else targets.argmax(dim=1)
            self.accuracy = float((prediction.argmax(dim=1) == classes).float().mean())
        return loss.item()

    def apply(self) -> None:
        """Let the optimiser take its step."""
        self.update.step()


def _unfit(error: Exception, batch: Tensor) -> LecoreError:
    return LecoreError(
        f"model or loss fail on a batch of shape {tuple(batch.shape)} and type "
        f"{str(batch.dtype).removeprefix('torch.')} ({in_short(error)})",
        "check shape and type of inputs and targets, and the loss (see lecore.losses)",
    )
