"""Matrices on disk: a Zarr array of checksummed chunks that survives any interruption."""

import asyncio
import contextlib
import json
import math
import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor

from lecore.tiles import TileCost, cuts_of, largest_tile, mirrored

try:
    import numcodecs  # type: ignore[import-untyped]
    import zarr
    import zarr.codecs
    import zarr.storage
except ImportError as error:
    raise ImportError('a matrix on disk needs Zarr: pip install "lecore[scale]"') from error

CHUNK_BYTES = 2**23
"""Size of a chunk, at most; a tile is one chunk or several whole ones."""


class TileFiles(zarr.storage.LocalStore):
    """A matrix's files: each is written to the disk whole or not at all, and checked when read.

    For writing, chunks seem missing: a tile replaces whole chunks, and what lies there, perhaps
    damaged, is of no interest.
    """

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """Read a file."""
        if not key.startswith("c/"):
            return await super().get(key, prototype, byte_range)
        if not self.read_only:
            return None
        data = await super().get(key, prototype, byte_range)
        await asyncio.to_thread(_check, self.root, key, data)
        return data

    async def set(self, key: str, value: Any) -> None:
        """Write a file."""
        self._check_writable()
        await asyncio.to_thread(_write, self.root / key, value.as_numpy_array())


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
        block = block.detach().cpu()
        self.array[rows, columns] = block.numpy()
        if self.symmetric and rows != columns:
            self.array[columns, rows] = mirrored(block).numpy()
        _write(_mark(self.array.store.root, rows.start, columns.start), b"")

    def finished(self) -> set[tuple[int, int]]:
        """First row and column of the tiles that need not be computed."""
        return _finished(self.array.store.root)

    def result(self) -> Any:
        """The whole matrix, when all tiles are written."""
        path = self.array.store.root
        if not self.array.attrs["complete"]:
            self.array.attrs["complete"] = True
            for leftover in path.rglob(".*"):  # of workers that were killed
                leftover.unlink(missing_ok=True)
        return open_matrix(path)


def open_store(
    path: Path,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    step: tuple[int, int],
    symmetric: bool,
    fingerprint: str,
    fixed_step: bool,
) -> StoredMatrix:
    """Begin a matrix on disk, or go on with the one that is there.

    Args:
        path: Its folder.
        shape: (n, m, …).
        dtype: Type of the entries.
        step: Rows and columns of a tile, at most.
        symmetric: See :func:`lecore.tiles.compute_tiles`.
        fingerprint: Identifies what is computed.
        fixed_step: Whether a matrix that was begun in other tiles is refused; otherwise it goes
            on in its own.

    Raises:
        ValueError: If something else is there, or Zarr cannot hold the type.
    """
    if dtype not in (torch.float16, torch.float32, torch.float64):
        raise ValueError(f"a Zarr store cannot hold {dtype}; take float16, float32 or float64")
    chunk, step = _chunks(shape, dtype, step)
    attributes = {
        "lecore": version("lecore"),
        "fingerprint": fingerprint,
        "shape": list(shape),
        "dtype": str(dtype).removeprefix("torch."),
        "symmetric": symmetric,
        "tile": list(step),
        "complete": False,
    }
    path = path.absolute()  # workers may run in other folders
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        _refuse_another(path, attributes, fixed_step)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.new")
        zarr.create_array(
            TileFiles(temporary),
            shape=shape,
            chunks=(*chunk, *shape[2:]),
            dtype=attributes["dtype"],
            compressors=[zarr.codecs.Crc32cCodec()],
            fill_value=float("nan"),
            attributes=attributes,
            overwrite=True,
        )
        if path.exists():
            path.rmdir()
        temporary.rename(path)
    array = _open(path, read_only=False)
    if array.attrs["complete"] and _finished(path) != _tiles(path):
        array.attrs["complete"] = False
    rows, columns = array.attrs["tile"]
    return StoredMatrix(array, symmetric, (int(rows), int(columns)))


def open_matrix(path: str | os.PathLike[str]) -> Any:
    """Open a finished matrix for reading.

    Args:
        path: What was given as ``Tiles(store=…)``.

    Returns:
        A Zarr array, shape (n, m, …). Reading a damaged part of it raises a ValueError that says
        how to compute that part again.

    Raises:
        ValueError: If there is none, or it is not finished.
    """
    path = Path(path).absolute()
    tiles = _tiles(path)
    left = len(tiles - _finished(path))
    if left:
        raise ValueError(
            f"{path} lacks {left} of {len(tiles)} tiles; repeat the call that began it"
        )
    return _open(path, read_only=True)


def _open(path: Path, *, read_only: bool) -> Any:
    # zarr would not write chunks of NaN, its fill value, and they would look lost
    with zarr.config.set({"array.write_empty_chunks": True}):
        return zarr.open_array(
            TileFiles(path, read_only=read_only), mode="r" if read_only else "r+"
        )


def _refuse_another(path: Path, attributes: dict[str, Any], fixed_step: bool) -> None:
    known = _metadata(path)["attributes"]
    names = {"lecore": "lecore version", "fingerprint": "model, data or settings"}
    for key, value in attributes.items():
        if key == "complete" or (key == "tile" and not fixed_step) or known[key] == value:
            continue
        values = "" if key == "fingerprint" else f" ({known[key]} there, {value} here)"
        raise ValueError(
            f"{path} holds another matrix, with another {names.get(key, key)}{values}; "
            "choose another store or delete it"
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


def _metadata(path: Path) -> dict[str, Any]:
    try:
        metadata: dict[str, Any] = json.loads((path / "zarr.json").read_bytes())
        if "tile" in metadata["attributes"]:
            return metadata
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise ValueError(f"{path} does not hold a matrix of lecore's")


def _tiles(path: Path) -> set[tuple[int, int]]:
    known = _metadata(path)["attributes"]
    rows, columns, *_ = known["shape"]
    cuts = cuts_of(rows, columns, known["tile"], known["symmetric"])
    return {(cut[0].start, cut[1].start) for cut in cuts}


def _finished(path: Path) -> set[tuple[int, int]]:
    marks = {mark.name for mark in (path / "finished").glob("*")}
    return {(i, j) for i, j in _tiles(path) if f"{i}-{j}" in marks}


def _mark(path: Path, row: int, column: int) -> Path:
    return path / "finished" / f"{row}-{column}"


def _write(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _check(path: Path, key: str, data: Any) -> None:
    """Refuse a chunk that is lost or does not fit its checksum, naming its tile."""
    if data is not None:
        with contextlib.suppress(Exception):
            numcodecs.CRC32C(location="end").decode(data.as_numpy_array())
            return
    metadata = _metadata(path)
    chunk = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    tile = metadata["attributes"]["tile"]
    i, j = (
        int(n) * chunk[axis] // tile[axis] * tile[axis]
        for axis, n in enumerate(key.split("/")[1:3])
    )
    i, j = sorted((i, j)) if metadata["attributes"]["symmetric"] else (i, j)
    raise ValueError(
        f"the tile of {path} that begins at row {i} and column {j} is damaged; delete "
        f"{_mark(path, i, j)} and repeat the call that computed it, to compute this tile again"
    )
