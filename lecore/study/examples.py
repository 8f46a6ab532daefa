"""Data as people have it, as tables of tensors with one example a row."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_leaves, tree_map
from torch.utils.data import DataLoader, IterableDataset

from lecore.arguments.finite import all_finite
from lecore.engine.network.random_states import generators_left_alone
from lecore.errors import LecoreError, in_short
from lecore.study.loaders import in_order, warn_if_random
from lecore.study.same_parts import collated, refuse_data_sets, refuse_other_parts

TARGETS = ("labels", "label")
"""Columns that hold the targets of a mapping if nothing else is said."""


@dataclass(frozen=True)
class Examples:
    """What a model is given, and what it should answer.

    Attributes:
        tables: What it is given: a tensor, or a tuple or dict of tensors, of shape (n, …) each.
            One table, or several where batches have other shapes, such as lengths.
        targets: What it should answer, shape (n, …), if that is known.
        numbers: Of a sample, the rows in the whole data.
        whole: Of a sample, how many examples these are.
    """

    tables: tuple[Any, ...]
    targets: Tensor | None
    numbers: Tensor | None = None
    whole: int | None = None

    def __len__(self) -> int:
        return sum(_count(table) for table in self.tables)

    @property
    def total(self) -> int:
        """How many examples the whole data have."""
        return len(self) if self.whole is None else self.whole

    def of_whole(self, what: str, given: Any) -> Any:
        """Of an array or list with an entry for each example of the whole data, those of these.

        Raises:
            LecoreError: If these are a sample, and there are more entries, or fewer.
        """
        if self.numbers is None or not hasattr(given, "__len__"):
            return given
        if len(given) != self.total:
            told = f"there are {len(given)} {what} for {self.total} examples"
            raise LecoreError(told, "give one each, of the whole data")
        rows = self.numbers.tolist()
        return [given[row] for row in rows] if isinstance(given, list) else given[rows]


@contextmanager
def of_side(name: str) -> Iterator[None]:
    """Say in errors whether they are of ``train`` or of ``test``; an empty name says nothing."""
    try:
        yield
    except LecoreError as error:
        where = ", ".join(filter(None, (name, error.where)))
        raise LecoreError(error.what, error.cure, where) from error.__cause__


def examples(data: Any, target: str | int | bool | None = None) -> Examples:
    """Read data once, in its own order.

    Args:
        data: A tensor or array of inputs; a mapping of columns, such as a tokenizer gives; a
            tuple of inputs and, last, targets; a list of mappings or tuples, one an example; a
            ``Dataset``, also one of Hugging Face; or a ``DataLoader``, whose ``collate_fn`` and
            batch size count, but neither its shuffling nor ``drop_last``.
        target: The column of a mapping or the place in a tuple that holds the targets. If left
            out, ``labels`` or ``label``, or the last place of a tuple; ``False`` if there are none.

    Returns:
        The examples.

    Raises:
        LecoreError: If the data hold nothing, several data sets, something else than numbers,
            numbers that are not finite, or columns of different lengths; if a data set fails on
            one of them, or one lacks a part of the first; or if a loader does not keep them all in
            their order.

    Warns:
        UserWarning: If a data set draws its examples.
    """
    with generators_left_alone():  # a loader draws a seed
        parts, first = [], None
        for number, given in enumerate(_read(_batches(data))):
            batch = _as_tensors(given)
            first = batch if first is None else first
            refuse_other_parts(first, batch, "batch 0", f"batch {number}")
            parts.append(_parted(batch, target))
    if not parts:
        raise LecoreError("the data hold no example", "give at least one")
    tables = joined([table for table, _ in parts])
    known = [targets for _, targets in parts if targets is not None]
    if not known:
        return Examples(tables, None)
    try:
        return Examples(tables, torch.cat(known))
    except RuntimeError as error:
        raise LecoreError(
            "targets of different batches have different shapes",
            "give each example one of the same shape",
        ) from error


def _batches(data: Any) -> Iterable[Any]:
    if isinstance(data, DataLoader):
        warn_if_random(data.dataset)
        return in_order(data)
    if hasattr(data, "to_numpy"):
        return [data]  # a table, which is refused with the cure
    refuse_data_sets(data)
    if isinstance(data, list) and data and all(isinstance(d, Mapping | tuple) for d in data):
        return [collated([_with_tensors(item) for item in data])]  # an example each
    if isinstance(data, Tensor | np.ndarray | Mapping | Sequence):
        return [data]
    if isinstance(data, IterableDataset) or _has_rows(data):
        warn_if_random(data)
        rows = data if isinstance(data, IterableDataset) else (data[i] for i in range(len(data)))
        items = [_with_tensors(item) for item in _read(rows)]
        return [collated(items)] if items else []
    raise LecoreError(
        f"the data are a {type(data).__name__}",
        "give a tensor, a mapping, a tuple of inputs and targets, a Dataset or a DataLoader",
    )


def _has_rows(data: Any) -> bool:
    try:
        return hasattr(data, "__getitem__") and len(data) >= 0
    except TypeError:  # such as a sparse matrix, which has a length in name only
        return False


def _read(items: Iterable[Any]) -> Iterable[Any]:
    """What somebody else's data set gives, as it gives it."""
    each, number = iter(items), 0
    while True:
        try:
            item = next(each)
        except StopIteration:
            return
        except LecoreError:
            raise
        except Exception as error:
            raise LecoreError(
                f"the data set fails after {number} items or batches ({in_short(error)})",
                "mend it, or leave out what is broken",
            ) from error
        number += 1
        yield item


def _with_tensors(item: Any) -> Any:
    """Lists of numbers as tensors, which torch would take for batches of their own."""
    if isinstance(item, Mapping):
        return {name: _with_tensors(value) for name, value in item.items()}
    if type(item) is tuple:
        return tuple(map(_with_tensors, item))
    if isinstance(item, np.ndarray):
        return _from_array(item)
    return torch.as_tensor(item) if isinstance(item, list) and _is_numbers(item) else item


def _is_numbers(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_is_numbers, value))
    return isinstance(value, int | float)


def _as_tensors(batch: Any, column: str = "") -> Any:
    """A batch as a tensor, or a tuple or dict of what is one; the column is for messages."""
    if hasattr(batch, "to_numpy"):
        raise LecoreError("the data are a table", "give its numbers, with .to_numpy()")
    if isinstance(batch, Mapping):
        return {name: _as_tensors(value, f"column {name!r}") for name, value in batch.items()}
    nested = isinstance(batch, tuple | list) and not _is_numbers(batch)
    if nested and any(
        isinstance(part, Tensor | np.ndarray | Mapping | tuple | list) or hasattr(part, "to_numpy")
        for part in batch
    ):
        return tuple(_as_tensors(part, column) for part in batch)
    if isinstance(batch, np.ndarray):
        return _from_array(batch, column)
    try:
        found = torch.as_tensor(batch).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        if _is_numbers(batch):
            raise LecoreError(
                "rows of numbers have different lengths", "pad them to one", column
            ) from error
        first = batch[0] if isinstance(batch, list | tuple) and batch else batch
        raise _no_numbers(type(first).__name__, column) from error
    if found.layout != torch.strided or found.is_nested:
        raise LecoreError("the data are sparse or nested", "make them plain, with .to_dense()")
    return found


def _from_array(array: Any, column: str = "") -> Tensor:
    """An array of any order of bytes and of rows, which stays as it is."""
    if array.dtype.kind not in "biufc":
        raise _no_numbers(str(array.dtype), column)
    if isinstance(array, np.ma.MaskedArray):
        raise LecoreError("an array has a mask", "fill or drop what it hides")
    try:
        return torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"]))
    except TypeError as error:  # a type that torch has not
        raise _no_numbers(str(array.dtype), column) from error


def _no_numbers(kind: str, column: str) -> LecoreError:
    return LecoreError(
        f"the data hold values of type {kind}, which are no numbers for torch",
        "make them tensors first (words that name classes: their numbers), or leave them out",
        column,
    )


def _parted(batch: Any, target: str | int | bool | None) -> tuple[Any, Tensor | None]:
    """Inputs and targets of a batch."""
    place: Any = target
    if not isinstance(place, str | Integral | None):
        raise LecoreError(f"target is of type {type(place).__name__}", "give a name or a place")
    if target is None and isinstance(batch, dict):
        place = next((name for name in TARGETS if name in batch), False)
    elif target is None or target is True:
        place = len(batch) - 1 if isinstance(batch, tuple) and len(batch) > 1 else False
    if place is False:
        inputs, targets = batch, None
    else:
        known = (
            list(batch)
            if isinstance(batch, dict)
            else range(len(batch) if isinstance(batch, tuple) else 0)
        )
        if place not in known:
            raise LecoreError(
                f"the data have no {place!r} for the targets",
                f"choose from {', '.join(map(str, known))}",
            )
        targets = batch[place]
        if isinstance(batch, dict):
            inputs = {name: value for name, value in batch.items() if name != place}
        else:
            inputs = batch[:place] + batch[place + 1 :]
    if isinstance(inputs, tuple) and len(inputs) == 1:
        inputs = inputs[0]
    if targets is not None and not isinstance(targets, Tensor):
        raise LecoreError(
            f"the targets are a {type(targets).__name__}", "choose one tensor with target="
        )
    _check(inputs, targets)
    if targets is not None and not targets.is_floating_point() and not targets.is_complex():
        targets = targets.long()  # classes of any type
    return inputs, targets


def _check(inputs: Any, targets: Any) -> None:
    counts = {}
    for part, values in (("inputs", inputs), ("targets", targets)):
        for path, leaf in tree_flatten_with_path(values)[0] if values is not None else []:
            name = f"{part}{keystr(path)}"
            if not leaf.ndim:
                raise LecoreError(f"{name} is a single number", "give one a row, shape (n, …)")
            counts[name] = len(leaf)
            # a missing label may be NaN, of which the loss decides
            if part == "inputs" and leaf.is_floating_point() and not all_finite(leaf):
                bad = (~torch.isfinite(leaf.reshape(len(leaf), -1)).all(1)).nonzero()[:, 0]
                raise LecoreError(
                    f"{len(bad)} of {len(leaf)} rows of {name} are not finite "
                    f"(the first is {int(bad[0])})",
                    "drop or repair them",
                )
    if not tree_leaves(inputs) or not min(counts.values()):
        raise LecoreError("the data hold no example", "give at least one")
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise LecoreError(
            f"columns have different lengths: {told}", "give each example all of them"
        )


def joined(tables: Sequence[Any]) -> tuple[Any, ...]:
    """One table if the examples of all have the same shapes, else all of them."""
    forms = {
        str(tree_map(lambda leaf: (tuple(leaf.shape[1:]), leaf.dtype), table)) for table in tables
    }
    if len(tables) == 1 or len(forms) > 1:
        return tuple(tables)
    return (tree_map(lambda *leaves: torch.cat(leaves), *tables),)


def with_classes(side: Examples) -> Examples:
    """Classes as whole numbers, which some keep as 0.0, 1.0, …; what is none stays as it is."""
    given = side.targets
    if given is None or given.ndim != 1 or not given.is_floating_point():
        return side
    return replace(side, targets=given.long()) if bool((given == given.round()).all()) else side


def _count(table: Any) -> int:
    return len(tree_leaves(table)[0])
