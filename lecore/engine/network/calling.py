"""A call of a network at other weights than its own."""

from threading import RLock
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize

one_at_a_time = RLock()
"""Held while torch works with what it keeps for all threads at once."""


def called(
    module: nn.Module, tensors: dict[str, Tensor], inputs: Tensor, forward: bool = True
) -> Any:
    """What a module gives with other tensors in the place of its own.

    Inside of ``parametrize.cached()``, around a measurement or in a forward pass, torch keeps
    what it made of weights, for the whole process, and takes copies of a network for one another.
    So calls of such networks wait for each other, nothing is kept from one to the next, and what
    the caller's own networks keep stays. Those that take derivatives forward wait too: torch has
    one level of these for all threads, and the first one to leave it clears it.

    Args:
        module: The module.
        tensors: By name.
        inputs: Shape (n, …).
        forward: Whether it may take derivatives forward.
    """
    if not (forward or any(map(parametrize.is_parametrized, module.modules()))):
        return functional_call(module, tensors, (inputs,))
    with one_at_a_time:
        before, parametrize._cache = parametrize._cache, {}
        try:
            return functional_call(module, tensors, (inputs,))
        finally:
            parametrize._cache = before
