"""What of a model can be refused before it is run."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lecore.errors import LecoreError


def check_layer(name: str, module: nn.Module) -> None:
    """Refuse a layer that draws random numbers, or normalises over the batch."""
    batch_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
    dropout = getattr(module, "dropout", 0.0)
    draws = (
        (isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0)
        or isinstance(module, nn.RReLU)
        or (isinstance(module, nn.RNNBase | nn.MultiheadAttention) and dropout)
    )
    if module.training and (batch_norm or draws):
        raise LecoreError(f"layer {name!r} is in training mode", "call model.eval() first")
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
        raise LecoreError(
            f"layer {name!r} normalises over the batch, so predictions depend on each other",
            "give it track_running_stats=True",
        )


def computed(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Attributes that were computed from parameters: not to be read, but written over."""
    for name, module in model.named_modules():
        if module._forward_pre_hooks or isinstance(module, torch.jit.ScriptModule):
            continue  # pruning and older weight norms compute theirs anew
        for key, value in vars(module).items():
            if isinstance(value, Tensor) and value.grad_fn is not None:
                yield name, key


def check_sharing(tensors: dict[str, Tensor]) -> None:
    """Refuse tensors that overlap in memory, which a step on a copy would tear apart."""
    extents: dict[int, list[tuple[int, int, str]]] = {}
    for name, tensor in tensors.items():
        if tensor.layout is torch.strided and tensor.numel():
            start = int(tensor.storage_offset())
            sizes = zip(tensor.shape, tensor.stride(), strict=True)
            last = sum((int(n) - 1) * int(s) for n, s in sizes)
            place = tensor.untyped_storage().data_ptr()
            for other_start, other_end, other in extents.get(place, []):
                if start <= other_end and other_start <= start + last:
                    raise LecoreError(
                        f"{name!r} and {other!r} lie in the same memory, so that a step on one "
                        "moves the other",
                        "use one parameter under both names, or compute one from the other in "
                        "the forward pass",
                    )
            extents.setdefault(place, []).append((start, start + last, name))


def check_copy(model: nn.Module, copied: nn.Module, private: bool) -> None:
    """Refuse a ``__deepcopy__`` of somebody's own that gives something else, or the same."""
    old, new = dict(model.named_parameters()), dict(copied.named_parameters())
    for name, parameter in old.items():
        same = name in new and new[name].requires_grad == parameter.requires_grad
        same = same and new[name].shape == parameter.shape
        shared = private and same and parameter.numel() > 0
        shared = shared and new[name].data_ptr() == parameter.data_ptr()
        if not same or shared:
            raise LecoreError(
                f"a copy of the model has another parameter {name!r}, or the very same memory",
                "let copy.deepcopy give a network like it (see its own __deepcopy__)",
            )


def check_gradient_hooks(model: nn.Module) -> None:
    """Refuse hooks on gradients."""
    what = "has a hook on its gradient, which would change a step or see gradients of ours"
    cure = "remove it for the measurement"
    for name, parameter in model.named_parameters():
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
            raise LecoreError(f"parameter {name!r} {what}", cure)
    everywhere = nn.modules.module
    if everywhere._global_backward_hooks or everywhere._global_backward_pre_hooks:
        raise LecoreError(f"every module {what}", cure)
    for name, module in model.named_modules():
        if module._backward_hooks or module._backward_pre_hooks:
            raise LecoreError(f"layer {name!r} {what}", cure)
