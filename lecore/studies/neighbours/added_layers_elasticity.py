"""Are updates of the added layers less local than updates of the network before them?"""

import copy
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from lecore.changes import prediction_change
from lecore.errors import LecoreError
from lecore.losses import cross_entropy
from lecore.similarity import relative_similarity
from lecore.studies.neighbours.added_layers import AddedLayers

Array = NDArray[np.float64]


class Composed(nn.Module):
    """g∘f, of which one part learns.

    Attributes:
        f: The network.
        g: The added layers.
    """

    def __init__(self, f: nn.Module, g: AddedLayers, learns: str) -> None:
        """Copies in float64; what does not learn is fixed.

        Args:
            f: Maps images to logits.
            g: Maps logits to logits.
            learns: ``f``, ``g`` or ``both``.

        Raises:
            LecoreError: If ``learns`` is another word.
        """
        super().__init__()
        if learns not in ("f", "g", "both"):
            raise LecoreError(f"learns must be f, g or both, not {learns!r}")
        self.f, self.g = copy.deepcopy(f).double(), copy.deepcopy(g).double()
        self.f.requires_grad_(learns != "g")
        self.g.requires_grad_(learns != "f")

    def forward(self, images: Tensor) -> Tensor:
        """Calibrated logits."""
        return self.g(self.f(images))


class Locality(NamedTuple):
    """Relative similarity of g∘f by steps on one part of its weights.

    Attributes:
        similarity: S_rel, shape (n, n), float64.
        superiority: Chance that it is higher for a pair of one class than for a pair of two.
        between: Its mean over pairs of two classes.
    """

    similarity: Array
    superiority: float
    between: float


def locality(
    f: nn.Module, g: AddedLayers, images: Tensor, labels: Tensor, *, learns: str,
    learning_rate: float,
) -> Locality:  # fmt: skip
    """S_rel by steps of plain SGD on the cross-entropy of g∘f.

    Args:
        f: Maps images to logits.
        g: The added layers.
        images: Update points, which are the test points as well, shape (n, …).
        labels: Shape (n,).
        learns: Whose weights move: ``f``, ``g`` or ``both``.
        learning_rate: Of the step.

    Raises:
        LecoreError: If there are no pairs of one class, or none of two.
    """
    change = prediction_change(
        Composed(f, g, learns), images, labels, loss=cross_entropy, learning_rate=learning_rate
    )
    similarity = relative_similarity(change).numpy()
    classes = labels.numpy()
    across = (classes[:, None] != classes) & np.isfinite(similarity)
    return Locality(similarity, superiority(similarity, classes), float(similarity[across].mean()))


def superiority(similarity: Array, labels: NDArray[np.int64]) -> float:
    """Chance that a pair of points of one class has a higher similarity than a pair of two.

    Args:
        similarity: Shape (n, n); NaN where undefined, which is left out, as are pairs of a point
            with itself.
        labels: Classes, shape (n,).

    Raises:
        LecoreError: If shapes do not fit, or there are no pairs of one class, or none of two.
    """
    if labels.ndim != 1 or similarity.shape != 2 * labels.shape:
        shapes = f"{similarity.shape} and {labels.shape}"
        raise LecoreError(f"need similarities (n, n) and labels (n,), got {shapes}")
    same = labels[:, None] == labels
    counted = ~np.eye(len(labels), dtype=bool) & np.isfinite(similarity)
    if same[counted].all() or not same[counted].any():
        raise LecoreError("need pairs of images of one class and of two", "take more images")
    return float(roc_auc_score(same[counted], similarity[counted]))


def straight_similarity(logits: Array) -> Array:
    """S_rel by small steps on an affine g, in closed form: ``|z·z′ + 1| / (‖z‖² + 1)``.

    A step on W and b moves g(z′) by −η (p − y)(z·z′ + 1), in the direction that the error in the
    probabilities has, so its size depends on the logits alone.

    Args:
        logits: f's outputs z, shape (n, C).

    Returns:
        Shape (n, n), rows are update points.
    """
    product = logits @ logits.T + 1
    return np.abs(product) / product.diagonal()[:, None]
