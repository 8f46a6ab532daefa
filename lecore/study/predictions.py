"""What a network says of its examples, and how wrong it is."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import vmap

from lecore.engine.checks.predictions import check_batch
from lecore.engine.network.failures import of_some, told
from lecore.engine.network.flags import Precision
from lecore.engine.opening import check_points, opened
from lecore.engine.points import labelled
from lecore.losses import Loss

AT_ONCE = 256
"""Examples that are predicted together."""


class Predicted(NamedTuple):
    """Predictions of shape (n, outputs), and the loss of each, shape (n,)."""

    predictions: Tensor
    losses: Tensor


def predicted(
    network: nn.Module,
    points: Tensor,
    targets: Tensor,
    loss: Loss | None,
    dtype: Precision | None,
    moved: Tensor | None = None,
) -> Predicted:
    """Predict all points; the network is left as it was found.

    Args:
        network: From (n, …) to (n, outputs).
        points: Shape (n, …).
        targets: Shape (n, …), as the loss wants them.
        loss: Loss of one prediction.
        dtype: Precision of the calculation; float64 if left out.
        moved: Added to the predictions before their losses are taken, shape (n, outputs).
    """
    with opened(network, points, dtype) as (measured, points), torch.no_grad():
        check_points(measured, points, points, check=True)
        side, snapshot = labelled(measured, points, targets, loss), measured[1]
        size = 1 if snapshot.manners.alone else AT_ONCE
        parts = points.split(size)
        for part in parts:
            check_batch(snapshot, part)
        with of_some():
            predictions = torch.cat([snapshot.predict(part) for part in parts])
        if moved is not None:
            predictions = predictions + moved.to(predictions)
        of_one: Any = side.loss
        with told("the loss fails on some predictions", "see whether it takes each of them alone"):
            if side.vectorizes:
                losses = vmap(of_one)(predictions, side.targets)
            else:
                pairs = zip(predictions, side.targets, strict=True)  # type: ignore[arg-type]
                losses = torch.stack([of_one(*pair) for pair in pairs])
        return Predicted(predictions.cpu(), losses.detach().cpu())
