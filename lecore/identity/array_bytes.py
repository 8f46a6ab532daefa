"""What tensors and arrays of any layout hold, as plain bytes, without a copy where there can be."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor


def tensor_bytes(tensor: Tensor) -> Iterator[tuple[str, memoryview]]:
    """Type and shape, and the bytes, of the dense tensors that a tensor consists of.

    One on the meta device has no bytes.

    Raises:
        RuntimeError, TypeError, NotImplementedError: If it hides what it holds.
    """
    for part in _dense(tensor.detach()):
        if part.device.type == "meta":
            data = memoryview(b"")
        else:
            plain = part.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
            data = plain.view(torch.uint8).numpy().data
        yield f"{part.dtype} {tuple(part.shape)}", data


def array_bytes(array: Any) -> memoryview:
    """The bytes of an array without Python objects, in C order."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _dense(tensor: Tensor) -> list[Tensor]:
    if tensor.is_nested:
        return [*tensor.unbind()]
    if tensor.layout is torch.strided:
        return [tensor.int_repr(), tensor.dequantize()] if tensor.is_quantized else [tensor]
    if tensor.layout is torch.sparse_coo:
        tensor = tensor.coalesce()
        return [tensor.indices(), tensor.values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    return [tensor.to_dense()]
