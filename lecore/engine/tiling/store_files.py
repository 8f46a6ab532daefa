"""The files of a stored matrix: written whole, each chunk with its checksum, and checked.

Beside a Zarr array a store holds, for each tile by its first row and column, an empty mark in
``finished`` and in ``checksums`` one line for each chunk ever written, with its place: so chunks
that were exchanged are noticed, and any number of writers of the same matrix may work at once.
"""

import asyncio
import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lecore.errors import LecoreError
from lecore.files import whole_file

try:
    import numcodecs  # type: ignore[import-untyped]
    import zarr
    import zarr.codecs
    import zarr.storage
except ImportError as error:
    raise ImportError('a matrix on disk needs Zarr: pip install "lecore[scale]"') from error


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
        await asyncio.to_thread(_put, self.root, key, value.as_numpy_array())


def create_files(
    path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    """Make an empty array, of the ``dtype`` among its attributes."""
    zarr.create_array(
        TileFiles(path),
        shape=shape,
        chunks=chunks,
        dtype=attributes["dtype"],
        compressors=[zarr.codecs.Crc32cCodec()],
        fill_value=float("nan"),
        attributes=attributes,
    )
    seal(path, json.loads((path / "zarr.json").read_bytes()))


def open_files(path: Path, *, read_only: bool) -> Any:
    """The array, to read or to write."""
    # zarr would not write chunks of NaN, its fill value, and they would look lost
    with zarr.config.set({"array.write_empty_chunks": True}):
        return zarr.open_array(
            TileFiles(path, read_only=read_only), mode="r" if read_only else "r+"
        )


def read_metadata(path: Path) -> dict[str, Any]:
    """What a store says of itself, if it is as it was written.

    Raises:
        LecoreError: If there is none of ours, or it is damaged.
    """
    file = path / "zarr.json"
    content = file.read_bytes() if file.is_file() else b""
    if b"lecore" not in content and not (path / "finished").is_dir():
        raise LecoreError(f"{path} does not hold a matrix of lecore's", "take another folder")
    try:
        metadata: dict[str, Any] = json.loads(content)
        if metadata["attributes"]["checksum"] == _checksum(metadata):
            return metadata
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise LecoreError(
        f"{file} is damaged, so that it does not say what the store holds",
        "put a copy of this file back, or delete the store and compute it again",
    )


def _checksum(metadata: dict[str, Any]) -> str:
    attributes = {k: v for k, v in metadata.get("attributes", {}).items() if k != "checksum"}
    text = json.dumps(metadata | {"attributes": attributes}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def seal(path: Path, metadata: dict[str, Any]) -> None:
    """Write what a store says of itself."""
    metadata["attributes"]["checksum"] = _checksum(metadata)
    write(path / "zarr.json", json.dumps(metadata, indent=2).encode())


def mark_complete(path: Path, complete: bool) -> None:
    """Write whether all tiles are finished, for other readers of the array."""
    metadata = read_metadata(path)
    metadata["attributes"]["complete"] = complete
    seal(path, metadata)


def place(path: Path, kind: str, row: int, column: int) -> Path:
    """Where a tile's mark or its checksums are."""
    return path / kind / f"{row}-{column}"


def tile_of(metadata: dict[str, Any], key: str) -> tuple[int, int]:
    """First row and column of the tile that computes a chunk."""
    chunk = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    attributes = metadata["attributes"]
    step = attributes["tile"]
    i, j = (
        int(n) * chunk[axis] // step[axis] * step[axis]
        for axis, n in enumerate(key.split("/")[1:3])
    )
    return (min(i, j), max(i, j)) if attributes["symmetric"] else (i, j)


def _put(path: Path, key: str, data: Any) -> None:
    """Write a file; a chunk after the line with its checksum, which may hence be one too many."""
    if key.startswith("c/"):
        checksums = place(path, "checksums", *tile_of(read_metadata(path), key))
        with _full_disk_explained(path):
            checksums.parent.mkdir(exist_ok=True)
            with checksums.open("ab") as file:  # after the rest of a line that was cut off
                file.write(f"\n{_line(key, data)}\n".encode())
                file.flush()
                os.fsync(file.fileno())
    write(path / key, data)


def _line(key: str, data: Any) -> str:
    return f"{key} {bytes(data[-4:]).hex()}"  # Zarr's codec puts the CRC there


def write(path: Path, data: Any) -> None:
    """Write a file whole."""
    try:
        with _full_disk_explained(path), whole_file(path) as file:
            file.write(data)
    except FileNotFoundError:  # a writer that has finished the matrix tidied up
        if not path.exists():
            raise


@contextlib.contextmanager
def _full_disk_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if errno.errorcode.get(error.errno or 0) not in ("ENOSPC", "EDQUOT"):
            raise
        raise OSError(
            error.errno,
            f"the disk of {path} is full; finished tiles stay there: make room and repeat the "
            "call, which goes on with the others",
        ) from error


def _check(path: Path, key: str, data: Any) -> None:
    """Refuse a chunk that is lost, changed or of another place, naming its tile."""
    row, column = tile_of(read_metadata(path), key)
    if data is not None:
        content = data.as_numpy_array()
        with contextlib.suppress(Exception):
            numcodecs.CRC32C(location="end").decode(content)
            known = place(path, "checksums", row, column).read_text(errors="replace")
            if _line(key, content) in known.splitlines():
                return
    raise LecoreError(
        f"the tile of {path} that begins at row {row} and column {column} is damaged",
        f"delete {place(path, 'finished', row, column)} and repeat the call that computed it, to "
        "compute this tile again",
    )
