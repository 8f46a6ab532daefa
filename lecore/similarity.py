"""The similarities of He & Su (2020), as functions of prediction changes.

A similarity matrix has update points as rows and test points as columns.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

Array = NDArray[np.float64]


def relative_similarity(change: Tensor, own_change: Tensor | None = None) -> Tensor:
    """``S_rel(x_i, x_j) = |Δ[i, j]| / |Δ[i, i]|`` (He & Su, equation 2).

    Networks with several outputs are compared by the Euclidean norm over outputs, which is the
    absolute value for one output.

    Args:
        change: Prediction change Δ, shape (n, m, outputs).
        own_change: Change at the update points themselves, shape (n, outputs); by default the
            diagonal of ``change``, which then must be square.

    Returns:
        Shape (n, m), ≥ 0, with ones on the diagonal of a square matrix.

    Raises:
        ValueError: If an update point's own prediction did not move, which leaves its row
            undefined, or if ``own_change`` is missing for a rectangular change.
    """
    size = change.norm(dim=2)
    own = (_diagonal(size) if own_change is None else own_change.norm(dim=1))[:, None]
    if not bool((own > 0).all()):
        still = int((own == 0).sum())
        raise ValueError(
            f"{still} of {len(own)} update points did not move their own prediction; take a "
            "larger learning rate, more precision, or logits instead of saturated probabilities"
        )
    return size / own


def kernelized_similarity(change: Tensor, output_gradient: Tensor, learning_rate: float) -> Tensor:
    """S_ker(x_i, x_j) = −Δ[i, j] / (η ∂L/∂f(x_i)) (He & Su, equation 3), with its sign.

    For a small step it is the empirical tangent kernel ⟨∂f(x_i)/∂w, ∂f(x_j)/∂w⟩.

    Args:
        change: Prediction change Δ of a network with one output, shape (n, m, 1).
        output_gradient: ∂L/∂f at the update points, shape (n, 1).
        learning_rate: η of the step.

    Returns:
        Shape (n, m).

    Raises:
        ValueError: If the network has several outputs, or a gradient is exactly zero.
    """
    if change.shape[2] != 1:
        raise ValueError(f"S_ker is defined for one output, this network has {change.shape[2]}")
    if not bool((output_gradient != 0).all()):
        raise ValueError("the loss gradient is zero at an update point, so its row is undefined")
    return -change[:, :, 0] / (learning_rate * output_gradient)


def normalized_similarity(kernel: Tensor) -> Tensor:
    """K[i, j] / √(K[i, i] K[j, j]) of a square kernelized similarity (He & Su, appendix).

    Raises:
        ValueError: If the matrix is not square, or its diagonal is not positive.
    """
    diagonal = _diagonal(kernel)
    if not bool((diagonal > 0).all()):
        raise ValueError("the diagonal of the kernel must be positive")
    return kernel / (diagonal[:, None] * diagonal).sqrt()


def symmetrized(similarity: Tensor) -> Tensor:
    """½(S + Sᵀ), the last step of He & Su's Algorithm 1 before clustering."""
    _diagonal(similarity)
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
    (similarity 1, distance 0) among them and without symmetrising.

    Args:
        similarity: Shape (n, n).
        distance: Shape (n, n), finite.
        method: ``pearson`` or ``spearman``.
        self_pairs: Whether the n self-pairs count.

    Returns:
        A number in [−1, 1].

    Raises:
        ValueError: If the shapes differ, a distance is infinite, or either side is constant.
    """
    similarity = np.asarray(similarity, dtype=np.float64)
    if similarity.shape != distance.shape or similarity.shape[0] != similarity.shape[1]:
        raise ValueError(f"shapes differ: {similarity.shape} and {distance.shape}")
    if not np.isfinite(distance).all():
        raise ValueError("distances must be finite; choose points of one class")
    pairs = np.ones_like(distance, dtype=bool) if self_pairs else ~np.eye(len(distance), dtype=bool)
    s, d = similarity[pairs], distance[pairs]
    if np.ptp(s) == 0 or np.ptp(d) == 0:
        raise ValueError("the correlation of a constant is undefined")
    correlation = stats.pearsonr if method == "pearson" else stats.spearmanr
    return float(correlation(s, d).statistic)


def _diagonal(matrix: Tensor) -> Tensor:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"need a square matrix, got shape {tuple(matrix.shape)}")
    return matrix.diagonal()
