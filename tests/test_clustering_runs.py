"""Runs of He & Su's tables: their settings, and what is measured."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from lecore import losses, models
from lecore.changes import prediction_change
from lecore.clustering.algorithm_one import similarities_from_fixed_weights
from lecore.similarity import relative_similarity, symmetrized
from lecore.studies.he_su.as_coded import similarities_by_tripling
from lecore.studies.he_su.linear_networks import linear_network
from lecore.studies.he_su.measure import build, measure
from lecore.studies.he_su.problems import CIFAR10_PAIRS, MNIST_PAIRS
from lecore.studies.he_su.runs import (
    Run,
    comparison_runs,
    he_su_run,
    runs_of_pairs,
    training_settings,
)
from lecore.studies.he_su.similarities import exact_similarities

SMALL = {
    "width": 16, "epochs": 2, "per_class": 12, "auxiliary_size": 24, "rate_share": 0.5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("data", "pair", "changes", "rate", "epochs", "batch", "width"),
    [
        ("mnist", "5v8", {}, 3e-3, 200, 50, 40960),
        ("mnist", "3v5", {}, 3e-3, 200, 500, 40960),
        ("mnist", "5v8", {"activation": "linear"}, 3e-5, 200, 50, 40960),
        ("mnist", "5v8", {"loss": "cross-entropy"}, 3e-3, 50, 50, 40960),
        ("mnist", "4v9", {"loss": "cross-entropy", "activation": "linear"}, 3e-3, 50, 50, 40960),
        ("mnist", "5v8", {"method": "cnn"}, 3e-3, 200, 500, 40960),
        ("mnist", "5v8", {"method": "skip"}, 3e-3, 200, 500, 4096),
        ("cifar10", "car v cat", {"loss": "cross-entropy"}, 3e-3, 200, 500, 40960),
        ("mnist", "5v8", {"width": 8, "epochs": 0}, 3e-3, 0, 50, 8),
    ],
)
def test_the_settings_of_the_paper(data, pair, changes, rate, epochs, batch, width):
    run = he_su_run(data, *(MNIST_PAIRS | CIFAR10_PAIRS)[pair], **changes)
    found = (run.learning_rate, run.epochs, run.batch_size, run.width)
    assert found == (rate, epochs, batch, width)


EXACT = [(name, "exact") for name in ("relative", "kernelized", "normalized kernelized")]
LOGITS = [("relative", "logits"), ("kernelized", "logits")]
CODED = [("relative", "as coded"), ("kernelized", "as coded")]
NONE = [(None, None)]


@pytest.mark.every(3)
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, EXACT),
        ({"activation": "linear"}, EXACT),
        ({"activation": "linear", "epochs": 0}, EXACT),
        ({"method": "skip"}, EXACT),
        ({"method": "cnn", "epochs": 1}, EXACT),
        ({"method": "pixels"}, NONE),
        ({"method": "principal"}, NONE),
        ({"method": "autoencoder", "epochs": 1}, NONE),
        ({"loss": "cross-entropy"}, EXACT + LOGITS),
        ({"loss": "cross-entropy", "activation": "linear"}, EXACT + LOGITS),
        ({"loss": "cross-entropy", "as_coded": True}, EXACT + LOGITS + CODED),
    ],
)
def test_every_kind_of_run_gives_the_same_shape_of_result(changes, expected):
    result = measure(he_su_run("digits", (5, 8), (3, 9), **(SMALL | changes)))
    assert set(result) == {"clusterings", "numbers", "looks", "diverged", "seconds"}
    assert json.loads(json.dumps(result)).keys() == result.keys()
    assert result["diverged"] is None
    found = [(c["similarity"], c["way"]) for c in result["clusterings"]]
    assert found[: len(expected)] == expected
    assert set(found[len(expected) :]) <= {("normalized kernelized", "as coded")}
    for clustering in result["clusterings"]:
        assert 50 <= clustering["scores"]["official"].accuracy <= 100
    assert ("tripled percent" in result["numbers"]) == ("as_coded" in changes)
    if "rate over limit" in result["numbers"]:
        assert result["numbers"]["rate over limit"] == pytest.approx(0.5)
        assert 0 <= result["numbers"]["training accuracy"] <= 100


@pytest.mark.thorough
def test_looks_are_at_the_first_and_last_step_and_untrained_networks_have_none():
    run = he_su_run("digits", (5, 8), (3, 9), **SMALL, looks=4, batch_size=12)
    steps = [look["step"] for look in measure(run)["looks"]]
    assert steps[0] == 0
    assert steps[-1] == 2 * 4
    assert steps == sorted(set(steps))
    untrained = he_su_run("digits", (5, 8), (3, 9), **(SMALL | {"epochs": 0}), looks=4)
    assert measure(untrained)["looks"] == []


def test_the_last_look_finds_what_the_trained_network_is_clustered_into():
    run = he_su_run("digits", (5, 8), (3, 9), **SMALL, looks=2)
    result = measure(run)
    at_end = {c["similarity"]: c["scores"]["official"].accuracy for c in result["clusterings"]}
    assert result["looks"][-1]["accuracies"] == at_end


def test_a_run_that_runs_away_says_so():
    result = measure(he_su_run("digits", (5, 8), (3, 9), **(SMALL | {"rate_share": 1e20})))
    assert result["diverged"]
    assert result["clusterings"] == []


def test_the_same_run_gives_the_same_numbers():
    run = he_su_run("digits", (5, 8), (3, 9), **SMALL)
    first, second = measure(run), measure(run)
    assert first["clusterings"] == second["clusterings"]


def by_name(network, x, loss):
    return {(s.name, s.way): s.matrix for s in exact_similarities(network, x, loss)}


def test_similarities_of_probabilities_are_those_of_small_steps():
    run = Run(data="digits", primary=(5, 8), auxiliary=(3,), loss="cross-entropy", width=16)
    network = build(run, torch.Size([1, 2, 3])).double()
    x = torch.randn(8, 1, 2, 3, dtype=torch.float64)
    found = by_name(network, x, run.loss)
    change = prediction_change(
        network, x, torch.ones(8, 1), learning_rate=1e-7, loss=losses.binary_cross_entropy
    )
    expected = symmetrized(relative_similarity(change)).numpy()
    np.testing.assert_allclose(found["relative", "exact"], expected, rtol=1e-5)
    of_logits = symmetrized(
        relative_similarity(
            prediction_change(network[:-1], x, torch.ones(8, 1) * 9, learning_rate=1e-7)
        )
    )
    np.testing.assert_allclose(found["relative", "logits"], of_logits.numpy(), rtol=1e-5)


def test_networks_without_width_have_the_same_similarities():
    for loss in ("squared", "cross-entropy"):
        run = Run(
            data="digits", primary=(5, 8), auxiliary=(3,), loss=loss, width=16, activation="linear"
        )
        network = build(run, torch.Size([6])).double()
        x = torch.randn(8, 6, dtype=torch.float64)
        full, short = (by_name(n, x, loss) for n in (network, linear_network(network)))
        assert full.keys() == short.keys()
        for name in full:
            np.testing.assert_allclose(short[name], full[name], rtol=1e-9)


def test_features_are_no_network():
    run = Run(data="digits", primary=(5, 8), auxiliary=(3,), method="pixels")
    with pytest.raises(ValueError, match="choose two-layer, cnn or skip"):
        build(run, torch.Size([1, 8, 8]))


def test_tripling_does_nothing_where_float32_suffices():
    model = models.two_layer(4, 64, seed=3)
    x, before = torch.randn(6, 4), {k: v.clone() for k, v in model.state_dict().items()}
    coded = similarities_by_tripling(model, x, torch.ones(6, 1), loss="squared", learning_rate=1e-3)
    exact = similarities_from_fixed_weights(model, x, torch.ones(6, 1), learning_rate=1e-3)
    assert torch.equal(coded.learning_rates, torch.full((6,), 1e-3))
    torch.testing.assert_close(
        coded.similarities.relative.double(), exact.relative, rtol=1e-3, atol=1e-3
    )
    torch.testing.assert_close(
        coded.similarities.kernelized.double(), exact.kernelized, rtol=1e-3, atol=1e-2
    )
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_tripling_moves_saturated_probabilities_by_single_units():
    model = models.two_layer(4, 64, probability=True, seed=3)
    with torch.no_grad():
        model[3].bias += 12.0
    coded = similarities_by_tripling(
        model, torch.randn(6, 4), torch.ones(6, 1), loss="cross-entropy"
    )
    assert (coded.learning_rates > 1e-6).all()
    assert (coded.own_units <= 8).all()


@pytest.mark.parametrize(("loss", "probability"), [("cross-entropy", True), ("squared", False)])
def test_tripling_goes_on_where_a_point_has_no_kernelized_similarity(loss, probability):
    model = models.two_layer(4, 64, probability=probability, seed=3)
    x = torch.randn(6, 4)
    with torch.no_grad():
        model[3].bias += 60.0 if probability else 1 - model(x)[0]
    coded = similarities_by_tripling(model, x, torch.ones(6, 1), loss=loss).similarities
    undefined = coded.kernelized.isnan()
    assert undefined.all() if probability else undefined[0].all() and not undefined[1:, 1:].any()


def test_cheap_rows_of_the_tables_have_replicates_of_their_own():
    runs = comparison_runs(
        "mnist", [((5, 8), (3, 9))], replicates=2, cheap_replicates=4, coded_width=64, width=32
    )
    counts = Counter((run.method, run.activation, run.loss) for run in runs)
    assert counts == {
        ("pixels", "relu", "squared"): 4,
        ("principal", "relu", "squared"): 4,
        ("two-layer", "linear", "squared"): 4,
        ("two-layer", "linear", "cross-entropy"): 2,
        ("two-layer", "relu", "squared"): 2,
        ("two-layer", "relu", "cross-entropy"): 2,
    }
    first = [run for run in runs if run.sample is None]
    assert len(first) == 6
    assert all(run.seed == 0 for run in first)
    assert {run.width for run in runs if run.loss == "cross-entropy"} == {64}
    assert len({run.seed for run in runs}) == 4


def test_linear_networks_with_the_cross_entropy_may_be_narrower():
    runs = comparison_runs(
        "digits", [((5, 8), (3,))], losses=["cross-entropy"], coded_width=50, control_width=7
    )
    assert {r.activation: r.width for r in runs if r.as_coded} == {"relu": 50, "linear": 7}


def test_a_page_that_says_0_takes_the_paper_s_own_training():
    assert training_settings(0, 0.0) == {"rate_share": None}
    assert training_settings(5, 0.5) == {"rate_share": 0.5, "epochs": 5}


def test_each_pair_has_the_paper_s_images_once_and_random_ones_after():
    pairs = [MNIST_PAIRS["5v8"], MNIST_PAIRS["3v5"]]
    runs = runs_of_pairs("mnist", pairs, 3, seed=7, width=8)
    assert [run.primary for run in runs] == [(5, 8)] * 3 + [(3, 5)] * 3
    assert [run.seed for run in runs] == [7, 8, 9] * 2
    assert [run.sample for run in runs] == [None, 8, 9] * 2
    assert {run.batch_size for run in runs[:3]} == {50}
    assert {run.batch_size for run in runs[3:]} == {500}


@pytest.mark.thorough
@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_the_order_has_a_seed_of_its_own(activation):
    run = he_su_run("digits", (5, 8), (3, 9), **SMALL, seed=3, activation=activation, batch_size=12)
    plain, same, other = (measure(replace(run, order=order))["numbers"] for order in (None, 3, 4))
    assert plain == same
    assert other["rate over limit"] == plain["rate over limit"]  # of the same first weights
    assert other["last loss"] != plain["last loss"]
