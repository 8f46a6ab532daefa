"""Posterior samples, boxes, attacks and bounds, and how many samples an estimate takes."""

import copy
import itertools
import sys
from functools import cache

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from lecore import LecoreError, prediction_change
from lecore.losses import cross_entropy
from lecore.models import NTKLinear, fully_connected
from lecore.studies.neighbours import bayesian_elasticity as elasticity
from lecore.studies.neighbours import bayesian_estimate as estimate
from lecore.studies.neighbours.bayesian_posterior import (
    Posterior,
    last_layer_posterior,
    logits,
    mode_alone,
    sampled_networks,
)
from lecore.studies.neighbours.bayesian_robustness import (
    attack,
    box_around,
    changed,
    excluded,
    outcomes,
)
from lecore.studies.neighbours.partial_correlation import partial_interval, partial_spearman
from lecore.training import train
from lecore.uncertainty import proportion

CHANCES = np.arange(1, 100) / 100
SCHEMES = [estimate.scheme(constants=name) for name in ("massart", "released")]


def blobs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of three classes in the unit square."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(60) % 3
    centers = torch.tensor([[0.2, 0.2], [0.8, 0.3], [0.4, 0.8]])
    points = centers[labels] + 0.1 * torch.randn(60, 2, generator=rng)
    return points.clamp(0, 1), labels


@pytest.fixture(scope="module")
def posterior() -> Posterior:
    x, y = blobs()
    network = fully_connected(2, 8, 1, outputs=3, seed=0)
    train(
        network, x, y, learning_rate=0.02, epochs=60, batch_size=20, loss=cross_entropy,
        optimizer="adam", weight_decay=0.5 / len(x), shuffle="each epoch",
    )  # fmt: skip
    return last_layer_posterior(network.eval(), x, y, precision=0.5, samples=12, seed=0)


# The estimate


def test_clopper_and_pearsons_ends_are_those_of_the_core():
    k, n = np.array([0, 3, 10]), np.array([10, 10, 10])
    low, high = estimate.clopper_pearson(k, n, 0.05)
    expected = [proportion(int(count), 10) for count in k]
    np.testing.assert_allclose(low, [one.low for one in expected])
    np.testing.assert_allclose(high, [one.high for one in expected])


def test_massarts_number_of_samples_keeps_its_promise_at_every_probability():
    of = estimate.scheme(0.1, 0.2, 0.1)
    needed = estimate.massart_samples(CHANCES, CHANCES, of).astype(int)
    above = stats.binom.sf(np.ceil(needed * (CHANCES + of.error) - 1e-9) - 1, needed, CHANCES)
    below = stats.binom.cdf(np.floor(needed * (CHANCES - of.error) + 1e-9), needed, CHANCES)
    assert (above + below <= of.doubt - of.interval_doubt).all()


def test_massarts_number_is_that_of_the_formula():
    of = estimate.scheme(0.075, 0.075, 0.05)
    expected = 2 / (9 * 0.075**2) * (0.3 + 0.075) * (2.7 - 0.075) * np.log(2 / 0.025)
    assert estimate.massart_samples(0.02, 0.1, of) == np.ceil(expected) == 171
    as_released = estimate.massart_samples(0.02, 0.1, of._replace(constants="released"))
    assert as_released == np.ceil(expected * np.log(1 / 0.025) / np.log(2 / 0.025))


def test_massarts_number_is_the_same_on_both_sides_of_one_half():
    needed = estimate.massart_samples([0.02, 0.95], [0.05, 0.98], estimate.Scheme())
    assert needed[0] == needed[1] < estimate.chernoff_samples(0.075, 0.075) == 292


@pytest.mark.thorough
@pytest.mark.parametrize("of", SCHEMES)
def test_exact_coverage_is_that_of_the_recursion_from_the_end(of):
    chance, table = 0.05, estimate.stopping(of)

    @cache
    def from_here(n, k):
        if table[n, k]:
            return np.array([abs(k / n - chance) <= of.error, n], dtype=float)
        return chance * from_here(n + 1, k + 1) + (1 - chance) * from_here(n + 1, k)

    covered, samples = estimate.coverage(of, chance)
    np.testing.assert_allclose([covered[0], samples[0]], from_here(0, 0), rtol=1e-10)
    assert samples[0] < 200


@pytest.mark.parametrize("of", SCHEMES)
def test_the_estimate_is_within_its_error_as_often_as_it_says(of):
    covered, samples = estimate.coverage(of, CHANCES)
    assert covered.min() >= 1 - of.doubt
    assert samples.max() <= 293 + 1e-9
    assert samples.min() < 120


def test_simulated_coverage_is_the_exact_one():
    of, chance, runs = estimate.scheme(0.2, 0.3, 0.1), 0.35, 4000
    (exact,), _ = estimate.coverage(of, chance)
    found = estimate.simulated_coverage(of, chance, runs, seed=0)
    assert stats.binomtest(found, runs, exact).pvalue > 1e-3


def test_a_fixed_number_of_samples_covers_as_the_binomial_says():
    of = estimate.scheme(0.2, 0.3, 0.1)
    n = estimate.chernoff_samples(0.2, 0.3)
    k = np.arange(n + 1)
    near = np.abs(k / n - 0.35) <= 0.2
    (covered,), (samples,) = estimate.coverage(of, 0.35, sequential=False)
    assert covered == pytest.approx(stats.binom.pmf(k, n, 0.35)[near].sum())
    assert samples == pytest.approx(n)


def test_no_more_outcomes_are_made_than_needed():
    made = []

    def forever():
        while True:
            made.append(True)
            yield True

    found = estimate.sequential_estimate(forever())
    assert found.samples == len(made) < 120
    assert (found.value, found.low, found.high) == (1, pytest.approx(0.925), 1)


def test_a_path_ends_where_the_estimate_does():
    outcomes_ = np.random.default_rng(0).random(400) < 0.9
    found = estimate.sequential_estimate(outcomes_)
    path = estimate.sampling_path(outcomes_, estimate.Scheme())
    assert len(path) == found.samples == path.n.iloc[-1]
    assert path.value.iloc[-1] == found.value
    assert path.stops.tolist() == [False] * (len(path) - 1) + [True]
    assert (path.n[:-1] < path.needed[:-1]).all()
    assert path.n.iloc[-1] >= path.needed.iloc[-1]


def test_too_few_outcomes_are_refused_with_the_number_that_suffices():
    with pytest.raises(LecoreError, match="5 outcomes are too few") as refused:
        estimate.sequential_estimate([True] * 5)
    assert "292" in refused.value.cure


@pytest.mark.parametrize(
    "settings", [{"error": 0.5}, {"error": 0.0}, {"doubt": 0.05}, {"constants": "printed"}]
)
def test_a_scheme_that_is_none_is_refused(settings):
    with pytest.raises(LecoreError, match=r"error|constants"):
        estimate.scheme(**settings)


# The posterior


@pytest.mark.thorough
def test_the_samples_are_gaussian_with_the_curvature_of_the_log_posterior():
    x, y = blobs()
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 3)).double()
    x, last = x.double(), network[-1]

    def loss(flat):
        outputs = x @ flat[:6].reshape(3, 2).T + flat[6:]
        return nn.functional.cross_entropy(outputs, y, reduction="sum") + flat @ flat

    flat = torch.zeros(9).double().requires_grad_(True)
    step = torch.optim.LBFGS([flat], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        step.zero_grad()
        value = loss(flat)
        value.backward()
        return value

    step.step(closure)
    with torch.no_grad():
        last.weight.copy_(flat[:6].reshape(3, 2))
        last.bias.copy_(flat[6:])
    found = last_layer_posterior(network, x, y, precision=2.0, samples=20000, seed=0)
    drawn = torch.cat([found.weight.flatten(1), found.bias], dim=1).double()
    expected = torch.linalg.inv(torch.autograd.functional.hessian(loss, flat.detach()))
    torch.testing.assert_close(drawn.mean(0), flat.detach(), atol=0.02, rtol=0)
    torch.testing.assert_close(torch.cov(drawn.T), expected, atol=0.02, rtol=0)


def test_a_sample_has_the_outputs_of_its_network(posterior):
    x, _ = blobs(1)
    with torch.no_grad():
        slow = torch.stack([network(x) for network in sampled_networks(posterior)])
    torch.testing.assert_close(logits(posterior, x), slow)
    torch.testing.assert_close(logits(posterior, x.expand(12, -1, -1), shared=False), slow)


def test_a_step_on_a_posterior_sample_is_a_real_step_on_a_copy(posterior):
    x, y = blobs(1)
    network = next(sampled_networks(posterior))
    change = prediction_change(
        network, x[:3], y[:3], x, learning_rate=0.1, loss=cross_entropy, dtype=torch.float64
    )
    for row in range(3):
        copied = copy.deepcopy(network).double()
        before = copied(x.double())
        step = torch.optim.SGD(copied.parameters(), lr=0.1)
        cross_entropy(copied(x[row : row + 1].double())[0], y[row]).backward()
        step.step()
        torch.testing.assert_close(change[row], copied(x.double()) - before, atol=1e-10, rtol=0)


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "laplace", None)
    x, y = blobs()
    network = fully_connected(2, 8, 1, outputs=3, seed=0)
    with pytest.raises(LecoreError, match="this needs laplace, which is not installed") as refused:
        last_layer_posterior(network, x, y, precision=1.0, samples=2, seed=0)
    assert "lecore[bayes]" in refused.value.cure


def test_a_diverged_posterior_is_refused():
    x, y = blobs()
    network = fully_connected(2, 8, 1, outputs=3, seed=0)
    with torch.no_grad():
        network[-1].weight[0, 0] = float("nan")
    with pytest.raises(LecoreError, match="the posterior has diverged") as refused:
        last_layer_posterior(network, x, y, precision=1.0, samples=3, seed=0)
    assert "precision above 1" in refused.value.cure
    assert "\n" not in str(refused.value)


def test_a_posterior_far_from_its_mode_is_refused():
    x, y = blobs()
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 3))
    with torch.no_grad():  # the mode of no finite prior: its curvature is nearly zero
        network[-1].weight.copy_(1e3 * torch.tensor([[-1.0, -1.0], [1.0, -0.5], [0.0, 1.0]]))
        network[-1].bias.copy_(1e3 * torch.tensor([0.9, 0.0, -0.1]))
    assert (network(x).argmax(1) == y).double().mean() > 0.9
    with pytest.raises(LecoreError, match=r"its samples classify \d+% of the images right"):
        last_layer_posterior(network, x, y, precision=1e-8, samples=20, seed=0)


@pytest.mark.parametrize("settings", [{"precision": 0.0}, {"samples": 0}])
def test_a_posterior_without_prior_or_samples_is_refused(settings):
    x, y = blobs()
    network = fully_connected(2, 8, 1, outputs=3, seed=0)
    with pytest.raises(LecoreError, match=r"must be (positive|a whole number above 0)"):
        last_layer_posterior(
            network, x, y, **({"precision": 1.0, "samples": 2, "seed": 0} | settings)
        )


def test_a_network_without_a_linear_end_is_refused():
    x, y = blobs()
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    with pytest.raises(LecoreError, match="does not end with a linear layer"):
        last_layer_posterior(network, x, y, precision=1.0, samples=2, seed=0)


# Boxes, attacks, bounds


def linear_posterior(samples: int = 6) -> Posterior:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(5, 4))
    return Posterior(network.eval(), torch.randn(samples, 4, 5), torch.randn(samples, 4))


def test_of_linear_networks_bounds_and_attacks_both_know_the_truth():
    posterior = linear_posterior()
    x = torch.rand(40, 5)
    box = box_around(x, 0.1)
    outputs = logits(posterior, x)
    here = outputs.argmax(-1)
    truth = torch.zeros_like(here, dtype=torch.bool)
    middle, half = (box.low + box.high) / 2, (box.high - box.low) / 2
    for s, n, k in itertools.product(range(6), range(40), range(4)):
        ahead = posterior.weight[s, k] - posterior.weight[s, here[s, n]]
        most = ahead @ middle[n] + ahead.abs() @ half[n]
        most += posterior.bias[s, k] - posterior.bias[s, here[s, n]]
        truth[s, n] |= bool(k != here[s, n]) and bool(most > 0)
    found = outcomes(posterior, box, steps=20, starts=4)
    assert 0 < int(truth.sum()) < truth.numel()
    assert torch.equal(found.broken, truth)
    assert torch.equal(found.robust, ~truth)
    assert not found.undecided.any()


def test_a_network_small_enough_to_enumerate_is_judged_rightly(posterior):
    x, _ = blobs(2)
    box = box_around(x, 0.08)
    found = outcomes(posterior, box, steps=20, starts=2)
    parts = torch.linspace(0, 1, 25)
    grid = torch.cartesian_prod(parts, parts)
    here = logits(posterior, x).argmax(-1)
    other = torch.zeros_like(here, dtype=torch.bool)
    for at in grid:
        other |= logits(posterior, box.low + at * (box.high - box.low)).argmax(-1) != here
    assert not (found.robust & other).any()
    assert not (found.robust & found.broken).any()
    assert (found.broken >= other).all()  # 40 tries find what 625 points find
    assert found.undecided.double().mean() < 0.05


@pytest.mark.parametrize("linear", [True, False])
def test_bounds_of_random_networks_never_lie(linear):
    parts = torch.linspace(0, 1, 13)
    grid = torch.cartesian_prod(parts, parts)
    shown = 0
    for seed in range(5):
        network = fully_connected(2, 3, 1, outputs=2, seed=seed)
        torch.manual_seed(seed)
        posterior = Posterior(network, torch.randn(100, 2, 3), 0.3 * torch.randn(100, 2))
        box = box_around(torch.rand(30, 2), 0.4)
        points = box.low + grid[:, None] * (box.high - box.low)
        classes = torch.stack([logits(posterior, some).argmax(-1) for some in points])
        other = (classes != logits(posterior, box.center).argmax(-1)).any(0)
        robust = excluded(posterior, box, linear=linear)
        assert not (robust & other).any()
        shown += int(robust.sum())
    assert shown > 1000


def test_straight_lines_exclude_more_than_intervals_and_never_less(posterior):
    x, _ = blobs(2)
    box = box_around(x, 0.15)
    lines, intervals = excluded(posterior, box), excluded(posterior, box, linear=False)
    assert (lines >= intervals).all()
    assert int(lines.sum()) > int(intervals.sum())


def test_bounds_go_through_deeper_networks_and_other_activations():
    x, _ = blobs()
    for activation in ("tanh", "relu", "sigmoid"):
        network = fully_connected(2, 6, 2, activation, outputs=3, seed=0)
        mode = mode_alone(Posterior(network, *(torch.empty(0),) * 2))
        box = box_around(x, 0.01)
        found = outcomes(mode, box, steps=5)
        assert not (found.robust & found.broken).any()
        assert found.robust.any()


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Linear(2, 6), nn.Tanh(), nn.ReLU()],
        [nn.Linear(2, 6), nn.ReLU(), nn.ReLU()],
        [nn.Flatten(), nn.ReLU()],
        [nn.Linear(2, 6), nn.Identity(), nn.ReLU()],
    ],
    ids=str,
)
def test_without_a_linear_layer_before_the_last_relu_bounds_never_lie(layers):
    torch.manual_seed(0)
    for layer in layers:
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    units = 6 if isinstance(layers[0], nn.Linear) else 2
    network = nn.Sequential(*layers, nn.Linear(units, 3))
    posterior = Posterior(network, torch.randn(20, 3, units), torch.randn(20, 3))
    box = box_around(torch.rand(20, 2), 0.2)
    points = box.low + torch.rand(300, 1, 2) * (box.high - box.low)
    here = logits(posterior, box.center).argmax(-1)
    other = torch.stack([logits(posterior, some).argmax(-1) != here for some in points]).any(0)
    robust = excluded(posterior, box)
    assert robust.any()
    assert other.any()
    assert not (robust & other).any()


def test_points_of_an_attack_lie_in_their_boxes(posterior):
    x, _ = blobs(3)
    box = box_around(x, 0.1)
    points = attack(posterior, box, steps=7)
    assert points.shape == (12, 60, 2)
    assert ((points >= box.low) & (points <= box.high)).all()
    assert torch.equal(changed(posterior, box, points), outcomes(posterior, box, steps=7).broken)


def test_a_box_is_cut_at_the_range_of_the_data_or_refused():
    x = torch.tensor([[0.05, 0.5]])
    box = box_around(x, 0.1)
    torch.testing.assert_close(box.low, torch.tensor([[0.0, 0.4]]))
    with pytest.raises(LecoreError, match="a box leaves the data's range of 0 to 1"):
        box_around(x, 0.1, cut=False)
    assert torch.equal(box_around(x, 0.04, cut=False).low, x - 0.04)


@pytest.mark.parametrize(("x", "radius"), [(0.5, 0.0), (0.5, float("inf")), (1.5, 0.1)])
def test_a_box_without_size_or_outside_of_the_data_is_refused(x, radius):
    with pytest.raises(LecoreError, match=r"must be positive|leaves the data's range"):
        box_around(torch.tensor([[x]]), radius)


@pytest.mark.parametrize("layer", [nn.Conv2d(1, 2, 2), NTKLinear(2, 2)])
def test_layers_without_bounds_are_refused(layer):
    network = nn.Sequential(layer, nn.Flatten(), nn.Linear(2, 3))
    mode = mode_alone(Posterior(network, *(torch.empty(0),) * 2))
    name = type(layer).__name__
    with pytest.raises(LecoreError, match=f"no interval bounds are known for {name}"):
        excluded(mode, box_around(torch.rand(1, 1, 2, 2), 0.1))


def test_an_attack_without_steps_is_refused(posterior):
    with pytest.raises(LecoreError, match="steps and starts"):
        attack(posterior, box_around(blobs()[0], 0.1), steps=0)


# The question to local elasticity


def test_risk_is_what_each_box_alone_shows_and_grows(posterior):
    x, _ = blobs(4)
    radii = [0.02, 0.06, 0.12]
    found = elasticity.risk(posterior, x, radii, steps=20, starts=1, seed=0)
    alone = [outcomes(posterior, box_around(x, radius), steps=20) for radius in radii]
    broken = np.stack([one.broken.double().mean(0) for one in alone])
    open_ = np.stack([1 - one.robust.double().mean(0) for one in alone])
    np.testing.assert_allclose(found.broken, broken, atol=1 / 12)
    np.testing.assert_allclose(found.open, open_)
    assert (np.diff(found.broken, axis=0) >= 0).all()
    assert (found.open >= found.broken).all()
    assert found.open[0].mean() < found.open[-1].mean()


def test_a_point_that_was_found_counts_in_larger_boxes(posterior, monkeypatch):
    x, _ = blobs(4)
    calls = []

    def tired(samples, box, **settings):
        calls.append(box)
        if len(calls) == 1:
            return attack(samples, box, **settings)
        return box.center.expand(12, *box.center.shape)

    monkeypatch.setattr(elasticity, "attack", tired)
    found = elasticity.risk(posterior, x, [0.1, 0.12], steps=5, starts=1, seed=0)
    assert found.broken[0].sum() > 0
    np.testing.assert_array_equal(found.broken[0], found.broken[1])
    assert found.successes.shape == (2, 12, 60)


def test_radii_have_to_ascend(posterior):
    with pytest.raises(LecoreError, match="radii must ascend"):
        elasticity.risk(posterior, blobs()[0], [0.2, 0.1], steps=1, starts=1, seed=0)


def test_the_nearest_of_another_class_is_that_of_a_slow_loop():
    (x, y), (others, classes) = blobs(0), blobs(1)
    index, distance = elasticity.nearest_of_another_class(x, y, others, classes)
    for i in range(len(x)):
        candidates = [j for j in range(len(others)) if classes[j] != y[i]]
        nearest = min(candidates, key=lambda j: float((x[i] - others[j]).norm()))
        assert int(index[i]) == nearest
        assert float(distance[i]) == pytest.approx(float((x[i] - others[nearest]).norm()))


def test_one_class_has_no_other():
    x, _ = blobs()
    with pytest.raises(LecoreError, match="no image of another class"):
        elasticity.nearest_of_another_class(x, torch.zeros(60), x, torch.zeros(60))


def test_similarity_to_partners_is_that_of_small_real_steps(posterior):
    (x, y), (partners, _) = blobs(5), blobs(6)
    (found,) = elasticity.similarity_to(posterior, x[:4], y[:4], [partners[:4]], networks=2)
    expected = np.zeros(4)
    for network in itertools.islice(sampled_networks(posterior), 2):
        for i in range(4):
            pair = torch.stack([x[i], partners[i]]).double()
            copied = copy.deepcopy(network).double()
            before = copied(pair)
            step = torch.optim.SGD(copied.parameters(), lr=1e-6)
            cross_entropy(copied(pair[:1])[0], y[i]).backward()
            step.step()
            own, other = (copied(pair) - before).norm(dim=1).tolist()
            expected[i] += other / own / 2
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_margins_are_those_of_a_slow_loop(posterior):
    x, y = blobs(7)
    slow = np.zeros(len(x))
    for network in sampled_networks(posterior):
        for i, outputs in enumerate(network(x).detach()):
            others = [float(value) for k, value in enumerate(outputs) if k != y[i]]
            slow[i] += (max(others) - float(outputs[y[i]])) / 12
    np.testing.assert_allclose(elasticity.margins(posterior, x, y), slow, atol=1e-5)


def test_a_problem_has_partners_of_other_classes():
    one = elasticity.problem(
        "digits", 0, width=16, training=300, images=20, epochs=60, precision=0.5, samples=4
    )
    assert one.images.shape == one.nearest.shape == one.dealt.shape == (20, 1, 8, 8)
    assert (one.posterior.network(one.images).argmax(1) == one.labels).all()
    near = (one.nearest - one.images).flatten(1).norm(dim=1)
    np.testing.assert_allclose(near, one.distance, rtol=1e-5)
    assert ((one.dealt - one.images).flatten(1).norm(dim=1) >= near - 1e-5).all()
    assert 0.5 < one.accuracy <= 1


def test_examples_are_robust_by_different_shares():
    successes = np.random.default_rng(0).random((1, 50, 20)) < np.linspace(0, 1, 20)
    found = elasticity.Risk(1 - successes.mean(1), np.ones((1, 20)), successes)
    shares = [one.mean() for one in elasticity.examples(found, 0).values()]
    np.testing.assert_allclose(shares, [0.95, 0.5, 0.1], atol=0.1)


def test_samples_needed_are_those_of_the_scheme(posterior):
    of = estimate.scheme(0.35, 0.4, 0.2)
    successes = np.ones((1, 12, 2), dtype=bool)
    found = elasticity.Risk(np.zeros((1, 2)), np.zeros((1, 2)), successes)
    expected = estimate.sequential_estimate([True] * 12, of).samples
    assert elasticity.samples_needed(found, of).tolist() == [[expected, expected]]


def test_partial_correlation_follows_from_the_three_plain_ones():
    rng = np.random.default_rng(0)
    z = rng.normal(size=80)
    x, y = z + rng.normal(size=80), rng.normal(size=80) - z
    r = stats.spearmanr(np.stack([x, y, z]), axis=1).statistic
    expected = (r[0, 1] - r[0, 2] * r[1, 2]) / np.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2))
    assert partial_spearman(x, y, z) == pytest.approx(expected)
    assert partial_spearman(x, y) == pytest.approx(r[0, 1])


def test_the_interval_of_a_partial_correlation_covers():
    held = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        z, x, y = rng.normal(size=(3, 40))
        found = partial_interval(x + z, y + z, z, seed=seed, resamples=100)
        held += found.low <= 0 <= found.high
    assert held >= 33  # 38 expected


def test_what_is_constant_has_no_correlation():
    x = np.arange(10.0)
    assert np.isnan(partial_spearman(x, np.ones(10)))
    with pytest.raises(LecoreError, match="the correlation of a constant is undefined"):
        partial_interval(x, x, x)
