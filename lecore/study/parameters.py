"""Which parameters of a network a study trains."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch

from torch import nn

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
    named = dict(model.named_parameters())
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in named):
            raise LecoreError(
                f"no parameter is named {pattern!r}", f"the first is {next(iter(named))}"
            )
    before = {name: p.requires_grad for name, p in named.items()}
    try:
        for name, p in named.items():
            p.requires_grad_(before[name] and any(fnmatch(name, q) for q in patterns))
        yield
    finally:
        for name, p in named.items():
            p.requires_grad_(before[name])
