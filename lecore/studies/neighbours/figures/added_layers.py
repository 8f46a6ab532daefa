"""Steps on the network and steps on the layers added behind it, as maps of the same images."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lecore.companion.figures import COLOURS, SEQUENTIAL, panels

Array = NDArray[np.float64]


def similarity_maps(similarities: Mapping[str, Array], labels: NDArray[np.int64]) -> Any:
    """Similarity matrices of the same images, in the order of their classes.

    Args:
        similarities: By title, shape (n, n); rows are update points.
        labels: Classes, shape (n,).

    Returns:
        The matplotlib figure. What is 1 or more is black.
    """
    order = np.argsort(labels, kind="stable")
    classes, counts = np.unique(labels, return_counts=True)
    ends = np.cumsum(counts)
    fig, axes = panels(1, len(similarities), height=4.2, sharey=True)
    for ax, (title, matrix) in zip(axes[0], similarities.items(), strict=True):
        image = ax.imshow(
            matrix[np.ix_(order, order)], cmap=SEQUENTIAL, vmin=0, vmax=1,
            extent=(0, ends[-1], ends[-1], 0), interpolation="none",
        )  # fmt: skip
        for end in ends[:-1]:
            ax.axhline(end, color=COLOURS["ground"], linewidth=0.6)
            ax.axvline(end, color=COLOURS["ground"], linewidth=0.6)
        ax.set_xticks(ends - counts / 2, [str(c) for c in classes])
        ax.set_yticks(ends - counts / 2, [str(c) for c in classes])
        ax.set(title=title, xlabel="test image, by class")
    axes[0, 0].set_ylabel("update image, by class")
    bar = {"location": "bottom", "shrink": 0.5, "extend": "max"}
    fig.colorbar(image, ax=axes[0].tolist(), label=r"$S_{\mathrm{rel}}$", **bar)
    return fig
