"""The float32 inside a forward pass, in a calculation of float64."""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class InPrecision(TorchFunctionMode):
    """Takes float32 inside a forward pass of a float64 calculation for float64.

    Casts to float32 (as normalisation layers of language models make them) and tensors made
    without a type (``torch.zeros(…)``) would otherwise lose digits, or clash with float64.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args = [self._lifted(a) for a in args]
        kwargs = {k: self._lifted(v) for k, v in (kwargs or {}).items()}
        if func is Tensor.float or (func is Tensor.to and self.dtype in args[1:]):
            if args[0].is_complex():
                return func(*args, **kwargs)
            return args[0] if args[0].dtype == self.dtype else args[0].to(self.dtype)
        result = func(*args, **kwargs)
        if not isinstance(result, Tensor) or any(isinstance(a, Tensor) for a in args):
            return result
        if result.dtype == torch.float32 and func in _MAKERS:
            return func(*args, **kwargs | {"dtype": self.dtype})
        return result.to(self.dtype) if result.dtype == torch.float32 else result

    @staticmethod
    def _lifted(value: Any) -> Any:
        for shorter, longer in _LIFTED:
            if value is shorter:
                return longer
        return value


_LIFTED = (
    (torch.float32, torch.float64),
    (torch.complex64, torch.complex128),
    (torch.FloatTensor, torch.DoubleTensor),
)
_MAKERS = {
    torch.zeros, torch.ones, torch.full, torch.eye, torch.arange, torch.linspace, torch.logspace,
    torch.tensor, torch.as_tensor, torch.scalar_tensor, torch.empty,
}  # fmt: skip
"""Functions that make the same numbers when called again."""
