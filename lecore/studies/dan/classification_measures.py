"""What probes of a classifier in training say: definitions of S_rel, and measures of preference.

All take the logits z of m points, shape (m, K), and what a step on each of the first n of them
changes, Δz of shape (n, m, K), in float64.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lecore.arguments.names import check_name
from lecore.probabilities import prediction_divergence, softmax_change
from lecore.similarity import normalized_similarity, own_change, relative_similarity
from lecore.studies.dan.definitions import (
    divergence_similarity,
    divergence_similarity_as_coded,
    relative_similarity_as_coded,
)

Step = Literal["Adam", "SGD", "none"]
EPSILON = 1e-8
"""In the denominators of Dan et al.'s code."""


class Ratio(NamedTuple):
    """A similarity and the denominator of each row.

    Attributes:
        similarity: Shape (n, m).
        own: Shape (n,).
    """

    similarity: Tensor
    own: Tensor


def steps_of(
    followed: Mapping[str, NDArray[Any]], step: Step, learning_rate: float
) -> list[tuple[Tensor, Tensor]]:
    """Logits and their changes at every look.

    Args:
        followed: From :func:`lecore.studies.dan.classification.follow_classifier`, with P probes.
        step: The first one of a new ``Adam``; a small one of ``SGD``, from the tangent kernel; or
            ``none``, the control w⁺ = w.
        learning_rate: Of SGD.

    Returns:
        One pair a look, z of shape (2P, K) and Δz of shape (P, 2P, K).
    """
    check_name("step", step, get_args(Step))
    points = len(followed["labels"]) // 2
    labels, found = torch.tensor(followed["labels"]), []
    for t, values in enumerate(followed["logits"]):
        z = torch.tensor(values).double()
        if step == "Adam":
            change = torch.tensor(followed["adam"][t]).double()
        elif step == "SGD":
            kernel = torch.tensor(followed["kernel"][t]).double()
            change = sgd_logit_change(z, labels, kernel, learning_rate)[:points]
        else:
            change = torch.zeros(points, *z.shape, dtype=z.dtype)
        found.append((z, change))
    return found


def sgd_logit_change(
    logits: Tensor, labels: Tensor, kernel: Tensor, learning_rate: float
) -> Tensor:
    """Change of all logits after a small SGD step on the cross-entropy at each point.

    Δ[i, j, c] = −η Σ_k (softmax(z_i)_k − [k = y_i]) Θ[i, j, k, c], the first order of
    :func:`lecore.changes.prediction_change`.

    Args:
        logits: z, shape (m, C).
        labels: y, shape (m,).
        kernel: Θ, shape (m, m, C, C).
        learning_rate: η.

    Returns:
        Shape (m, m, C).
    """
    residual = logits.softmax(dim=1) - F.one_hot(labels, logits.shape[1])
    return -learning_rate * torch.einsum("ik,ijkc->ijc", residual, kernel)


def executed_divergence(p: Tensor, p_after: Tensor) -> Tensor:
    """The call in Dan et al.'s code, over the last axis: ``F.kl_div`` without logarithms."""
    return F.kl_div(p_after, p, reduction="none").mean(dim=-1)


def new_as_coded(z: Tensor, change: Tensor) -> Ratio:
    """The new S_rel of Dan et al. as their code has it."""
    zi, own = z[: len(change)], own_change(change)
    below = executed_divergence(zi.softmax(-1), (zi + own).softmax(-1)) + EPSILON
    return Ratio(divergence_similarity_as_coded(z, change, zi, own, epsilon=EPSILON), below)


def new_true_divergence(z: Tensor, change: Tensor) -> Ratio:
    """KL(p⁺ ‖ p) at the test over that at the update point, which their comments describe."""
    zi, own = z[: len(change)], own_change(change)
    below = prediction_divergence(zi, own[None])[0]
    return Ratio(divergence_similarity(z, change, zi, own), below)


def original_as_coded(z: Tensor, change: Tensor) -> Ratio:
    """He & Su's S_rel as they have it: probabilities in float32, unlike norms, an ε."""
    moved = ((z + change).float().softmax(-1) - z.float().softmax(-1)).double()
    own = own_change(moved)
    below = own.norm(dim=1) / own.shape[1] ** 0.5 + EPSILON
    return Ratio(relative_similarity_as_coded(moved, own, epsilon=EPSILON), below)


def original_one_norm(z: Tensor, change: Tensor) -> Ratio:
    """He & Su's S_rel of probabilities, with Euclidean norms in both places."""
    own = softmax_change(z[: len(change)], own_change(change)[None])[0]
    return Ratio(relative_similarity(softmax_change(z, change), own), own.norm(dim=1))


def original_of_logits(z: Tensor, change: Tensor) -> Ratio:
    """He & Su's S_rel of the logits, with Euclidean norms in both places."""
    own = own_change(change)
    return Ratio(relative_similarity(change, own), own.norm(dim=1))


DEFINITIONS: dict[str, Callable[[Tensor, Tensor], Ratio]] = {
    "new, as coded": new_as_coded,
    "new, true divergence": new_true_divergence,
    "original, as coded": original_as_coded,
    "original, one norm": original_one_norm,
    "original, of logits": original_of_logits,
}


def agreement_change(z: Tensor, change: Tensor) -> Tensor:
    """⟨p, p⁺ − p⟩: whether the step reinforces (> 0) or contradicts what was predicted.

    All that the similarity as coded knows of the step.

    Returns:
        Shape (n, m).
    """
    return (z.softmax(-1) * softmax_change(z, change)).sum(-1)


def signed_change(change: Tensor, classes: Tensor) -> Tensor:
    """Change of the logit of the update point's class, less the mean change of all logits.

    Args:
        change: Δz.
        classes: Of the update points, shape (n,).

    Returns:
        Shape (n, m).
    """
    of_class = classes[:, None, None].expand(-1, change.shape[1], 1)
    return change.gather(2, of_class)[..., 0] - change.mean(dim=2)


def kernel_measures(z: Tensor, labels: Tensor, kernel: Tensor) -> dict[str, Tensor]:
    """Normalised kernel, stiffness, and stiffness as if all pairs had one kernel.

    Args:
        z: Logits.
        labels: Classes, shape (m,).
        kernel: Θ, shape (m, m, K, K).

    Returns:
        Matrices of shape (m, m) by name. ``normalised kernel`` is K̄ of Chen, He & Su (2020) of
        the trace over outputs, ``stiffness`` the cosine between loss gradients (Fort et al.,
        2019), and ``stiffness of residuals`` the cosine between p − y.
    """
    residual = z.softmax(dim=1) - F.one_hot(labels, z.shape[1])
    grams = {
        "normalised kernel": kernel.diagonal(dim1=2, dim2=3).sum(-1),
        "stiffness": torch.einsum("ik,ijkc,jc->ij", residual, kernel, residual),
        "stiffness of residuals": residual @ residual.T,
    }
    return {name: normalized_similarity(gram) for name, gram in grams.items()}
