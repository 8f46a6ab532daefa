"""Which parameters of a network a study trains."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from typing import Any

from torch import nn

from lecore.engine.network.model_copy import unwrapped
from lecore.errors import LecoreError


@contextmanager
def only_these_train(model: nn.Module, patterns: Sequence[str] | None) -> Iterator[None]:
    """All other parameters stay fixed inside.

    Args:
        model: The network, which is put back after.
        patterns: Of names, such as ``layer4.*``; ``None`` leaves all as they are.

    Raises:
        LecoreError: If a pattern names no parameter.
    """
    if patterns is None:
        yield
        return
    named = list(unwrapped(model).named_parameters(remove_duplicate=False))
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name, _ in named):
            raise LecoreError(f"no parameter is named {pattern!r}", f"the first is {named[0][0]}")
    chosen = {id(p) for name, p in named if any(fnmatch(name, q) for q in patterns)}  # all names
    before = {id(p): (p, p.requires_grad) for _, p in named}
    try:
        for key, (p, trains) in before.items():
            p.requires_grad_(trains and key in chosen)
        yield
    finally:
        for p, trains in before.values():
            p.requires_grad_(trains)


def patterns_of(given: Any) -> list[str] | None:
    """Patterns as they were given, one or several.

    Raises:
        LecoreError: If they are no words.
    """
    if given is None:
        return None
    found = [given] if isinstance(given, str) else given
    if isinstance(found, nn.Parameter) or not isinstance(found, Iterable):
        found = [found]
    found = [p.removeprefix("_orig_mod.") if isinstance(p, str) else p for p in found]
    if not found or not all(isinstance(pattern, str) for pattern in found):
        raise LecoreError("parameters are chosen by name", "give patterns such as 'layer4.*'")
    return found
