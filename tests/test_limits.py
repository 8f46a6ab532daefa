"""Errors of equation (4) and of the infinite width, against formulas written out in NumPy."""

import numpy as np
import pytest
import torch

from lecore.data.manifolds import torus
from lecore.models import sign_output
from lecore.studies.he_su import limits


@pytest.fixture
def x() -> torch.Tensor:
    return torch.tensor(np.random.default_rng(0).normal(size=(7, 3)))


def test_the_error_of_equation_four_is_that_of_a_step_written_out(x):
    width = 50
    network = sign_output(3, width, seed=2).double()
    weight, bias, (a,) = (p.detach().numpy() for p in network.parameters())
    bar = np.hstack([x.numpy(), np.ones((7, 1))])
    w = np.hstack([weight, bias[:, None]])
    predict = lambda w: np.maximum(bar @ w.T, 0) @ a  # noqa: E731
    active = (bar @ w.T >= 0).astype(float)
    rate = 1 / (width * np.mean((bar**2).sum(1)))
    ratio, formula = np.empty((7, 7)), np.empty((7, 7))
    for i in range(7):
        gradient = 2 * (predict(w)[i] - 1) * (a * active[i])[:, None] * bar[i]
        change = predict(w - rate * gradient) - predict(w)
        ratio[i] = change / change[i]
        formula[i] = bar @ bar[i] / (bar[i] @ bar[i]) * (active @ active[i]) / active[i].sum()

    def middle(matrix):  # the lower median, as torch has it
        return np.sort(np.abs(matrix), axis=None)[(matrix.size - 1) // 2]

    expected = middle(ratio - formula) / middle(formula)
    assert limits.equation4_error(width, 2, x) == pytest.approx(expected, rel=1e-9)


@pytest.mark.thorough
@pytest.mark.parametrize("error", [limits.equation4_error, limits.infinite_width_error])
def test_errors_fall_like_one_over_the_root_of_the_width(error):
    curves = torus(60, 0)
    widths, x = [64, 256, 1024, 4096], torch.tensor(curves.points[curves.primary])
    errors = limits.errors_by_width(error, widths, range(4), x)
    assert limits.powers(widths, errors).mean() == pytest.approx(-0.5, abs=0.12)


def test_each_width_has_a_row_and_each_seed_a_column(x):
    found = limits.errors_by_width(lambda m, s, points: m + s + len(points), [10, 20], [1, 2], x)
    assert found.tolist() == [[18, 19], [28, 29]]


def test_powers_are_slopes_on_logarithmic_axes():
    widths = [1, 3, 10]
    errors = np.array([[5 * m**-0.5, 2 * m**2.0] for m in widths])
    np.testing.assert_allclose(limits.powers(widths, errors), [-0.5, 2])
    assert limits.powers(widths, errors[:, 1]) == pytest.approx(2)
