"""Directions and sizes of steps on a trained classifier."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lecore.studies.dan.classification import classifier, train_classifier
from lecore.studies.dan.problem import Classification
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
