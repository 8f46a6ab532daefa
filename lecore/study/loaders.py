"""Loaders of others, read in the order of their data."""

import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    default_collate,
)

from lecore.errors import LecoreError
from lecore.study.same_parts import collated

FIRST = 8
"""Examples that are read twice, as many transforms only turn a coin."""


def in_order(loader: DataLoader[Any]) -> DataLoader[Any]:
    """The same batches in the order of the data, so that rows are theirs.

    Raises:
        LecoreError: If the loader draws or changes its data in a way of its own, or, once it is
            read, if an item has other parts than the first of its batch, or its ``collate_fn`` does
            not keep all examples in their order.
    """
    if type(loader).__iter__ is not DataLoader.__iter__:
        raise LecoreError(
            f"the loader is a {type(loader).__name__}, which makes batches in its own __iter__",
            "give a torch.utils.data.DataLoader whose data set does all of it",
        )
    if loader.batch_sampler is None:  # the data set gives whole batches
        return DataLoader(_drawn_from(loader), batch_size=None, collate_fn=loader.collate_fn)
    collate = loader.collate_fn
    return DataLoader(
        _drawn_from(loader), batch_size=getattr(loader.batch_sampler, "batch_size", 1),
        collate_fn=_counting() if collate is default_collate else _keeping_rows(collate),
    )  # fmt: skip


def _drawn_from(loader: DataLoader[Any]) -> Any:
    """The data that a loader gives: all, or those of a fixed subset.

    Raises:
        LecoreError: If it draws them in another way.
    """
    batches, sampler, data = loader.batch_sampler, loader.sampler, loader.dataset
    plain = batches is None or type(batches) is BatchSampler
    if isinstance(batches, BatchSampler):  # given as such, the loader has another one
        sampler = batches.sampler
    if isinstance(data, IterableDataset):
        return data
    if plain and _is(sampler, SubsetRandomSampler):
        return Subset(data, list(sampler.indices))  # type: ignore[attr-defined]
    whole = _is(sampler, SequentialSampler) or (
        _is(sampler, RandomSampler) and not sampler.replacement  # type: ignore[attr-defined]
    )
    if plain and whole and len(sampler) == len(data):  # type: ignore[arg-type]
        return data
    raise LecoreError(
        f"the loader draws its data by a {type(sampler if plain else batches).__name__}",
        "give the data set, or a torch.utils.data.Subset of it",
    )


def _is(sampler: Any, kind: type[Sampler[int]]) -> bool:
    """Whether a sampler draws as a kind of torch does."""
    return isinstance(sampler, kind) and type(sampler).__iter__ is kind.__iter__


def _counting() -> Callable[[list[Any]], Any]:
    """Torch's own way to make batches, which says of an unfit item which of all it is."""
    read = 0

    def of_items(items: list[Any]) -> Any:
        nonlocal read
        start, read = read, read + len(items)
        return collated(items, start)

    return of_items


def _keeping_rows(collate: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    """A function that makes batches, and refuses to where rows would be other examples."""

    def collated(items: list[Any]) -> Any:
        backwards: list[Any] = []
        with suppress(Exception):  # copies, as some take parts out of an item or write to it
            backwards = deepcopy(items[::-1])
        batch = collate(items)
        rows = _columns(batch)
        if rows and max(map(len, rows)) < len(items):
            raise LecoreError(
                "the loader's collate_fn leaves examples out, so that rows are not those of the "
                "data set",
                "leave them out of the data set, such as by torch.utils.data.Subset",
            )
        turned: list[Tensor] = []
        with suppress(Exception):  # it may want an order
            turned = _columns(collate(backwards))
        told = [
            torch.equal(one, other)
            for one, other in zip(rows, turned, strict=False)
            if len(one) == len(items) and not torch.equal(one, one.flip(0))
        ]
        if told and all(told):  # the same batch of the same examples backwards
            raise LecoreError(
                "the loader's collate_fn puts the examples of a batch in an order of its own, so "
                "that rows are not those of the data set",
                "sort the data set itself, or let the collate_fn keep the order",
            )
        return batch

    return collated


def _columns(batch: Any) -> list[Tensor]:
    """The tensors of a batch that have rows."""
    leaves = tree_leaves(dict(batch) if isinstance(batch, Mapping) else batch)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim]


def warn_if_random(data: Any) -> None:
    """Say that a data set draws its examples, if one of the first is another one each time.

    Warns:
        UserWarning: If it does.
    """
    same = True
    with suppress(Exception):  # told where it is read
        for i in range(min(FIRST, len(data))):
            pairs = zip(tree_leaves(data[i]), tree_leaves(data[i]), strict=True)
            same &= all(_same(one, other) for one, other in pairs)
    if not same:
        warnings.warn(
            "the data set gives another example each time it is asked for the same, and the "
            "results are of one draw; leave random transforms out for those of the data themselves",
            stacklevel=5,
        )


def _same(one: Any, other: Any) -> bool:
    """Whether they are the same numbers; what is none counts as such."""
    if not isinstance(one, Tensor | np.ndarray | int | float):
        return True
    return np.array_equal(np.asarray(one), np.asarray(other), equal_nan=True)
