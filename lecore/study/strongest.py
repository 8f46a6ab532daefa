"""The strongest entries of a matrix too large to keep."""

import pandas as pd
import torch
from torch import Tensor


class Strongest:
    """The largest positive and negative entries of each column, of blocks of rows as they come.

    Args:
        columns: How many the matrix has.
        top: Entries of each sign to keep in a column, at most.
    """

    def __init__(self, columns: int, top: int) -> None:
        none = torch.empty(0, columns, dtype=torch.float64)
        self.top = top
        self.largest = self.smallest = none, none.long()

    def add(self, block: Tensor, start: int) -> None:
        """Look at rows of the matrix, shape (rows, columns), of which the first is ``start``."""
        rows = torch.arange(start, start + len(block))[:, None].expand_as(block)
        self.largest = self._chosen(self.largest, (block, rows), largest=True)
        self.smallest = self._chosen(self.smallest, (block, rows), largest=False)

    def frame(self) -> pd.DataFrame:
        """``test``, ``train``, ``influence``: by column, from the largest down to the smallest."""
        ends = zip(self.largest, self.smallest, strict=True)
        value, row = (torch.cat([high, low.flip(0)]).T for high, low in ends)
        high, low = self.largest[0] > 0, self.smallest[0] < 0
        kept = torch.cat([high, low.flip(0)]).T
        column = torch.arange(len(value))[:, None].expand_as(value)
        parts = {"test": column, "train": row, "influence": value}
        return pd.DataFrame({name: values[kept].numpy() for name, values in parts.items()})

    def _chosen(
        self, known: tuple[Tensor, Tensor], more: tuple[Tensor, Tensor], largest: bool
    ) -> tuple[Tensor, Tensor]:
        values, rows = (torch.cat(parts) for parts in zip(known, more, strict=True))
        values, places = values.topk(min(self.top, len(values)), dim=0, largest=largest)
        return values, rows.gather(0, places)
