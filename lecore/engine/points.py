"""Points and labels as a network can take them."""

from collections.abc import Iterable
from contextlib import suppress
from inspect import signature
from operator import index
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lecore.arguments.finite import all_finite
from lecore.engine.loss_checks import check_loss, rows_named
from lecore.engine.network.model_copy import unwrapped
from lecore.engine.network.snapshot import Snapshot
from lecore.engine.one_example import gradients_at_once, gradients_by_autograd
from lecore.engine.surroundings import check_surroundings
from lecore.errors import LecoreError
from lecore.losses import Loss, squared_error

TRUTHS = ("y_true", "true", "truth", "ground_truth", "target", "targets", "label", "labels")
"""What nobody calls a prediction."""

WITNESSES = 32
"""Points by which another process shows that it knows network and loss as they are."""


class Side(NamedTuple):
    """Row or column points; with a loss, their gradients are those of the loss.

    Attributes:
        inputs: Shape (n, …).
        targets: Shape (n, …), for the loss.
        loss: Loss of one prediction.
        vectorizes: Whether it runs under ``vmap``; one that looks at values does not.
    """

    inputs: Tensor
    targets: Tensor | None = None
    loss: Loss | None = None
    vectorizes: bool = True

    def loss_gradient(self, part: slice, prediction: Tensor) -> Tensor:
        """∂L/∂f at some of the points, shape (n, outputs)."""
        assert self.targets is not None
        assert self.loss is not None
        gradients = gradients_at_once if self.vectorizes else gradients_by_autograd
        return gradients(self.loss, prediction, self.targets[part])

    def signals(self, network: Snapshot, part: slice) -> "Side":
        """Some of the points, with the loss gradients that are sent back in place of the loss."""
        inputs = self.inputs[part]
        if self.loss is None or self.targets is None:
            return Side(inputs)
        if self.vectorizes:
            return Side(inputs, self.targets[part], self.loss)
        with torch.no_grad():
            prediction = torch.cat([network.predict(x[None]) for x in inputs])
            gradient = self.loss_gradient(part, prediction)
        return Side(inputs, gradient, _inner_product)


def _inner_product(prediction: Tensor, signal: Tensor) -> Tensor:
    return (prediction * signal).sum()


def kept(chosen: Iterable[int] | None, outputs: int) -> tuple[int, ...]:
    """Numbers of the outputs that are kept; none if that are all.

    Raises:
        LecoreError: If they are no numbers of outputs.
    """
    if chosen is None:
        return ()
    try:
        found = tuple(map(_number, chosen))
    except TypeError as error:
        raise LecoreError(f"outputs is {chosen!r}", "give numbers such as [3, 7]") from error
    if not found or min(found) < 0 or max(found) >= outputs or len(set(found)) < len(found):
        raise LecoreError(f"outputs is {chosen!r}", f"choose some of 0 to {outputs - 1}, each once")
    return found


def _number(value: Any) -> int:
    """A whole number that is no truth of a mask, which Python would take for 0 or 1."""
    if isinstance(value, bool) or getattr(value, "dtype", None) == torch.bool:
        raise TypeError
    return index(value)


def only(values: Tensor, kept: tuple[int, ...]) -> Tensor:
    """Those of values, shape (…, outputs), that are kept."""
    return values[..., list(kept)] if kept else values


def not_finite(block: Tensor, rows: slice, columns: slice) -> str:
    """Rows of a block with numbers that are not finite, or columns if it is those of all rows."""
    bad = ~torch.isfinite(block.reshape(*block.shape[:2], -1)).all(2)
    across, down = bad.any(1), bad.any(0)
    if across.all() and not down.all():
        return rows_named((columns.start + down.nonzero()[:, 0]).tolist(), "column")
    return rows_named((rows.start + across.nonzero()[:, 0]).tolist())


def witness(network: Snapshot, side: Side) -> Tensor:
    """What a network and its loss give for some points all over the data, a row each."""
    n = len(side.inputs)
    rows = torch.linspace(0, n - 1, min(n, WITNESSES)).round().long().to(side.inputs.device)
    targets = None if side.targets is None else side.targets[rows]
    some = side._replace(inputs=side.inputs[rows], targets=targets)
    with torch.no_grad(), network.flags():
        own = network.copy()
        prediction = torch.cat([own.predict(x[None]) for x in some.inputs])
        if side.loss is None:
            return prediction.cpu()
        gradient = some.loss_gradient(slice(None), prediction)
        return torch.cat([prediction, gradient]).cpu()


def points(network: Snapshot, inputs: Any, what: str = "inputs") -> Tensor:
    """Inputs on the network's device, in its precision if they are not indices.

    Raises:
        LecoreError: If they are no tensor of points, there are none, or one is not finite.
    """
    inputs = _tensor(inputs, what, "give one tensor with a point a row; a model that takes more "
                     "wants a module around it that takes its parts out of one tensor")  # fmt: skip
    if inputs.ndim == 0:
        raise LecoreError(f"{what} is a single number", "give shape (n, …), one point a row")
    if len(inputs) == 0:
        raise LecoreError(f"{what} is empty", "give at least one point")
    if inputs.is_complex():
        inputs = inputs.to(network.device, network.dtype.to_complex())
    elif inputs.is_floating_point():
        inputs = inputs.to(network.device, network.dtype)
    else:
        return inputs.to(network.device)
    if not all_finite(inputs):
        bad = (~torch.isfinite(inputs.reshape(len(inputs), -1)).all(1)).nonzero()[:, 0]
        raise LecoreError(
            f"{len(bad)} of {len(inputs)} {what} are not finite ({rows_named(bad.tolist())})",
            "drop or repair them",
        )
    return inputs


def labelled(
    measured: tuple[nn.Module, Snapshot], inputs: Any, targets: Any, loss: Loss | None
) -> Side:
    """Points whose gradients are those of a loss, checked.

    Raises:
        LecoreError: If points or targets are unfit, or the loss is more than a function of one
            prediction and one target.
    """
    model, network = measured
    inputs = points(network, inputs)
    targets = _tensor(targets, "targets", "give one tensor with a target for each input")
    if targets.ndim == 0 or len(targets) != len(inputs):
        count = "one number" if targets.ndim == 0 else str(len(targets))
        raise LecoreError(
            f"need as many targets as update points, got {count} and {len(inputs)}",
            "give one target for each input",
        )
    targets = targets.to(
        network.device, network.dtype if targets.is_floating_point() else targets.dtype, copy=True
    )
    loss = _chosen(loss, targets)
    with torch.no_grad():
        prediction = network.predict(inputs[:1])[0]
        of_one, at_once = check_loss(
            model, loss, prediction, targets, lambda rows: network.predict(inputs[rows]),
            network.owners,
        )  # fmt: skip
    return Side(inputs, targets, of_one, at_once)


def training_data(
    model: Any, inputs: Any, targets: Any, loss: Loss | None
) -> tuple[Tensor, Tensor, Loss]:
    """Examples on a model's device and the loss to train it with, checked.

    Raises:
        LecoreError: If one of them is unfit.
    """
    if not isinstance(model, nn.Module):
        raise LecoreError(f"the model is a {type(model).__name__}", "give a torch.nn.Module")
    check_surroundings(model)
    parameters = list(model.parameters())
    if any(nn.parameter.is_lazy(p) for p in parameters):
        raise LecoreError("a parameter has no shape yet", "run the model once first")
    if not any(p.requires_grad for p in parameters):
        raise LecoreError(
            "the model has no parameter with requires_grad=True", "set it where it may train"
        )
    if any(p.is_meta for p in parameters):
        raise LecoreError("the weights are on the meta device", "load them first")
    inputs = _tensor(inputs, "inputs", "give one tensor with an example a row")
    targets = _tensor(targets, "targets", "give one tensor with a target for each input")
    if inputs.ndim == 0 or targets.ndim == 0 or not 0 < len(inputs) == len(targets):
        counts = (str(len(t)) if t.ndim else "one number" for t in (targets, inputs))
        raise LecoreError(
            "need one target for each of at least one input; got {} targets, {} inputs".format(
                *counts
            ),
            "give as many of both",
        )
    loss = _chosen(loss, targets)
    return inputs.to(parameters[0].device), targets.to(parameters[0].device), loss


def _chosen(loss: Loss | None, targets: Tensor) -> Loss:
    """The loss that was given, or squared errors of numbers."""
    if loss is None and not targets.is_floating_point():
        raise LecoreError(
            f"targets of type {str(targets.dtype).removeprefix('torch.')} want a loss",
            "for classes take loss=lecore.losses.cross_entropy; for numbers cast the targets to "
            "a floating type",
        )
    loss = squared_error if loss is None else loss
    if not callable(loss):
        raise LecoreError(
            f"the loss is a {type(loss).__name__}",
            "give a function of one prediction and one target, see lecore.losses",
        )
    first = ""
    with suppress(TypeError, ValueError):  # of what is compiled nothing may be known
        first = next(iter(signature(getattr(loss, "forward", loss)).parameters), "")
    if first in TRUTHS:
        raise LecoreError(
            f"the loss takes {first!r} first, and is called with the prediction and the target",
            "give lambda f, y: loss(y, f)",
        )
    if isinstance(loss, nn.Module):
        return unwrapped(loss)
    compiled: Loss | None = getattr(loss, "_torchdynamo_orig_callable", None)
    return compiled or loss  # what torch.compile was given


def _tensor(value: Any, what: str, cure: str) -> Tensor:
    if not isinstance(value, Tensor):
        kind = type(value)
        if kind.__module__ == "numpy":
            cure = f"give torch.as_tensor({what})"
        raise LecoreError(
            f"{what} is a {kind.__module__}.{kind.__name__}".replace(" builtins.", " "), cure
        )
    if value.is_nested or value.layout is not torch.strided:
        raise LecoreError(f"{what} is not a dense tensor", "give a dense one (to_dense)")
    if value.is_meta:
        raise LecoreError(f"{what} is on the meta device, which holds no values", "load it first")
    if value.is_quantized:
        raise LecoreError(f"{what} is quantized", "give numbers (dequantize)")
    if type(value).__torch_dispatch__ is not Tensor.__torch_dispatch__:
        raise LecoreError(f"{what} is a {type(value).__name__}", "give a plain tensor")
    value = value.detach()
    return value.clone() if value.is_inference() else value
