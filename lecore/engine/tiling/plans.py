"""What a matrix will take, told in place of computing it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple


class Plan(NamedTuple):
    """How a matrix would be computed.

    Attributes:
        work: What computes its tiles, such as a
            :class:`~lecore.engine.kernel_matrix.KernelMatrix`.
        result_bytes: Memory of the result, 0 on disk.
        tile_bytes: Working memory of a tile.
    """

    work: Any
    result_bytes: int
    tile_bytes: int


class Planned(Exception):
    """Carries a plan out of a computation that has not begun."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan


_asked: ContextVar[bool] = ContextVar("asked", default=False)


def is_asked() -> bool:
    """Whether a plan is wanted here, and no result."""
    return _asked.get()


@contextmanager
def asked() -> Iterator[None]:
    """Computations inside raise :class:`Planned` where they would begin."""
    token = _asked.set(True)
    try:
        yield
    finally:
        _asked.reset(token)
