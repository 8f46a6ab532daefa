"""Pictures of the chapter on Algorithm 1: similarities as heat maps, and as maps of the plane."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from lecore.clustering.plane import in_the_plane
from lecore.companion.figures import COLOURS

Array = NDArray[np.float64]


def heat_maps(
    similarities: Mapping[str, Array], subclass: NDArray[np.int64], classes: tuple[int, int]
) -> Any:
    """Similarity matrices with the images ordered by class.

    Args:
        similarities: By name, shape (n, n).
        subclass: 0 or 1, which of the two classes each image is of, shape (n,).
        classes: Names of the two classes.
    """
    order = np.argsort(subclass, kind="stable")
    border = (subclass == 0).sum()
    middles = [border / 2, (border + len(order)) / 2]
    labels = [str(name) for name in classes]
    fig, axes = plt.subplots(1, len(similarities), figsize=(9.4, 4))
    for ax, (name, matrix) in zip(axes, similarities.items(), strict=True):
        image = ax.imshow(matrix[np.ix_(order, order)], cmap="cividis")
        ax.axhline(border, color="white", linewidth=0.8)
        ax.axvline(border, color="white", linewidth=0.8)
        ax.set_xticks(middles, labels)
        ax.set_yticks(middles, labels)
        ax.set(title=f"{name} similarity", xlabel="test image", ylabel="update image")
        fig.colorbar(image, ax=ax, shrink=0.85)
    return fig


def maps_of_the_plane(
    kernels: Mapping[str, Array],
    subclass: NDArray[np.int64],
    classes: tuple[int, int],
    *,
    seed: int = 0,
) -> Any:
    """Images as points of the plane by the distances of kernels, with the mark of their class.

    Args:
        kernels: By title, shape (n, n).
        subclass: 0 or 1, which of the two classes each image is of, shape (n,).
        classes: Names of the two classes.
        seed: Of :func:`lecore.clustering.plane.in_the_plane`.
    """
    marks = ((COLOURS["relu"], "o"), (COLOURS["linear"], "^"))
    fig, axes = plt.subplots(1, len(kernels), figsize=(9, 3.8))
    for ax, (title, kernel) in zip(axes, kernels.items(), strict=True):
        places = in_the_plane(kernel, seed=seed)
        for label, (name, (colour, marker)) in enumerate(zip(classes, marks, strict=True)):
            style = {"color": colour, "markersize": 4, "alpha": 0.7, "label": str(name)}
            ax.plot(*places[subclass == label].T, marker, **style)
        ax.set(title=title, xticks=[], yticks=[], aspect="equal")
    axes[0].legend(title="digit")
    return fig
