"""Settings of public calls: one of another kind, or out of range, is refused by its name."""

import math
import os
import reprlib
from collections.abc import Callable
from numbers import Real
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lecore.errors import LecoreError

MOST = 2**63 - 1
"""Largest whole number that torch counts with."""

SEEDS = 2**64 - 1
"""Largest seed that torch takes."""


def whole(name: str, value: Any, least: int = 1, most: int = MOST) -> int:
    """A whole number in a range, of Python, NumPy or torch.

    Raises:
        LecoreError: If it is none.
    """
    try:
        given = -math.inf if _is_truth(value) else index(value)
    except TypeError:
        given = -math.inf
    if not least <= given <= most:
        wanted = "above 0" if least == 1 else f"from {least} on"
        wanted = f"of at most {most}" if given > most else wanted
        raise LecoreError(f"{name} must be a whole number {wanted}, not {_shown(value)}")
    return int(given)


def sizes(**given: Any) -> list[int]:
    """Whole numbers above 0, by name.

    Raises:
        LecoreError: If one is none.
    """
    return [whole(name, value) for name, value in given.items()]


def image_shape(shape: Any) -> list[int]:
    """Channels, height and width.

    Raises:
        LecoreError: If they are no three whole numbers above 0.
    """
    try:
        sides = [*shape]
    except TypeError:
        sides = []
    if len(sides) != 3:
        raise LecoreError(f"shape {_shown(shape)} is no triple", "give (channels, height, width)")
    return [whole("a side of shape", side) for side in sides]


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
    one = value.item() if isinstance(value, Tensor | np.ndarray) and value.ndim == 0 else value
    if _is_truth(one) or not isinstance(one, Real):
        kind = type(value).__name__
        raise LecoreError(f"{name} is of type {kind}", f"give a number that is {wanted}")
    try:
        real = float(one)
    except OverflowError:
        real = math.nan
    if math.isnan(real) or not fits(real):
        raise LecoreError(f"{name} must be {wanted}, not {_shown(value)}")
    return real


def flag(name: str, value: Any) -> None:
    """Refuse what is neither ``True`` nor ``False``.

    Raises:
        LecoreError: If it is something else.
    """
    if not isinstance(value, bool | np.bool_):
        raise LecoreError(f"{name} must be True or False, not {_shown(value)}")


def function(name: str, value: Any) -> None:
    """Refuse what cannot be called.

    Raises:
        LecoreError: If it cannot.
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
        what = _shown(path) if path else f"of type {type(value).__name__}"
        raise LecoreError(f"{name} is {what}", "give a path")
    return Path(path)


def file_of(name: str, value: Any) -> Path:
    """The path of a file that can be written, so that hours of work find a place at their end.

    Folders above it need not exist.

    Raises:
        LecoreError: If it is none.
    """
    path = path_of(name, value)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise LecoreError(f"{name} {_shown(value)} names no file", "choose another name") from error
    if path.is_dir():
        raise LecoreError(f"{name} {str(path)!r} is a folder", "give the name of a file in it")
    if path.is_file() and not os.access(path, os.W_OK):
        raise LecoreError(f"{name} {path} is not to be written", "choose another, or unlock it")
    above = next(place for place in path.absolute().parents if place.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise LecoreError(f"{name} {path} cannot be made in {above}", "choose another place")
    return path


def numbers(name: str, value: Any, *axes: str) -> Tensor:
    """A tensor of real numbers with these axes, of a tensor, an array or lists.

    Args:
        name: Of the argument.
        value: What was given.
        *axes: Of the same name if they have the same size; of any shape if left out.

    Returns:
        In its own precision; whole numbers and truths as float64.

    Raises:
        LecoreError: If it is none.
    """
    try:
        tensor = value if isinstance(value, Tensor) else _from_array(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        what = f"{name} of type {type(value).__name__} holds no numbers"
        raise LecoreError(what, "give a tensor or an array") from error
    if tensor.is_complex():
        raise LecoreError(f"{name} holds complex numbers", "give real ones")
    found = dict(zip(axes, tensor.shape, strict=False))
    if axes and tensor.shape != tuple(map(found.get, axes)):
        shape = ", ".join(axes) + "," * (len(axes) == 1)
        raise LecoreError(f"{name} must have shape ({shape}), not {tuple(tensor.shape)}")
    return tensor if tensor.is_floating_point() else tensor.double()


def _from_array(value: Any) -> Tensor:
    """Without a copy, if it lies in memory as torch wants it."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError("numbers that are masked would count again")
    if value is None:
        raise TypeError("NumPy takes it for NaN")
    array = np.asarray(value)
    exact = array.dtype.kind == "O" or (array.dtype.itemsize > 8 and array.dtype.kind == "f")
    own = np.dtype(np.float64) if exact else array.dtype.newbyteorder("=")
    return torch.as_tensor(np.require(array, own, ["C", "W"]))


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool) or getattr(value, "dtype", None) in (torch.bool, np.bool_)


def _shown(value: Any) -> str:
    try:
        return reprlib.repr(value)
    except ValueError:  # of a number with thousands of digits
        return f"a number of type {type(value).__name__}"
