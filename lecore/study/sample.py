"""A study of some of its examples, for a first look at many."""

import copy
from typing import TYPE_CHECKING

from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from lecore.arguments.settings import whole
from lecore.study.examples import Examples
from lecore.study.findings import spread
from lecore.study.row_model import over_rows

if TYPE_CHECKING:
    from lecore.study.study import Study


def sampled(study: "Study", points: int) -> "Study":
    """The same study of at most so many training and as many test examples.

    They are evenly spread from the first to the last. A report gives the rows that they have in the
    whole data, of which it takes texts and thumbnails.

    Args:
        study: The study, which stays as it is.
        points: How many.

    Raises:
        LecoreError: If that is no number of examples.
    """
    points = whole("points", points)
    then = copy.copy(study)
    then.train = _some(study.train, points)
    then.test = then.train if study.test is study.train else _some(study.test, points)
    then._network, then._rows, then._columns = over_rows(
        study.model, then.train, then.test, study.output
    )
    return then


def _some(side: Examples, points: int) -> Examples:
    if len(side) <= points:
        return side
    rows, tables, start = spread(len(side), points), [], 0
    for table in side.tables:
        size = len(tree_leaves(table)[0])
        here = rows[(rows >= start) & (rows < start + size)] - start
        if len(here):
            tables.append(tree_map(lambda leaf, here=here: leaf[here.to(leaf.device)], table))
        start += size
    numbers = rows if side.numbers is None else side.numbers[rows]
    return Examples(tuple(tables), _of(side.targets, rows), numbers, side.total)


def _of(targets: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if targets is None else targets[rows.to(targets.device)]
