"""What a large tangent kernel costs, and what is lost when it is cut, killed or sketched."""

import multiprocessing
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from lecore.engine.sketches import Sketch
from lecore.engine.tiling.tiles import Tiles
from lecore.errors import LecoreError
from lecore.tangent_kernel import empirical_ntk

Array = NDArray[np.float64]


def kernel_seconds(
    model: nn.Module, inputs: Tensor, sizes: Sequence[int], *, repeats: int = 3
) -> Array:
    """Time of the traced kernel in float32 of the first points, after one call to warm up.

    Args:
        model: As in :func:`lecore.tangent_kernel.empirical_ntk`.
        inputs: Shape (points, …).
        sizes: Numbers of points.
        repeats: How often each is measured.

    Returns:
        Seconds, shape (repeats, sizes).
    """

    def seconds(size: int) -> float:
        begun = time.perf_counter()
        empirical_ntk(model, inputs[:size], form="trace", dtype=torch.float32)
        return time.perf_counter() - begun

    seconds(sizes[0])
    return np.array([[seconds(size) for size in sizes] for _ in range(repeats)])


def growth_exponent(sizes: ArrayLike, values: Array) -> float:
    """The b of values ∝ sizes^b: slope of medians in a double logarithmic plot.

    Args:
        sizes: Shape (sizes,).
        values: Positive, shape (repeats, sizes).
    """
    return float(np.polyfit(np.log(sizes), np.log(np.median(values, axis=0)), 1)[0])


def relative_difference(matrix: Any, exact: Tensor) -> float:
    """Largest difference of two matrices, as a part of the largest entry.

    Args:
        matrix: A tensor on any device, or an array in memory or on disk.
        exact: Tensor of the same shape.
    """
    difference = torch.as_tensor(matrix[:], device=exact.device) - exact
    return float(difference.abs().max() / exact.abs().max())


def finished_tiles(store: str | os.PathLike[str]) -> int:
    """How many tiles of a matrix on disk are finished, see :mod:`lecore.engine.tiling.stores`."""
    marks = (Path(store) / "finished").glob("[0-9]*")  # hidden ones are being written
    return len(list(marks))


def killed_run(model: nn.Module, inputs: Tensor, tiles: Tiles, *, after: int) -> int:
    """Let another Python process compute the traced kernel into a store, and kill it.

    Args:
        model: As in :func:`lecore.tangent_kernel.empirical_ntk`.
        inputs: Shape (points, …).
        tiles: With a store.
        after: Tiles after which it is killed (SIGKILL), unless it is done by then.

    Returns:
        Number of tiles that it has finished.

    Raises:
        LecoreError: If there is no store.
    """
    if tiles.store is None:
        raise LecoreError("a killed process leaves nothing in memory", "give tiles a store")
    run = multiprocessing.get_context("spawn").Process(
        target=empirical_ntk, args=(model, inputs), kwargs={"form": "trace", "tiles": tiles}
    )
    run.start()
    try:
        while run.is_alive() and finished_tiles(tiles.store) < after:
            time.sleep(0.002)
    finally:
        run.kill()
        run.join()
    return finished_tiles(tiles.store)


def sketch_errors(sketches: Sequence[Sequence[Sketch]], exact: Tensor) -> tuple[Array, Array]:
    """Root mean square error of sketched kernels, relative to the mean of the exact diagonal.

    Args:
        sketches: From :func:`~lecore.engine.sketches.sketched_ntk`, by size and by seed.
        exact: Θ, shape (n, n, outputs, outputs).

    Returns:
        The error measured, and the one that the sketches state; each of shape (sizes, seeds).
    """
    scale = exact.diagonal(dim1=0, dim2=1).mean()

    def relative(error: Tensor) -> float:
        return float(error.square().mean().sqrt() / scale)

    measured = [[relative(sketch.kernel - exact) for sketch in row] for row in sketches]
    stated = [[relative(sketch.standard_error) for sketch in row] for row in sketches]
    return np.array(measured), np.array(stated)
