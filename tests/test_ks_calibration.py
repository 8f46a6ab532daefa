"""Calibration by splines: against scipy's statistics, slow loops, and what is known beforehand."""

import copy

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.interpolate import CubicSpline
from scipy.special import softmax

from lecore import LecoreError
from lecore.losses import cross_entropy
from lecore.studies.neighbours import calibration_error as ks
from lecore.studies.neighbours import held_out as parts
from lecore.studies.neighbours import ks_calibration as maps
from lecore.studies.neighbours import ks_elasticity as elasticity

RNG = np.random.default_rng(0)
SMALL = {"training": 20, "calibration": 30, "tests": 30, "width": 5}


def overconfident(n, power=0.5, seed=0):
    """Scores whose hits have the chance score ** (1 / power)."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.3, 1, n)
    return scores, (rng.random(n) < scores ** (1 / power)).astype(float)


def test_the_error_is_scipys_statistic_where_both_are_defined():
    tenths = RNG.integers(1, 10, 400)
    hits = np.zeros(400)
    hits[RNG.permutation(400)[: tenths.sum() // 10]] = 1
    tenths[0] += 10 * int(hits.sum()) - tenths.sum()  # as many hits as scores say
    scores = tenths / 10
    expected = stats.ks_2samp(np.repeat(scores, tenths), scores[hits == 1]).statistic
    assert ks.ks_error(scores, hits) == pytest.approx(expected * hits.mean(), rel=1e-12)


def test_the_error_is_that_of_a_slow_loop():
    scores, hits = overconfident(50)
    sums = [np.sum((scores - hits)[scores <= limit]) / 50 for limit in scores]
    assert ks.ks_error(scores, hits) == pytest.approx(np.abs(sums).max(), rel=1e-12)


def test_equal_scores_have_no_order():
    scores = np.repeat([0.2, 0.5, 0.9], 20)
    hits = np.tile([1.0, 0.0, 0.0, 1.0], 15)
    turned = RNG.permutation(60)
    gap, other = ks.cumulative_gap(scores, hits), ks.cumulative_gap(scores[turned], hits[turned])
    np.testing.assert_allclose(gap, other, rtol=1e-12)
    assert len(gap[0]) == 4


def test_scores_that_are_always_right_or_always_wrong_by_a_half():
    assert ks.ks_error([0, 1, 1], [0, 1, 1]) == 0
    assert ks.ks_error([0.5, 0.5], [0, 0]) == 0.5


def test_binned_error_is_that_of_a_slow_loop():
    scores, hits = overconfident(80)
    total = 0.0
    for low in np.arange(15) / 15:
        inside = (scores >= low) & ((scores < low + 1 / 15) | (low == 14 / 15))
        if inside.any():
            total += inside.mean() * abs(scores[inside].mean() - hits[inside].mean())
    assert ks.binned_error(scores, hits) == pytest.approx(total, rel=1e-12)


def test_choices_are_those_of_a_slow_loop():
    p, y = softmax(RNG.normal(size=(40, 5)), axis=1), RNG.integers(0, 5, 40)
    for r in range(1, 6):
        choice, within = ks.top(p, y, r), ks.within_top(p, y, r)
        for i in range(40):
            places = sorted(range(5), key=lambda k, row=p[i]: -row[k])
            assert choice.scores[i] == p[i, places[r - 1]]
            assert choice.hits[i] == (places[r - 1] == y[i])
            assert within.scores[i] == pytest.approx(p[i, places[:r]].sum())
            assert within.hits[i] == (y[i] in places[:r])


def test_the_temperature_is_where_the_likelihood_does_not_change():
    z, y = 4 * RNG.normal(size=(300, 4)), RNG.integers(0, 4, 300)
    z[np.arange(300), y] += 4
    t = torch.tensor(maps.temperature(z, y), dtype=torch.float64, requires_grad=True)
    torch.nn.functional.cross_entropy(torch.tensor(z) / t, torch.tensor(y)).backward()
    assert abs(float(t.grad)) < 1e-6


def test_the_temperature_of_sharpened_logits_is_their_factor():
    z = RNG.normal(size=(4000, 3))
    y = np.array([RNG.choice(3, p=row) for row in softmax(z, axis=1)])
    assert maps.temperature(7 * z, y) == pytest.approx(7 * maps.temperature(z, y), rel=1e-6)
    assert maps.temperature(z, y) == pytest.approx(1, abs=0.1)


def test_no_other_natural_spline_is_closer_to_the_gap():
    scores, hits = overconfident(40)
    scores = scores.round(1)  # ties
    spline = maps.fit_spline(scores, hits, knots=4).gap
    share, gap = ks.cumulative_gap(scores, hits)
    counts = np.append(1, np.unique(scores, return_counts=True)[1])

    def left(heights):
        other = CubicSpline([0, 1 / 3, 2 / 3, 1], heights, bc_type="natural")
        return np.sum(counts * (other(share) + gap) ** 2)

    best = spline(np.array([0, 1 / 3, 2 / 3, 1]))
    for k in range(4):
        for push in (-1e-3, 1e-3):
            assert left(best + push * np.eye(4)[k]) > left(best)


def test_a_spline_finds_the_chance_that_was_put_in():
    scores, hits = overconfident(60_000)
    fitted = maps.fit_spline(scores, hits)
    at = np.linspace(0.4, 0.95, 12)
    np.testing.assert_allclose(fitted(at), at**2, atol=0.03)


def test_calibrated_scores_are_left_as_they_are():
    rng = np.random.default_rng(1)
    scores = rng.random(60_000)
    hits = (rng.random(60_000) < scores).astype(float)
    at = np.linspace(0.05, 0.95, 10)
    np.testing.assert_allclose(maps.fit_spline(scores, hits)(at), at, atol=0.03)


def test_a_monotone_spline_never_falls():
    scores, hits = overconfident(60, seed=3)
    free, monotone = (maps.fit_spline(scores, hits, 12, monotone=m) for m in (False, True))
    at = np.linspace(0, 1, 500)
    assert (np.diff(free(at)) < 0).any()
    assert (np.diff(monotone(at)) >= 0).all()


def test_a_spline_does_not_depend_on_the_order_of_ties():
    scores = np.repeat(np.linspace(0.3, 1, 10), 8)
    hits = (RNG.random(80) < scores).astype(float)
    turned = RNG.permutation(80)
    at = np.linspace(0, 1, 30)
    one, other = (
        maps.fit_spline(scores, hits),
        maps.fit_spline(scores[turned], hits[turned]),
    )
    np.testing.assert_allclose(one(at), other(at), rtol=1e-9)


def test_new_images_are_calibrated_after_the_spline():
    scores, hits = overconfident(20_000, seed=5)
    fitted = maps.fit_spline(scores[:10_000], hits[:10_000])
    after = ks.ks_error(fitted(scores[10_000:]), hits[10_000:])
    assert after < 0.1 * ks.ks_error(scores[10_000:], hits[10_000:])


def test_more_knots_follow_a_narrow_dent():
    rng = np.random.default_rng(0)
    scores = rng.random(40_000)
    hits = (rng.random(40_000) < scores - 0.3 * ((scores > 0.3) & (scores < 0.4))).astype(float)
    held, test = ks.Scores(scores[::2], hits[::2]), ks.Scores(scores[1::2], hits[1::2])
    few, many = maps.by_knots(held, test, [3, 24], 20_000)
    assert many < few / 2
    spline = maps.fit_spline(held.scores[:900], held.hits[:900], 5)
    assert maps.by_knots(held, test, [5], 900) == [ks.ks_error(spline(test.scores), test.hits)]
    with pytest.raises(LecoreError, match="99999 calibration images are wanted, and there are 200"):
        maps.by_knots(held, test, [5], 99_999)


def test_chance_is_what_hits_drawn_by_the_scores_have():
    scores = np.full(400, 0.5)
    expected = np.sqrt(2 / np.pi) * 0.5 / np.sqrt(400)  # one tie: |mean of 400 coins − ½|
    assert ks.chance_error(scores, draws=2000) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: maps.fit_spline([0.5, 0.6, 0.7], [1, 1, 1], 2),
            "all of these 3 predictions",
        ),
        (
            lambda: maps.fit_spline([0.5] * 9, [0, 1, 1] * 3),
            "1 distinct scores are fewer than 6",
        ),
        (
            lambda: maps.fit_spline([0.5, 0.6], [0, 1], 3),
            "2 distinct scores are fewer than 3 knots",
        ),
        (
            lambda: maps.fit_spline([0.5, 0.6], [0, 1], 1),
            "knots must be a whole number from 2 on",
        ),
        (lambda: maps.temperature(np.eye(3), [1, 1, 1]), "all 3 labels are of class 1"),
        (lambda: maps.temperature(np.eye(3), [0, 1, 2]), "since no prediction is wrong"),
        (
            lambda: maps.temperature(np.eye(3), [1, 2, 0]),
            "since labels have logits below average",
        ),
        (lambda: ks.ks_error([1.2], [1]), "between 0 and 1; give probabilities"),
        (lambda: ks.ks_error([0.2], [2]), "hits must be 0 or 1"),
        (lambda: ks.ks_error([], []), "need n scores and n hits"),
        (lambda: ks.binned_error([0.2], [1], 0), "bins must be a whole number above 0"),
        (lambda: ks.top(np.eye(3), [0, 1, 2], 4), "r must be 1 to 3"),
        (lambda: ks.top(np.eye(3), [0, 1]), "need one number a class"),
        (lambda: ks.top(np.full((2, 2), np.nan), [0, 1]), "not finite"),
    ],
)
def test_unfit_calibration_sets_are_refused_in_one_line(call, says):
    with pytest.raises(LecoreError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ({"training": 0}, "training must be a whole number above 0"),
        ({"tests": 9999}, "digits has 1797 images"),
        ({"spare": -1}, "spare must be a whole number from 0 on"),
    ],
)
def test_parts_that_the_set_does_not_have_are_refused(counts, says):
    with pytest.raises(LecoreError, match=says):
        parts.untrained("digits", 0, **SMALL | counts)


@pytest.fixture(scope="module")
def problem():
    return parts.held_out("digits", 0, epochs=2, **SMALL)


def test_no_image_is_in_two_parts(problem):
    rows = [
        part.images.flatten(1) for part in (problem.training, problem.calibration, problem.test)
    ]
    apart = [torch.cdist(a, b).min() for a, b in zip(rows, rows[1:] + rows[:1], strict=True)]
    assert min(apart) > 0


def test_spare_images_leave_the_others_as_they_are(problem):
    more = parts.untrained("digits", 0, spare=7, **SMALL)
    assert len(more.spare.labels) == 7
    for a, b in zip(more[1:4], problem[1:4], strict=True):
        assert torch.equal(a.images, b.images)


def test_a_step_is_a_real_step_on_a_copy(problem):
    x, y = problem.test.images[:4].double(), problem.test.labels[:4]
    found = elasticity.moved(problem.network, problem.test, 0.1).change
    for i in range(4):
        stepped = copy.deepcopy(problem.network).double()
        before = stepped(x).detach()
        optimizer = torch.optim.SGD(stepped.parameters(), lr=0.1)
        cross_entropy(stepped(x[i : i + 1])[0], y[i]).backward()
        optimizer.step()
        torch.testing.assert_close(found[i, :4], stepped(x).detach() - before, rtol=0, atol=1e-10)


def test_changes_of_the_confidence_are_differences_of_probabilities(problem):
    found = elasticity.moved(problem.network, problem.test, 1.0)
    spline = maps.fit_spline(*overconfident(200))
    for i, j in ((0, 1), (5, 2), (3, 3)):
        before, after = (z.numpy() for z in (found.logits[j], found.logits[j] + found.change[i, j]))
        k = before.argmax()
        cooled = softmax(after / 3)[k] - softmax(before / 3)[k]
        assert float(elasticity.confidence_change(found, 3.0)[i, j]) == pytest.approx(cooled)
        expected = spline(softmax(after)[k]) - spline(softmax(before)[k])
        change = elasticity.recalibrated_change(found, spline)[i, j]
        assert float(change) == pytest.approx(expected, abs=1e-12)


def test_class_preference_is_that_of_a_slow_loop_and_no_matter_of_rows():
    size, labels = RNG.random((12, 12)), np.arange(12) % 3
    ratios = []
    for i in range(12):
        same = [size[i, j] for j in range(12) if j != i and labels[j] == labels[i]]
        other = [size[i, j] for j in range(12) if labels[j] != labels[i]]
        ratios.append(np.mean(same) / np.mean(other))
    found = elasticity.class_preference(size, labels)
    assert found == pytest.approx(np.median(ratios))
    pairs = [(i, j) for i in range(12) for j in range(12) if i != j]
    same, other = (
        np.median([size[i, j] for i, j in pairs if (labels[i] == labels[j]) == alike])
        for alike in (True, False)
    )
    assert elasticity.class_preference(size, labels, pooled=True) == pytest.approx(same / other)
    rows = size * RNG.uniform(0.1, 9, (12, 1))
    assert elasticity.class_preference(rows, labels) == pytest.approx(found)


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 0, 0, 1]])
def test_a_preference_needs_pairs_of_both_kinds(labels):
    with pytest.raises(LecoreError, match="each class needs two points"):
        elasticity.class_preference(np.ones((4, 4)), labels)


def test_a_temperature_leaves_relative_similarity_alone(problem):
    found = elasticity.moved(problem.network, problem.test, 0.1)
    spline = maps.fit_spline(*overconfident(200))
    numbers = elasticity.preferences(found, 3.7, spline)
    assert numbers.logits_difference < 1e-10
    assert numbers.temperature != pytest.approx(numbers.confidence, rel=1e-3)


def test_training_with_looks_ends_where_training_without_does(problem):
    watched = parts.untrained("digits", 0, **SMALL)
    path = elasticity.through_training(
        watched, epochs=2, seed=0, number=2, probes=5, learning_rate=0.1
    )
    assert path.steps.tolist() == [0, 1, 2]
    for a, b in zip(watched.network.parameters(), problem.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_series_that_only_drift_are_correlated_and_their_changes_are_not():
    steps, rng = np.arange(400.0), np.random.default_rng(0)
    drifting = [steps / 100 + rng.normal(size=400).cumsum() / 40 for _ in range(2)]
    path = elasticity.Path(steps, steps, drifting[0], steps, -drifting[1])
    levels, changes = elasticity.together(path, 0)
    assert levels < -0.9
    assert abs(changes) < 0.15
    assert elasticity.together(path, 0)[0] == pytest.approx(
        stats.spearmanr(drifting[0], -drifting[1]).statistic
    )
