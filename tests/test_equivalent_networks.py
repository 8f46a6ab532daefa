"""Equivalent networks: bounds against enumeration, functions and steps against each other."""

import copy
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import nn

from lecore import LecoreError, prediction_change, relative_similarity, seeded
from lecore.losses import cross_entropy
from lecore.models import fully_connected
from lecore.studies.neighbours import equivalent_elasticity as elasticity
from lecore.studies.neighbours import stable_units
from lecore.studies.neighbours.box_search import ascend, check_inside, largest_difference, points_in
from lecore.studies.neighbours.equivalent_networks import (
    Affine,
    box,
    compress,
    interval_bounds,
    layers_of,
    network_of,
    rescaled,
)
from lecore.studies.neighbours.stable_units import extreme, stable_bounds

BOX = box(0, 1, 2)


def small(seed: int, widths: tuple[int, ...] = (2, 3, 3, 1)) -> list[Affine]:
    rng = np.random.default_rng(seed)
    return [
        Affine(rng.normal(size=(b, a)), rng.normal(size=b)) for a, b in itertools.pairwise(widths)
    ]


def with_stable_units(seed: int = 0) -> list[Affine]:
    """Six units a layer on the unit square: some off, some on, and more on than outputs."""
    layers = small(seed, (2, 6, 6, 2))
    for layer, room in zip(layers[:2], (10, 100), strict=True):
        layer.bias[0] = -room  # off
        layer.bias[1:5] = room  # on
    layers[0].bias[5] = -layers[0].weight[5].sum() / 2  # neither
    return layers


def enumerated(layers: list[Affine], sign: float) -> float:
    """Extreme of the only output on the unit square, by a linear program a pattern of states."""
    units = [len(layer.bias) for layer in layers[:-1]]
    best = -np.inf
    for states in itertools.product((0.0, 1.0), repeat=sum(units)):
        left = list(states)
        weight, shift = np.eye(2), np.zeros(2)
        rows, ends = [], []
        for layer, count in zip(layers[:-1], units, strict=True):
            state, left = np.array(left[:count]), left[count:]
            weight, shift = layer.weight @ weight, layer.weight @ shift + layer.bias
            rows.append((1 - 2 * state)[:, None] * weight)
            ends.append((2 * state - 1) * shift)
            weight, shift = state[:, None] * weight, state * shift
        weight, shift = layers[-1].weight @ weight, layers[-1].weight @ shift + layers[-1].bias
        found = optimize.linprog(
            -sign * weight[0], np.vstack(rows), np.concatenate(ends), bounds=[(0, 1)] * 2
        )
        if found.status == 0:
            best = max(best, -found.fun + sign * shift[0])
    return sign * best


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("largest", [True, False])
def test_the_program_finds_what_enumeration_finds(seed, largest):
    layers = small(seed)
    found = extreme(layers, interval_bounds(layers, BOX), BOX, 0, largest=largest)
    wanted = enumerated(layers, 1.0 if largest else -1.0)
    assert found.proven
    assert found.bound == pytest.approx(wanted, abs=1e-5)
    assert found.found == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_stable_units_are_those_of_the_exact_extremes(seed):
    layers = small(seed, (2, 3, 5, 1))
    layers[1].bias[:] = np.linspace(-4, 4.5, 5)
    found = stable_bounds(layers, BOX)[1]
    for unit in range(5):
        alone = [layers[0], Affine(layers[1].weight[[unit]], layers[1].bias[[unit]])]
        high, low = enumerated(alone, 1.0), enumerated(alone, -1.0)
        assert (found.off[unit], found.on[unit]) == (high <= 0, low >= 0 and high > 0)


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(4))
def test_without_the_ascent_the_programs_say_the_same(seed, monkeypatch):
    layers = small(seed, (2, 5, 6, 1))
    with_it = stable_bounds(layers, BOX)[1]
    none = np.zeros(6, dtype=bool)
    monkeypatch.setattr(stable_units, "_seen", lambda *a: (none, none))
    alone = stable_bounds(layers, BOX)[1]
    np.testing.assert_array_equal((alone.off, alone.on), (with_it.off, with_it.on))
    x = points_in(BOX, 2000).numpy()
    h = np.maximum(x @ layers[0].weight.T + layers[0].bias, 0)
    a = h @ layers[1].weight.T + layers[1].bias
    assert ((alone.low <= a.min(0) + 1e-9) & (a.max(0) - 1e-9 <= alone.high)).all()


def test_no_point_leaves_the_bounds():
    layers = small(0, (2, 8, 8, 1))
    x = points_in(BOX, 2000).numpy()
    for bounds in (interval_bounds(layers, BOX), stable_bounds(layers, BOX)):
        h = x
        for layer, known in zip(layers[:-1], bounds, strict=True):
            a = h @ layer.weight.T + layer.bias
            assert (a >= known.low - 1e-9).all()
            assert (a <= known.high + 1e-9).all()
            h = np.maximum(a, 0)


def test_intervals_are_exact_in_the_first_layer():
    layers = small(1)
    corners = np.array(list(itertools.product((0, 1), repeat=2)))
    a = corners @ layers[0].weight.T + layers[0].bias
    first = interval_bounds(layers, BOX)[0]
    np.testing.assert_allclose([first.low, first.high], [a.min(0), a.max(0)], atol=1e-14)


@pytest.mark.parametrize("merge", [True, False])
def test_what_is_compressed_is_the_same_function(merge):
    layers = with_stable_units()
    found = compress(layers, stable_bounds(layers, BOX), BOX, merge=merge)
    assert found.off == [1, 1]
    assert found.merged == ([2, 3] if merge else [0, 0])  # rank 2: of the inputs, of the outputs
    one, other = network_of(layers), network_of(found.layers)
    assert largest_difference(one, other, BOX, inputs=points_in(BOX, 500)) < 1e-10


def test_a_layer_that_is_off_as_a_whole_keeps_one_unit():
    layers = small(0)
    layers[0].bias[:] = -100
    found = compress(layers, stable_bounds(layers, BOX), BOX)
    assert [len(layer.bias) for layer in found.layers][:1] == [1]
    one, other = network_of(layers), network_of(found.layers)
    assert largest_difference(one, other, BOX, inputs=points_in(BOX, 10)) < 1e-12


def test_a_layer_that_is_on_and_unread_keeps_one_unit():
    layers = small(0)
    layers[0].bias[:] = 100
    layers[1].weight[:] = 0
    found = compress(layers, stable_bounds(layers, BOX), BOX)
    assert [len(layer.bias) for layer in found.layers][:1] == [1]
    one, other = network_of(layers), network_of(found.layers)
    assert largest_difference(one, other, BOX, inputs=points_in(BOX, 10)) < 1e-12


def test_rescaled_units_compute_the_same_function():
    layers = small(0, (2, 6, 6, 3))
    factors = np.exp(np.random.default_rng(1).normal(size=6)), 10.0
    one, other = network_of(layers), network_of(rescaled(layers, factors))
    assert largest_difference(one, other, BOX, inputs=points_in(BOX, 100)) < 1e-12


def test_a_difference_in_one_corner_is_found_by_ascent():
    one = network_of(small(0, (2, 4, 1)))
    other = copy.deepcopy(one)
    x = torch.tensor([[0.5, 0.5]], dtype=torch.float64)

    def apart(points):  # grows towards (1, 0) alone
        return torch.relu(points[:, 0] - points[:, 1] - 0.02)

    assert float(apart(ascend(apart, x + 0.02 * torch.tensor([[1, -1]]), BOX))) == 0.98
    with torch.no_grad():
        other[3].weight += 1e-3
    assert largest_difference(one, other, BOX, inputs=x) > 1e-6


def equivalents() -> dict[str, nn.Module]:
    layers = with_stable_units(1)
    bounds = stable_bounds(layers, BOX)
    return {
        "itself": network_of(layers),
        "removed": network_of(compress(layers, bounds, BOX, merge=False).layers),
        "merged": network_of(compress(layers, bounds, BOX).layers),
        "rescaled": network_of(rescaled(layers, [10.0, 0.1])),
    }


EQUIVALENTS = equivalents()


@pytest.mark.parametrize("name", EQUIVALENTS)
def test_a_step_is_that_of_a_copy(name):
    network, x, y = EQUIVALENTS[name], points_in(BOX, 6), torch.arange(6) % 2
    change = prediction_change(network, x, y, learning_rate=1e-3, loss=cross_entropy)
    for i in range(6):
        other = copy.deepcopy(network)
        cross_entropy(other(x[i : i + 1])[0], y[i]).backward()
        torch.optim.SGD(other.parameters(), lr=1e-3).step()
        torch.testing.assert_close(change[i], other(x) - network(x), atol=1e-10, rtol=0)


def test_removing_off_units_leaves_similarity_and_rescaling_does_not():
    x, y = points_in(BOX, 6), torch.arange(6) % 2

    def similarity(name):
        network = EQUIVALENTS[name]
        return relative_similarity(
            prediction_change(network, x, y, learning_rate=1e-4, loss=cross_entropy)
        )

    own = similarity("itself")
    torch.testing.assert_close(similarity("removed"), own, atol=1e-10, rtol=0)
    assert float((similarity("rescaled") - own).abs().max()) > 0.01


def test_layers_go_into_a_network_and_back():
    network = fully_connected(4, 5, 2, outputs=3, seed=1)
    again = network_of(layers_of(network))
    with seeded(0):
        x = torch.randn(7, 4).double()
    torch.testing.assert_close(again(x), network.double()(x))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)), "layer 1 is Tanh"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Linear(3, 1)), "layer 0 is Conv2d"),
        (nn.Sequential(nn.Linear(2, 1)), "no hidden layer"),
        (nn.Linear(2, 1), r"no nn\.Sequential"),
    ],
)
def test_networks_the_method_does_not_know_are_refused(network, words):
    with pytest.raises(LecoreError, match=words) as error:
        layers_of(network)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: box(0, np.inf, 2), "unbounded.*finite ends"),
        (lambda: box(1, 0, 2), "empty"),
        (lambda: check_inside(torch.tensor([[0.5, 1.25]]), BOX), "outside the box, by up to 0.25"),
        (lambda: rescaled(small(0), [0.0, 1.0]), "positive"),
    ],
)
def test_bad_boxes_points_and_factors_are_refused(act, words):
    with pytest.raises(LecoreError, match=words) as error:
        act()
    assert "\n" not in str(error.value)


def test_an_infeasible_program_is_refused():
    layers = small(0)
    bounds = interval_bounds(layers, BOX)
    bounds[0].low[:] = bounds[0].high + 100  # no input reaches that
    bounds[0].high[:] += 200
    with pytest.raises(LecoreError, match="infeasible"):
        extreme(layers, bounds, BOX, 0, largest=True)


def milp_that(**result):
    return lambda *a, **k: optimize.OptimizeResult(result)


def test_an_unbounded_program_is_refused(monkeypatch):
    monkeypatch.setattr(stable_units.optimize, "milp", milp_that(status=3, fun=None))
    with pytest.raises(LecoreError, match=r"unbounded.*finite") as error:
        extreme(small(0), interval_bounds(small(0), BOX), BOX, 0, largest=True)
    assert "\n" not in str(error.value)


def test_after_the_time_limit_the_bound_so_far_is_given_and_said(monkeypatch):
    layers = small(0)
    result = milp_that(status=1, fun=-0.5, mip_dual_bound=-2.0)
    monkeypatch.setattr(stable_units.optimize, "milp", result)
    found = extreme(layers, interval_bounds(layers, BOX), BOX, 0, largest=True, time_limit=7)
    assert (found.bound, found.found, found.proven) == (2.0, 0.5, False)
    assert found.message == "stopped after 7 seconds: 2 is the bound found so far"
    monkeypatch.setattr(stable_units.optimize, "milp", milp_that(status=1, fun=None))
    found = extreme(layers, interval_bounds(layers, BOX), BOX, 0, largest=True, time_limit=7)
    assert (found.bound, found.proven) == (np.inf, False)
    assert found.message == "stopped after 7 seconds without a bound; allow more time"


def test_a_unit_left_open_is_marked_and_kept(monkeypatch):
    one = np.array([[1.0, 0], [-1, 0]])  # h = relu(±(x − ½)): never both
    layers = [
        Affine(one, np.array([-0.5, 0.5])), Affine(np.ones((1, 2)), np.array([-0.75])),
        Affine(np.ones((1, 1)), np.zeros(1)),
    ]  # fmt: skip
    exact = stable_bounds(layers, BOX)[1]

    def loose(*a, largest, **k):
        return SimpleNamespace(bound=np.inf if largest else -np.inf, found=np.nan, proven=False)

    monkeypatch.setattr(stable_units, "extreme", loose)
    found = stable_bounds(layers, BOX)[1]
    by_program = exact.off & ~interval_bounds(layers, BOX)[1].off
    assert by_program.any()
    assert (found.open == by_program).all()
    assert not found.off[by_program].any()


@pytest.mark.thorough
def test_an_l1_penalty_makes_units_removable_and_none_does_not():
    settings = {"width": 20, "epochs": 40, "images": 800, "tests": 60}
    off = {}
    for penalty in (0.0, 1e-3):
        problem = elasticity.trained("digits", 0, penalty=penalty, **settings)
        found = elasticity.equivalents(problem, probes=10, time_limit=2)
        off[penalty] = found.removed
        assert max(found.output_change.values()) < 1e-10
        assert found.similarity_change("off removed") < 1e-10
        assert found.spearman("rescaled") < 0.99
    assert off[0.0] == 0
    assert off[1e-3] > 0
    with pytest.raises(LecoreError, match="penalty"):
        elasticity.trained("digits", 0, penalty=-1, **settings)
