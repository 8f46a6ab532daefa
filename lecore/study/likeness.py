"""How alike the inputs of two examples are."""

from functools import cached_property

import torch
from torch import Tensor
from torch.utils._pytree import keystr, tree_flatten_with_path

from lecore.study.examples import Examples

TOKENS = torch.int16, torch.int32, torch.int64

WORDS = "['input_ids']"
"""The column of a mapping that holds the tokens; without it, the one with the largest numbers."""


class Likeness:
    """Cosine of inputs, from which the training examples' mean is taken away, or shared tokens.

    Tokens are compared where all inputs are whole numbers: the part that both hold of those that
    one holds (Jaccard, 1901), 1 if these are the same. Where each is one number an example, such as
    a user's and an item's, nothing is said.

    Args:
        train: Examples of one side.
        test: Of the other.
    """

    def __init__(self, train: Examples, test: Examples) -> None:
        self.tables = [[_parts(table) for table in side.tables] for side in (train, test)]
        every = [parts for tables in self.tables for parts in tables]
        leaves = [leaf for parts in every for leaf in parts.values()]
        forms = {tuple((name, leaf.shape[1:]) for name, leaf in p.items()) for p in every}
        counts = all(leaf.dtype in TOKENS for leaf in leaves)
        self.tokens = counts and any(leaf.ndim > 1 for leaf in leaves)
        if self.tokens:
            self.tables = [[_words(parts) for parts in tables] for tables in self.tables]
        plain = len(forms) == 1 and not any(x.is_complex() for x in leaves)
        self.known = self.tokens or (plain and not counts)
        """Whether these inputs can be compared."""

    def __call__(self, row: int, column: int) -> float:
        """That of a training example to a test example; 0 where one of them is the mean."""
        left, right = (_flat(side, k) for side, k in zip(self.tables, (row, column), strict=True))
        if self.tokens:
            one, other = set(left.tolist()), set(right.tolist())
            return len(one & other) / (len(one | other) or 1)
        left, right = left - self._mean, right - self._mean
        return float(torch.cosine_similarity(left, right, dim=0))

    @cached_property
    def _mean(self) -> Tensor:
        sums = [
            torch.cat([leaf.sum(0, dtype=torch.float64).reshape(-1) for leaf in parts.values()])
            for parts in self.tables[0]
        ]
        count = sum(len(next(iter(parts.values()))) for parts in self.tables[0])
        return torch.stack(sums).sum(0).cpu() / count


def _parts(table: object) -> dict[str, Tensor]:
    """Columns by name, in one order whatever that of a mapping is."""
    return dict(sorted((keystr(path), leaf) for path, leaf in tree_flatten_with_path(table)[0]))


def _words(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    name = WORDS
    if name not in parts:
        name = max(parts, key=lambda name: int(parts[name].max()) if parts[name].numel() else 0)
    return {name: parts[name]}


def _flat(tables: list[dict[str, Tensor]], row: int) -> Tensor:
    """All numbers of an example."""
    for parts in tables:
        count = len(next(iter(parts.values())))
        if row < count:
            return torch.cat([leaf[row].reshape(-1).cpu().double() for leaf in parts.values()])
        row -= count
    raise IndexError(row)
