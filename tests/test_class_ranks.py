"""Preference by ranks: known matrices, loops, and small runs."""

import numpy as np
import pytest
import torch

from lecore.studies.dan import ranks
from lecore.studies.dan.classification_measures import DEFINITIONS, kernel_measures, signed_change
from lecore.studies.dan.preference import superiority
from lecore.studies.dan.shares import similarities
from tests.test_class_shares import LABELS, random_run

PAIRS = ranks.pairs_of(LABELS)


@pytest.fixture(scope="module")
def followed():
    return [random_run(seed) for seed in range(2)]


def test_pairs_are_of_one_class_or_of_two():
    for i, j in np.ndindex(4, 4):
        assert PAIRS.same[i, j] == (LABELS[i] == LABELS[j])
        assert PAIRS.apart[i, j] == (LABELS[i] == LABELS[j] and i != j)
        assert PAIRS.other[i, j] == (LABELS[i] != LABELS[j])


def test_moments_are_start_end_of_the_first_epoch_and_end():
    looks = np.array([0, 0.2, 0.9, 1.2, 1.9])
    assert ranks.moments(looks) == {"start": 0, "first epoch": 2, "end": 4}
    looks[2] = 1.0
    assert ranks.moments(looks)["first epoch"] == 2


def test_own_measures_are_those_of_every_look(followed):
    found = ranks.own_measures(followed, 0.1)
    assert tuple(found) == ranks.OWN_MEASURES
    one, targets = followed[1], torch.tensor(followed[1]["labels"])
    expected = signed_change(torch.tensor(one["adam"][3]), targets[:4])
    np.testing.assert_allclose(found["signed logit, Adam"][1, 3], expected)
    z, kernel = torch.tensor(one["logits"][3]), torch.tensor(one["kernel"][3])
    for name, matrix in kernel_measures(z, targets, kernel).items():
        np.testing.assert_allclose(found[name][1, 3], matrix[:4])


def test_ranked_definitions_are_looked_up(followed):
    found = similarities(followed, 0.1)
    ranked = ranks.ranked_definitions(found)
    assert ranked["new, as coded, no update"] is found["new, as coded", "none"].similarity
    assert len(ranked) == 6


def test_chances_on_training_points_leave_out_self_pairs():
    values = np.zeros((3, 3, 4, 8))
    values[:, :, range(4), range(4)] = 9.0
    values[:, 1, :, :4] -= PAIRS.apart
    values[:, 2, :, 4:] += PAIRS.same
    curves = ranks.superiority_curves(values, PAIRS)
    np.testing.assert_allclose(curves["training"], [[0.5, 0, 0.5]] * 3)
    np.testing.assert_allclose(curves["held-out"], [[0.5, 0.5, 1]] * 3)
    numbers = ranks.superiority_numbers(curves, {"start": 0, "end": 2})
    assert numbers["held-out", "end"] == (1, 1, 1, 3)
    assert numbers["training", "start"].value == 0.5


def test_ratio_and_signs_of_known_matrices():
    kernel = np.where(PAIRS.same, 0.6, 0.2)[None].repeat(3, axis=0)
    kernel[:, range(4), range(4)] = 1.0
    assert ranks.intraclass_ratio(kernel, PAIRS) == pytest.approx((75, 75, 75, 3))
    signs = ranks.stiffness_signs(kernel - 0.4, PAIRS)
    assert signs["within"].value == 1
    assert signs["between"].value == -1


def test_blocks_are_medians_over_pairs_and_means_over_runs():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 4, 4))
    block = ranks.class_block(values, LABELS)
    assert block[0, 1] == pytest.approx(np.median(values[:, :2, 2:], axis=(1, 2)).mean())
    within = [np.median([one[0, 1], one[1, 0]]) for one in values]
    assert block[0, 0] == pytest.approx(np.mean(within))
    entry = ranks.block_record(np.array([[5.0, 1.0], [2.0, 6.000001]]))
    assert entry["value"] == pytest.approx(4)
    assert entry["block"] == [[5, 1], [2, 6]]


def test_signed_logits_are_shown_by_the_own_change(followed):
    measures = ranks.own_measures(followed, 0.1)
    numbers = ranks.moment_numbers(measures, LABELS, "end", 4)
    at = measures["signed logit"][:, 4, :, :4]
    by_own = np.array([[row / row[i] for i, row in enumerate(matrix)] for matrix in at])
    expected = ranks.block_record(ranks.class_block(by_own, LABELS))
    assert numbers["block", "signed logit", "end"] == expected
    assert numbers["rr", "end"]["digits"] == 1
    assert len(numbers) == 6


def test_first_order_is_measured_against_the_step(followed):
    rng = np.random.default_rng(0)
    exact = rng.normal(size=(4, 8, 2))
    runs = [{"exact": exact, "first_order": exact * scale} for scale in (1.0, 0.75)]
    numbers = ranks.first_order_numbers(runs, PAIRS)
    assert numbers["sgd-first-order-error"] == pytest.approx(0.25)
    size = np.linalg.norm(exact, axis=2)
    chance = superiority(size[:, :4], PAIRS.apart, PAIRS.other).mean()
    assert numbers["superiority after training", "exact"] == pytest.approx(chance)
    assert numbers["superiority after training", "first_order"] == pytest.approx(chance)


def test_a_step_that_does_not_move_its_own_point_counts_by_the_others():
    exact = np.random.default_rng(0).normal(size=(4, 8, 2))
    exact[1, 1] = 0
    numbers = ranks.first_order_numbers([{"exact": exact, "first_order": exact}], PAIRS)
    size = np.linalg.norm(exact, axis=2)[:, :4]
    chance = superiority(size, PAIRS.apart, PAIRS.other).mean()
    assert numbers["superiority after training", "exact"] == pytest.approx(chance)


def test_small_steps_are_taken_to_the_limit():
    rng = np.random.default_rng(1)
    steps = {kind: rng.normal(size=(4, 8, 2)) for kind in ranks.KINDS}
    one = {"logits": rng.normal(size=(8, 2))} | steps
    found = ranks.direction_or_size([one], PAIRS)
    assert len(found) == 16
    tenth = one | {"SGD small": one["SGD small"] / 10, "SGD large": one["SGD large"] * 10}
    again = ranks.direction_or_size([tenth], PAIRS)
    for name in ranks.COMPARED:
        assert again[name, "SGD small"] == found[name, "SGD small"]
    z, change = (torch.tensor(one[part]) for part in ("logits", "Adam large"))
    similarity = DEFINITIONS["new, true divergence"](z, change).similarity[:, :4].numpy()
    chance = superiority(similarity, PAIRS.apart, PAIRS.other).mean()
    assert found["new, true divergence", "Adam large"].value == pytest.approx(chance)
