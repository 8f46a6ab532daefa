"""Whether a prediction depends on its input alone."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from lecore.arguments.finite import all_finite
from lecore.engine.checks.diagnosis import mixing_layer, random_layer
from lecore.engine.checks.tolerances import close, peak, tolerance, unit
from lecore.engine.network.failures import of_some
from lecore.engine.network.random_states import (
    generators_left_alone,
    own_generators,
    random_states,
)
from lecore.engine.network.snapshot import Snapshot
from lecore.errors import LecoreError
from lecore.seeding import seed_all


@of_some()
def check_predictions(network: Snapshot, sample: Tensor) -> None:
    """Whether a prediction depends on its input alone.

    Args:
        network: The network.
        sample: A few points, shape (n, …).

    Raises:
        LecoreError: If two predictions under different seeds differ, or one point alone and the
            same point among others; it names the layer.
    """
    own = network.copy()  # a new one, in which nothing is kept of the others
    with own_generators(own.module) as have_drawn:
        _compare(network, own, sample, have_drawn)


def _compare(
    network: Snapshot, own: Snapshot, sample: Tensor, have_drawn: Callable[[], bool]
) -> None:
    scale = tolerance(network)
    sample = torch.cat([sample, sample[:1]])  # in no order, whatever may sort them
    together = _seeded(1, lambda: network.copy().predict(sample))
    alone = _seeded(2, lambda: torch.cat([own.predict(x[None]) for x in sample[:-1]]))
    alone = torch.cat([alone[0], alone[0][:1]]), *alone[1:]
    # one that seeds itself ends in the same state whatever came before
    drawn = have_drawn() or any(
        start != end and end != other
        for start, end, other in zip(together[1], together[2], alone[2], strict=True)
    )
    _check_finite(together[0])
    allowed = scale * float(together[0].abs().max()) + unit(network)
    if not drawn and close(together[0], alone[0], allowed):
        return
    again = _seeded(3, lambda: own.predict(sample))[0]
    if drawn or not close(together[0], again, allowed):
        raise LecoreError(
            "the forward pass draws random numbers or changes from call to call",
            "call model.eval(), or take what is random out for the measurement",
            _where(random_layer(network, sample)),
        )
    raise LecoreError(
        "predictions depend on the other examples of a batch",
        "let the model treat every example by itself (normalise by running statistics, or over "
        "an example's own dimensions)",
        _where(mixing_layer(network, sample)),
    )


@of_some()
def check_batch(network: Snapshot, points: Tensor) -> None:
    """Whether points that are predicted at once are predicted as each alone.

    Args:
        network: The network.
        points: All that will be predicted at once, shape (n, …).

    Raises:
        LecoreError: If they depend on each other.
    """
    if len(points) == 1 or network.manners.alone:
        return
    own = network.copy()
    at_once = own.predict(points)
    _check_finite(at_once)
    allowed = tolerance(network) * peak(at_once) + unit(network)
    with suppress(Exception):  # the quick way; the sure one if it fails or gives something else
        alone = vmap(lambda x: own.predict(x[None])[0], chunk_size=len(points))(points)
        if close(at_once, alone, allowed):
            return
    if not close(at_once, torch.cat([own.predict(x[None]) for x in points]), allowed):
        raise LecoreError(
            "predictions depend on the other examples of a batch",
            "let the model treat every example by itself",
        )


def _check_finite(prediction: Tensor) -> None:
    if not all_finite(prediction):
        raise LecoreError(
            "a prediction is not finite",
            "look at its input and at the weights, or take a longer type",
        )


def _seeded(seed: int, predict: Callable[[], Tensor]) -> tuple[Tensor, Any, Any]:
    """A prediction under a seed, and the random states before and after it."""
    with generators_left_alone():
        seed_all(seed)
        before = random_states()
        prediction = predict()
        return prediction, before, random_states()


def _where(layer: str | None) -> str:
    return "the model's own forward" if not layer else f"layer {layer!r}"
