"""Image sets of one's own: an ``.npz`` file, of which nothing is believed."""

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lecore.errors import LecoreError

KEYS = ("x_train", "y_train", "x_test", "y_test", "class_names")

EASILY, LARGEST_RATIO = 2**26, 100
"""Bytes that an archive may unpack to in any case, and how many times its size it may."""


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read and check the arrays of an image set.

    Sizes are compared with what the file can hold before anything is allocated, and nothing is
    unpickled.

    Args:
        path: An ``.npz`` file.

    Returns:
        Arrays by the names :data:`KEYS`; images uint8, labels int64.

    Raises:
        LecoreError: If the file is damaged or no image set.
    """
    try:
        with path.open("rb") as stream:
            _check_sizes(zipfile.ZipFile(stream), most=max(EASILY, _ratio(path)))
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as archive:
                parts = {key: np.asarray(archive[key]) for key in KEYS}
    except (
        *(zipfile.BadZipFile, zlib.error, EOFError, OSError),  # damaged or truncated
        *(KeyError, TypeError, ValueError),  # something else under this name
        *(RuntimeError, MemoryError),  # what a damaged header asks for; larger than memory
    ) as error:
        what = f"is damaged or no image set ({one_line(error)})"
        raise LecoreError(what, "replace or delete it", str(path)) from error
    names = parts["class_names"]
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise LecoreError(
            "class_names must have shape (classes,) and hold words, "
            f"got {names.dtype} {names.shape}",
            where=str(path),
        )
    for split in ("train", "test"):
        x, y = parts[f"x_{split}"], parts[f"y_{split}"]
        if x.dtype != np.uint8 or x.ndim not in (3, 4) or y.shape != (len(x),):
            raise LecoreError(
                f"x_{split} must be uint8 of shape (n, h, w) or (n, h, w, c) with "
                f"y_{split} of shape (n,), got {x.dtype} {x.shape} and {y.shape}",
                where=str(path),
            )
        if len(y) and not (y.dtype.kind in "iu" and 0 <= y.min() <= y.max() < len(names)):
            what = f"y_{split} must be integers below the number of class_names"
            raise LecoreError(what, where=str(path))
        parts[f"y_{split}"] = y.astype(np.int64)
    sizes = parts["x_train"].shape[1:], parts["x_test"].shape[1:]
    if sizes[0] != sizes[1]:
        what = f"x_train and x_test differ in image size, {sizes[0]}, {sizes[1]}"
        raise LecoreError(what, where=str(path))
    return parts


def one_line(error: BaseException) -> str:
    """What an error says, without line breaks."""
    return " ".join(str(error).split())


def _ratio(path: Path) -> int:
    return LARGEST_RATIO * path.stat().st_size


def _check_sizes(archive: zipfile.ZipFile, most: int) -> None:
    """Compare what headers promise with what the file can hold."""
    total = 0
    for key in KEYS:
        size = archive.getinfo(f"{key}.npy").file_size
        with archive.open(f"{key}.npy") as stream:
            version = np.lib.format.read_magic(stream)
            if version == (1, 0):
                shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
            else:
                shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
            if not dtype.hasobject and math.prod(shape) * dtype.itemsize != size - stream.tell():
                raise ValueError(f"the header of {key} does not fit its size")
        total += size
    if total > most:
        raise ValueError(f"it unpacks to {total} bytes, far more than images do")
