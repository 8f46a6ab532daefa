"""How fast a finite step and a finite width come to the limits of He & Su's section 3.

A finite step follows equation (4) and a network of finite width the infinite one up to an error
that falls like one over the root of the width.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lecore.changes import prediction_change
from lecore.models import sign_output, two_layer
from lecore.tangent_kernel import empirical_ntk
from lecore.theory.wide_networks import infinite_width_ntk, two_layer_relative_similarity

Array = NDArray[np.float64]


def equation4_error(width: int, seed: int, inputs: Tensor) -> float:
    """Median error of He & Su's equation (4) for a finite step, relative to its median size.

    The step is η = 1 / (m (‖x‖² + 1)) with the mean over points, so large that one of them is
    about enough to fit an example. For an infinitesimal one equation (4) is exact.

    Args:
        width: Hidden units m of :func:`lecore.models.sign_output`.
        seed: Seed of the weights.
        inputs: Points x, float64, shape (n, d); their target is 1.
    """
    network = sign_output(inputs.shape[1], width, seed=seed).double().to(inputs.device)
    rate = 1 / (width * float((inputs.square().sum(1) + 1).mean()))
    targets = inputs.new_ones(len(inputs), 1)
    change = prediction_change(network, inputs, targets, learning_rate=rate)[..., 0]
    ratio = change / change.diagonal()[:, None]
    weight, bias = network.get_submodule("1").parameters()
    predicted = two_layer_relative_similarity(weight, bias, inputs)
    return float((ratio - predicted).abs().median() / predicted.abs().median())


def infinite_width_error(width: int, seed: int, inputs: Tensor) -> float:
    """Mean distance of the empirical tangent kernel from its limit, relative to the limit's mean.

    Args:
        width: Hidden units of a two-layer ReLU network in NTK parameterisation.
        seed: Seed of the weights.
        inputs: Points, shape (n, d).
    """
    limit = infinite_width_ntk(inputs.cpu().numpy())
    network = two_layer(inputs.shape[1], width, parameterization="ntk", seed=seed)
    kernel = empirical_ntk(network.to(inputs.device), inputs, form="trace").cpu().numpy()
    return float(np.abs(kernel - limit).mean() / limit.mean())


def errors_by_width(
    error: Callable[[int, int, Tensor], float],
    widths: Iterable[int],
    seeds: Sequence[int],
    inputs: Tensor,
) -> Array:
    """An error of this file at several widths.

    Args:
        error: Function of width, seed and points.
        widths: Hidden units.
        seeds: Seeds of the weights.
        inputs: Points, shape (n, d).

    Returns:
        Shape (widths, seeds).
    """
    return np.array([[error(width, seed, inputs) for seed in seeds] for width in widths])


def powers(x: ArrayLike, errors: Array) -> Array:
    """Slope of each column on logarithmic axes by least squares, shape (columns,) or ().

    Args:
        x: Positive numbers, shape (n,).
        errors: Positive, shape (n, columns) or (n,).
    """
    slopes: Array = np.polyfit(np.log(np.asarray(x)), np.log(errors), 1)[0]
    return slopes
