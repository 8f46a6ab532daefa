"""Training beyond the largest stable rate: looks are those of a plain loop, and runaways end."""

import numpy as np
import torch

from lecore.studies.he_su.measure import build, problem_of
from lecore.studies.he_su.past_the_edge import paths
from lecore.studies.he_su.runs import Run
from lecore.studies.he_su.similarities import kernel_and_logits
from lecore.tangent_kernel import stability_limit

IMAGES = {"per_class": 12, "auxiliary_size": 16, "batch_size": 40}
RUN = Run(data="digits", primary=(5, 9), auxiliary=(4,), width=24, epochs=3, looks=5, **IMAGES)


def test_looks_are_those_of_full_batch_descent():
    (found,), truth = paths(RUN, [0.5])
    problem = problem_of(RUN)
    network = build(RUN, problem.inputs.shape[1:])
    limit = stability_limit(kernel_and_logits(network, problem.inputs)[0])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5 * limit)
    losses = []
    for step in range(4):
        loss = (network(problem.inputs) - problem.targets).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        if step < 3:
            optimizer.step()
    assert found.steps.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(found.loss, losses, rtol=1e-4)
    hidden = network[1](problem.inputs.flatten(1))
    silent = 100 * float((hidden < 0).all(dim=0).double().mean())
    assert np.isclose(found.silent[-1], silent)
    assert found.places.shape == (4, len(truth), 2)
    assert np.isclose(np.linalg.norm(found.places, axis=-1).max(axis=1), 1).all()


def test_a_runaway_ends_and_is_said():
    (stable, gone), _ = paths(RUN, [0.5, 1e9])
    assert not stable.diverged
    assert gone.diverged
    assert np.isfinite(gone.loss).all()
    assert len(gone.steps) < len(stable.steps)
