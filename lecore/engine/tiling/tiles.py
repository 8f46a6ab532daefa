"""Large matrices over pairs of points, computed tile by tile."""

import contextlib
import math
import os
import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import get_ident
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from lecore.arguments.names import check_name
from lecore.arguments.settings import flag, path_of, whole
from lecore.engine.tiling.budgets import budget_of, tile_bytes, tile_shape
from lecore.engine.tiling.cuts import Cut, TileCost, cuts_of, mirrored
from lecore.engine.tiling.plans import Plan, Planned, is_asked
from lecore.engine.tiling.workers import threads_of, unordered
from lecore.errors import LecoreError
from lecore.identity.finished_work import Identity

TileFunction = Callable[[slice, slice], Tensor]


@dataclass(frozen=True)
class Tiles:
    """How a matrix over pairs of points is cut up, where it is computed, and where it goes.

    The numbers do not depend on any of it, apart from the rounding of sums of other lengths.

    Attributes:
        memory: Budget in bytes for the tiles in hand with their working memory; by default half
            of what the machine has free beside the result. Give it in a container that may use
            less than the machine has.
        jobs: Tiles at a time on this machine; they share the budget.
        backend: Whether they run in ``threads`` or in ``processes``.
        store: Folder of a Zarr array to write to, which can be larger than memory and is resumed
            by the same call after an interruption; ``None`` returns a tensor. Needs
            ``pip install "lecore[scale]"``. It is recognised by all that it depends on: network,
            loss and optimiser with their code and state, data, settings, versions.
        key: A word for what of it cannot be identified, such as a loss that reads a file: choose
            another when that changes.
        client: A ``dask.distributed.Client`` whose workers compute the tiles, one a thread, in
            place of ``jobs``. The budget is then that of one tile, by default half of a thread's
            share of its worker's memory. Workers need lecore, and with a store they write to it
            themselves, so they must see the same file system at the same path.
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
    key: str = ""

    def __post_init__(self) -> None:
        plain: dict[str, Any] = {"jobs": whole("jobs", self.jobs)}
        check_name("backend", self.backend, ("threads", "processes"))
        flag("progress", self.progress)
        if self.memory is not None:
            plain["memory"] = whole("memory, in bytes,", self.memory)
        if self.shape is not None:
            if not isinstance(self.shape, tuple | list) or len(self.shape) != 2:
                raise LecoreError(f"shape is {reprlib.repr(self.shape)}", "give (rows, columns)")
            plain["shape"] = tuple(whole("a side of a tile", size) for size in self.shape)
        if self.store is not None:
            path_of("store", self.store)
        if self.client is not None and not hasattr(self.client, "scheduler_info"):
            kind = type(self.client).__name__
            raise LecoreError(f"client is of type {kind}", "give a dask.distributed.Client")
        for name, value in plain.items():  # frozen from here on
            object.__setattr__(self, name, value)

    @property
    def workers(self) -> int:
        """Tiles at a time."""
        return self.jobs if self.client is None else max(1, threads_of(self.client))


def check_tiles(tiles: Any, draws: bool) -> None:
    """Refuse anything but :class:`Tiles`, and threads for what draws random numbers."""
    if not isinstance(tiles, Tiles):
        raise LecoreError(f"tiles is a {type(tiles).__name__}", "give lecore.Tiles(…)")
    if draws and tiles.workers > 1:  # there is one generator for all threads
        raise LecoreError("the forward pass seeds random numbers while it runs", "take jobs=1")


def compute_tiles(
    tile: TileFunction,
    rows: int,
    columns: int,
    *,
    tiles: Tiles,
    dtype: torch.dtype,
    cost: TileCost,
    trailing: tuple[int, ...] = (),
    device: torch.device = torch.device("cpu"),  # noqa: B008 - a constant
    symmetric: bool = False,
    identity: Identity | None = None,
) -> Any:
    """Compute a matrix tile by tile.

    Whatever stops a run, an interrupt or an error in a tile among it, the tiles finished in a
    store stay, and the same call goes on with the others.

    Args:
        tile: Gives the entries of a slice of rows and one of columns, shape (r, c, …).
            It must be picklable (by cloudpickle) for processes and clusters.
        rows: Number of rows n.
        columns: Number of columns m.
        tiles: How to cut it up, and where to compute and keep it.
        dtype: Type of the entries.
        cost: Working memory of a tile.
        trailing: Further axes of the result.
        device: Device of the result in memory.
        symmetric: Whether entry (j, i) is entry (i, j) with the trailing axes reversed, so that
            only tiles on and above the diagonal are computed.
        identity: What is computed; a store that holds anything else is refused.

    Returns:
        A tensor, or a Zarr array for reading, of shape (n, m, …).

    Raises:
        LecoreError: If the budget does not hold one entry, the result does not fit into memory,
            the store holds something else, workers die, or there is no room for temporary files.
        OSError: If the disk is full.
    """
    if rows < 1 or columns < 1 or (symmetric and rows != columns):
        raise LecoreError(
            f"need at least one row and one column, as many of both if symmetric; got {rows} and "
            f"{columns}"
        )
    shape = (rows, columns, *trailing)
    result_bytes = math.prod(shape) * dtype.itemsize if tiles.store is None else 0
    if is_asked():
        raise Planned(Plan(tile, result_bytes, tile_bytes(rows, columns, tiles, device, cost)))
    budget = budget_of(tiles, device, result_bytes)
    step = tile_shape(rows, columns, tiles, budget, cost, symmetric)
    if tiles.store is None and tiles.client is None and step[0] >= rows and step[1] >= columns:
        whole = tile(slice(0, rows), slice(0, columns))
        return whole.detach() if whole.requires_grad else whole
    if tiles.store is None:
        tensor = torch.empty(shape, dtype=dtype, device=device)
        return _fill(TensorMatrix(tensor, symmetric, step), tile, tiles)
    from lecore.engine.tiling.stores import open_store

    fixed = tiles.shape is not None
    store = open_store(Path(tiles.store), shape, dtype, step, symmetric, identity or {}, fixed)
    return _fill(store, tile, tiles)


@dataclass(frozen=True)
class TensorMatrix:
    """A matrix in memory, used as :class:`~lecore.engine.tiling.stores.StoredMatrix` is."""

    array: Tensor
    symmetric: bool
    step: tuple[int, int]

    def put(self, rows: slice, columns: slice, block: Tensor) -> None:
        """Write one tile, and its mirror image if the matrix is symmetric."""
        self.array[rows, columns] = block.detach()
        if self.symmetric and rows != columns:
            self.array[columns, rows] = mirrored(block.detach())

    def finished(self) -> set[tuple[int, int]]:
        """First row and column of the tiles that need not be computed."""
        return set()

    def result(self) -> Tensor:
        """The whole matrix, when all tiles are written."""
        return self.array


@dataclass(frozen=True)
class _Task:
    """Computes one tile, and writes it if given a store, so that nothing large travels."""

    tile: TileFunction
    trailing: tuple[int, ...]
    store: Any
    travels: bool  # to another process
    witness: Tensor | None = None
    agreed: set[int] = field(default_factory=set)  # threads

    def __call__(self, cut: Cut) -> tuple[Cut, Tensor | None]:
        if self.witness is not None and get_ident() not in self.agreed:
            _agree(self.tile.witness(), self.witness)  # type: ignore[attr-defined]
            self.agreed.add(get_ident())
        block = self.tile(*cut)
        shape = (*(part.stop - part.start for part in cut), *self.trailing)
        if block.shape != shape:
            raise LecoreError(f"a tile has shape {tuple(block.shape)}, not {shape}")
        if self.store is not None:
            self.store.put(*cut, block)
            return cut, None
        if self.travels:  # without the rest of a larger tensor that it may be a view of
            block = block.detach().cpu().clone(memory_format=torch.contiguous_format)
        return cut, block


def _agree(here: Tensor, there: Tensor) -> None:
    """Refuse a process or a thread that does not know the network as it is."""
    if here.shape != there.shape or not torch.allclose(here, there, rtol=1e-4, atol=1e-9):
        raise LecoreError(
            "another process or thread computes another network: what is set in modules, classes, "
            "torch itself or a thread's own storage does not travel",
            "keep such settings in the model, or take jobs=1",
        )


def _fill(matrix: Any, tile: TileFunction, tiles: Tiles) -> Any:
    """Compute and write the tiles that a matrix lacks."""
    rows, columns, *trailing = matrix.array.shape
    cuts = cuts_of(rows, columns, matrix.step, matrix.symmetric)
    finished = matrix.finished()
    pending = [cut for cut in cuts if (cut[0].start, cut[1].start) not in finished]
    total, left = sum(map(_pairs, cuts)), sum(map(_pairs, pending))
    in_memory = isinstance(matrix, TensorMatrix)
    away = tiles.client is not None or tiles.backend == "processes"
    others = away or tiles.jobs > 1
    witness = tile.witness() if others and hasattr(tile, "witness") else None
    task = _Task(tile, tuple(trailing), None if in_memory else matrix, away, witness)
    results = unordered(task, pending, jobs=tiles.jobs, backend=tiles.backend, client=tiles.client)
    with (
        contextlib.closing(results),
        tqdm(
            total=total,
            initial=total - left,
            disable=not tiles.progress,
            unit="pair",
            unit_scale=True,
            leave=False,
        ) as bar,
    ):
        for cut, block in results:
            if block is not None:
                matrix.put(*cut, block)
            bar.update(_pairs(cut))
    return matrix.result()


def _pairs(cut: Cut) -> int:
    return (cut[0].stop - cut[0].start) * (cut[1].stop - cut[1].start)
