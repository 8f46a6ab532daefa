"""Pictures of the chapter on Algorithm 1: similarities as heat maps, and as maps of the plane."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lecore.clustering.plane import in_the_plane
from lecore.companion.figures import COLOURS, MARKERS, SEQUENTIAL, legend_above, panels, tones

Array = NDArray[np.float64]
SYMBOLS = {"relative": r"$S_{\mathrm{rel}}$", "kernelized": r"$S_{\mathrm{ker}}$"}


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
    border, n = (subclass == 0).sum(), len(order)
    middles = [border / 2, (border + n) / 2]
    labels = [str(name) for name in classes]
    fig, axes = panels(1, len(similarities), height=4.2)
    for ax, (name, matrix) in zip(axes[0], similarities.items(), strict=True):
        shown = _coarse(matrix[np.ix_(order, order)])
        image = ax.imshow(shown, cmap=SEQUENTIAL, extent=(0, n, n, 0), interpolation="none")
        ax.axhline(border, color=COLOURS["ground"], linewidth=1.5)
        ax.axvline(border, color=COLOURS["ground"], linewidth=1.5)
        ax.set_xticks(middles, labels)
        ax.set_yticks(middles, labels)
        ax.set(title=f"{name} similarity", xlabel="test image", ylabel="update image")
        fig.colorbar(image, ax=ax, location="bottom", label=SYMBOLS.get(name, name), shrink=0.8)
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
    marks = [*zip(tones(2), MARKERS, strict=False)]
    fig, axes = panels(1, len(kernels), height=4)
    for ax, (title, kernel) in zip(axes[0], kernels.items(), strict=True):
        places = in_the_plane(kernel, seed=seed)
        for label, (name, (colour, marker)) in enumerate(zip(classes, marks, strict=True)):
            style = {"color": colour, "markersize": 4, "alpha": 0.7, "label": f"images of {name}"}
            ax.plot(*places[subclass == label].T, marker, **style)
        ax.set(title=title, xticks=[], yticks=[], aspect="equal")
        ax.set(xlabel="first coordinate", ylabel="second coordinate")
    legend_above(fig)
    return fig


def _coarse(matrix: Array, most: int = 128) -> Array:
    """Means over blocks, so that no side of a picture has more dots than it shows."""
    n = len(matrix)
    starts = np.linspace(0, n, min(n, most) + 1).astype(int)
    sizes, starts = np.diff(starts), starts[:-1]
    sums = np.add.reduceat(np.add.reduceat(matrix, starts, axis=0), starts, axis=1)
    return sums / np.outer(sizes, sizes)
