"""Measures on probes: against the released lines, loops, and the engine."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lecore import loss_kernel, prediction_change, seeded
from lecore.losses import cross_entropy
from lecore.models import fully_connected
from lecore.studies.dan import classification_measures as measures
from lecore.studies.dan.classification_measures import DEFINITIONS, sgd_logit_change
from lecore.tangent_kernel import empirical_ntk


@pytest.fixture
def step():
    with seeded(0):
        return torch.randn(6, 3).double(), torch.randn(4, 6, 3).double()


@pytest.mark.parametrize("name", DEFINITIONS)
def test_denominators_belong_to_the_ratios(name, step):
    z, change = step
    similarity, own = DEFINITIONS[name](z, change)
    assert similarity.shape == (4, 6)
    p = z.softmax(1)
    for i in range(4):
        after = (z + change[i]).softmax(1)
        sizes = {
            "new, as coded": F.kl_div(after, p, reduction="none").mean(1),
            "new, true divergence": F.kl_div(p.log(), after, reduction="none").sum(1),
            "original, as coded": (after - p).abs().mean(1),
            "original, one norm": (after - p).norm(dim=1),
            "original, of logits": change[i].norm(dim=1),
        }[name]
        torch.testing.assert_close(similarity[i] * own[i], sizes, rtol=1e-5, atol=1e-7)
    itself = similarity[:, :4].diagonal()
    if name == "original, as coded":
        assert ((itself > 3**-0.5 - 1e-6) & (itself < 1 + 1e-6)).all()
    else:
        torch.testing.assert_close(itself, torch.ones_like(itself), atol=1e-6, rtol=0)


def test_without_an_update_the_code_gives_a_ratio_of_uncertainties(step):
    z, change = step
    p = z.softmax(1)
    uncertainty = (torch.special.entr(p) + p * p).sum(1)
    found = measures.new_as_coded(z, 0 * change).similarity
    expected = uncertainty / uncertainty[:4, None]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    assert (measures.executed_divergence(p, p) <= -1 / 3).all()
    assert measures.original_as_coded(z, 0 * change).similarity.max() == 0


def test_the_code_knows_no_more_of_the_step_than_the_agreement(step):
    z, change = step
    p = z.softmax(1)
    agreement = measures.agreement_change(z, change)
    executed = measures.executed_divergence(p, (z + change).softmax(2))
    still = measures.executed_divergence(p, p)
    torch.testing.assert_close(executed, still - agreement / 3)


def test_steps_of_a_followed_run():
    with seeded(1):
        network = fully_connected(5, 8, 1, "tanh", outputs=3).double()
        x, labels = torch.randn(4, 5).double(), torch.tensor([0, 1, 0, 1])
    theta = empirical_ntk(network, x)
    followed = {
        "labels": labels.numpy(), "logits": network(x).detach()[None].numpy(),
        "kernel": theta[None].numpy(), "adam": np.ones((1, 2, 4, 3), np.float32),
    }  # fmt: skip
    ((z, sgd),) = measures.steps_of(followed, "SGD", 1e-6)
    exact = prediction_change(network, x[:2], labels[:2], x, learning_rate=1e-6, loss=cross_entropy)
    torch.testing.assert_close(sgd, exact, rtol=1e-4, atol=1e-12)
    torch.testing.assert_close(sgd, sgd_logit_change(z, labels, theta, 1e-6)[:2])
    assert measures.steps_of(followed, "Adam", 1.0)[0][1].sum() == 24
    assert measures.steps_of(followed, "none", 1.0)[0][1].abs().sum() == 0

    found = measures.kernel_measures(z, labels, theta)
    gram = loss_kernel(network, x, labels, loss=cross_entropy)
    size = gram.diagonal().sqrt()
    torch.testing.assert_close(found["stiffness"], gram / size / size[:, None])
    residual = z.softmax(1) - F.one_hot(labels, 3)
    cosine = F.cosine_similarity(residual[:, None], residual[None], dim=2)
    torch.testing.assert_close(found["stiffness of residuals"], cosine)
    for i, j in np.ndindex(4, 4):
        traces = [theta[a, b].trace() for a, b in ((i, j), (i, i), (j, j))]
        expected = traces[0] / (traces[1] * traces[2]).sqrt()
        torch.testing.assert_close(found["normalised kernel"][i, j], expected)


def test_signed_change_by_a_loop(step):
    _, change = step
    classes = torch.tensor([2, 0, 1, 2])
    found = measures.signed_change(change, classes)
    for i, j in np.ndindex(4, 6):
        row = change[i, j]
        assert found[i, j] == pytest.approx(float(row[classes[i]] - row.mean()))
    torch.testing.assert_close(measures.signed_change(change + 3.0, classes), found)
