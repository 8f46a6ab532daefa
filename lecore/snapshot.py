"""A network at fixed weights: what every measurement starts from, and never changes."""

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from lecore.losses import Loss
from lecore.precision import Precision, Products, all_finite

Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class Snapshot:
    """A model's structure and, apart from it, its tensors.

    Attributes:
        skeleton: A copy of the model without weights; the caller's model is never run.
        parameters: What a step changes, by name.
        fixed: Buffers and parameters with ``requires_grad=False``, by name.
        products: How float32 matrix products are computed.
    """

    skeleton: nn.Module
    parameters: Parameters
    fixed: Parameters
    products: Products = "ieee"

    def predict(self, inputs: Tensor, parameters: Parameters | None = None) -> Tensor:
        """f(x) at these or at other weights, shape (n, outputs)."""
        tensors = (self.parameters if parameters is None else parameters, self.fixed)
        fused = torch.backends.mha.get_fastpath_enabled()
        try:  # fused kernels have neither batching rules nor forward derivatives
            torch.backends.mha.set_fastpath_enabled(False)
            with sdpa_kernel(SDPBackend.MATH):
                prediction: Tensor = functional_call(self.skeleton, tensors, (inputs,))
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
        return prediction

    def copy(self) -> "Snapshot":
        """One of its own for a thread: running a model swaps tensors in and out of it."""
        return replace(self, skeleton=copy.deepcopy(self.skeleton))

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the calculation."""
        return next(iter(self.parameters.values())).dtype

    @property
    def device(self) -> torch.device:
        """Where the calculation runs."""
        return next(iter(self.parameters.values())).device

    @property
    def parameter_bytes(self) -> int:
        """Memory of one set of the weights that a step changes."""
        return sum(p.numel() * p.element_size() for p in self.parameters.values())


def snapshot(model: nn.Module, dtype: Precision | None = None) -> Snapshot:
    """Take a snapshot of a model, cast to a precision.

    Args:
        model: Any module that maps (n, …) to (n, outputs).
        dtype: Precision of the calculation; float64 if left out (float32 on Apple's MPS, which
            has no float64). ``tf32`` on CUDA and ``bf16`` on CPUs are float32 with shorter and
            faster products.

    Raises:
        ValueError: If nothing is trainable, a layer in training mode would mix up examples or
            draw random numbers, the weights lie on several devices, or one is not finite.
    """
    for name, module in model.named_modules():
        normalization = isinstance(module, nn.modules.batchnorm._NormBase)
        if module.training and (
            isinstance(module, nn.modules.batchnorm._BatchNorm | nn.modules.dropout._DropoutNd)
        ):
            raise ValueError(f"layer {name!r} is in training mode; call model.eval() first")
        if (
            isinstance(module, nn.modules.batchnorm._BatchNorm)
            and normalization
            and module.running_mean is None
        ):
            raise ValueError(
                f"layer {name!r} normalises over the batch, so predictions depend on each other; "
                "give it track_running_stats=True"
            )
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    devices = {t.device for t in tensors.values()}
    if len(devices) > 1:
        raise ValueError(f"the model lies on several devices ({devices}); move it to one")
    trainable = {k for k, p in model.named_parameters() if p.requires_grad}
    if not trainable:
        raise ValueError("the model has no parameter with requires_grad=True")
    products: Products = "ieee"
    if isinstance(dtype, str):
        kind = next(iter(devices)).type
        known = {"cuda": "tf32", "cpu": "bf16"}.get(kind)
        if dtype != known:
            cure = f"take {known!r} or a torch.dtype" if known else "take a torch.dtype"
            raise ValueError(f"{kind} has no products of kind {dtype!r}; {cure}")
        products, dtype = dtype, torch.float32
    if dtype is None:
        dtype = torch.float32 if next(iter(devices)).type == "mps" else torch.float64
    cast = {
        k: t.detach().to(dtype) if t.is_floating_point() else t.detach() for k, t in tensors.items()
    }
    for name in trainable:
        if not all_finite(cast[name]):
            raise ValueError(f"parameter {name!r} is not finite; the training has diverged")
    return Snapshot(
        _skeleton(model),
        {k: t for k, t in cast.items() if k in trainable},
        {k: t for k, t in cast.items() if k not in trainable},
        products,
    )


def points(network: Snapshot, inputs: Tensor, what: str = "inputs") -> Tensor:
    """Inputs on the network's device, in its precision if they are not indices.

    Raises:
        ValueError: If there are none, or one is not finite.
    """
    if len(inputs) == 0:
        raise ValueError(f"{what} is empty; give at least one point")
    if not inputs.is_floating_point():
        return inputs.to(network.device)
    inputs = inputs.to(network.device, network.dtype)
    if not all_finite(inputs):
        bad = int((~torch.isfinite(inputs.flatten(1)).all(1)).sum())
        raise ValueError(f"{bad} of {len(inputs)} {what} are not finite; drop or repair them")
    return inputs


def labels(network: Snapshot, targets: Tensor, inputs: Tensor) -> Tensor:
    """Targets on the network's device, one for each input.

    Raises:
        ValueError: If their number differs.
    """
    if len(targets) != len(inputs):
        raise ValueError(
            f"need as many targets as update points, got {len(targets)} and {len(inputs)}"
        )
    floating = targets.is_floating_point()
    return targets.to(network.device, network.dtype if floating else targets.dtype)


def check_loss(network: Snapshot, loss: Loss, inputs: Tensor, targets: Tensor) -> int:
    """Try the loss on the first point, and return the number of outputs.

    Raises:
        ValueError: If the model does not map (n, …) to (n, outputs), or the loss of one
            prediction is not a single number.
    """
    with torch.no_grad():
        prediction = network.predict(inputs[:1])
        if prediction.ndim != 2 or len(prediction) != 1:
            raise ValueError(
                "the model must map (n, …) to (n, outputs); one example gave shape "
                f"{tuple(prediction.shape)}"
            )
        value = loss(prediction[0], targets[0])
    if value.ndim != 0:
        raise ValueError(
            f"the loss of one prediction must be one number, this one has shape "
            f"{tuple(value.shape)}; sum over the outputs (see lecore.losses)"
        )
    return prediction.shape[1]


def _skeleton(model: nn.Module) -> nn.Module:
    """A deep copy whose parameters and buffers are empty; shared ones stay shared."""
    memo: dict[int, object] = {}
    for p in model.parameters():
        memo[id(p)] = nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad)
    for b in model.buffers():
        memo[id(b)] = torch.empty_like(b, device="meta")
    return copy.deepcopy(model, memo)
