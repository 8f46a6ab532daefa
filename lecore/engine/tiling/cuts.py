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
        passing: Of each point that passes through the network at the same time.
        together: How many points do so at most, of rows or of columns.
    """

    row: int
    column: int
    pair: int
    fixed: int = 0
    passing: int = 0
    together: int = 1

    def of(self, rows: int, columns: int) -> int:
        """Working memory of a tile of so many rows and columns."""
        passing = min(max(rows, columns), self.together) * self.passing
        return (
            self.fixed
            + rows * self.row
            + columns * self.column
            + rows * columns * self.pair
            + passing
        )


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


def largest_tile(
    rows: int, columns: int, budget: int, cost: TileCost, symmetric: bool = False
) -> tuple[int, int]:
    """Rows and columns of the largest tile within a budget, at least one entry.

    It has all columns if there is room for an eighth as many rows, as callers then need not look
    at any point twice. Else it is near-square.
    """
    row, column, pair, fixed, passing, together = cost
    # passes as full as they get, or each point of the tile in one of its own
    full = TileCost(row, column, pair, fixed + passing * together)
    apart = TileCost(row + passing, column + passing, pair, fixed)
    tiles = [
        _largest(rows, columns, budget, linear, symmetric)
        for linear in (full, apart)
        if linear.of(1, 1) <= budget
    ]
    return max(tiles, key=lambda tile: (tile[1] == columns, math.prod(tile)), default=(1, 1))


def _largest(
    rows: int, columns: int, budget: int, cost: TileCost, symmetric: bool
) -> tuple[int, int]:
    pair, budget = max(1, cost.pair), budget - cost.fixed
    beside = (budget - columns * cost.column) // (cost.row + columns * pair)
    if not symmetric and beside >= min(rows, max(1, columns // 8)):
        return min(beside, rows), columns
    # the side s of a square solves s·(row + column) + s²·pair = budget
    both = cost.row + cost.column
    r = c = max(1, (math.isqrt(both**2 + 4 * pair * budget) - both) // (2 * pair))
    if r >= rows:  # a short side leaves room for a longer one
        r = rows
        c = (budget - r * cost.row) // (cost.column + r * pair)
    elif c >= columns:
        c = columns
        r = (budget - c * cost.column) // (cost.row + c * pair)
    return min(r, rows), min(c, columns)
