"""Is it the direction of a step or its size? Steps of Adam and SGD on a trained classifier."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lecore.changes import linearized_change, prediction_change
from lecore.engine.network.modes import eval_mode
from lecore.similarity import own_change
from lecore.studies.dan.classification import STEP, classifier, train_classifier
from lecore.studies.dan.problem import Classification


def compare_steps(run: Classification, device: str, scratch: Path) -> dict[str, NDArray[Any]]:
    """Train a classifier, then step once on each probe.

    Training is that of :func:`lecore.studies.dan.classification.follow_classifier`. The first
    step of a new Adam goes along about −sign(∇L), a step of SGD along −∇L. Adam's is large, too:
    so each direction is taken at two sizes, as it is and in the limit of a small step. A large SGD
    step has the learning rate at which the limit moves the update point's own logits as far as
    Adam's step does.

    Args:
        run: What to train; ``every`` is not used.
        device: Where.
        scratch: Folder for what an interrupted run needs to go on.

    Returns:
        With P probes and C classes ``labels`` (2P,), ``logits`` (2P, C), and their changes, shape
        (P, 2P, C): ``Adam large``, ``Adam small``, ``SGD large``, ``SGD small``. Small ones are
        per unit of a factor that no relative similarity depends on. ``rates`` (P,): learning
        rates of the large SGD steps.
    """
    problem, network, probes = classifier(run, device)
    train_classifier(run, network, problem, scratch)
    stepped, labels = probes.stepped, probes.labels
    adam = torch.optim.Adam(network.parameters(), lr=run.learning_rate)
    with eval_mode(network), torch.no_grad():
        logits = network(probes.points)
        large = prediction_change(network, *stepped, optimizer=adam, **STEP)
        along = linearized_change(network, *stepped, optimizer=adam, **STEP)
        gradient = linearized_change(network, *stepped, learning_rate=1.0, **STEP)
        rates = own_change(large).norm(dim=1) / own_change(gradient).norm(dim=1)
        matched = [
            prediction_change(network, x[None], y[None], probes.points, learning_rate=rate, **STEP)
            for x, y, rate in zip(*stepped[:2], rates.tolist(), strict=True)
        ]
    found = {
        "labels": labels, "logits": logits, "rates": rates, "Adam large": large,
        "Adam small": along, "SGD large": torch.cat(matched), "SGD small": gradient,
    }  # fmt: skip
    return {name: np.asarray(values.cpu()) for name, values in found.items()}
