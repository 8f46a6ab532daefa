"""Is it the direction of a step or its size? Steps of Adam and SGD on a trained classifier."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lecore.changes import linearized_change, prediction_change
from lecore.losses import cross_entropy
from lecore.studies.dan.classification import Classification, classifier, train_classifier
from lecore.tracking import eval_mode


def compare_steps(run: Classification, device: str, scratch: Path) -> dict[str, NDArray[Any]]:
    """Train as :func:`lecore.studies.dan.classification.follow` does, then step once on each probe.

    The first step of a new Adam goes along about −sign(∇L), a step of SGD along −∇L. Adam's is
    large, too: so each direction is taken at two sizes, as it is and in the limit of a small
    step. A large SGD step has the learning rate at which the limit moves the update point's own
    logits as far as Adam's step does.

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
    problem, network, points, labels = classifier(run, device)
    train_classifier(run, network, problem, scratch)
    size = len(points) // 2
    stepped = (points[:size], labels[:size], points)
    settings: Any = {"loss": cross_entropy, "dtype": torch.float32}
    adam = torch.optim.Adam(network.parameters(), lr=run.learning_rate)
    with eval_mode(network), torch.no_grad():
        logits = network(points)
        large = prediction_change(network, *stepped, optimizer=adam, **settings)
        along = linearized_change(network, *stepped, optimizer=adam, **settings)
        gradient = linearized_change(network, *stepped, learning_rate=1.0, **settings)
        own = large[:, :size].diagonal().norm(dim=0)
        rates = own / gradient[:, :size].diagonal().norm(dim=0)
        matched = [
            prediction_change(
                network,
                points[i : i + 1],
                labels[i : i + 1],
                points,
                learning_rate=float(rates[i]),
                **settings,
            )
            for i in range(size)
        ]
    found = {
        "labels": labels, "logits": logits, "rates": rates, "Adam large": large,
        "Adam small": along, "SGD large": torch.cat(matched), "SGD small": gradient,
    }  # fmt: skip
    return {name: np.asarray(values.cpu()) for name, values in found.items()}
