"""Whether a loss is a function of one prediction and one target, and of nothing else."""

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lecore.arguments.finite import all_finite
from lecore.engine.network.graphs import leaves_behind, lowest_type
from lecore.engine.network.model_checks import memory_of
from lecore.engine.network.probing import Callers
from lecore.engine.network.random_states import generators_left_alone, random_states
from lecore.engine.one_example import (
    ALONE,
    check_numbers,
    check_several,
    gradient_by_autograd,
    gradient_of_batch,
    gradients_at_once,
    is_own,
    of_one_example,
    refuse_batches,
    tolerances,
)
from lecore.engine.rounding import warn_half_precision
from lecore.errors import LecoreError, in_short
from lecore.identity.digests import Walk
from lecore.identity.object_digests import add_tensor
from lecore.identity.patches import patches
from lecore.losses import NUMBER_LOSSES, Loss, cross_entropy

NAMED_ROWS = 5
"""Rows that an error lists."""

FEW, MANY = 4, 64
"""Targets that any loss is tried on, and predictions for one that may look at them."""

NEAR_ONE = 0.01
"""How far the sum of probabilities may be from 1, as those of half precision are."""

LARGE = 2**20
"""Bytes from which the values that a loss holds are taken to stay as they are."""


def check_loss(
    model: nn.Module,
    loss: Loss,
    prediction: Tensor,
    targets: Tensor,
    predict: Callable[[Tensor], Tensor],
    owners: torch.dtype | None = None,
) -> tuple[Loss, bool]:
    """Refuse a loss that is more than a function of a prediction and a target.

    One that runs under ``vmap`` does the same for all targets. Any other is tried on each of them,
    since it may do something of its own for some.

    Args:
        model: The caller's model, no weight of which it may use.
        loss: The loss as it was given.
        prediction: The first prediction, shape (outputs,).
        targets: All targets, shape (n, …).
        predict: Predictions for some of the rows, by their numbers.
        owners: Type of the model as its owner has it, ``None`` if it has several.

    Returns:
        The loss of one example, with float64 in the place of its float32 if that is possible in a
        calculation of float64, and whether it runs under ``vmap``.

    Raises:
        LecoreError: If it fails or has no finite gradient for some target, gives no number, draws,
            writes, keeps something, or depends on weights.
    """
    _check_shapes(loss, len(prediction), targets)
    _warn_of_probabilities(loss, prediction)
    _warn_of_several_classes(loss, len(prediction), targets)
    first = prediction.expand(len(targets), -1)
    one, every, at_once = loss, None, True
    if is_own(loss) and targets.dtype != torch.bool and not patches():  # what is written here
        with suppress(Exception):  # told of its row below
            every = gradients_at_once(loss, first, targets)
    if every is None:
        one, every, at_once = _tried(model, loss, first, targets, predict, owners)
    bad = (~torch.isfinite(every).all(1)).nonzero()[:, 0].tolist()
    if bad and not all_finite(prediction):
        raise LecoreError("the first prediction is not finite", "look at its input and the weights")
    if bad and targets.is_floating_point():
        missing = (~torch.isfinite(targets.reshape(len(targets), -1)).all(1)).nonzero()[:, 0]
        first_is_bad, bad = 0 in bad, missing.tolist()
        if first_is_bad and not bad:
            raise LecoreError(
                "the loss or its gradient is not finite at the first prediction and its target",
                "let the network end in what the loss takes, such as probabilities for a logarithm",
            )
    if bad:
        raise LecoreError(
            f"the loss has no finite gradient for the targets of {rows_named(bad)}",
            "drop these rows or repair their targets"
            + ("; lecore.losses shows a loss of some" if targets.is_floating_point() else ""),
        )
    return one, at_once


def _tried(
    model: nn.Module,
    loss: Loss,
    first: Tensor,
    targets: Tensor,
    predict: Callable[[Tensor], Tensor],
    owners: torch.dtype | None,
) -> tuple[Loss, Tensor, bool]:
    """The loss of one example, its gradients at the first prediction, whether vmap gives them."""
    own = targets.clone()
    with generators_left_alone():
        before, held = random_states(), _Held(loss)
        rows = _spread(targets, FEW)
        trial = _Trial(model, of_one_example(loss, first.dtype == torch.float64, owners), own)
        try:
            few = trial.gradients(first[rows], rows)
        except LecoreError:  # it may want its own precision
            trial = _Trial(model, of_one_example(loss), own)
            few = trial.gradients(first[rows], rows)
        same = torch.equal(few.nan_to_num(), trial.gradients(first[rows], rows).nan_to_num())
        _check_left(before, held, loss, own, targets, same)  # now, as vmap lets no tensor out
        refuse_batches(trial.loss, first[0], own[rows])
        try:
            every = gradients_at_once(trial.loss, first, own)
            at_once = torch.allclose(every[rows], few, *tolerances(few), equal_nan=True)
        except Exception:  # looks at values, say
            at_once = False
        if not at_once:
            held.refuse_weights(model)
            every = trial.gradients(first, torch.arange(len(targets)))
            some = _spread(targets, MANY)
            trial.gradients(predict(some), some)
        _check_left(before, held, loss, own, targets)
    if not trial.has_graph:
        raise LecoreError(
            "the loss does not depend on the prediction in a way that autograd sees",
            "let it keep the graph (no detach, item or numpy of the prediction)",
        )
    warn_half_precision(trial.lowest, first.dtype, "the loss")
    return trial.loss, every, at_once


def rows_named(rows: list[int], word: str = "row") -> str:
    """``rows 0, 3, 4, …`` for an error."""
    more = ", …" if len(rows) > NAMED_ROWS else ""
    word = word if len(rows) == 1 else f"{word}s"
    return f"{word} {', '.join(map(str, rows[:NAMED_ROWS]))}{more}"


class _Trial:
    """Tries a loss of one example on targets, by plain autograd, and sees what it depends on."""

    def __init__(self, model: nn.Module, loss: Loss, targets: Tensor) -> None:
        self.loss, self.targets = loss, targets
        tensors = (*model.named_parameters(), *model.named_buffers())
        self.own = {id(tensor): name for name, tensor in tensors}
        self.has_graph = False
        self.lowest: torch.dtype | None = None

    def gradients(self, predictions: Tensor, rows: Tensor) -> Tensor:
        """∂L/∂f of predictions for the targets of some rows."""
        found = zip(predictions, rows.tolist(), strict=True)
        return torch.stack([self._gradient(prediction, row) for prediction, row in found])

    def _gradient(self, prediction: Tensor, row: int) -> Tensor:
        watch = Callers(self.own)
        try:
            with watch:
                value, gradient = gradient_by_autograd(self.loss, prediction, self.targets[row])
        except LecoreError:
            raise
        except Exception as error:
            cure = "it gets one prediction of shape (outputs,) and one target; see lecore.losses"
            if gradient_of_batch(self.loss, prediction[None], self.targets[row][None]) is not None:
                cure = f"it is written for batches: {ALONE}"
            raise LecoreError(
                f"the loss fails on the target of {rows_named([row])} ({in_short(error)})", cure
            ) from error
        self.has_graph |= value.requires_grad
        self.lowest = lowest_type(value, self.lowest)
        # by the graph, as views and what was made of weights before are none of them
        used = watch.foreign or next(
            (self.own[leaf] for leaf in leaves_behind(value) if leaf in self.own), ""
        )
        if used:
            raise LecoreError(
                f"the loss uses {used!r} of the model, beside the prediction",
                "measure the part that a prediction has; for a penalty take the weight_decay of an "
                "optimizer",
            )
        return gradient


class _Held(Walk):
    """All that a loss holds and names, and what it is now."""

    def __init__(self, loss: Loss) -> None:
        super().__init__("whatever it is", {})
        self.tensors: list[Tensor] = []
        try:
            self.add(loss, "")
            self.content_now = self.finish()
        except RecursionError:
            self.content_now = ""

    def add(self, thing: Any, where: str) -> None:
        """A thing by value, or by its number; of large tensors and arrays no values."""
        if isinstance(thing, Tensor) and id(thing) not in self.seen:
            self.seen[id(thing)] = (f"tensor {len(self.tensors)}", thing)
            self.tensors.append(thing)
            version = 0 if thing.is_inference() else thing._version
            self.feed(f"tensor {tuple(thing.shape)} {version}")
            if thing.numel() * thing.element_size() <= LARGE:
                add_tensor(self, thing, where)
        elif isinstance(thing, np.ndarray) and thing.nbytes > LARGE:
            self.feed(f"array {thing.shape}")
        else:
            super().add(thing, where)

    def refuse_weights(self, model: nn.Module) -> None:
        """Refuse weights in reach of a loss that may use them for some predictions only."""
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        weights = {memory_of(p) or id(p): name for name, p in trained}
        for tensor in self.tensors:
            name = weights.get(memory_of(tensor) or id(tensor)) if tensor.requires_grad else None
            if name is not None:
                raise LecoreError(
                    f"the loss looks at values, and has {name!r} of the model in reach",
                    "give a function that holds no part of the model",
                )


def _check_left(
    before: Any, held: _Held, loss: Loss, own: Tensor, targets: Tensor, same: bool = True
) -> None:
    """Refuse a loss that has left something behind."""
    if not torch.equal(own.nan_to_num(), targets.nan_to_num()):
        raise LecoreError("the loss writes to its target", "let it work on a copy")
    if not same or random_states() != before or _Held(loss).content_now != held.content_now:
        raise LecoreError(
            "the loss draws random numbers, or keeps something and changes from call to call",
            "give a function of one prediction and one target alone",
        )


def _spread(targets: Tensor, count: int) -> Tensor:
    """Numbers of some of the rows, the first and the last among them."""
    return torch.linspace(0, len(targets) - 1, count).round().long().unique().to(targets.device)


def _check_shapes(loss: Loss, outputs: int, targets: Tensor) -> None:
    if loss is cross_entropy:
        _check_classes(outputs, targets)
    if any(loss is known for known in NUMBER_LOSSES):
        if targets.ndim > 1 and targets[0].numel() not in (1, outputs):
            raise LecoreError(
                f"a target has shape {tuple(targets.shape[1:])} and there are {outputs} outputs",
                "give one number for each output, or one for all",
            )
        check_numbers(targets.new_empty(outputs), targets[0])


def _warn_of_probabilities(loss: Loss, prediction: Tensor) -> None:
    """Say that a cross-entropy takes the softmax of what is one already."""
    if not _is_cross_entropy(loss) or len(prediction) == 1:
        return
    near = torch.finfo(prediction.dtype).eps ** 0.5
    if abs(float(prediction.real.sum()) - 1) <= near and bool((prediction.real >= 0).all()):
        warnings.warn(
            "the predictions are probabilities, and cross-entropy takes the softmax of them once "
            "more; measure logits (and lecore.probabilities.softmax_change), or take "
            "loss=lambda f, y: torch.nn.functional.nll_loss(f.log(), y)",
            stacklevel=2,
        )


def _warn_of_several_classes(loss: Loss, outputs: int, targets: Tensor) -> None:
    """Say that a cross-entropy takes targets for probabilities which name several classes, say."""
    some = outputs > 1 and targets.shape[1:] == (outputs,) and not targets.is_complex()
    if not (some and _is_cross_entropy(loss)):
        return
    odd = ((targets.double().sum(1) - 1).abs() > NEAR_ONE) | (targets < 0).any(1)
    if bool(odd.any()):
        warnings.warn(
            f"the targets of {rows_named(odd.nonzero()[:, 0].tolist())} are no probabilities of "
            "classes, as they do not sum to 1; for several labels at once take "
            "loss=torch.nn.BCEWithLogitsLoss()",
            stacklevel=2,
        )


def _is_cross_entropy(loss: Loss) -> bool:
    known = any(loss is one for one in (cross_entropy, F.cross_entropy))
    return known or isinstance(loss, nn.CrossEntropyLoss)


def _check_classes(outputs: int, targets: Tensor) -> None:
    check_several(outputs)
    if targets.ndim > 1 and targets.shape[1:] != (outputs,):
        raise LecoreError(
            f"a target of cross_entropy has shape {tuple(targets.shape[1:])} and there are "
            f"{outputs} outputs",
            "give the index of a class, or a probability for each",
        )
    if targets.ndim > 1:
        return
    unfit = (targets < 0) | (targets >= outputs) | (targets != targets.floor())
    if bool(unfit.any()):
        raise LecoreError(
            f"the targets of {rows_named(unfit.nonzero()[:, 0].tolist())} are no classes of a "
            f"network with {outputs} outputs",
            f"give whole numbers from 0 to {outputs - 1}, and drop rows without a label",
        )
