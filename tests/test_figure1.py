"""Figure 1 of He & Su against steps taken one by one and tables written by hand."""

import copy
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from lecore.data.manifolds import torus
from lecore.errors import DivergenceError
from lecore.studies.he_su import figure1, figure1_rates, figure1_runs
from lecore.studies.he_su.figure1_runs import Figure1Run, Measured, Problem, synthetic_problem
from lecore.training import train

SMALL = {"points": 12, "width": 10, "boxes_width": 6}


def small(activation: str = "relu", seed: int = 0, name: str = "torus") -> Problem:
    return synthetic_problem(Figure1Run(name=name, activation=activation, seed=seed, **SMALL))


def slow_limit(problem: Problem) -> float:
    """n/λ_max from the gradient of each point."""
    network = copy.deepcopy(problem.network).double()
    rows = []
    for x in problem.inputs.double():
        gradients = torch.autograd.grad(network(x[None])[0, 0], list(network.parameters()))
        rows.append(torch.cat([g.ravel() for g in gradients]))
    jacobian = torch.stack(rows)
    return len(rows) / float(torch.linalg.eigvalsh(jacobian @ jacobian.T)[-1])


@pytest.mark.parametrize(("name", "layers", "units"), [("torus", 2, 10), ("boxes", 3, 6)])
def test_boxes_get_three_layers_and_all_others_two(name, layers, units):
    manifold, x, y, network = small(name=name)
    linear = [m for m in network if isinstance(m, torch.nn.Linear)]
    assert [m.out_features for m in linear] == [units] * (layers - 1) + [1]
    np.testing.assert_allclose(x.numpy(), manifold.points, rtol=1e-6)
    assert y[:, 0].tolist() == manifold.labels.tolist()


def test_the_paper_sizes_are_the_defaults():
    run = Figure1Run(name="torus", activation="relu", seed=3)
    manifold, _, _, network = synthetic_problem(run)
    assert network[1].out_features == 40960
    assert (run.boxes_width, run.steps) == (8192, 20_000)
    np.testing.assert_array_equal(manifold.points, torus(100, 3).points)


@pytest.mark.parametrize("name", ["torus", "boxes"])
def test_the_largest_stable_rate_is_that_of_the_gradients(name):
    problem = small(name=name)
    assert figure1_runs.largest_stable_rate(problem) == pytest.approx(slow_limit(problem), rel=1e-5)


def test_training_is_descent_on_the_mean_at_a_share_of_that_rate():
    problem = small()
    by_hand = copy.deepcopy(problem.network)
    update = torch.optim.SGD(by_hand.parameters(), lr=0.5 * slow_limit(problem))
    expected = []
    for _ in range(3):
        loss = (by_hand(problem.inputs) - problem.targets).square().mean()
        expected.append(loss.item())
        update.zero_grad()
        loss.backward()
        update.step()
    losses = figure1_runs.train_at_share(problem, 0.5, 3)
    assert losses == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(problem.network(problem.inputs), by_hand(problem.inputs))


def test_no_steps_leave_the_random_weights():
    problem = small()
    before = copy.deepcopy(problem.network.state_dict())
    assert figure1_runs.train_at_share(problem, 0.5, 0) == []
    torch.testing.assert_close(problem.network.state_dict(), before, rtol=0, atol=0)


def test_far_beyond_the_limit_training_diverges():
    with pytest.raises(DivergenceError):
        figure1_runs.train_at_share(small("linear"), 1000.0, 50, loss_limit=1e12)


def test_similarity_is_that_of_steps_taken_one_by_one():
    problem = small()
    manifold, x, y, network = problem
    own = manifold.primary
    before = copy.deepcopy(network).double()
    expected = np.empty((len(own), len(own)))
    for row, i in enumerate(own):
        stepped = copy.deepcopy(before)
        loss = (stepped(x[i : i + 1].double()) - y[i : i + 1]).square().sum()
        loss.backward()
        torch.optim.SGD(stepped.parameters(), lr=1e-3).step()
        with torch.no_grad():
            change = (stepped(x[own].double()) - before(x[own].double()))[:, 0].abs()
        expected[row] = change / change[row]
    found = figure1_runs.step_on_each_point(problem, 1e-3)
    np.testing.assert_allclose(found.similarity, expected, rtol=1e-8)
    for i, a in enumerate(own):
        for j, b in enumerate(own):
            assert found.distance[i, j] == manifold.distance[a, b]
            assert found.arc_length[i, j] == manifold.arc_length[a, b]
    right = [(network(p[None]).item() > 0.5) == bool(t) for p, t in zip(x, y, strict=True)]
    assert found.accuracy == pytest.approx(np.mean(right))


@pytest.mark.parametrize(("name", "steps"), [("torus", 0), ("torus", 30), ("boxes", 30)])
def test_a_run_measures_before_and_after_training(name, steps, tmp_path):
    run = Figure1Run(name=name, activation="relu", seed=1, steps=steps, shift=2.0, **SMALL)
    found = figure1_runs.follow_figure1(run, "cpu", tmp_path)
    problem = synthetic_problem(run)
    expected = {"random": figure1_runs.step_on_each_point(problem, 1e-6)}
    losses = figure1_runs.train_at_share(problem, 0.5, steps)
    if steps:
        expected["trained"] = figure1_runs.step_on_each_point(problem, 1e-6)
    assert found["loss"].tolist() == losses
    by_weights = figure1_runs.measured_at(found)
    assert list(by_weights) == list(expected)
    for weights, one in by_weights.items():
        np.testing.assert_array_equal(one.similarity, expected[weights].similarity)
        np.testing.assert_array_equal(one.distance, expected[weights].distance)
        assert one.accuracy == expected[weights].accuracy


def test_an_interrupted_run_goes_on_where_it_was(tmp_path, monkeypatch):
    run = Figure1Run(name="torus", activation="relu", steps=75, **SMALL)
    whole = figure1_runs.follow_figure1(run, "cpu", tmp_path)
    train, taken = partial(figure1_runs.train, checkpoint_every=50), []

    def stopped(*args, **settings):
        train(*args, **settings | {"callback": stop, "callback_steps": [60]})

    def stop(step, model):
        raise KeyboardInterrupt

    monkeypatch.setattr(figure1_runs, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        figure1_runs.follow_figure1(run, "cpu", tmp_path)

    def resumed(*args, **settings):
        seen = {"callback": lambda step, _: taken.append(step)}
        return train(*args, **settings | seen)

    monkeypatch.setattr(figure1_runs, "train", resumed)
    again = figure1_runs.follow_figure1(run, "cpu", tmp_path)
    assert taken[0] == 51
    np.testing.assert_array_equal(again["loss"], whole["loss"])
    np.testing.assert_array_equal(again["similarity"], whole["similarity"])


def measured(similarity: np.ndarray, accuracy: float = 0.5) -> Measured:
    position = np.arange(len(similarity), dtype=float)
    distance = np.abs(position[:, None] - position)
    return Measured(similarity, distance, distance**2, accuracy)


def test_a_straight_fall_correlates_fully_however_it_is_counted():
    falling = 1 - measured(np.zeros((6, 6))).distance / 10
    found = figure1.correlations(measured(falling))
    assert tuple(found) == figure1.WAYS
    arc = found.pop("true arc length")
    assert [*found.values()] == pytest.approx([-1] * 4)
    assert -1 < arc < -0.9  # its distance is squared here


def test_symmetrising_takes_away_what_is_antisymmetric():
    d = measured(np.zeros((6, 6))).distance
    odd = np.subtract.outer(np.arange(6.0), np.arange(6.0))
    found = figure1.correlations(measured(1 - d / 10 + odd))
    assert found["symmetrised"] == pytest.approx(-1)
    assert found["as in the paper"] > -0.5


def test_the_table_has_a_line_for_each_network_and_is_read_by_seed():
    falling = 1 - measured(np.zeros((6, 6))).distance / 10
    rising = 2 - falling
    found = {
        ("torus", "relu", 1, "trained"): measured(rising, 0.7),
        ("torus", "relu", 0, "trained"): measured(falling, 0.9),
        ("torus", "relu", 0, "random"): measured(rising),
        ("torus", "tanh", 0, "trained"): measured(rising),
        ("helix", "relu", 0, "trained"): measured(rising),
    }
    table = figure1.correlation_table(found)
    assert len(table) == len(found)
    of_torus = ("torus", "relu", "trained")
    assert figure1.by_seed(table, *of_torus) == pytest.approx([-1, 1])
    assert figure1.by_seed(table, *of_torus, "accuracy").tolist() == [0.9, 0.7]
    assert figure1.by_seed(table, *of_torus, "mean") == pytest.approx(
        [falling.mean(), rising.mean()]
    )
    counted = figure1.ways_of_counting(table)  # only the networks of the figure, over seeds
    assert counted.index.tolist() == [("torus", "relu")]
    assert counted.loc[("torus", "relu")].tolist() == pytest.approx([0] * 5, abs=1e-12)


def test_a_v_rises_at_the_far_side_and_a_slope_does_not():
    d = measured(np.zeros((30, 30))).distance
    near, far = np.quantile(d, [1 / 3, 2 / 3])
    steps = np.where(d > far, 3.0, np.where(d > near, 1.0, 50.0))
    assert figure1.rise_at_the_far_side(measured(steps)) == 2.0
    assert figure1.rise_at_the_far_side(measured(1 - d / 30)) < 0


def rates(shares: tuple[float, ...], **settings: int) -> pd.DataFrame:
    given = {"points": 12, "width": 10, "steps": 20} | settings
    runs = figure1_rates.rate_runs(("relu", "linear"), shares, (0, 1), **given)
    return figure1_rates.rates_table(runs, [figure1_rates.train_past_the_edge(r) for r in runs])


def test_the_paper_rate_is_scaled_to_the_width():
    table = rates((0.5,))
    row = table[table.paper & (table.activation == "linear") & (table.seed == 0)].iloc[0]
    expected = 1e-5 * 40960 / 10 / slow_limit(small("linear"))
    assert row.share == pytest.approx(expected, rel=1e-5)


def test_figure_1_can_be_trained_at_a_rate_instead_of_a_share(tmp_path):
    run = Figure1Run(name="torus", activation="linear", steps=3, learning_rate=0.01, **SMALL)
    found = figure1_runs.follow_figure1(run, "cpu", tmp_path)
    alone = small("linear")
    losses = train(alone.network, alone.inputs, alone.targets, learning_rate=0.01, epochs=3).losses
    assert found["loss"] == pytest.approx(losses)


def test_a_sweep_has_each_run_and_marks_those_that_diverged():
    sweep = rates((0.5, 1000.0))
    assert len(sweep) == 12
    alone = small("linear", 1)
    losses = figure1_runs.train_at_share(alone, 0.5, 20)
    found = figure1.correlations(figure1_runs.step_on_each_point(alone, 1e-6))
    row = sweep[(sweep.activation == "linear") & (sweep.share == 0.5) & (sweep.seed == 1)].iloc[0]
    assert row.correlation == pytest.approx(found["as in the paper"])
    assert row.peak == max(losses) / losses[0]
    beyond = sweep[(sweep.activation == "linear") & (sweep.share == 1000.0)]
    assert np.isinf(beyond.peak).all()
    assert beyond.correlation.isna().all()
    assert figure1_rates.diverged_share(sweep[~sweep.paper], "linear") == 1.0


def test_runs_at_the_paper_rate_are_told_apart_and_those_that_diverged_counted():
    rows = [
        ("linear", True, 1.4, -0.5), ("linear", True, 1.6, -0.3), ("linear", True, 1.5, np.nan),
        ("linear", False, 0.5, 0.0), ("relu", True, 0.2, np.nan),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["activation", "paper", "share", "correlation"])
    found = figure1_rates.at_the_paper_rate(table)
    assert found["paper rate correlation", "linear"]["value"] == pytest.approx(-0.4)
    assert found["paper rate correlation", "linear"]["runs"] == [-0.5, -0.3]
    assert found["paper rate diverged", "linear"] == {"value": 1}
    assert found["paper rate share", "linear"] == {"value": pytest.approx(1.5), "runs": [1.4, 1.6]}
    assert ("paper rate correlation", "relu") not in found


def test_runs_beyond_the_limit_are_counted_and_the_strongest_is_found():
    rows = [
        ("linear", 0.5, -0.1, 1.0), ("linear", 1.5, -0.6, 9.0), ("linear", 1.5, np.nan, np.inf),
        ("linear", 1.8, -0.4, 7.0), ("linear", 1.8, np.nan, np.inf), ("relu", 1.8, -0.9, 2.0),
    ]  # fmt: skip
    sweep = pd.DataFrame(rows, columns=["activation", "share", "correlation", "peak"])
    assert figure1_rates.diverged_share(sweep, "linear") == 0.5
    assert figure1_rates.diverged_share(sweep[sweep.share < 1], "linear") == 0.0
    strongest = figure1_rates.strongest_run(sweep, "linear")
    assert (strongest.correlation, strongest.share, strongest.peak) == (-0.6, 1.5, 9.0)
