"""Losses, of torch and of people, as losses of one example and of a batch."""

import warnings
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from inspect import signature
from threading import RLock
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import grad, vmap
from torch.overrides import TorchFunctionMode

from lecore.engine.network.in_precision import InPrecision
from lecore.engine.network.model_checks import memory_of
from lecore.engine.network.probing import leaves_of
from lecore.errors import LecoreError
from lecore.losses import NUMBER_LOSSES, Loss, cross_entropy

_QUIET = RLock()

ALONE = "give lambda f, y: loss(f[None], y[None])"
"""How a loss of batches is one of one prediction."""


def of_one_example(loss: Loss, lifted: bool = False, owners: torch.dtype | None = None) -> Loss:
    """A loss that means something for one example.

    Losses of torch divide by the sum of class weights, over a batch. Of one example nothing would
    be left of its weight, and 0/0 of an ignored one, so ``F.cross_entropy`` and ``F.nll_loss``
    inside the loss are taken as with ``reduction="none"``, not normalised. A number as target
    stands for all outputs, and weights are taken in the type of the prediction.

    Args:
        loss: The loss as it was given.
        lifted: Whether its float32 is taken for float64.
        owners: As of :class:`~lecore.engine.network.in_precision.InPrecision`.
    """
    done = is_own(loss) or isinstance(loss, OneExample)
    return loss if done else OneExample(loss, lifted, owners)


def is_own(loss: Loss) -> bool:
    """Whether it is one of :mod:`lecore.losses`, which are of one example."""
    return any(loss is known for known in (cross_entropy, *NUMBER_LOSSES))


@dataclass(frozen=True)
class OneExample:
    """See :func:`of_one_example`.

    Attributes:
        loss: The loss as it was given.
        lifted: Whether its float32 is taken for float64.
        owners: Type of the model as its owner has it.
    """

    loss: Loss
    lifted: bool = False
    owners: torch.dtype | None = None

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss of one prediction."""
        longer = _Longer(torch.float64, self.owners) if self.lifted else nullcontext()
        with _Unnormalised(target), longer:
            value = self.loss(prediction, target)
        if not isinstance(value, Tensor):
            return value
        # of a loss that is NaN, by the logarithm of a negative number say, the gradient is, too
        return value * torch.where(value.isnan(), value.detach(), torch.ones_like(value))


class _Longer(InPrecision):
    """Takes the float32 numbers that a loss holds for float64, too, but where they are written to.

    Such are class weights, a temperature, or the network of a perceptual loss.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func == _TYPE_OF:  # each look makes a new one
            return _LONGER.get(args[0].dtype, args[0].dtype)
        given = [leaf for leaf in leaves_of((args, kwargs)) if isinstance(leaf, Tensor)]
        kinds = {tensor.dtype for tensor in given}
        if kinds.isdisjoint(_LONGER) or _may_write(func):
            return super().__torch_function__(func, types, args, kwargs)
        if kinds.isdisjoint(_LONGER.values()):
            result = super().__torch_function__(func, types, args, kwargs)
            view = memory_of(result) in {memory_of(tensor) for tensor in given}
            if view or getattr(result, "dtype", None) not in _LONGER:
                return result
        return super().__torch_function__(func, types, _longer(args), _longer(kwargs))


_TYPE_OF = getattr(Tensor, "dtype").__get__  # noqa: B009
_LONGER = {torch.float32: torch.float64, torch.complex64: torch.complex128}


def _longer(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to(_LONGER.get(value.dtype, value.dtype))
    if isinstance(value, dict):
        return {key: _longer(item) for key, item in value.items()}
    return type(value)(map(_longer, value)) if type(value) in (list, tuple) else value


def _may_write(func: Any) -> bool:
    """Whether a function of torch writes to its first argument, or gives what can be written to."""
    name = getattr(func, "__name__", "")
    if name.startswith("__"):
        in_place = name.startswith("__i") and name not in ("__invert__", "__index__", "__int__")
        return in_place or name in ("__get__", "__set__", "__setitem__")
    return name.endswith("_")


class _Unnormalised(TorchFunctionMode):
    def __init__(self, target: Tensor) -> None:
        super().__init__()
        self.target = target

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _DIFFERENCES:
            self.check_difference(*args[:2])
        if func not in _OF_CLASSES | _OF_NUMBERS:
            return func(*args, **kwargs)
        given = signature(func).bind(*args, **kwargs)
        input, target = given.arguments["input"], given.arguments["target"]
        if func is F.cross_entropy and input.ndim:
            check_several(input.shape[min(1, input.ndim - 1)])
        if given.arguments.get("reduction") == "batchmean" and input.ndim < 2:  # a batch of one
            given.arguments["reduction"] = "sum"
        for name, value in given.arguments.items():
            if "weight" in name and isinstance(value, Tensor):
                given.arguments[name] = value.to(input.dtype)
        if func in _OF_NUMBERS:
            if target.is_complex() and not input.is_complex():
                raise LecoreError("the targets are complex numbers", "give real ones")
            check_numbers(input, target)
            if target.ndim == 0:
                target = target.expand_as(input)
            given.arguments["target"] = target.to(input.dtype)
        elif target.numel() == 1 and not target.is_floating_point():
            mean = given.arguments.get("reduction", "mean") == "mean"
            given.arguments["reduction"] = "sum" if mean else given.arguments["reduction"]
        return func(*given.args, **given.kwargs)

    def check_difference(self, left: Any, right: Any) -> None:
        """Check the target in a difference written by hand; one output may have several."""
        other = right if left is self.target else left if right is self.target else None
        if isinstance(other, Tensor) and other.requires_grad and other.ndim == 1 < len(other):
            check_numbers(other, self.target)


_OF_CLASSES = {F.cross_entropy, F.nll_loss}


_OF_NUMBERS = {
    F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.binary_cross_entropy,
    F.binary_cross_entropy_with_logits, F.poisson_nll_loss, F.gaussian_nll_loss,
    F.soft_margin_loss, F.hinge_embedding_loss, F.kl_div, F.multilabel_soft_margin_loss,
}  # fmt: skip
_DIFFERENCES = {
    torch.sub, torch.subtract, torch.rsub, Tensor.sub, Tensor.subtract, Tensor.sub_,
    Tensor.__sub__, Tensor.__rsub__, Tensor.__isub__,
}  # fmt: skip


def check_numbers(prediction: Tensor, target: Tensor) -> None:
    """Refuse a target that is no number for each output, nor one that can stand for all.

    Raises:
        LecoreError: If it is the number of a class, as it seems, or its shape would make more
            numbers of the prediction.
    """
    outputs, shape = tuple(prediction.shape), tuple(target.shape)
    whole = not (target.is_floating_point() or target.is_complex() or target.dtype == torch.bool)
    if whole and target.numel() == 1 < prediction.numel():
        raise LecoreError(
            f"the target of {prediction.numel()} outputs is one whole number, and the loss is one "
            "of numbers",
            "for classes take loss=lecore.losses.cross_entropy or give a number for each output; "
            "for a number that all outputs share cast the targets to a floating type",
        )
    with suppress(RuntimeError):  # that these shapes do not fit is told by torch
        if torch.broadcast_shapes(outputs, shape).numel() > prediction.numel():
            raise LecoreError(
                f"a target has shape {shape} and the prediction {outputs}",
                "give one number for each output, in the same shape, or one for all",
            )


def check_several(outputs: int) -> None:
    """Refuse classes of a network with one output.

    Raises:
        LecoreError: If there is one, whose softmax is 1.
    """
    if outputs == 1:
        raise LecoreError(
            "the cross-entropy of one output is 0 whatever the network does",
            "give it an output for each class; for one of two classes take "
            "loss=torch.nn.BCEWithLogitsLoss()",
        )


def gradients_at_once(loss: Loss, predictions: Tensor, targets: Tensor) -> Tensor:
    """∂L/∂f of n predictions under ``vmap``, shape (n, outputs)."""
    with torch.no_grad():
        gradients: Tensor = vmap(grad(loss))(predictions, targets)
    return gradients


def gradients_by_autograd(loss: Loss, predictions: Tensor, targets: Tensor) -> Tensor:
    """The same one by one, of a loss that looks at values or that torch.func does not know."""
    pairs = zip(predictions, targets, strict=True)
    return torch.stack([gradient_by_autograd(loss, f, y)[1] for f, y in pairs])


def gradient_by_autograd(loss: Loss, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The loss with its graph, and ∂L/∂f, which is 0 where it does not depend on the prediction.

    Raises:
        LecoreError: If it is not one number.
    """
    with torch.enable_grad():
        leaf = prediction.detach().clone().requires_grad_()
        value = loss(leaf.clone(), target)  # to which a loss may write
        if not isinstance(value, Tensor) or value.ndim:
            kind = type(value).__name__
            what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else kind
            raise LecoreError(
                f"the loss of one prediction must be one number, this one has {what}",
                "sum over the outputs (see lecore.losses)",
            )
        (gradient,) = (
            torch.autograd.grad(value, leaf, allow_unused=True, retain_graph=True)
            if value.requires_grad
            else (None,)
        )
    return value, torch.zeros_like(prediction) if gradient is None else gradient.detach()


def gradient_of_batch(loss: Loss, predictions: Tensor, targets: Tensor) -> Tensor | None:
    """∂L/∂f of a batch, or ``None`` if the loss takes none, which it need not."""
    with _QUIET, warnings.catch_warnings(), suppress(Exception):  # of two threads one would leave
        warnings.simplefilter("ignore")  # the other's filters behind
        return gradient_by_autograd(loss, predictions, targets)[1]
    return None


def refuse_batches(loss: Loss, prediction: Tensor, targets: Tensor) -> None:
    """Refuse a loss of batches, which means something else of one prediction alone.

    Such as ``((f - y) ** 2).sum() / len(f)``, which divides one prediction by its outputs. Of a
    batch it is the mean, or the sum, of what it is of batches of one.

    Args:
        loss: Of one example.
        prediction: Shape (outputs,), or any other in training.
        targets: Some of them, shape (n, …).

    Raises:
        LecoreError: If it is.
    """
    targets = torch.cat([targets, targets])  # two at least
    shrunk = torch.linspace(1, 0.7, len(targets)).to(prediction)
    # other ones, probabilities among them
    predictions = shrunk.view(-1, *[1] * prediction.ndim) * prediction
    _, alone = gradient_by_autograd(loss, prediction, targets[0])
    near = tolerances(alone)
    one = gradient_of_batch(loss, predictions[:1], targets[:1])
    if one is None or not bool(one.any()) or torch.allclose(one[0], alone, *near):
        return
    pairs = zip(predictions[:, None], targets[:, None], strict=True)
    ones = [gradient_of_batch(loss, *pair) for pair in pairs]
    found = [one for one in ones if one is not None]
    whole = gradient_of_batch(loss, predictions, targets)
    if whole is None or len(found) < len(ones):
        return
    each = torch.cat(found)
    if any(torch.allclose(whole * n, each, *near) for n in (1, len(targets))):
        raise LecoreError(
            "the loss is written for batches, and gives one prediction alone another gradient "
            "than a batch of one",
            f"{ALONE}; for a mean over the outputs take .mean()",
        )


def tolerances(gradient: Tensor) -> tuple[float, float]:
    """How much two ways of rounding may differ."""
    unit = torch.finfo(gradient.dtype).eps ** 0.6
    return unit, unit * float(gradient.nan_to_num().abs().max())


def batch_loss(loss: Loss) -> Loss:
    """The mean of a loss over a batch: predictions (n, outputs) and n targets to a scalar."""
    if any(loss is known for known in NUMBER_LOSSES):  # sums already

        def mean(prediction: Tensor, target: Tensor) -> Tensor:
            check_numbers(prediction[0], target[0])
            return loss(prediction, target.reshape(len(target), -1)) / len(target)

        return mean
    one, at_once = of_one_example(loss), True

    def mean_of_each(prediction: Tensor, target: Tensor) -> Tensor:
        nonlocal at_once
        if loss is cross_entropy:
            check_several(prediction.shape[1])
        if at_once:
            try:
                values: Tensor = vmap(one)(prediction, target)
                return values.mean()
            except Exception:
                at_once = False  # it looks at values, say
        pairs = zip(prediction, target, strict=True)
        return torch.stack([one(f, y) for f, y in pairs]).mean()

    return mean_of_each
