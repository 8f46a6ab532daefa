"""How a matrix over pairs of points is cut into tiles, and what a tile costs."""

import math
from typing import NamedTuple

from torch import Tensor

Cut = tuple[slice, slice]


class TileCost(NamedTuple):
    """Working memory of a tile in bytes.

    Attributes:
        row: Of each row.
        column: Of each column.
        pair: Of each entry with its trailing axes.
        fixed: Of any tile, whatever its size.
    """

    row: int
    column: int
    pair: int
    fixed: int = 0


def mirrored(block: Tensor) -> Tensor:
    """Entry (j, i) from (i, j): the first two axes exchanged, the trailing ones reversed."""
    return block.permute(1, 0, *reversed(range(2, block.ndim)))


def cuts_of(rows: int, columns: int, step: tuple[int, int], symmetric: bool) -> list[Cut]:
    """Tiles row by row, as callers keep what they computed for the last rows."""
    return [
        (slice(i, min(i + step[0], rows)), slice(j, min(j + step[1], columns)))
        for i in range(0, rows, step[0])
        for j in range(i if symmetric else 0, columns, step[1])
    ]


def largest_tile(rows: int, columns: int, budget: int, cost: TileCost) -> tuple[int, int]:
    """Rows and columns of the largest tile within a budget: near-square, at least one entry."""
    # the side s of a square solves s·(row + column) + s²·pair = budget
    both, pair, budget = cost.row + cost.column, max(1, cost.pair), budget - cost.fixed
    r = c = max(1, (math.isqrt(both**2 + 4 * pair * budget) - both) // (2 * pair))
    if r >= rows:  # a short side leaves room for a longer one
        r = rows
        c = (budget - r * cost.row) // (cost.column + r * pair)
    elif c >= columns:
        c = columns
        r = (budget - c * cost.column) // (cost.row + c * pair)
    return min(r, rows), min(c, columns)
