"""Matrices on disk: a Zarr array of checksummed chunks that survives any interruption."""

import contextlib
import errno
import math
import os
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor

from lecore.arguments.settings import path_of
from lecore.engine.tiling.cuts import TileCost, cuts_of, largest_tile, mirrored
from lecore.engine.tiling.store_files import (
    create_files,
    mark_complete,
    open_files,
    place,
    read_metadata,
    write,
)
from lecore.errors import LecoreError
from lecore.identity.finished_work import Identity, refuse_another

CHUNK_BYTES = 2**23
"""Size of a chunk, at most; a tile is one chunk or several whole ones."""

CURE = "choose another store, or delete it"


@dataclass(frozen=True)
class StoredMatrix:
    """A matrix that is being written to disk.

    A tile's chunks are on the disk before the empty file that marks it as finished, so that
    whatever happens only the tiles in hand are lost.

    Attributes:
        array: The Zarr array, for writing.
        symmetric: Whether the mirror image of each tile is written with it.
        step: Rows and columns of a tile.
    """

    array: Any
    symmetric: bool
    step: tuple[int, int]

    def put(self, rows: slice, columns: slice, block: Tensor) -> None:
        """Write one tile, and its mirror image if the matrix is symmetric."""
        mark = place(self.array.store.root, "finished", rows.start, columns.start)
        if mark.exists():  # another writer was faster
            return
        block = block.detach().cpu()
        self.array[rows, columns] = block.numpy()
        if self.symmetric and rows != columns:
            self.array[columns, rows] = mirrored(block).numpy()
        write(mark, b"")

    def finished(self) -> set[tuple[int, int]]:
        """First row and column of the tiles that need not be computed."""
        return _finished(self.array.store.root)

    def result(self) -> Any:
        """The whole matrix, when all tiles are written."""
        path = self.array.store.root
        if not read_metadata(path)["attributes"]["complete"]:
            mark_complete(path, True)
            for leftover in path.rglob(".*"):  # of workers that were killed
                leftover.unlink(missing_ok=True)
        return open_matrix(path)


def open_store(
    path: Path,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    step: tuple[int, int],
    symmetric: bool,
    identity: Identity,
    fixed_step: bool,
) -> StoredMatrix:
    """Begin a matrix on disk, or go on with the one that is there.

    Args:
        path: Its folder.
        shape: (n, m, …).
        dtype: Type of the entries.
        step: Rows and columns of a tile, at most.
        symmetric: See :func:`lecore.engine.tiling.tiles.compute_tiles`.
        identity: What is computed.
        fixed_step: Whether a matrix that was begun in other tiles is refused; otherwise it goes
            on in its own.

    Raises:
        LecoreError: If something else is there, or Zarr cannot hold the type.
    """
    if dtype not in (torch.float16, torch.float32, torch.float64):
        raise LecoreError(f"a Zarr store cannot hold {dtype}", "take float16, float32 or float64")
    chunk, step = _chunks(shape, dtype, step)
    attributes = {
        "lecore": version("lecore"),
        "identity": identity,
        "shape": list(shape),
        "dtype": str(dtype).removeprefix("torch."),
        "symmetric": symmetric,
        "tile": list(step),
        "complete": False,
    }
    path = path.absolute()  # workers may run in other folders
    if _is_free(path):
        _begin(path, shape, (*chunk, *shape[2:]), attributes)
    _refuse_another(path, attributes, fixed_step)
    if read_metadata(path)["attributes"]["complete"] and _finished(path) != _tiles(path):
        mark_complete(path, False)
    array = open_files(path, read_only=False)
    rows, columns = array.attrs["tile"]
    return StoredMatrix(array, symmetric, (int(rows), int(columns)))


def open_matrix(path: str | os.PathLike[str]) -> Any:
    """Open a finished matrix for reading.

    Args:
        path: What was given as ``Tiles(store=…)``.

    Returns:
        A Zarr array, shape (n, m, …). Reading a damaged part of it raises a LecoreError that says
        how to compute that part again.

    Raises:
        LecoreError: If there is none, or it is not finished.
    """
    path = path_of("path", path).absolute()
    tiles = _tiles(path)
    left = len(tiles - _finished(path))
    if left:
        raise LecoreError(
            f"{path} lacks {left} of {len(tiles)} tiles", "repeat the call that began it"
        )
    return open_files(path, read_only=True)


def _is_free(path: Path) -> bool:
    """Whether nothing is there, or an empty folder."""
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def _begin(
    path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    """Make an empty matrix in a place that is free, whole, unless another writer is faster."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise LecoreError(f"{path.parent} is no folder", "choose another store") from error
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        create_files(temporary, shape, chunks, attributes)
        with contextlib.suppress(OSError):
            path.rmdir()  # only if it is empty
        temporary.rename(path)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _refuse_another(path: Path, attributes: dict[str, Any], fixed_step: bool) -> None:
    known = read_metadata(path)["attributes"]
    refuse_another(known["identity"], attributes["identity"], str(path), CURE)
    for key in ("shape", "dtype", "symmetric", *(["tile"] if fixed_step else [])):
        if known[key] != attributes[key]:
            raise LecoreError(
                f"{path} holds another matrix, with another {key} "
                f"({known[key]} there, {attributes[key]} here)",
                CURE,
            )


def _chunks(
    shape: tuple[int, ...], dtype: torch.dtype, step: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of a chunk, and those of a tile shortened to whole chunks."""
    pair = math.prod(shape[2:]) * dtype.itemsize
    tile = min(step[0], shape[0]), min(step[1], shape[1])
    r, c = largest_tile(*tile, max(CHUNK_BYTES, pair), TileCost(0, 0, pair))
    down, across = -(-tile[0] // r), -(-tile[1] // c)
    r, c = tile[0] // down, tile[1] // across
    return (r, c), (r * down, c * across)


def _tiles(path: Path) -> set[tuple[int, int]]:
    known = read_metadata(path)["attributes"]
    rows, columns, *_ = known["shape"]
    cuts = cuts_of(rows, columns, known["tile"], known["symmetric"])
    return {(cut[0].start, cut[1].start) for cut in cuts}


def _finished(path: Path) -> set[tuple[int, int]]:
    marks = {mark.name for mark in (path / "finished").glob("*")}
    return {(i, j) for i, j in _tiles(path) if f"{i}-{j}" in marks}
