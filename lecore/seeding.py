"""One helper for every random number."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from lecore.arguments.settings import SEEDS, whole


@contextmanager
def seeded(seed: int) -> Iterator[np.random.Generator]:
    """Seed everything inside a ``with`` block, and put the old state back after it.

    Covers Python's, NumPy's and torch's global generators, on every CUDA device too.
    Networks are initialised on the CPU inside such a block, so a seed gives the same
    weights whatever device they move to afterwards.

    Args:
        seed: Any integer from 0 to 2⁶⁴ − 1.

    Yields:
        A NumPy generator with the same seed, for code that takes one explicitly.

    Raises:
        LecoreError: If the seed is anything else.
    """
    number = whole("seed", seed, 0, SEEDS)
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            seed_all(number)
            yield np.random.default_rng(number)
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def seed_all(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators, and leave them so.

    Args:
        seed: From 0 to 2⁶⁴ − 1.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:  # where it would write down a traceback for a device that never comes, each time
        torch.default_generator.manual_seed(seed)
