"""Whether numbers are finite."""

import torch
from torch import Tensor

from lecore.errors import LecoreError


def all_finite(tensor: Tensor) -> bool:
    """Whether there is neither NaN nor infinity."""
    # a sum is several times quicker, and not finite if one entry is not
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())


def check_finite(tensor: Tensor, name: str) -> None:
    """Refuse NaN and infinities.

    Raises:
        LecoreError: With their number.
    """
    if not all_finite(tensor):
        bad = int((~torch.isfinite(tensor)).sum())
        raise LecoreError(
            f"{bad} of {tensor.numel()} entries of {name} are not finite",
            "take a smaller learning rate, or a network that has not diverged",
        )
