"""Matrices on disk: a Zarr array of checksummed tiles that survives interruption."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lecore.tiles import Cut, mirrored

CHUNK = 1024
"""Longest side of a chunk; a tile is a whole number of chunks."""


@dataclass(frozen=True)
class StoredMatrix:
    """A matrix that is being written to disk.

    Each tile's chunks are written first, then an empty file that marks it as finished, so that
    whatever happens only the tiles in hand are lost.

    Attributes:
        path: The Zarr array's folder.
        step: Rows and columns of a tile.
        symmetric: Whether the mirror image of each tile is written with it.
    """

    path: Path
    step: tuple[int, int]
    symmetric: bool

    def __contains__(self, cut: Cut) -> bool:
        return self._mark(cut).exists()

    def put(self, rows: slice, columns: slice, block: Tensor) -> None:
        """Write one tile, and its mirror image if the matrix is symmetric."""
        array = _zarr().open_array(self.path, mode="r+")
        array[rows, columns] = block.detach().cpu().numpy()
        if self.symmetric and rows != columns:
            array[columns, rows] = mirrored(block).detach().cpu().numpy()
        mark = self._mark((rows, columns))
        mark.parent.mkdir(exist_ok=True)
        mark.touch()

    def finished(self) -> Any:
        """The array, for reading."""
        return open_matrix(self.path)

    def _mark(self, cut: Cut) -> Path:
        return self.path / "finished" / f"{cut[0].start}-{cut[1].start}"


def open_store(
    path: Path,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    step: tuple[int, int],
    symmetric: bool,
    fingerprint: str,
) -> StoredMatrix:
    """Begin a matrix on disk, or go on with the one that is there.

    Args:
        path: Its folder.
        shape: (n, m, …).
        dtype: Type of the entries.
        step: Rows and columns of a tile; a matrix that was begun keeps its own.
        symmetric: See :func:`lecore.tiles.compute_tiles`.
        fingerprint: Identifies what is computed.

    Raises:
        ValueError: If something else is there, or Zarr cannot hold the type.
    """
    zarr = _zarr()
    if dtype not in (torch.float16, torch.float32, torch.float64):
        raise ValueError(f"Zarr has no {dtype}; take float32")
    expected = {
        "shape": list(shape),
        "dtype": str(dtype).removeprefix("torch."),
        "symmetric": symmetric,
        "fingerprint": fingerprint,
        "lecore": version("lecore"),
    }
    if path.exists():
        known = _attributes(path)
        for name, value in expected.items():
            if known.get(name) != value:
                what = "model, data or settings" if name == "fingerprint" else name
                raise ValueError(
                    f"{path} holds another matrix: its {what} differ"
                    f"{'' if name == 'fingerprint' else f' ({known.get(name)}, not {value})'}; "
                    "choose another store, or delete it"
                )
        rows, columns = known["tile"]
        return StoredMatrix(path, (int(rows), int(columns)), symmetric)
    step = (_whole_chunks(step[0]), _whole_chunks(step[1]))
    temporary = path.with_name(f".{path.name}.new")
    zarr.create_array(
        temporary,
        shape=shape,
        chunks=(min(step[0], CHUNK), min(step[1], CHUNK), *shape[2:]),
        dtype=expected["dtype"],
        compressors=[zarr.codecs.Crc32cCodec()],
        fill_value=float("nan"),
        attributes={**expected, "tile": list(step)},
        overwrite=True,
    )
    temporary.rename(path)
    return StoredMatrix(path, step, symmetric)


def open_matrix(path: str | Path) -> Any:
    """Open a finished matrix for reading.

    Args:
        path: What was given as ``Tiles(store=…)``.

    Returns:
        A Zarr array, shape (n, m, …). Reading a damaged chunk raises; :func:`repair` helps.

    Raises:
        ValueError: If there is none, or it is not finished.
    """
    path = Path(path)
    left = len(_all_marks(path)) - len(_present_marks(path))
    if left:
        raise ValueError(f"{path} lacks {left} tiles; repeat the call that began it")
    return _zarr().open_array(path, mode="r")


def repair(path: str | Path) -> int:
    """Read every tile and forget the damaged ones, so that the next call computes them again.

    Args:
        path: What was given as ``Tiles(store=…)``.

    Returns:
        Number of damaged tiles.
    """
    path = Path(path)
    array = _zarr().open_array(path, mode="r")
    rows, columns = _attributes(path)["tile"]
    damaged = 0
    for mark in _present_marks(path):
        i, j = (int(start) for start in mark.split("-"))
        places = [(slice(i, i + rows), slice(j, j + columns))]
        if _attributes(path)["symmetric"] and i != j:
            places.append((places[0][1], places[0][0]))
        try:
            intact = not any(bool((array[place] != array[place]).all()) for place in places)
        except ValueError:  # the checksum does not fit
            intact = False
        if not intact:
            (path / "finished" / mark).unlink()
            damaged += 1
    return damaged


def _attributes(path: Path) -> dict[str, Any]:
    try:
        attributes = dict(_zarr().open_array(path, mode="r").attrs)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{path} is not a matrix of lecore's; choose another store") from error
    if "fingerprint" not in attributes:
        raise ValueError(f"{path} is not a matrix of lecore's; choose another store")
    return attributes


def _all_marks(path: Path) -> set[str]:
    known = _attributes(path)
    (n, m, *_), (rows, columns) = known["shape"], known["tile"]
    return {
        f"{i}-{j}"
        for i in range(0, n, rows)
        for j in range(i if known["symmetric"] else 0, m, columns)
    }


def _present_marks(path: Path) -> set[str]:
    return _all_marks(path) & {mark.name for mark in (path / "finished").glob("*")}


def _whole_chunks(step: int) -> int:
    return step if step <= CHUNK else step - step % CHUNK


def _zarr() -> Any:
    try:
        import zarr
        import zarr.codecs
    except ImportError as error:
        raise ImportError('a matrix on disk needs Zarr: pip install "lecore[scale]"') from error
    return zarr
