"""Class means and ranks against slow loops and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from lecore.studies.dan.preference import class_means, intraclass_share, superiority

ROWS, COLUMNS = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 0, 1, 1, 2, 2, 1, 0, 2])


def values(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("self_pairs", [True, False])
@pytest.mark.parametrize("average", ["mean", "median", "ratio of means"])
def test_class_means_by_a_loop(average, self_pairs):
    matrices, own = values(0, 4, 6, 9), 1 + values(1, 4, 6) ** 2
    found = class_means(matrices, ROWS, COLUMNS, average=average, own=own, self_pairs=self_pairs)
    assert found.shape == (4, 3, 3)
    for t, update, test in np.ndindex(4, 3, 3):
        numbers, below = [], []
        for i in range(6):
            for j in range(9):
                if (ROWS[i], COLUMNS[j]) == (update, test) and (self_pairs or i != j):
                    numbers.append(matrices[t, i, j])
                    below.append(own[t, i])
        expected = {
            "mean": np.mean(numbers),
            "median": np.median(numbers),
            "ratio of means": np.mean(np.multiply(numbers, below)) / np.mean(below),
        }
        assert found[t, update, test] == pytest.approx(expected[average])


def test_class_means_refuse_what_they_cannot_average():
    with pytest.raises(ValueError, match="classes 0 and 1"):
        class_means(values(0, 2, 2), [0, 1], [0, 0])
    with pytest.raises(ValueError, match="needs the denominators"):
        class_means(values(0, 2, 2), [0, 1], [0, 1], average="ratio of means")


def test_undefined_rows_are_left_out():
    matrix, own = values(0, 6, 9), 1 + values(1, 6) ** 2
    hollow = matrix.copy()
    hollow[0] = np.nan
    kept = slice(1, None)
    for average in ("mean", "median", "ratio of means"):
        found = class_means(hollow, ROWS, COLUMNS, average=average, own=own)
        expected = class_means(matrix[kept], ROWS[kept], COLUMNS, average=average, own=own[kept])
        np.testing.assert_allclose(found, expected)
    hollow[1] = np.nan
    with pytest.raises(ValueError, match="classes 0 and 0"):
        class_means(hollow, ROWS, COLUMNS)


def test_intraclass_share_counts_diagonals():
    eye, ties = np.eye(3), np.ones((3, 3))
    assert intraclass_share(eye) == 1
    assert intraclass_share(np.stack([eye, ties, -eye])) == pytest.approx(1 / 3)
    random = values(0, 4000, 3, 3)
    assert intraclass_share(random) == pytest.approx(1 / 3, abs=0.02)


@pytest.mark.thorough
@given(st.integers(0, 10**6), st.booleans())
def test_superiority_is_the_area_under_the_curve(seed, rounded):
    matrix = values(seed, 6, 9)
    matrix = matrix.round() if rounded else matrix
    same = ROWS[:, None] == COLUMNS
    np.fill_diagonal(same, val=False)
    other = ROWS[:, None] != COLUMNS
    found = superiority(matrix, same, other)
    for i in range(6):
        counted = same[i] | other[i]
        assert found[i] == pytest.approx(roc_auc_score(same[i][counted], matrix[i][counted]))
    np.testing.assert_allclose(superiority(3 * matrix + 1, same, other), found)
    np.testing.assert_allclose(superiority(-matrix, same, other), 1 - found)


def test_superiority_of_rows_without_both_kinds_is_undefined():
    assert np.isnan(superiority(values(0, 1, 3), np.ones((1, 3), bool), np.zeros((1, 3), bool)))
    with_nan = np.array([[np.nan, 1.0, 2.0], [3.0, 1.0, 2.0]])
    found = superiority(with_nan, np.array([[1, 0, 0]] * 2, bool), np.array([[0, 1, 1]] * 2, bool))
    assert np.isnan(found[0])
    assert found[1] == 1
