"""The similarities of one network that He & Su's study clusters: which, and measured how."""

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lecore.arguments.names import Choices
from lecore.clustering.algorithm_one import Option
from lecore.similarity import normalized_similarity, relative_similarity, symmetrized
from lecore.studies.he_su.as_coded import similarities_by_tripling
from lecore.studies.he_su.linear_networks import LinearNetwork
from lecore.studies.he_su.runs import LossName
from lecore.tangent_kernel import empirical_ntk

Name = Literal["relative", "kernelized", "normalized kernelized"]
Way = Literal["exact", "logits", "as coded"]

CLUSTERED_AS: Choices[Option] = Choices(
    "similarity",
    {"relative": "relative", "kernelized": "kernelized", "normalized kernelized": "kernelized"},
)
"""Which option of Algorithm 1 clusters a similarity."""


class Similarity(NamedTuple):
    """One similarity of a network.

    Attributes:
        name: ``relative``, ``kernelized``, or ``normalized kernelized`` (their Table 7).
        way: How it is measured: ``exact``, in the limit of a small step; ``logits``, the same of
            the output before the sigmoid; ``as coded``, by the float32 steps of the paper's code.
        matrix: Symmetrised, shape (n, n).
    """

    name: Name
    way: Way
    matrix: NDArray[np.float64]


def exact_similarities(
    network: nn.Module | LinearNetwork, images: Tensor, loss: LossName
) -> list[Similarity]:
    """All similarities of the limit of a small step.

    With the cross-entropy those of the probability p = σ(z), as in the paper, whose kernel is
    σ′(z_i) σ′(z_j) Θ_ij, and those of the logit z, whose kernel is Θ. Both have the same
    normalised kernel, which is given once.

    Args:
        network: The network, or its :class:`~lecore.studies.he_su.linear_networks.LinearNetwork`.
        images: Primary images, shape (n, …).
        loss: What it was trained with.
    """
    kernel, logits = kernel_and_logits(network, images)
    if loss == "squared":
        return _of_kernel(kernel, "exact")
    slope = torch.sigmoid(logits) * torch.sigmoid(-logits)  # dp/dz, without cancellation
    relative = relative_similarity(kernel[..., None]) * (slope / slope[:, None])
    kernelized = slope[:, None] * kernel * slope
    *of_logits, normalized = _of_kernel(kernel, "logits")
    return [
        _similarity("relative", "exact", symmetrized(relative)),
        _similarity("kernelized", "exact", symmetrized(kernelized)),
        normalized._replace(way="exact"),
        *of_logits,
    ]


def coded_similarities(
    network: nn.Module, images: Tensor, loss: LossName
) -> tuple[list[Similarity], dict[str, float]]:
    """The similarities that the float32 steps of the paper's code find, and their rounding.

    Args:
        network: The network in float32.
        images: Primary images, shape (n, …).
        loss: What it was trained with.

    Returns:
        The similarities, the normalised one only if each point has moved its own prediction;
        and ``tripled percent``, of points whose step was enlarged, and ``own units``, the
        median of a point's own move in units in the last place.
    """
    targets = images.new_ones(len(images), 1)
    coded = similarities_by_tripling(network, images, targets, loss=loss, progress=True)
    relative, kernel = (s.double() for s in coded.similarities)
    found = [
        _similarity("relative", "as coded", relative),
        _similarity("kernelized", "as coded", kernel),
    ]
    if bool((kernel.diagonal() > 0).all()):
        normalized = normalized_similarity(kernel)
        found.append(_similarity("normalized kernelized", "as coded", normalized))
    tripled = 100 * (coded.learning_rates > 1.5e-6).double().mean()
    units = coded.own_units.double().quantile(0.5)
    return found, {"tripled percent": float(tripled), "own units": float(units)}


def kernel_and_logits(network: nn.Module | LinearNetwork, images: Tensor) -> tuple[Tensor, Tensor]:
    """Θ of the output before the sigmoid, if there is one, and that output: (n, n) and (n,)."""
    if isinstance(network, LinearNetwork):
        return network.tangent_kernel(images), network.logits(images)
    assert isinstance(network, nn.Sequential)
    before = network[:-1] if isinstance(network[-1], nn.Sigmoid) else network
    with torch.no_grad():
        return empirical_ntk(before, images, form="trace"), before(images)[:, 0].double()


def _of_kernel(kernel: Tensor, way: Way) -> list[Similarity]:
    kernel = symmetrized(kernel)
    return [
        _similarity("relative", way, symmetrized(relative_similarity(kernel[..., None]))),
        _similarity("kernelized", way, kernel),
        _similarity("normalized kernelized", way, normalized_similarity(kernel)),
    ]


def _similarity(name: Name, way: Way, matrix: Tensor) -> Similarity:
    return Similarity(name, way, matrix.cpu().numpy())
