"""Scores of clusters, against obvious ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lecore.clustering.scores import (
    LUCK,
    feature_scores,
    official_score,
    permuted,
    score,
    similarity_scores,
    within_over_between,
)
from tests.examples import examples

TRUTH = np.repeat([0, 1], 20)
RNG = np.random.default_rng(0)


def two_blocks(noise=0.0):
    block = (TRUTH[:, None] == TRUTH) + 0.2
    upper = np.triu(RNG.normal(size=block.shape), 1) * noise
    return block + upper + upper.T


@pytest.mark.parametrize("option", ["relative", "kernelized"])
def test_separate_blocks_are_found_by_every_procedure_and_not_when_permuted(option):
    found = similarity_scores(two_blocks(), TRUTH, option)
    for procedure in ("official", "many starts", "spectral"):
        assert found[procedure] == pytest.approx((100, 1, 1))
    assert found["permuted"].accuracy < 80
    assert len(found["single starts"]) == LUCK
    assert max(found["single starts"]) == 100


def test_official_is_what_the_shorter_calls_give():
    matrix = two_blocks(0.5)
    full = similarity_scores(matrix, TRUTH, "kernelized")
    assert full["official"] == official_score(matrix, TRUTH, "kernelized")
    few = similarity_scores(matrix, TRUTH, "kernelized", controls=False)
    assert set(few) == {"official", "many starts"}
    assert all(few[name] == full[name] for name in few)


def test_features_in_two_heaps_are_found():
    found = feature_scores(TRUTH[:, None] + RNG.normal(size=(40, 3)) * 0.01, TRUTH)
    assert found["official"] == pytest.approx((100, 1, 1))
    assert found["single starts"] == [100.0] * LUCK


@pytest.mark.thorough
@settings(max_examples=examples(30))
@given(st.lists(st.integers(0, 1), min_size=4, max_size=30))
def test_scores_do_not_depend_on_the_names_of_clusters(labels):
    truth = np.arange(len(labels)) % 2
    swapped = 1 - np.array(labels)
    assert score(truth, labels) == pytest.approx(score(truth, swapped))
    assert 50 <= score(truth, labels).accuracy <= 100


def test_permuting_deals_the_same_similarities_out_anew():
    matrix = two_blocks(0.5)
    dealt = permuted(matrix, seed=1)
    upper = np.triu_indices(40, 1)
    assert np.array_equal(dealt, dealt.T)
    assert np.array_equal(np.diag(dealt), np.diag(matrix))
    assert np.array_equal(np.sort(dealt[upper]), np.sort(matrix[upper]))
    assert not np.array_equal(dealt, matrix)


def test_within_over_between_is_the_ratio_of_means_over_pairs():
    matrix = RNG.uniform(size=(40, 40))
    same = [matrix[i, j] for i in range(40) for j in range(40) if i != j and TRUTH[i] == TRUTH[j]]
    other = [matrix[i, j] for i in range(40) for j in range(40) if TRUTH[i] != TRUTH[j]]
    assert within_over_between(matrix, TRUTH) == pytest.approx(np.mean(same) / np.mean(other))
