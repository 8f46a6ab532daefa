"""Dan et al.'s ridge experiment: the released numbers, plain loops, and steps really taken."""

import numpy as np
import pytest
import torch
from torch import nn

from lecore.studies.dan import ridge
from lecore.theory.one_step import change_by_steps

TIMES = np.array([0, 100, 6000, 7200, 8000])


@pytest.fixture(scope="module")
def run():
    return ridge.released_flow(10, TIMES, pairs=3, starts=2)


def test_the_first_start_is_that_of_the_released_code(run):
    losses = ridge.losses(ridge.released_flow(10, TIMES, pairs=1, starts=1))
    assert losses["as coded"][[0, 1, 4]] == pytest.approx([19274.0957, 1973.3889, 0.8288315])
    assert run.weights.shape == (5, 3, 2, 2, 10)
    assert run.targets[[0, -1]].tolist() == [[1, 0], [0, 1]]


def test_losses_are_means_over_all_starts_by_a_loop(run):
    found, penalties = ridge.losses(run), {"as printed": 0.5, "of the flow": 1000.0}
    for name, penalty in penalties.items():
        total = []
        for w in run.weights[1].reshape(-1, 2, 10):
            error = run.targets - run.features @ w.T
            total.append(0.5 * ((error**2).sum() / 2000 + penalty * (w**2).sum()))
        assert found[name][1] == pytest.approx(np.mean(total))


def test_loss_errors_are_relative_to_the_released_ones(run):
    coded = ridge.losses(run)["as coded"]
    first = ridge.ridge_loss_as_coded(run.weights[:, 0, 0], run.features, penalty=0.5)
    paper = {
        "loss times": [1, 100, 8000], "first loss times": [100, 8000],
        "loss": {"10 features, interclass": coded[[0, 1, 4]] / [1.0, 1.25, 1.0]},
        "first loss path, 10 features": first[[1, 4]] / [1.0, 0.9],
    }  # fmt: skip
    found = ridge.loss_errors(run, coded, paper)
    assert found["ridge-loss-mean-error-10-features"] == pytest.approx(0.25)
    assert found["ridge-loss-as-coded-error-10-features"] == pytest.approx(0.1)


@pytest.mark.parametrize(("variant", "test_class"), [("interclass", 0), ("intraclass", 1)])
def test_consistent_similarities_are_those_of_steps_on_pairs(run, variant, test_class):
    found = ridge.pair_similarities(run, f"consistent, {variant}", seed=4)
    assert found.shape == (5, 3, 2)
    rng = np.random.default_rng(4)
    own = rng.choice(np.arange(1000, 2000), 3, replace=False)
    others = rng.choice(np.arange(1000) + 1000 * test_class, 3, replace=False)
    model = nn.Linear(10, 2, bias=False).double()
    for k, start in np.ndindex(3, 2):
        with torch.no_grad():
            model.weight.copy_(torch.tensor(run.weights[1, k, start]))
        both = torch.tensor(run.features[[own[k], others[k]]])
        size = change_by_steps(
            model, both[:1], torch.tensor([[0.0, 1.0]]), both, learning_rate=1e-4, penalty=1000.0
        ).norm(dim=2)[0]
        assert found[1, k, start] == pytest.approx(float(size[1] / size[0]))


def test_as_coded_the_fit_has_a_share_of_one_over_n_above(run):
    coded = ridge.pair_similarities(run, "as coded, interclass", seed=4)
    consistent = ridge.pair_similarities(run, "consistent, interclass", seed=4)
    printed = ridge.pair_similarities(run, "penalty of the printed loss, interclass", seed=4)
    assert (coded[0] < 0.1 * consistent[0]).all()
    assert np.ptp(np.median(printed, axis=(1, 2))) < 0.05 * np.median(printed)


def test_a_run_at_fewer_times_is_the_same_run(run):
    few = run.at([0, 8000])
    assert few.times.tolist() == [0, 8000]
    assert np.array_equal(few.weights, run.weights[[0, -1]])
    for unsolved in ([50], [9000]):
        with pytest.raises(ValueError, match="not solved at all"):
            run.at(unsolved)


def test_only_the_consistent_formula_is_a_step(run):
    errors = ridge.step_errors(run, run.weights[:3, 0, 0], "cpu")
    assert errors["ridge-consistent-step-error"] < 1e-12
    assert errors["ridge-consistent-self-similarity-error"] < 1e-12
    assert errors["ridge-as-coded-step-error"] > 0.1
    assert errors["ridge-as-coded-self-similarity-error"] > 0.1
