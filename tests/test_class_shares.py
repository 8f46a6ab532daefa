"""Intraclass shares of followed runs: by loops, and on runs of known similarity."""

import numpy as np
import pytest
import torch

from lecore.studies.dan import shares
from lecore.studies.dan.classification_measures import EPSILON, original_of_logits, steps_of
from lecore.studies.dan.shares import Looked

LABELS = np.array([0, 0, 1, 1])
LOOKS = np.array([0.0, 0.5, 1.0, 1.5, 2.0])


def random_run(seed, looks=5):
    """What following a run gives, of 4 probes, 4 held-out points and two classes."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(looks, 8, 2, 6))
    return {
        "labels": np.tile(LABELS, 2), "logits": rng.normal(size=(looks, 8, 2)),
        "adam": rng.normal(size=(looks, 4, 8, 2)), "steps_per_epoch": np.array(2),
        "kernel": np.einsum("ticw,tjkw->tijck", root, root),
    }  # fmt: skip


@pytest.fixture(scope="module")
def followed():
    return [random_run(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def found(followed):
    return shares.similarities(followed, 0.1)


def looked(seed=0):
    rng = np.random.default_rng(seed)
    return Looked(1 + rng.random((3, 5, 4, 8)), 1 + rng.random((3, 5, 4)))


def test_every_run_and_look_has_its_own_place(followed, found):
    similarity, own = found["original, of logits", "SGD"]
    assert similarity.shape == (3, 5, 4, 8)
    for k, one in enumerate(followed):
        for t, (z, change) in enumerate(steps_of(one, "SGD", 0.1)):
            expected = original_of_logits(z, change)
            np.testing.assert_allclose(similarity[k, t], expected.similarity)
            np.testing.assert_allclose(own[k, t], expected.own)
    assert [name for name, step in found if step == "none"] == ["new, as coded"]
    assert len(found) == 11


def test_agreement_by_a_loop(followed):
    found = shares.agreements(followed, "Adam", 0.1)
    one = followed[1]
    p = torch.tensor(one["logits"][2]).softmax(1)
    after = torch.tensor(one["logits"][2] + one["adam"][2]).softmax(2)
    np.testing.assert_allclose(found[1, 2], (p * (after - p)).sum(2))


def test_class_means_leave_out_the_start_and_take_the_points_asked_for():
    one = looked()
    training, held_out = (shares.looks_by_class(one, LABELS, held_out=h) for h in (False, True))
    assert training.shape == (3, 4, 2, 2)
    assert training[2, 0, 1, 0] == pytest.approx(one.similarity[2, 1, 2:, :2].mean())
    assert held_out[2, 0, 1, 0] == pytest.approx(one.similarity[2, 1, 2:, 4:6].mean())
    ratio = shares.looks_by_class(one, LABELS, average="ratio of means")[0, 3, 0, 1]
    above = (one.similarity[0, 4, :2, 2:4] * one.own[0, 4, :2, None]).mean()
    assert ratio == pytest.approx(above / one.own[0, 4, :2].mean())
    curves = shares.class_curves(one, LABELS)
    np.testing.assert_array_equal(curves["1", "0"], training[:, :, 1, 0])


def test_first_and_last_epoch_are_those_after_the_start():
    assert shares.first_epoch(LOOKS).tolist() == [True, True, False, False]
    assert shares.last_epoch(LOOKS).tolist() == [False, False, True, True]
    uneven = np.array([0, 1 / 7, 1.0, 8 / 7, 15 / 7, 20 / 7])  # the third epoch has no last step
    assert shares.last_epoch(uneven).tolist() == [False, False, False, True, True]


def test_a_class_that_prefers_itself_only_at_the_end_is_seen_there():
    similarity = np.ones((3, 5, 4, 8))
    similarity[:, 3:, :2, :2] += 1  # the first class, in the second epoch, on training points
    similarity[:, :3, :2, 2:4] += 1
    similarity[:, :, 2:, :2] += 1
    known = {("new, as coded", "Adam"): Looked(similarity, np.ones((3, 5, 4)))}
    table = shares.share_table(known, LABELS, LOOKS, seed=0)
    assert table["new, as coded", "Adam", "as published"].value == pytest.approx(1 / 4)
    assert table["new, as coded", "Adam", "last epoch"].value == pytest.approx(1 / 2)
    assert table["new, as coded", "Adam", "held-out points"].value == 0
    assert 0 < table["new, as coded", "Adam", "labels permuted"] < 1
    assert len(table) == 7


def test_growth_and_denominators_of_known_curves():
    one = looked()
    similarity, own = one.similarity.copy(), np.ones((3, 5, 4))
    similarity[:, 1:3], similarity[:, 3:] = 1.0, 3.0
    similarity[:, 3:, :2, 2:4] = similarity[:, 3:, 2:, :2] = 5.0
    own[:, 3:] = 0.25
    known = Looked(similarity, own)
    grown = shares.growth(known, LABELS, LOOKS)
    assert grown["intraclass"] == pytest.approx((3, 3, 3, 3))
    assert grown["interclass"] == pytest.approx((5, 5, 5, 3))
    assert shares.denominators(known, LOOKS) == {"first": 1, "last": 0.25}
    assert shares.self_similarity_error(known) == pytest.approx(2)


def test_epsilon_rules_where_denominators_are_small():
    similarity, own = np.ones((1, 5, 4, 8)), np.ones((1, 5, 4))
    similarity[..., 0, :2] = 2.0
    similarity[..., 1, 2:4] = 2.5
    own[..., 1] = EPSILON / 100
    undamped = Looked(similarity, np.ones((1, 5, 4)))
    assert shares.share_with_epsilon(undamped, LABELS) == 0
    assert shares.share_with_epsilon(Looked(similarity, own), LABELS) == 0.5


def test_agreement_is_told_without_self_pairs():
    agreement = np.zeros((2, 5, 4, 8))
    agreement[:, :, range(4), range(4)] = -9.0
    agreement[:, :, [0, 1], [1, 0]] = 0.5
    agreement[:, :, 2:, :2] = -0.25
    numbers = shares.agreement_numbers(agreement, LABELS)
    assert numbers["share"].value == 1
    assert numbers["within"] == pytest.approx(0.25)
    assert numbers["between"] == pytest.approx(-0.125)


def test_claims_find_their_shares(found):
    table = shares.share_table(found, LABELS, LOOKS, seed=0)
    numbers = shares.claimed_numbers(found, table, LABELS, LOOKS)
    share = table["new, true divergence", "Adam", "last epoch"]
    assert numbers["divergence-intraclass-share-last-epoch"] == share
    assert numbers["original-consistent-self-similarity-error"] < 1e-12
    assert len(numbers) == 6 + 1 + 4 + 2 + 1
