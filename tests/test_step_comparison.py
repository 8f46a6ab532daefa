"""Directions and sizes of steps on a trained classifier."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lecore.studies.dan.classification import classifier, train_classifier
from lecore.studies.dan.problem import Classification
from lecore.studies.dan.ranks import pairs_of
from lecore.studies.dan.sizes_in_training import (
    DEFINED,
    SIZES,
    follow_sizes,
    lost_preference,
    size_curves,
)
from lecore.studies.dan.step_comparison import compare_steps

RUN = Classification(
    data="digits", classes=(0, 2, 4), network="cnn", per_class=20, batch_size=16, epochs=2,
    probes=3, learning_rate=1e-3, seed=2,
)  # fmt: skip


def test_four_steps_by_plain_loops(tmp_path):
    found = compare_steps(RUN, "cpu", tmp_path)
    problem, network, (points, labels) = classifier(RUN, "cpu")
    train_classifier(RUN, network, problem, tmp_path)
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    before = network(points).detach()
    np.testing.assert_allclose(found["logits"], before, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["labels"], labels)

    def moved(i, optimizer):
        """Change of the logits after a step, and its derivative along the step."""
        optimizer.zero_grad()
        F.cross_entropy(network(points[i : i + 1]), labels[i : i + 1]).backward()
        optimizer.step()
        change = network(points).detach() - before
        step = {name: value.detach() - weights[name] for name, value in network.named_parameters()}
        network.load_state_dict(weights)
        _, along = torch.func.jvp(
            lambda w: torch.func.functional_call(network, w, points), (weights,), (step,)
        )
        return change, along

    for i in range(9):
        change, along = moved(i, torch.optim.Adam(network.parameters(), lr=1e-3))
        np.testing.assert_allclose(found["Adam large"][i], change, rtol=1e-2, atol=1e-4)
        np.testing.assert_allclose(found["Adam small"][i], along, rtol=1e-2, atol=1e-3)
        rate = float(found["rates"][i])
        change, along = moved(i, torch.optim.SGD(network.parameters(), lr=rate))
        np.testing.assert_allclose(found["SGD large"][i], change, rtol=1e-2, atol=1e-4)
        np.testing.assert_allclose(rate * found["SGD small"][i], along, rtol=1e-2, atol=1e-3)
        own = np.linalg.norm(found["Adam large"][i, i])
        assert np.linalg.norm(rate * found["SGD small"][i, i]) == pytest.approx(own, rel=1e-4)


@pytest.mark.thorough
def test_sizes_in_training_by_plain_loops(tmp_path):
    run = replace(RUN, every=3)
    found = follow_sizes(run, "cpu", tmp_path)
    problem, network, (points, labels) = classifier(run, "cpu")
    per_epoch = len(problem.targets) // run.batch_size
    np.testing.assert_allclose(found["epochs"], np.arange(0, 2 * per_epoch + 1, 3) / per_epoch)
    for t, trained in ((0, False), (-1, True)):
        if trained:
            assert found["epochs"][-1] == 2, "the last look is after training"
            train_classifier(run, network, problem, tmp_path)
        weights = {name: value.clone() for name, value in network.state_dict().items()}
        before = network(points).detach()
        np.testing.assert_allclose(found["logits"][t], before, rtol=1e-5, atol=1e-6)
        for k, size in enumerate(SIZES[:3]):  # the last one is rounding in float32
            for i in (0, 5):
                optimizer = torch.optim.Adam(network.parameters(), lr=size * 1e-3)
                optimizer.zero_grad()
                F.cross_entropy(network(points[i : i + 1]), labels[i : i + 1]).backward()
                optimizer.step()
                change = network(points).detach() - before
                network.load_state_dict(weights)
                close = {"rtol": 1e-2, "atol": 1e-4}
                np.testing.assert_allclose(found["changes"][t, k, i], change, **close)


def test_a_preference_that_only_the_largest_step_lacks():
    labels = np.repeat([0, 1, 2], 3)
    own = np.equal.outer(labels, np.concatenate([labels, labels]))
    towards = np.zeros((9, 18, 3))
    towards[..., 0] = 1 + own  # the logits of the own class move twice as far
    away = np.zeros((9, 18, 3))
    away[..., 0] = 2 - own
    change = np.stack([away, towards, towards, towards])[None].repeat(2, 0)
    one = {"logits": np.zeros((2, 18, 3)), "changes": 1e-3 * change}
    curves = size_curves([one] * 3, pairs_of(labels))
    assert curves.keys() == {(name, size) for name in DEFINED for size in SIZES}
    assert (curves["original, of logits", SIZES[0]] == 0).all()
    assert (curves["original, of logits", SIZES[1]] == 1).all()
    lost = lost_preference(curves)["original, of logits", "end"]
    assert (lost.value, lost.n) == (1, 3)
