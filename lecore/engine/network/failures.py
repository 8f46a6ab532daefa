"""Errors of a model or a loss, told with the layer and the rows that they come from."""

import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, _GeneratorContextManager, contextmanager

import torch
from torch import Tensor, nn

from lecore.errors import LecoreError, in_short


@contextmanager
def told(what: str, cure: str) -> Iterator[None]:
    """Tell errors in one line, with the layer that they come from.

    Raises:
        LecoreError: In place of any error but those of memory and files.
    """
    try:
        yield
    except (LecoreError, OSError, MemoryError):
        raise
    except Exception as error:
        if "out of memory" in str(error):
            raise
        layer = layer_of(error)
        raise LecoreError(
            f"{what} ({in_short(error)})", cure, f"layer {layer!r}" if layer else ""
        ) from error


def of_rows(rows: slice) -> AbstractContextManager[None]:
    """:func:`told` for what is computed of some rows."""
    return told(
        f"rows {rows.start} to {rows.stop - 1} cannot be computed",
        "see whether model and loss take each of these examples alone",
    )


def of_some() -> _GeneratorContextManager[None]:
    """:func:`told` for predictions, also as a decorator."""
    return told("the model fails on some examples", "see whether it takes each of them alone")


def layer_of(error: BaseException) -> str:
    """Name of the innermost layer that an exception passed through, or ''."""
    names: dict[int, str] = {}
    found = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = frame.f_locals.get("self")
        if isinstance(module, nn.Module):
            names = names or {id(m): name for name, m in module.named_modules()}
            found = names.get(id(module)) or found
    return found


def joined(predictions: list[Tensor]) -> Tensor:
    """Predictions of one example each as those of all, if they have the same outputs."""
    widths = sorted({prediction.shape[1] for prediction in predictions})
    if len(widths) > 1:
        raise LecoreError(
            f"some examples have {widths[0]} outputs and others {widths[-1]}",
            "let the model give the same number for each, zeros in the place of others say",
        )
    return torch.cat(predictions)
