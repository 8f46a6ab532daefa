"""How alike the inputs of two examples are."""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from lecore.study.examples import Examples

TOKENS = torch.int16, torch.int32, torch.int64


class Likeness:
    """Cosine of inputs, from which the training examples' mean is taken away, or shared tokens.

    Tokens are compared where all inputs are whole numbers: the part that both hold of those that
    one holds (Jaccard, 1901), 1 if these are the same.

    Args:
        train: Examples of one side.
        test: Of the other.
    """

    def __init__(self, train: Examples, test: Examples) -> None:
        self.sides = train, test
        tables = [tree_leaves(table) for side in self.sides for table in side.tables]
        self.tokens = all(leaf.dtype in TOKENS for leaves in tables for leaf in leaves)
        forms = {tuple((leaf.shape[1:], leaf.is_complex()) for leaf in table) for table in tables}
        self.known = self.tokens or (len(forms) == 1 and not any(form[1] for form in min(forms)))
        """Whether these inputs can be compared."""

    def __call__(self, row: int, column: int) -> float:
        """That of a training example to a test example; 0 where one of them is the mean."""
        left, right = (_leaves(side, k) for side, k in zip(self.sides, (row, column), strict=True))
        if self.tokens:
            one, other = (set(max(leaves, key=torch.max).tolist()) for leaves in (left, right))
            return len(one & other) / len(one | other)
        left, right = (torch.cat(leaves).double() - self._mean for leaves in (left, right))
        return float(torch.cosine_similarity(left, right, dim=0))

    @cached_property
    def _mean(self) -> Tensor:
        train = self.sides[0]
        sums = [
            torch.cat([leaf.sum(0, dtype=torch.float64).reshape(-1) for leaf in tree_leaves(table)])
            for table in train.tables
        ]
        return torch.stack(sums).sum(0).cpu() / len(train)


def _leaves(side: Examples, row: int) -> Any:
    """What an example consists of, each part flat."""
    for table in side.tables:
        leaves = tree_leaves(table)
        if row < len(leaves[0]):
            return [leaf[row].detach().cpu().reshape(-1) for leaf in leaves]
        row -= len(leaves[0])
    raise IndexError(row)
