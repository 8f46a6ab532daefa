"""Large matrices over pairs of points, tile by tile: on one machine, on disk, or on a cluster."""

import errno
import functools
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import cloudpickle
import psutil
import torch
from joblib import Parallel, delayed
from torch import Tensor
from tqdm import tqdm

TileFunction = Callable[[slice, slice], Tensor]
Cut = tuple[slice, slice]


@dataclass(frozen=True)
class Tiles:
    """How a matrix over pairs of points is cut up, where it is computed, and where it goes.

    The numbers do not depend on any of it, apart from the rounding of sums of other lengths.

    Attributes:
        memory: Budget in bytes for the tiles in hand with their working memory; by default half
            of the memory that is free now.
        jobs: Tiles at a time on this machine.
        backend: Whether they run in ``threads`` or in ``processes``.
        store: Folder of a Zarr array to write to, which can be larger than memory and is
            resumed by the same call after an interruption; ``None`` returns a tensor.
        client: A ``dask.distributed.Client``, whose workers compute the tiles; with a store they
            must see the same file system.
        progress: Whether to show pairs done and time left on standard error.
        shape: Rows and columns of a tile, instead of as many as the budget allows.
    """

    memory: int | None = None
    jobs: int = 1
    backend: Literal["threads", "processes"] = "threads"
    store: str | os.PathLike[str] | None = None
    client: Any = None
    progress: bool = False
    shape: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.jobs < 1 or self.backend not in ("threads", "processes"):
            raise ValueError("jobs must be 1 or larger and backend 'threads' or 'processes'")
        if self.memory is not None and self.memory < 1:
            raise ValueError(f"memory must be a positive number of bytes, not {self.memory}")
        if self.shape is not None and min(self.shape) < 1:
            raise ValueError(f"a tile needs at least one row and column, not {self.shape}")


class Matrix(Protocol):
    """Where finished tiles go."""

    def put(self, rows: slice, columns: slice, block: Tensor) -> None:
        """Write one tile."""


@dataclass
class TensorMatrix:
    """A matrix in memory."""

    tensor: Tensor
    symmetric: bool

    def put(self, rows: slice, columns: slice, block: Tensor) -> None:
        """Write one tile, and its mirror image if the matrix is symmetric."""
        self.tensor[rows, columns] = block
        if self.symmetric and rows != columns:
            self.tensor[columns, rows] = mirrored(block)


def compute_tiles(
    tile: TileFunction,
    rows: int,
    columns: int,
    *,
    tiles: Tiles,
    dtype: torch.dtype,
    row_bytes: int,
    column_bytes: int,
    pair_bytes: int,
    trailing: tuple[int, ...] = (),
    device: torch.device = torch.device("cpu"),  # noqa: B008 - a constant
    symmetric: bool = False,
    fingerprint: str = "",
) -> Any:
    """Compute a matrix tile by tile.

    Args:
        tile: Gives the entries of a slice of rows and one of columns, shape (r, c, *trailing).
            It must be picklable (by cloudpickle) for processes and clusters.
        rows: Number of rows n.
        columns: Number of columns m.
        tiles: How to cut it up, and where to compute and keep it.
        dtype: Type of the entries.
        row_bytes: Working memory of each row of a tile.
        column_bytes: Likewise of each column.
        pair_bytes: Likewise of each entry, all trailing axes together.
        trailing: Further axes of the result.
        device: Device of the result in memory.
        symmetric: Whether entry (j, i) is entry (i, j) with the trailing axes reversed, so that
            only tiles on and above the diagonal are computed.
        fingerprint: Identifies what is computed; a store with another one is refused.

    Returns:
        A tensor, or a Zarr array, of shape (n, m, *trailing).

    Raises:
        ValueError: If the budget does not hold one entry, the result does not fit into memory,
            or the store holds something else.
        OSError: If the disk is full; finished tiles stay, and the same call goes on.
    """
    step = _tile_shape(rows, columns, tiles, row_bytes, column_bytes, pair_bytes, symmetric)
    if tiles.store is None and tiles.client is None and step[0] >= rows and step[1] >= columns:
        return tile(slice(0, rows), slice(0, columns))
    if tiles.store is None:
        size = rows * columns * math.prod(trailing) * dtype.itemsize
        if size > free_memory(device):
            raise ValueError(
                f"the result takes {size / 2**30:.1f} GiB and does not fit into free memory; "
                "pass tiles=Tiles(store=…) to write it to disk"
            )
        tensor = torch.empty((rows, columns, *trailing), dtype=dtype, device=device)
        matrix: Any = TensorMatrix(tensor, symmetric)
        pending = _cuts(rows, columns, step, symmetric)
    else:
        from lecore.stores import open_store

        matrix = open_store(
            Path(tiles.store), (rows, columns, *trailing), dtype, step, symmetric, fingerprint
        )
        pending = [c for c in _cuts(rows, columns, matrix.step, symmetric) if c not in matrix]
    total = sum(_pairs(cut) for cut in pending)
    done = 0
    try:
        with tqdm(
            total=total, disable=not tiles.progress, unit="pair", unit_scale=True, leave=False
        ) as bar:
            for cut in _finished(tile, matrix, pending, tiles):
                done += 1
                bar.update(_pairs(cut))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(
                errno.ENOSPC,
                f"the disk is full; {done} of {len(pending)} tiles were finished and stay in "
                f"{tiles.store}: make room and repeat the call",
            ) from error
        raise
    return matrix.tensor if tiles.store is None else matrix.finished()


def mirrored(block: Tensor) -> Tensor:
    """Entry (j, i) from (i, j): the first two axes exchanged, the trailing ones reversed."""
    return block.permute(1, 0, *reversed(range(2, block.ndim)))


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def _tile_shape(
    rows: int,
    columns: int,
    tiles: Tiles,
    row_bytes: int,
    column_bytes: int,
    pair_bytes: int,
    symmetric: bool,
) -> tuple[int, int]:
    """Rows and columns of a tile: near-square, as large as the budget allows, in equal cuts."""
    if tiles.shape is not None:
        r, c = tiles.shape
        return (min(r, c), min(r, c)) if symmetric else (r, c)
    budget = free_memory(torch.device("cpu")) // 2 if tiles.memory is None else tiles.memory
    budget //= tiles.jobs
    needed = row_bytes + column_bytes + pair_bytes
    if needed > budget:
        raise ValueError(
            f"a tile of one entry needs {needed} bytes and the budget is {budget}; raise memory"
            + (" or take fewer jobs" if tiles.jobs > 1 else "")
        )
    both = row_bytes + column_bytes
    side = int((math.sqrt(both**2 + 4 * pair_bytes * budget) - both) / (2 * pair_bytes))
    r = c = max(1, side)
    if not symmetric:  # a short side leaves room for a longer one
        if r > rows:
            r = rows
            c = max(1, (budget - r * row_bytes) // (column_bytes + r * pair_bytes))
        elif c > columns:
            c = columns
            r = max(1, (budget - c * column_bytes) // (row_bytes + c * pair_bytes))
    workers = tiles.jobs if tiles.client is None else 2 * len(tiles.client.nthreads())
    if workers > 1:
        r = min(r, -(-rows // workers))
        c = min(c, r) if symmetric else c
        r = min(r, c) if symmetric else r
    return _equal(rows, r), _equal(columns, c)


def _equal(length: int, step: int) -> int:
    """The shortest step that needs no more cuts."""
    return -(-length // -(-length // step))


def _cuts(rows: int, columns: int, step: tuple[int, int], symmetric: bool) -> list[Cut]:
    """Tiles row by row; callers keep what they computed for the last rows."""
    return [
        (slice(i, min(i + step[0], rows)), slice(j, min(j + step[1], columns)))
        for i in range(0, rows, step[0])
        for j in range(i if symmetric else 0, columns, step[1])
    ]


def _pairs(cut: Cut) -> int:
    return (cut[0].stop - cut[0].start) * (cut[1].stop - cut[1].start)


@dataclass(frozen=True)
class _Task:
    """One tile with, where the worker writes it itself, the store."""

    tile: TileFunction
    store: Matrix | None

    def __call__(self, cut: Cut) -> tuple[Cut, Tensor | None]:
        block = self.tile(*cut)
        if self.store is None:
            return cut, block
        self.store.put(*cut, block)
        return cut, None


def _finished(tile: TileFunction, matrix: Any, pending: list[Cut], tiles: Tiles) -> Iterator[Cut]:
    """Compute the tiles and yield each when it is written."""
    task = _Task(tile, None if isinstance(matrix, TensorMatrix) else matrix)
    if tiles.client is not None:
        results = _on_cluster(task, pending, tiles.client)
    elif tiles.jobs == 1:
        results = map(task, pending)
    elif tiles.backend == "threads":
        results = Parallel(n_jobs=tiles.jobs, backend="threading", return_as="generator_unordered")(
            delayed(task)(cut) for cut in pending
        )
    else:
        results = _in_processes(task, pending, tiles.jobs)
    for cut, block in results:
        if block is not None:
            matrix.put(*cut, block)
        yield cut


def _in_processes(
    task: _Task, pending: list[Cut], jobs: int
) -> Iterator[tuple[Cut, Tensor | None]]:
    # the task travels once, in a file of our own, and not with every tile
    with tempfile.TemporaryDirectory(prefix="lecore-") as folder:
        path = Path(folder, "task")
        path.write_bytes(cloudpickle.dumps(task))
        threads = max(1, (os.cpu_count() or 1) // jobs)
        yield from Parallel(n_jobs=jobs, backend="loky", return_as="generator_unordered")(
            delayed(_from_file)(str(path), threads, cut) for cut in pending
        )


def _from_file(path: str, threads: int, cut: Cut) -> tuple[Cut, Tensor | None]:
    return _load(path, threads)(cut)


@functools.lru_cache(maxsize=1)
def _load(path: str, threads: int) -> _Task:
    torch.set_num_threads(threads)
    task: _Task = cloudpickle.loads(Path(path).read_bytes())
    return task


def _on_cluster(
    task: _Task, pending: list[Cut], client: Any
) -> Iterator[tuple[Cut, Tensor | None]]:
    from dask.distributed import as_completed

    # submitted rather than scattered: the scheduler can hand it out again when a worker dies
    shared = client.submit(_itself, task, pure=False)
    futures = [client.submit(_run, shared, cut, pure=False, retries=3) for cut in pending]
    try:
        for future in as_completed(futures):
            yield future.result()
            future.release()
    finally:
        client.cancel(futures)


def _itself(task: _Task) -> _Task:
    return task


def _run(task: _Task, cut: Cut) -> tuple[Cut, Tensor | None]:
    return task(cut)
