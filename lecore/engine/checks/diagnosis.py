"""Which layer it is that draws random numbers, or mixes the examples of a batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lecore.engine.network.random_states import generators_left_alone
from lecore.engine.network.snapshot import Snapshot
from lecore.seeding import seed_all


def random_layer(network: Snapshot, sample: Tensor) -> str:
    """The first layer that gives something else for the same input, or ''."""
    first, second = _runs(network, [sample, sample])
    for (name, read, out), (other_name, other_read, other_out) in zip(first, second, strict=False):
        if name != other_name:
            break
        if _same(read, other_read) and not _same(out, other_out):
            return name
    return ""


def mixing_layer(network: Snapshot, sample: Tensor) -> str:
    """The first layer that gives something else for an example alone, or ''."""
    for place in range(len(sample)):  # the first one may not depend on those after it
        together, alone = _runs(network, [sample, sample[place : place + 1]])
        for (name, read, out), (other_name, other_read, other_out) in zip(
            together, alone, strict=False
        ):
            if name != other_name:
                break
            if _same(read, other_read, place) and not _same(out, other_out, place):
                return name
    return ""


@contextmanager
def _recorded(network: Snapshot) -> Iterator[tuple[Snapshot, list[tuple[str, Any, Any]]]]:
    """A copy that notes what each layer reads and gives, innermost layers first."""
    network, calls = network.copy(), []
    _ = network.state  # what is put back after each pass, before the hooks hold anything

    def note(name: str) -> Any:
        return lambda module, inputs, output: calls.append((name, inputs, output))

    handles = [
        module.register_forward_hook(note(name))
        for name, module in network.module.named_modules()
        if name and not isinstance(module, torch.jit.ScriptModule)  # these take none
    ]
    try:
        yield network, calls
    finally:
        for handle in handles:
            handle.remove()


def _runs(network: Snapshot, batches: list[Tensor]) -> list[list[tuple[str, Any, Any]]]:
    runs = []
    for seed, batch in enumerate(batches):
        with generators_left_alone(), _recorded(network) as (own, calls):
            seed_all(seed)
            own.predict(batch)
            runs.append(list(calls))
    return runs


def _same(a: Any, b: Any, place: int | None = None) -> bool:
    """Whether two things are equal, or the second is the part of the first that begins there."""
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(_same(x, y, place) for x, y in zip(a, b, strict=True))
    if not isinstance(a, Tensor) or not isinstance(b, Tensor) or a.ndim == 0 or a.ndim != b.ndim:
        return True
    a = a if place is None else a[place : place + len(b)]
    return a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=1e-6, atol=1e-9)
