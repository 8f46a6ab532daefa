"""The random states of Python, NumPy and torch: compared, and put back."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import nn

from lecore.engine.network.holdings import content_of, holdings

_generators = RLock()
_KINDS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
_LIBRARIES = ("torch", "numpy", "builtins", "random")


@contextmanager
def generators_left_alone() -> Iterator[None]:
    """Put the random states of Python, NumPy and torch back; one thread at a time is inside."""
    with _generators:
        python_state, numpy_state = random.getstate(), np.random.get_state()
        try:
            with torch.random.fork_rng():
                yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


@contextmanager
def own_generators(model: nn.Module) -> Iterator[Callable[[], bool]]:
    """Watch the generators that a model holds, or that its code names, and put them back.

    Yields:
        Whether one of them has drawn since.
    """
    held = [*_generators_of(model)]
    before = [_state(generator) for generator in held]
    try:
        yield lambda: [repr(_state(g)) for g in held] != [*map(repr, before)]
    finally:
        for generator, state in zip(held, before, strict=True):
            _put_back(generator, state)


def _generators_of(model: nn.Module) -> list[Any]:
    """Generators in a model's attributes and classes, and in what its functions name and call."""
    kinds = {kind for module in model.modules() for kind in type(module).__mro__}
    waiting = [*holdings(model)]
    waiting += [thing for kind in kinds if not _of_a_library(kind) for thing in vars(kind).values()]
    found, known = [], set()
    while waiting:
        thing = waiting.pop()
        thing = getattr(thing, "__func__", thing)  # of methods, static ones too
        if id(thing) in known:
            continue
        known.add(id(thing))
        if isinstance(thing, _KINDS) and not isinstance(thing, random.SystemRandom):
            found.append(thing)
        elif isinstance(thing, FunctionType) and not _of_a_library(thing):
            named = (thing.__globals__.get(name) for name in thing.__code__.co_names)
            waiting += [one for one in named if isinstance(one, (*_KINDS, FunctionType))]
            waiting += [content_of(cell) for cell in thing.__closure__ or ()]
    return found


def _of_a_library(thing: Any) -> bool:
    return str(thing.__module__).split(".")[0] in _LIBRARIES


def _state(generator: Any) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state().tolist()
    if isinstance(generator, random.Random):
        return generator.getstate()
    return generator.bit_generator.state if _is_new(generator) else generator.get_state()


def _put_back(generator: Any, state: Any) -> None:
    if isinstance(generator, torch.Generator):
        generator.set_state(torch.tensor(state, dtype=torch.uint8))
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    elif _is_new(generator):
        generator.bit_generator.state = state
    else:
        generator.set_state(state)


def _is_new(generator: Any) -> bool:
    return isinstance(generator, np.random.Generator)


def random_states() -> tuple[Any, ...]:
    """Those of Python, NumPy and torch, to be compared."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    states = tuple(s.numpy().tobytes() for s in (torch.get_rng_state(), *cuda))
    return random.getstate(), (kind, np.asarray(keys).tobytes(), *rest), states
