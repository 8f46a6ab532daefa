"""One helper for every random number."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[np.random.Generator]:
    """Seed everything inside a ``with`` block, and put the old state back after it.

    Covers Python's, NumPy's and torch's global generators, on every CUDA device too.
    Networks are initialised on the CPU inside such a block, so a seed gives the same
    weights whatever device they move to afterwards.

    Args:
        seed: Any integer ≥ 0.

    Yields:
        A NumPy generator with the same seed, for code that takes one explicitly.

    Raises:
        ValueError: If the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"seed must be 0 or larger, not {seed}")
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield np.random.default_rng(seed)
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
