"""Items as one batch, each with the parts of the others, and of one data set."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from torch.utils.data import DataLoader, Dataset, default_collate

from lecore.errors import LecoreError, in_short


def collated(items: list[Any], start: int = 0) -> Any:
    """The batch that torch makes of items.

    Args:
        items: Tensors and numbers, or mappings and tuples of them.
        start: The number of the first, for messages.

    Raises:
        LecoreError: If one of them has other parts than the first, or they do not fit together.
    """
    for number, item in enumerate(items[1:], start + 1):
        refuse_other_parts(items[0], item, f"item {start}", f"item {number}")
    try:
        return default_collate(items)
    except (RuntimeError, TypeError) as error:
        raise LecoreError(
            f"the items of the data set do not make one batch ({in_short(error)})",
            "give a DataLoader with the collate_fn that pads them",
        ) from error


def refuse_other_parts(first: Any, other: Any, *names: str) -> None:
    """Hold what is inside of one thing against another, as torch drops what the first lacks.

    Args:
        first: A mapping or a tuple, or what has no parts.
        other: One that should have the same.
        names: Of both.

    Raises:
        LecoreError: If one lacks a part that the other has.
    """
    if isinstance(first, Mapping) != isinstance(other, Mapping):
        kinds = type(first).__name__, type(other).__name__
        told = f"{names[1]} is a {kinds[1]}, and {names[0]} a {kinds[0]}"
        raise LecoreError(told, "give all of them the same parts")
    left, right = _parts(first), _parts(other)
    for key in [*left, *right]:
        if key not in left or key not in right:
            lacks, has = names if key not in left else names[::-1]
            part = repr(key) if isinstance(first, Mapping) else f"part {key}"
            raise LecoreError(f"{lacks} lacks {part}, which {has} has", "give each all of them")
    for key in left:
        refuse_other_parts(first[key], other[key], *names)


def _parts(item: Any) -> Any:
    if isinstance(item, Mapping):
        return item.keys()
    return range(len(item) if isinstance(item, tuple) else 0)


def refuse_data_sets(data: Any) -> None:
    """Refuse several data sets where one is wanted, such as a ``DatasetDict``.

    Raises:
        LecoreError: If a mapping holds some in place of columns.
    """
    sets = [k for k in data if _is_data_set(data[k])] if isinstance(data, Mapping) else []
    if sets:
        one = "train" if "train" in sets else sets[0]
        raise LecoreError(
            f"the data are a mapping of data sets ({', '.join(map(str, sets))})",
            f"give one of them, such as dataset[{one!r}]",
        )


def _is_data_set(value: Any) -> bool:
    if isinstance(value, Dataset | DataLoader) or hasattr(value, "column_names"):
        return True
    if isinstance(value, Mapping | list | tuple) or hasattr(value, "to_numpy"):
        return False
    with suppress(Exception):  # a column may have no row 0
        return isinstance(value[0], Mapping)
    return False
