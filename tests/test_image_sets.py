"""Two image sets beside Dan et al.'s released numbers, and what the book says of both."""

import pytest

from lecore.companion.published import published_numbers
from lecore.companion.reference_runs import reference
from lecore.studies.dan import image_sets

PAPER = published_numbers("dan-2021")["classification"]
RUNS = {
    "cifar10": reference("dynamics/classification"),
    "cifar100": reference("dynamics/classification", "cifar100"),
}
SHARE = "share of the own class, new as coded"
ACCURACY = "accuracy on training images (%)"
RULED_BY = ("new-true-divergence", "original-one-norm")


def test_released_share_as_it_stands():
    assert image_sets.released_number(PAPER["cifar100"], SHARE) == 0.88


def test_released_accuracy_is_that_of_the_last_epoch_in_per_cent():
    last = PAPER["cifar10"]["training accuracy"]["mean"][-1]
    assert image_sets.released_number(PAPER["cifar10"], ACCURACY) == pytest.approx(100 * last)


def test_nothing_was_released_of_held_out_images():
    row = "accuracy on held-out images (%)"
    assert image_sets.released_number(PAPER["cifar10"], row) is None


@pytest.mark.parametrize("data", RUNS)
def test_reference_runs_have_all_quantities(data):
    ours = image_sets.beside_released(RUNS, PAPER)[data, "ours"]
    assert list(ours) == list(image_sets.ROWS)


def test_cells_in_words():
    record = {"value": 0.5, "low": 0.25, "high": 0.75}
    table = {("a", "released"): {}, ("a", "ours"): {SHARE: record}, ("b", "ours"): {}}
    said = image_sets.said(table, "share")
    assert said[SHARE] == [("—", ""), ("0.50", "0.25 to 0.75"), ("—", "")]
    assert all(row.startswith("share") for row in said)


def chance(data, measure, step):
    return RUNS[data][f"direction-or-size-{measure}-{step}"]


@pytest.mark.parametrize("direction", ["adam", "sgd"])
@pytest.mark.parametrize("measure", RULED_BY)
@pytest.mark.parametrize("data", RUNS)
def test_large_steps_hide_the_preference_of_divergences_and_probabilities(data, measure, direction):
    small, large = (chance(data, measure, f"{direction}-{size}") for size in ("small", "large"))
    assert small["low"] > 0.5
    assert small["value"] > 0.55
    assert large["value"] - 0.5 < 0.2 * (small["value"] - 0.5)  # reversed, or a fifth is left


@pytest.mark.parametrize("direction", ["adam", "sgd"])
def test_large_steps_hide_the_preference_of_logits_on_cifar10_alone(direction):
    small, large = (
        chance("cifar10", "original-of-logits", f"{direction}-{size}")
        for size in ("small", "large")
    )
    assert small["low"] > 0.5 > large["low"]
    assert chance("cifar100", "original-of-logits", f"{direction}-large")["low"] > 0.5


@pytest.mark.parametrize("data", RUNS)
def test_a_true_divergence_reverses_the_order(data):
    assert RUNS[data]["share-new-true-divergence-adam-as-published"]["high"] < 1 / 3
    assert RUNS[data]["share-new-as-coded-adam-as-published"]["low"] > 1 / 3
