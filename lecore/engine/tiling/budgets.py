"""How large a tile may be, and is, by the memory that there is."""

from typing import TYPE_CHECKING

import psutil
import torch

from lecore.engine.tiling.cuts import TileCost, largest_tile
from lecore.errors import LecoreError

if TYPE_CHECKING:
    from lecore.engine.tiling.tiles import Tiles


PIECES, PIECE = 16, 8
"""Tiles of work that is kept or shown as it goes, where cutting it costs little, and rows of one
at least."""


def tile_shape(
    rows: int, columns: int, tiles: "Tiles", budget: int, cost: TileCost, symmetric: bool
) -> tuple[int, int]:
    """Rows and columns of a tile, in equal cuts.

    There are two tiles or more for each worker. Where tiles have all columns, which then serve
    all rows, work that is kept or shown comes in several pieces.
    """
    if tiles.shape is not None:
        r, c = tiles.shape
        return (min(r, c), min(r, c)) if symmetric else (r, c)
    needed = cost.of(1, 1)
    if needed > budget:
        raise LecoreError(
            f"a tile of one entry needs {needed} bytes and the budget is {budget}; raise memory"
            + (" or take fewer jobs" if tiles.workers > 1 else "")
        )
    r, c = largest_tile(rows, columns, budget, cost, symmetric)
    if symmetric:
        r = c = min(r, c)
    down, across = -(-rows // r), -(-columns // c)
    if c == columns and not symmetric and (tiles.store is not None or tiles.progress):
        down = max(down, min(PIECES, -(-rows // max(PIECE, columns // 8))))
    workers = tiles.workers
    while workers > 1 and (down < rows or across < columns):
        if (down * (down + 1) // 2 if symmetric else down * across) >= 2 * workers:
            break
        if symmetric:
            down = across = down + 1
        elif rows * across >= columns * down:
            down += 1
        else:
            across += 1
    return -(-rows // down), -(-columns // across)


def budget_of(tiles: "Tiles", device: torch.device, result_bytes: int) -> int:
    """Bytes for one tile."""
    free = free_memory(device)
    if result_bytes > free:
        raise LecoreError(
            f"the result takes {result_bytes / 2**30:.3g} GiB and {free / 2**30:.3g} GiB are free; "
            "write it to disk with tiles=Tiles(store=…)"
        )
    if tiles.client is None:
        half = (free - result_bytes) // 2
        return int(half if tiles.memory is None else tiles.memory) // tiles.jobs
    if tiles.memory is not None:
        return int(tiles.memory)
    workers = tiles.client.scheduler_info()["workers"].values()
    shares = [w["memory_limit"] // w["nthreads"] for w in workers if w["memory_limit"]]
    return min(shares, default=free) // 2


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def tile_bytes(
    rows: int, columns: int, tiles: "Tiles", device: torch.device, cost: TileCost
) -> int:
    """Working memory of the largest tile of a matrix whose result would fit."""
    budget = budget_of(tiles, device, 0)
    r, c = tile_shape(rows, columns, tiles, budget, cost, symmetric=False)
    return cost.of(r, c)
