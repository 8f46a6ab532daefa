"""The random states of Python, NumPy and torch: compared, and put back."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

import numpy as np
import torch

_generators = RLock()


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


def random_states() -> tuple[Any, ...]:
    """Those of Python, NumPy and torch, to be compared."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    states = tuple(s.numpy().tobytes() for s in (torch.get_rng_state(), *cuda))
    return random.getstate(), (kind, np.asarray(keys).tobytes(), *rest), states
