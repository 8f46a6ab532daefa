"""The similarities of He & Su (2020), as functions of prediction changes.

A similarity matrix has update points as rows and test points as columns.
"""

import math
import warnings
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from lecore.arguments.finite import all_finite, check_finite
from lecore.arguments.names import check_name
from lecore.arguments.settings import flag, numbers
from lecore.engine.optimizer_steps import checked_rate
from lecore.errors import LecoreError

Array = NDArray[np.float64]

HELD = 2**22
"""Numbers of an array that are held at a time."""


class UndefinedRowsWarning(UserWarning):
    """Some update points did not move their own prediction; their rows are NaN."""


def relative_similarity(change: Any, own_change: Any = None) -> Tensor:
    """``S_rel(x_i, x_j) = |Δ[i, j]| / |Δ[i, i]|`` (He & Su, equation 2).

    Networks with several outputs are compared by the Euclidean norm over outputs.

    Args:
        change: Prediction change Δ, shape (n, m, outputs): a tensor, an array, or a matrix on disk,
            of which some rows are held at a time.
        own_change: Change at the update points themselves, shape (n, outputs); by default the
            diagonal of ``change``, which is theirs if the test points are the update points. As
            many others cannot be told from them: there give it.

    Returns:
        Shape (n, m), ≥ 0, with ones on the diagonal of a square matrix. The row of an update
        point that did not move its own prediction is NaN.

    Raises:
        LecoreError: If no update point moved its own prediction, an entry is not finite, or
            ``own_change`` is missing for a rectangular change.

    Warns:
        UndefinedRowsWarning: If some rows are undefined.
    """
    change = _as_array("change", change, "n", "m", "outputs")
    if own_change is not None:
        own_change = _as_array("own_change", own_change, "n", "outputs")
        if tuple(own_change.shape) != tuple(change.shape[::2]):
            raise LecoreError(f"own_change must be (n, outputs), not {tuple(own_change.shape)}")
    size = _sizes(change, "change")
    own = _diagonal(size) if own_change is None else _sizes(own_change, "own_change").to(size)
    ratio = size / own[:, None]
    undefined = (own == 0) | ~torch.isfinite(ratio).all(dim=1)
    still = int(undefined.sum())
    if still == 0:
        return ratio
    message = (
        f"{still} of {len(own)} update points did not move their own prediction; take a "
        "larger learning rate, more precision, or logits instead of saturated probabilities"
    )
    if still == len(own):
        raise LecoreError(message)
    warnings.warn(f"{message} (their rows are NaN)", UndefinedRowsWarning, stacklevel=2)
    return ratio.masked_fill(undefined[:, None], float("nan"))


def own_change(change: Tensor) -> Tensor:
    """What changes at the update points themselves, where these are the first test points.

    Args:
        change: Shape (n, m, …), m ≥ n.

    Returns:
        Shape (n, …), a view.
    """
    return change[:, : len(change)].diagonal().movedim(-1, 0)


def size_of(change: Tensor) -> Tensor:
    """Euclidean norm over outputs, shape (…, outputs) to (…), where squares would underflow too."""
    peak = change.abs().amax(dim=-1)
    if change.shape[-1] == 1:
        return peak
    unit = torch.where(peak > 0, peak, torch.ones_like(peak))
    return unit * (change / unit[..., None]).norm(dim=-1)


def kernelized_similarity(change: Tensor, output_gradient: Tensor, learning_rate: float) -> Tensor:
    """S_ker(x_i, x_j) = −Δ[i, j] / (η ∂L/∂f(x_i)) (He & Su, equation 3), with its sign.

    For a small step it is the empirical tangent kernel ⟨∂f(x_i)/∂w, ∂f(x_j)/∂w⟩.

    Args:
        change: Prediction change Δ of a network with one output, shape (n, m, 1).
        output_gradient: ∂L/∂f at the update points, shape (n, 1) or (n,).
        learning_rate: η of the step.

    Returns:
        Shape (n, m).

    Raises:
        LecoreError: If the network has several outputs, shapes do not fit, a number is not finite,
            a gradient is exactly zero, or the result overflows.
    """
    learning_rate = checked_rate(learning_rate)
    change = numbers("change", change, "n", "m", "outputs")
    if change.shape[2] != 1:
        raise LecoreError(f"S_ker is defined for one output, this network has {change.shape[2]}")
    gradient = numbers("output_gradient", output_gradient).to(change.device)
    if gradient.shape not in ((len(change),), (len(change), 1)):
        raise LecoreError(f"output_gradient must be (n,) or (n, 1), not {tuple(gradient.shape)}")
    check_finite(change, "change")
    check_finite(gradient, "output_gradient")
    if not bool((gradient != 0).all()):
        raise LecoreError("the loss gradient is zero at an update point, so its row is undefined")
    # one after the other, for their product underflows where a sigmoid saturates
    return _finite(-change[:, :, 0] / gradient.reshape(-1, 1) / learning_rate, "S_ker")


def normalized_similarity(kernel: Tensor) -> Tensor:
    """K[i, j] / √(K[i, i] K[j, j]) of a square kernelized similarity (He & Su, appendix).

    Raises:
        LecoreError: If the matrix is not square, an entry is not finite, or its diagonal is not
            positive.
    """
    kernel = numbers("kernel", kernel, "n", "n")
    check_finite(kernel, "kernel")
    size = kernel.diagonal().sqrt()
    if not bool((size > 0).all()):
        raise LecoreError("the diagonal of the kernel must be positive")
    return _finite(kernel / size[:, None] / size, "the normalized kernel")


def symmetrized(similarity: Tensor) -> Tensor:
    """½(S + Sᵀ), the last step of He & Su's Algorithm 1 before clustering.

    Raises:
        LecoreError: If the matrix is not square.
    """
    similarity = numbers("similarity", similarity, "n", "n")
    return (similarity + similarity.T) / 2


def correlation_with_distance(
    similarity: Tensor | Array,
    distance: Array,
    *,
    method: Literal["pearson", "spearman"] = "pearson",
    self_pairs: bool = True,
) -> float:
    """Correlation between similarity and distance over ordered pairs of points.

    He & Su's Figure 1 gives Pearson's coefficient over all ordered pairs with the self-pairs
    (similarity 1, distance 0) among them and without symmetrising. Pairs of undefined similarity
    (NaN, see :class:`UndefinedRowsWarning`) are left out.

    Args:
        similarity: Shape (n, n).
        distance: Shape (n, n), finite.
        method: ``pearson`` or ``spearman``.
        self_pairs: Whether the n self-pairs count.

    Returns:
        A number in [−1, 1].

    Raises:
        LecoreError: If the shapes differ, a number is infinite, or either side is constant.
    """
    check_name("method", method, ("pearson", "spearman"))
    flag("self_pairs", self_pairs)
    similarity = numbers("similarity", similarity, "n", "n").double().numpy(force=True)
    distance = numbers("distance", distance, "n", "n").double().numpy(force=True)
    if similarity.shape != distance.shape:
        raise LecoreError(f"shapes differ: {similarity.shape} and {distance.shape}")
    if not np.isfinite(distance).all() or np.isinf(similarity).any():
        raise LecoreError("distances and similarities must be finite; choose points of one class")
    pairs = ~np.isnan(similarity)
    if not self_pairs:
        pairs &= ~np.eye(len(distance), dtype=bool)
    s, d = similarity[pairs], distance[pairs]
    if len(s) == 0 or np.ptp(s) == 0 or np.ptp(d) == 0:
        raise LecoreError("the correlation of a constant is undefined")
    correlation = stats.pearsonr if method == "pearson" else stats.spearmanr
    return float(correlation(s, d).statistic)


def _finite(result: Tensor, name: str) -> Tensor:
    """Refuse a quotient of finite numbers that their precision cannot hold."""
    if not all_finite(result):
        raise LecoreError(f"{name} has entries beyond {result.dtype}", "compute in float64")
    return result


def _diagonal(size: Tensor) -> Tensor:
    if size.shape[0] != size.shape[1]:
        raise LecoreError(
            f"change is that of {size.shape[1]} points by steps on {len(size)} points",
            "give own_change, that at the update points themselves",
        )
    return size.diagonal()


def _as_array(name: str, change: Any, *axes: str) -> Any:
    """A tensor, or what is not a tensor and may lie on a disk."""
    apart = not isinstance(change, Tensor) and hasattr(change, "shape")
    fits = apart and len(change.shape) == len(axes) and 0 not in change.shape
    return change if fits else numbers(name, change, *axes)


def _sizes(change: Any, name: str) -> Tensor:
    """:func:`size_of` a tensor or, some rows at a time, an array."""
    if isinstance(change, Tensor):
        check_finite(change, name)
        return size_of(change)
    rows = range(0, change.shape[0], max(1, HELD // math.prod(change.shape[1:])))
    parts = (numbers(name, change[i : i + rows.step]) for i in rows)
    return torch.cat([_sizes(part, name) for part in parts])
