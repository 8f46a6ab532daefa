"""What a measurement cannot run inside of."""

import torch
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from lecore.errors import LecoreError


def check_surroundings(model: object) -> None:
    """Refuse to measure where torch computes no numbers, differentiates us, or is elsewhere.

    Raises:
        LecoreError: Inside of transforms of torch.func, tracing, fake tensors, hooks on saved
            tensors, or another default device than the model's.
    """
    modes = _get_current_dispatch_mode_stack()
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise LecoreError("this runs inside of a transform of torch.func", "call it outside")
    if torch._C._get_tracing_state() or any(getattr(mode, "_mode_key", None) for mode in modes):
        raise LecoreError(
            "this runs inside of tracing or of fake tensors, which hold no values",
            "call it outside",
        )
    try:
        with torch.autograd.graph.disable_saved_tensors_hooks("a measurement"):
            pass
    except RuntimeError as error:
        raise LecoreError(
            "hooks on saved tensors are on, which torch.func does not know",
            "leave torch.autograd.graph.saved_tensors_hooks or save_on_cpu first",
        ) from error
    default = torch.get_default_device()
    own = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    if own is not None and default.type != "cpu" and default != own.device:
        raise LecoreError(
            f"torch makes tensors on {default}, and the model is on {own.device}",
            f"call torch.set_default_device({str(own.device)!r}), or leave torch.device(…)",
        )
