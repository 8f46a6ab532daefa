"""What the type of its numbers means to a model, in a calculation of float64."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class InPrecision(TorchFunctionMode):
    """Takes float32 inside a forward pass of a float64 calculation for float64.

    Casts to float32 (as normalisation layers of language models make them) and tensors made
    without a type (``torch.zeros(…)``) would otherwise lose digits, or clash with float64.

    Args:
        dtype: Type of the calculation.
        owners: Type of the model as its owner has it: a cast to this one gives the very same
            tensor, and to others another one, which may be written to. ``None`` if it has several.
    """

    def __init__(self, dtype: torch.dtype, owners: torch.dtype | None) -> None:
        super().__init__()
        self.dtype, self.owners = dtype, owners

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        target = cast_to(func, args, kwargs)
        args = [self._lifted(a) for a in args]
        kwargs = {k: self._lifted(v) for k, v in kwargs.items()}
        if func is Tensor.float and not args[0].is_complex():
            result = args[0].to(self.dtype)
        else:
            result = func(*args, **kwargs)
        if target is not None and result is args[0] and target != self.owners:
            return result.clone()
        if not isinstance(result, Tensor) or result.dtype != torch.float32:
            return result
        given = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
        if any(a.is_floating_point() or a.is_complex() for a in given):
            return result
        if func in _MAKERS and not given:
            return func(*args, **kwargs | {"dtype": self.dtype})
        return self._of_whole_numbers(func, args, kwargs) if given else result.to(self.dtype)

    def _of_whole_numbers(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """What becomes float32 by nothing but torch's default, as ``pixels / 255`` does."""

        def longer(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value if func in _CHOOSE else value.to(self.dtype)
            return torch.tensor(value, dtype=self.dtype) if isinstance(value, float) else value

        result = func(*map(longer, args), **{k: longer(v) for k, v in kwargs.items()})
        return result.to(self.dtype)

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
_TENSORS = {torch.float32: torch.FloatTensor, torch.float64: torch.DoubleTensor}
_CHOOSE = {torch.where, Tensor.where}
_MAKERS = {
    torch.zeros, torch.ones, torch.full, torch.eye, torch.arange, torch.linspace, torch.logspace,
    torch.tensor, torch.as_tensor, torch.scalar_tensor, torch.empty,
}  # fmt: skip
"""Functions that make the same numbers when called again."""


def cast_to(func: Any, args: Any, kwargs: Any) -> torch.dtype | None:
    """The type that a call casts to, if it is float32 or float64 and named."""
    if func in (Tensor.float, Tensor.double):
        return torch.float32 if func is Tensor.float else torch.float64
    if func in (Tensor.to, Tensor.type):
        for given in (*args[1:], *kwargs.values()):
            for dtype in (torch.float32, torch.float64):
                if given is dtype or given is _TENSORS[dtype]:
                    return dtype
    return None


def keep_epsilons(copied: nn.Module, model: nn.Module) -> None:
    """Let norms keep the epsilon that torch takes for the numbers of the model's owner.

    Without one, ``nn.RMSNorm`` takes that of the type of its inputs, float32's for shorter ones.
    """
    owners = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    for norm in copied.modules():
        if isinstance(norm, nn.RMSNorm) and norm.eps is None:
            double = owners == torch.float64
            norm.eps = torch.finfo(torch.float64 if double else torch.float32).eps
