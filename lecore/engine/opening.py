"""Begins a measurement: a look at the network, and settings that hold inside."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lecore.arguments.settings import flag
from lecore.engine.checks.predictions import check_predictions
from lecore.engine.network.flags import Precision
from lecore.engine.network.model_copy import unwrapped
from lecore.engine.network.probing import look, together
from lecore.engine.network.random_states import generators_left_alone, own_generators
from lecore.engine.network.remembering import as_it_is, remembered
from lecore.engine.network.snapshot import Snapshot, snapshot
from lecore.engine.points import points
from lecore.engine.rounding import warn_half_precision
from lecore.engine.surroundings import check_surroundings
from lecore.errors import LecoreError

Measured = tuple[nn.Module, Snapshot]
"""The caller's model without wrappers, and its snapshot."""


@contextmanager
def opened(
    model: nn.Module, inputs: Any, dtype: Precision | None
) -> Iterator[tuple[Measured, Tensor]]:
    """Begin a measurement: look at the network, and compute as asked for inside.

    Args:
        model: The caller's model.
        inputs: Its row points.
        dtype: Precision of the calculation.

    Yields:
        The model with its snapshot, and the row points as it takes them.

    Raises:
        LecoreError: If the model or the points are unfit; see the message.
    """
    check_surroundings(model)
    network = snapshot(model, dtype)
    model = unwrapped(model)
    with network.flags(), as_it_is(model), own_generators(model):
        inputs = points(network, inputs)
        network = _looked_at(model, network, inputs)
        may_draw = network.manners.draws or network.manners.alone  # now, or on a way not yet seen
        with generators_left_alone() if may_draw else nullcontext():
            yield (model, network), inputs


def with_columns(measured: Measured, test_inputs: Any, rows: Tensor) -> tuple[Measured, Tensor]:
    """Test points as the network takes them, and the network as it behaves on them too.

    The row points themselves if there are none.
    """
    if test_inputs is None:
        return measured, rows
    model, network = measured
    columns = points(network, test_inputs, "test_inputs")
    try:
        on_columns = _looked_at(model, network, columns)
    except LecoreError as error:
        place = ", ".join(filter(None, ["test_inputs", error.where]))
        raise LecoreError(error.what, error.cure, place) from error
    manners = together([network.manners, on_columns.manners])
    return (model, replace(network, manners=manners)), columns


def _looked_at(model: nn.Module, network: Snapshot, side: Tensor) -> Snapshot:
    manners = remembered(
        model, ("look", *kind_of(network, side)), lambda: look(network, side[:1]).manners
    )
    if manners.alone:  # each example may go another way, the first of other points too
        manners = together([manners, *(look(network, x[None]).manners for x in side)])
    warn_half_precision(manners.lowest, network.dtype)
    return replace(network, manners=manners)


def check_points(measured: Measured, rows: Tensor, columns: Tensor, check: bool) -> None:
    """Whether predictions at some of the points depend on these points alone."""
    flag("check", check)
    if not check:
        return
    model, network = measured
    samples = [pair(rows, rows if len(rows) > 1 else columns)]
    if columns.shape[1:] != rows.shape[1:]:
        samples = [pair(rows, rows), pair(columns, columns)]
    if network.manners.alone:  # each of them, as each may go another way
        samples = [rows, columns]
    for sample in samples:

        def passes(sample: Tensor = sample) -> bool:
            with torch.no_grad():
                check_predictions(network, sample)
            return len(sample) > 1 and not torch.equal(sample[0], sample[1])

        key = ("predictions", *kind_of(network, sample))
        remembered(model, key, passes, lasts=lambda found: found and not network.manners.alone)


def pair(first: Tensor, last: Tensor) -> Tensor:
    """The first of some points and the last of others, where they have the same shape."""
    return torch.cat([first[:1], (last if last.shape[1:] == first.shape[1:] else first)[-1:]])


def kind_of(network: Snapshot, side: Tensor) -> tuple[Any, ...]:
    """What the way of computing can depend on, apart from the model."""
    return tuple(side.shape[1:]), side.dtype, network.dtype, network.products
