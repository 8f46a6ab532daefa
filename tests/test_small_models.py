"""S_rel of the solved models on one problem: loops, known paths, and steps really taken."""

import numpy as np
import pytest

from lecore.studies.dan import small_models
from lecore.studies.dan.small_models import MOMENTS, path_numbers, small_problem


@pytest.fixture(scope="module")
def problem():
    return small_problem(12, seed=1)


def test_problems_are_of_the_seed_and_half_of_each_class(problem):
    assert problem.x.shape == (12, 10)
    assert problem.y.tolist() == [0, 1] * 6
    assert (problem.positive > 0.2).all()
    assert np.array_equal(problem.x, small_problem(12, seed=1).x)
    assert not np.array_equal(problem.x, small_problem(12, seed=2).x)


@pytest.mark.parametrize("seed", [2, 3, 4, 7])
def test_gates_whose_outputs_decay_to_zero_do_not_flip(seed):
    x, y, _, initial = small_problem(12, seed=seed)
    weights = small_models.gate_flow(MOMENTS, initial, x, y)[-1]
    fitted = x @ weights > 1e-6
    assert x[fitted] @ weights == pytest.approx(y[fitted], abs=1e-4)
    assert fitted.sum() < 12, "outputs of class 0 end at 0"


def test_means_within_and_between_classes_by_a_loop():
    x, y = np.arange(1.0, 6.0)[:, None], np.array([0, 0, 1, 1, 1])

    def similarity(a, b):
        return np.array([np.nan, 1.0]) if a[0] == 2 else a[0] * b[0] * np.array([1.0, 2.0])

    found = small_models.within_and_between(similarity, x, y)
    for t in (0, 1):
        pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
        for k, kind in enumerate((np.equal, np.not_equal)):
            values = [similarity(x[i], x[j])[t] for i, j in pairs if kind(y[i], y[j])]
            assert found[k, t] == pytest.approx(np.nanmean(values))


def test_degree_one_and_depth_one_are_linear_regression(problem):
    paths = small_models.similarity_paths(problem)
    assert next(iter(paths)) == "ReLU gate"
    assert len(paths) == 7
    assert all(path.shape == (2, len(MOMENTS)) for path in paths.values())
    linear = paths["homogeneous, degree 1"]
    assert linear == pytest.approx(np.repeat(linear[:, :1], len(MOMENTS), axis=1))
    assert paths["deep linear, depth 1"] == pytest.approx(linear)
    assert np.ptp(paths["homogeneous, degree 2"], axis=1).min() > 0.01
    assert np.ptp(paths["deep linear, depth 3"], axis=1).min() > 0.01


def test_numbers_of_known_paths():
    within, between = np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.0])
    path = np.stack([within, between])
    closed = np.stack([np.array([3.0, 1.0, 0.0]), np.array([1.0, 1.0, 0.0])])
    numbers = path_numbers([{"ReLU gate": one} for one in (path, path, path, closed)])
    assert numbers["ReLU gate", "undefined shares", ""] == 1
    share = numbers["ReLU gate", "class share", "", "start"]
    assert share == pytest.approx({"value": 0.75, "low": 0.75, "high": 0.75, "n": 3})
    assert numbers["ReLU gate", "class share gain", ""]["value"] == pytest.approx(-0.25)
    assert numbers["ReLU gate", "steadiness", ""]["value"] == pytest.approx((0.5 * 3 + 0) / 4)
    still = np.ones((2, 3))
    numbers = path_numbers([{"homogeneous, degree 2": one} for one in (path, path, still)])
    assert numbers["homogeneous", "range", "degree 2"]["value"] == pytest.approx(2 ** (2 / 3))
    assert numbers["homogeneous", "steadiness", "degree 2"]["value"] == pytest.approx(2 ** (-2 / 3))


def test_formulas_are_those_of_small_steps(problem):
    assert small_models.gate_error(problem.any_sign, problem, "cpu") < 1e-8
    for degree in (1, 2, 3):
        assert small_models.homogeneous_error(problem.positive, degree, problem, "cpu") < 1e-3


def test_a_wrong_formula_is_found_out(problem, monkeypatch):
    formula = small_models.homogeneous_similarity
    monkeypatch.setattr(
        small_models, "homogeneous_similarity", lambda w, a, b, degree: formula(w, a, b, degree=1)
    )
    assert small_models.homogeneous_error(problem.positive, 3, problem, "cpu") > 0.1
