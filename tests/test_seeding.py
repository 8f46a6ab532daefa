"""Seeding leaves no trace, also when it fails."""

import random

import numpy as np
import pytest
import torch

from lecore.errors import LecoreError
from lecore.seeding import seeded


def states():
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def assert_same(before, after):
    assert before[0] == after[0], "Python's own generator"
    assert all(np.array_equal(a, b) for a, b in zip(before[1], after[1], strict=True)), "NumPy's"
    assert torch.equal(before[2], after[2]), "torch's"


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**63, 2**64 - 1, np.int64(7)])
def test_every_generator_is_seeded_and_put_back(seed):
    drawn = []
    before = states()
    for _ in range(2):
        with seeded(seed) as rng:
            drawn.append([random.random(), np.random.rand(), torch.rand(1).item(), rng.random()])
    assert_same(before, states())
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, 0.5, "1", None, float("nan")])
def test_what_is_no_seed_is_refused_and_changes_nothing(seed):
    before = states()
    with pytest.raises(LecoreError, match="seed must be a whole number"), seeded(seed):
        pass
    assert_same(before, states())


def test_states_are_put_back_when_seeding_or_the_block_fails(monkeypatch):
    def fail(_):
        raise RuntimeError("no generator")

    before = states()
    with pytest.raises(KeyError), seeded(3):
        raise KeyError
    assert_same(before, states())
    monkeypatch.setattr(np.random, "seed", fail)
    with pytest.raises(RuntimeError, match="no generator"), seeded(3):
        pass
    assert_same(before, states())


def test_nothing_piles_up_for_a_device_that_never_comes():
    before = len(torch.cuda._queued_calls)
    with seeded(3):
        pass
    assert len(torch.cuda._queued_calls) == before
