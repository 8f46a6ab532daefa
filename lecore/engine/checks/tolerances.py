"""How much two calculations of the same number may differ."""

import torch
from torch import Tensor

from lecore.engine.network.flags import PRODUCT_DTYPES
from lecore.engine.network.snapshot import Snapshot


def unit(network: Snapshot) -> float:
    """Spacing of numbers at 1, in the shortest type that a prediction passes through."""
    lowest = PRODUCT_DTYPES.get(network.products, network.manners.lowest) or network.dtype
    return float(torch.finfo(lowest).eps)


def tolerance(network: Snapshot) -> float:
    """What rounding may do in a network that loses some digits on the way."""
    return unit(network) ** 0.6


def peak(tensor: Tensor) -> float:
    """Largest absolute value."""
    return float(tensor.abs().max()) if tensor.numel() else 0.0


def close(a: Tensor, b: Tensor, allowed: float) -> bool:
    """Whether all entries agree; NaN agrees with nothing."""
    return bool(((a - b).abs() <= allowed).all())
