"""A call of a network at other weights than its own."""

from threading import RLock
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize

_lock = RLock()


def called(module: nn.Module, tensors: dict[str, Tensor], inputs: Tensor) -> Any:
    """What a module gives with other tensors in the place of its own.

    Inside of ``parametrize.cached()``, around a measurement or in a forward pass, torch keeps
    what it made of weights, for the whole process, and takes copies of a network for one another.
    So calls of such networks wait for each other, nothing is kept from one to the next, and what
    the caller's own networks keep stays.
    """
    if not any(map(parametrize.is_parametrized, module.modules())):
        return functional_call(module, tensors, (inputs,))
    with _lock:
        before, parametrize._cache = parametrize._cache, {}
        try:
            return functional_call(module, tensors, (inputs,))
        finally:
            parametrize._cache = before
