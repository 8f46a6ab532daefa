"""Whether a loss fits what the model gives, as far as its first prediction tells."""

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lecore.errors import LecoreError
from lecore.study.row_model import chosen, given

if TYPE_CHECKING:
    from lecore.study.study import Study

SHAPED = ("View", "Reshape", "Squeeze", "Unsqueeze", "Select", "Slice", "Clamp", "ToCopy", "Clone")
"""Steps of autograd after a sigmoid that leave its values or cut off their ends."""


def check_loss(study: "Study") -> None:
    """Refuse squared errors of class numbers, and warn of a second sigmoid.

    Raises:
        LecoreError: If no loss was named, and the targets are 0.0, 1.0, … for several outputs.

    Warns:
        UserWarning: If the model ends in a sigmoid, of which the loss takes another.
    """
    targets, device = study.train.targets, study._rows.device
    if study.loss is None and targets is not None and _may_be_classes(targets):
        outputs = chosen(given(study.model, study.train, device), study.output).shape[1]
        if outputs > 1 and bool((targets < outputs).all()):
            raise LecoreError(
                f"targets that are whole numbers from 0 to {outputs - 1}, one a row for {outputs} "
                "outputs, want a loss",
                "for classes, of shape (n,), take loss=lecore.losses.cross_entropy; for numbers "
                'name loss="squared_error"',
            )
    if _takes_a_sigmoid(study.loss):
        with torch.enable_grad():
            prediction = chosen(given(study.model, study.train, device), study.output)
        if _is_sigmoid(prediction):
            warnings.warn(
                "the predictions are probabilities, and binary cross-entropy with logits takes the "
                'sigmoid of them once more; measure logits, or take loss="binary_cross_entropy"',
                stacklevel=3,
            )


def _may_be_classes(targets: Tensor) -> bool:
    """Whether they are whole numbers from 0 on that are kept as floating ones, one a row."""
    one = targets.is_floating_point() and targets[0].numel() == 1
    return one and bool(((targets >= 0) & (targets == targets.round())).all())


def _takes_a_sigmoid(loss: Any) -> bool:
    loss = loss.func if isinstance(loss, partial) else loss
    return loss is F.binary_cross_entropy_with_logits or isinstance(loss, nn.BCEWithLogitsLoss)


def _is_sigmoid(prediction: Tensor) -> bool:
    """Whether autograd saw a sigmoid as the last step, so that nobody's small logits are meant."""
    step = prediction.grad_fn
    while step is not None and step.name().startswith(SHAPED):
        step = step.next_functions[0][0]
    return step is not None and step.name().startswith("Sigmoid")
