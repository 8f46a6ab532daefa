"""A model as a function of row numbers, which carries inputs of any form."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_leaves, tree_map

from lecore.engine.network.model_copy import private_copy, unwrapped
from lecore.engine.network.random_states import generators_left_alone
from lecore.errors import LecoreError, in_short
from lecore.study.examples import Examples, joined, of_side
from lecore.study.language import token_log_probabilities

Output = str | Callable[..., Tensor] | None
"""Which part of a model's output is measured, by name or by a function. If it is left out, the
tensor, or its ``logits``."""


class RowModel(nn.Module):
    """Looks rows up in tables and gives them to a model.

    ``rows`` of shape (b,) stand for the rows of all tables in turn. Where there are several,
    because examples have other shapes, each example is predicted by itself.

    Args:
        model: Takes a table's parts: a tensor, a tuple of arguments or a dict of named ones.
        tables: Trees of tensors of shape (n, …) each.
        output: Which part of what the model gives is measured.
    """

    def __init__(self, model: nn.Module, tables: tuple[Any, ...], output: Output = None) -> None:
        super().__init__()
        self.model, self.output = model, output
        self.tables = [self._held(table, f"table_{k}") for k, table in enumerate(tables)]
        counts = [len(tree_leaves(table)[0]) for table in tables]
        self.starts = [0, *accumulate(counts[:-1])]

    def _held(self, table: Any, name: str) -> Any:
        """Keep a table's tensors as buffers; gives their names in place of them."""
        if isinstance(table, dict):
            return {
                key: self._held(part, f"{name}_{i}") for i, (key, part) in enumerate(table.items())
            }
        if isinstance(table, tuple):
            return tuple(self._held(part, f"{name}_{i}") for i, part in enumerate(table))
        self.register_buffer(name, table, persistent=False)
        return name

    def forward(self, rows: Tensor) -> Tensor:
        """Predictions at rows, shape (b, outputs)."""
        if len(self.tables) == 1:
            return self.predict(0, rows)
        found = []
        for row in rows.tolist():
            table = max(k for k, start in enumerate(self.starts) if start <= row)
            found.append(self.predict(table, rows.new_tensor([row - self.starts[table]])))
        return torch.cat(found)

    def predict(self, table: int, rows: Tensor) -> Tensor:
        """Predictions at rows of one table."""
        inputs = tree_map(lambda name: getattr(self, name)[rows], self.tables[table])
        given = _called(self.model, inputs)
        if self.output is token_log_probabilities:
            return token_log_probabilities(given, inputs)
        return chosen(given, self.output)


def over_rows(
    model: nn.Module, train: Examples, test: Examples, output: Output
) -> tuple[nn.Module, Tensor, Tensor]:
    """A network that takes one tensor, its row points, and its column points.

    That is the model itself where it takes one tensor and gives one, else a :class:`RowModel`.

    Raises:
        LecoreError: If the model does not take the first example of a side, those of ``test`` have
            another number of inputs, or ``output`` takes nothing out.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with of_side("" if test is train else "train"):
        first = given(model, train, device)
    if test is not train:
        _check_places(train.tables[0], test.tables[0])
        with of_side("test"):
            given(model, test, device)
    plain = isinstance(first, Tensor) and first.ndim == 2 and output is None
    if plain and _one_tensor(train) and _one_tensor(test):
        return model, train.tables[0].to(device), test.tables[0].to(device)
    if callable(output) and output is not token_log_probabilities:
        try:
            output(first)
        except Exception as error:
            raise LecoreError(
                f"output= fails on a {type(first).__name__} ({in_short(error)})", _offered(first)
            ) from error
    elif output is None or isinstance(output, str):
        chosen(first, output)
    tables = train.tables if test is train else joined([*train.tables, *test.tables])
    seen: set[int] = set()
    network = RowModel(model, tree_map(lambda leaf: _alone(leaf.to(device), seen), tables), output)
    network.training = model.training  # its own alone: train() would set the model's layers, too
    rows = torch.arange(len(train), device=device)
    columns = rows if test is train else len(train) + torch.arange(len(test), device=device)
    return network, rows, columns


def _check_places(train: Any, test: Any) -> None:
    """Refuse tuples of another length: an input may have been taken for the targets."""
    here, there = (len(t) if isinstance(t, tuple) else 1 for t in (train, test))
    if here != there and not isinstance(train, dict) and not isinstance(test, dict):
        raise LecoreError(
            f"beside their targets train has {here} inputs and test {there}",
            "give both the same; the last of a tuple is taken for the targets",
        )


def _one_tensor(side: Examples) -> bool:
    return len(side.tables) == 1 and isinstance(side.tables[0], Tensor)


def _alone(leaf: Tensor, seen: set[int]) -> Tensor:
    """A column that shares no memory with another one."""
    storage = leaf.untyped_storage()
    if storage.nbytes() != leaf.nbytes or storage.data_ptr() in seen:
        return leaf.clone()
    seen.add(storage.data_ptr())
    return leaf


def given(model: nn.Module, side: Examples, device: torch.device) -> Any:
    """What a copy of the model gives for the first example.

    Raises:
        LecoreError: If it does not take it.
    """
    table = side.tables[0]
    types = [p.dtype for p in model.parameters() if p.is_floating_point() or p.is_complex()]
    real, pair = (types[0].to_real(), types[0].to_complex()) if types else (None, None)

    def first(leaf: Tensor) -> Tensor:
        kind = real if leaf.is_floating_point() else pair if leaf.is_complex() else None
        return leaf[:1].to(device, kind, copy=True)

    try:
        with generators_left_alone():
            return _called(
                private_copy(unwrapped(model), Tensor.clone).eval(), tree_map(first, table)
            )
    except LecoreError:
        raise
    except Exception as error:
        raise LecoreError(
            f"the model does not take {_forms(table)} ({in_short(error)})", _fit(side)
        ) from error


def _fit(side: Examples) -> str:
    """What to do about inputs that a model does not take."""
    table = side.tables[0]
    if isinstance(table, dict):
        rest = "" if side.targets is not None else " alone, and the targets' column as target="
        return f"give its arguments under their names{rest}"
    last = "" if side.targets is None else "; the last of a tuple is taken for the targets"
    if isinstance(table, Tensor):
        return f"give the shape and type that it was trained on, or all of its arguments{last}"
    return f"give its arguments in their order, or a mapping of them{last}"


def _forms(table: Any) -> str:
    """Shapes and types of inputs, by their names if they have some."""
    told = {
        keystr(path): f"shape ({', '.join(['n', *map(str, leaf.shape[1:])])}) and type "
        f"{str(leaf.dtype).removeprefix('torch.')}"
        for path, leaf in tree_flatten_with_path(table)[0]
    }
    return "inputs of " + ", ".join(f"{name} {form}".strip() for name, form in told.items())


def _called(model: Any, inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def chosen(given: Any, output: Output) -> Tensor:
    """The part of what a model gives that is measured, shape (n, outputs).

    Raises:
        LecoreError: If there is no such part, or it has another shape.
    """
    if callable(output):
        part = output(given)
    elif isinstance(output, str):
        part = _named(given, output)
        if part is None:
            raise LecoreError(f"the model's output has no {output!r}", _offered(given))
    else:
        part = given if isinstance(given, Tensor) else _named(given, "logits")
        if part is None:
            raise LecoreError(f"the model gives a {type(given).__name__}", _offered(given))
    if not isinstance(part, Tensor):
        raise LecoreError(f"the output is a {type(part).__name__}, no tensor", _offered(given))
    if part.ndim == 1:
        return part[:, None]
    if part.ndim != 2:
        raise LecoreError(
            f"the output has shape {tuple(part.shape)}, not (n, outputs)",
            "choose some of it with output=, such as lambda out: out.logits[:, -1]",
        )
    return part


def _named(given: Any, name: str) -> Any:
    if isinstance(given, dict):
        return given.get(name)
    return getattr(given, name, None)


def _fields(given: Any) -> Sequence[str]:
    """Names of a named tuple's parts, or of a data class's."""
    held = getattr(given, "_fields", ()) or getattr(given, "__dataclass_fields__", ())
    return tuple(held)


def _offered(given: Any) -> str:
    names = list(given if isinstance(given, dict) else _fields(given))
    some = f" ({', '.join(map(str, names))})" if names else ""
    return f"name a part of it{some} with output=, or give a function that takes one out"
