"""He & Su's Algorithm 1: both similarities, as printed and as coded."""

from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor, nn

from lecore.arguments.names import check_name
from lecore.arguments.settings import numbers
from lecore.changes import output_gradient, prediction_change
from lecore.clustering.kernel_kmeans import KernelKMeans
from lecore.losses import Loss, squared_error
from lecore.seeding import seeded
from lecore.similarity import kernelized_similarity, relative_similarity, symmetrized


class Similarities(NamedTuple):
    """Both of He & Su's similarities from the same steps, symmetrised.

    Attributes:
        relative: S_rel, shape (n, n).
        kernelized: S_ker, shape (n, n).
    """

    relative: Tensor
    kernelized: Tensor


def similarities_from_kernel(kernel: Tensor) -> Similarities:
    """The limit of a tiny step, ``|Θ_ij| / Θ_ii`` and Θ_ij, from the empirical kernel alone.

    Args:
        kernel: Θ of a network with one output, shape (n, n).
    """
    kernel = numbers("kernel", kernel, "n", "n")
    relative = relative_similarity(kernel[..., None])
    return Similarities(symmetrized(relative), symmetrized(kernel))


def similarities_from_fixed_weights(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    learning_rate: float = 1e-6,
    loss: Loss = squared_error,
) -> Similarities:
    """Algorithm 1 as coded: every step starts from the same trained weights.

    He & Su's code resets the weights before each step and steps on primary points only.

    Args:
        model: The trained network, one output.
        inputs: Primary points, shape (n, …).
        targets: Their targets, shape (n,) or (n, 1).
        learning_rate: η of the step.
        loss: Loss of one prediction.
    """
    change = prediction_change(model, inputs, targets, learning_rate=learning_rate, loss=loss)
    gradient = output_gradient(model, inputs, targets, loss=loss)
    kernelized = kernelized_similarity(change, gradient, learning_rate)
    return Similarities(symmetrized(relative_similarity(change)), symmetrized(kernelized))


def similarities_along_walk(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    auxiliary: Tensor,
    auxiliary_targets: Tensor,
    *,
    learning_rate: float,
    loss: Loss = squared_error,
    seed: int = 0,
) -> Similarities:
    """Algorithm 1 as printed: one pass of SGD over both sets, in which the weights walk on.

    Each step on a primary point gives that point's row; steps on auxiliary points only move the
    weights. The order is random without replacement. The model is left where the walk ends.

    Args:
        model: The network, one output; the walk takes its precision.
        inputs: Primary points, shape (n, …).
        targets: Their targets, shape (n, 1).
        auxiliary: Auxiliary points, shape (m, …).
        auxiliary_targets: Their targets, shape (m, 1).
        learning_rate: η of the walk.
        loss: Loss of one prediction.
        seed: Seed of the order.
    """
    n = len(inputs)
    everything, all_targets = (
        torch.cat([inputs, auxiliary]),
        torch.cat([targets, auxiliary_targets]),
    )
    with seeded(seed) as rng:
        order = rng.permutation(len(everything))
    update = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=learning_rate)
    relative, kernelized = inputs.new_empty(n, n), inputs.new_empty(n, n)
    before = None
    for i in order:
        if i < n and before is None:
            with torch.no_grad():
                before = model(inputs)
        prediction = model(everything[i : i + 1])
        step_loss = loss(prediction[0], all_targets[i])
        (gradient,) = torch.autograd.grad(step_loss, prediction, retain_graph=True)
        update.zero_grad()
        step_loss.backward()
        update.step()
        if i >= n:
            before = None  # the weights moved without a look at the primary points
            continue
        with torch.no_grad():
            after = model(inputs)
        change = (after - before)[None]
        relative[i] = relative_similarity(change, change[:, i])[0]
        kernelized[i] = kernelized_similarity(change, gradient, learning_rate)[0]
        before = after
    return Similarities(symmetrized(relative), symmetrized(kernelized))


Option = Literal["relative", "kernelized"]


def cluster_similarity(
    similarity: NDArray[np.float64],
    option: Option,
    n_clusters: int = 2,
    *,
    n_init: int = 10,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Cluster a symmetrised similarity as He & Su do.

    K-means on the rows of a relative similarity, kernel K-means on a kernelized one.

    Args:
        similarity: Shape (n, n).
        option: Which similarity it is.
        n_clusters: Number of clusters.
        n_init: Starts.
        seed: Seed of the starts.

    Returns:
        Cluster of each point, shape (n,).

    Raises:
        LecoreError: If the option is unknown.
    """
    check_name("similarity", option, get_args(Option))
    estimator = (
        KMeans(n_clusters, n_init=n_init, random_state=seed)
        if option == "relative"
        else KernelKMeans(n_clusters, kernel="precomputed", n_init=n_init, random_state=seed)
    )
    labels: NDArray[np.int64] = estimator.fit_predict(similarity)
    return labels
