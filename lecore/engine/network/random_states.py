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

from lecore.engine.network.holdings import holdings

_generators = RLock()
_KINDS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


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
    """Watch the generators that a model holds, or names in its code, and put them back.

    Yields:
        Whether one of them has drawn since.
    """
    kinds = {type(module) for module in model.modules()}
    own = [kind for kind in kinds if not kind.__module__.startswith("torch.")]
    functions = [f for kind in own for f in vars(kind).values() if isinstance(f, FunctionType)]
    named = [f.__globals__.get(name) for f in functions for name in f.__code__.co_names]
    held = [thing for thing in (*holdings(model), *named) if isinstance(thing, _KINDS)]
    before = [_state(generator) for generator in held]
    try:
        yield lambda: [repr(_state(g)) for g in held] != [*map(repr, before)]
    finally:
        for generator, state in zip(held, before, strict=True):
            _put_back(generator, state)


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
