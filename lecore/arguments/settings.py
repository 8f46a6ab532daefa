"""Settings of public calls: one of another kind, or out of range, is refused by its name."""

import math
import os
import reprlib
from collections.abc import Callable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lecore.errors import LecoreError

MOST = 2**63 - 1
"""Largest whole number that torch counts with."""

SEEDS = 2**64 - 1
"""Largest seed that it takes."""


def whole(name: str, value: Any, least: int = 1, most: int = MOST) -> int:
    """A whole number in a range.

    Raises:
        LecoreError: If it is none.
    """
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or not least <= value <= most:
        wanted = "above 0" if least == 1 else f"from {least} on"
        wanted = wanted if most == MOST else f"from {least} to {most}"
        raise LecoreError(f"{name} must be a whole number {wanted}, not {reprlib.repr(value)}")
    return int(value)


def number(name: str, value: Any, fits: Callable[[Any], bool], wanted: str) -> float:
    """A real number in a range, which never holds NaN.

    Args:
        name: Of the argument.
        value: What was given.
        fits: Whether a number is in the range.
        wanted: The range in words.

    Raises:
        LecoreError: If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        kind = type(value).__name__
        raise LecoreError(f"{name} is of type {kind}", f"give a number that is {wanted}")
    try:
        real = float(value)
    except OverflowError:
        real = math.nan  # which no range holds
    if not fits(real):
        raise LecoreError(f"{name} must be {wanted}, not {reprlib.repr(value)}")
    return real


def flag(name: str, value: Any) -> None:
    """Refuse what is neither ``True`` nor ``False``.

    Raises:
        LecoreError: If it is so.
    """
    if not isinstance(value, bool | np.bool_):
        raise LecoreError(f"{name} must be True or False, not {reprlib.repr(value)}")


def function(name: str, value: Any) -> None:
    """Refuse what cannot be called.

    Raises:
        LecoreError: If it is so.
    """
    if not callable(value):
        raise LecoreError(f"{name} is of type {type(value).__name__}", "give a function")


def path_of(name: str, value: Any) -> Path:
    """The path of a file or folder.

    Raises:
        LecoreError: If it is none.
    """
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str) or "\0" in path:
        what = reprlib.repr(path) if path else f"of type {type(value).__name__}"
        raise LecoreError(f"{name} is {what}", "give a path")
    return Path(path)


def numbers(name: str, value: Any, *axes: str) -> Tensor:
    """A tensor with these axes, of a tensor, an array or lists of numbers.

    Args:
        name: Of the argument.
        value: What was given.
        *axes: Of the same name if they have the same size; of any shape if left out.

    Raises:
        LecoreError: If it is none.
    """
    try:
        tensor = value if isinstance(value, Tensor) else torch.tensor(np.asarray(value))
    except (TypeError, ValueError, RuntimeError) as error:
        what = f"{name} of type {type(value).__name__} holds no numbers"
        raise LecoreError(what, "give a tensor or an array") from error
    sizes = dict(zip(axes, tensor.shape, strict=False))
    if axes and tensor.shape != tuple(map(sizes.get, axes)):
        shape = ", ".join(axes)
        raise LecoreError(f"{name} must have shape ({shape}), not {tuple(tensor.shape)}")
    return tensor
