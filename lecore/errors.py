"""The exceptions of the package: what is wrong, where, and what to do about it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager


class LecoreError(ValueError):
    """Something cannot be measured, recognised or trusted.

    Attributes:
        what: What is wrong, in a few words.
        cure: What to do about it; empty if there is nothing to do.
        where: The layer, argument or file that it concerns; empty if that is said in ``what``.
    """

    def __init__(self, what: str, cure: str = "", where: str = "") -> None:
        super().__init__(what, cure, where)  # all in args, so that it travels between processes
        self.what, self.cure, self.where = what, cure, where

    def __str__(self) -> str:
        """One line: ``where: what; cure``."""
        place = f"{self.where}: " if self.where else ""
        told = f"{place}{self.what}" + (f"; {self.cure}" if self.cure else "")
        return " ".join(told.splitlines())  # names and reasons of others may have several


class DivergenceError(RuntimeError):
    """Training ran away: the loss is no longer finite, or beyond the limit set for it."""


def in_short(error: BaseException) -> str:
    """Type and first line of an exception."""
    first, *_ = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().split("\n")  # without colours
    return f"{type(error).__name__}: {first}".removesuffix(": ")


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Say which extra installs what an import inside the block does not find.

    Raises:
        LecoreError: If a package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        cure = f'install it with: pip install "lecore[{name}]"'
        raise LecoreError(f"this needs {error.name}, which is not installed", cure) from error
