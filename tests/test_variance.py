"""Sources of variance: every combination once, and effects that are put in by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest

from lecore.studies.he_su import variance
from lecore.studies.he_su.comparisons import chance_of_all
from lecore.studies.he_su.problems import MNIST_PAIRS


def test_every_combination_is_run_once():
    runs = variance.factorial_runs("mnist", [MNIST_PAIRS["5v8"]], 3, seed=4, width=8)
    found = {(run.sample, run.seed, run.order) for run in runs}
    assert found == set(itertools.product((4, 5, 6), repeat=3))
    assert len(runs) == 27
    assert {run.width for run in runs} == {8}


def table(images: float, weights: float, order: float, start: float) -> pd.DataFrame:
    """Accuracies that move by so much from the first draw of a thing to the second."""
    lines = []
    for pair, sample, seed, turn in itertools.product(("5v8", "5v9"), (0, 1), (0, 1), (0, 1)):
        common = {
            "pair": pair, "sample": sample, "seed": seed, "order": turn, "way": "exact",
            "similarity": "relative",
        }  # fmt: skip
        accuracy = 60 + images * sample + weights * seed + order * turn
        lines.append(common | {"procedure": "official", "accuracy": accuracy})
        for k in range(2):
            lines.append(common | {"procedure": "single start", "accuracy": accuracy + start * k})
    return pd.DataFrame(lines)


def test_each_deviation_is_of_what_alone_was_drawn_anew():
    found = variance.deviations(table(8.0, 4.0, 2.0, 6.0), "relative")
    expected = {"images": 8, "weights": 4, "order": 2, "start": 6}
    for name, moved in expected.items():
        assert found[name]["value"] == pytest.approx(moved / 2**0.5)  # of two values
    assert {name: one["n"] for name, one in found.items()} == {
        "images": 8, "weights": 8, "order": 8, "start": 16, "all": 2,
    }  # fmt: skip
    eight = [i * 8 + w * 4 + o * 2 for i, w, o in itertools.product((0, 1), repeat=3)]
    assert found["all"]["value"] == pytest.approx(np.std(eight, ddof=1))


def test_the_chance_of_all_pairs_is_the_product_of_their_shares():
    index = pd.MultiIndex.from_product([["a", "b"], [0, 1, 2, 3]], names=["pair", "replicate"])
    ours = pd.Series([2.0, 2, 2, 0, 2, 2, 0, 0], index=index)
    rows = {"ours": ours, "other": pd.Series(1.0, index=index)}
    assert chance_of_all(rows, ["ours"]) == pytest.approx(3 / 4 * 1 / 2)
