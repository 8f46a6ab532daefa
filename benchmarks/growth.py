"""How time and memory grow with the number of points."""

import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.bars import Measured, NotMeasuredError, Settings, bar
from benchmarks.data import digits
from benchmarks.timing import interleaved, medians, peak_memory
from lecore import Tiles, empirical_ntk, models

WIDTH = 4096
SIZES = (500, 1000, 2000, 4000, 8000)
BUDGET = 2**29
GIB = 2**30


@bar("growth", at_most=2.05, unit="", against="n²")
def exponent(settings: Settings) -> Measured:
    """exponent fitted to the times of n × n two-layer kernels, n = 500 to 8000"""
    network = models.two_layer(28 * 28, WIDTH).to(settings.device)
    points = {n: digits(n, device=settings.device) for n in SIZES}
    tiles = Tiles(memory=BUDGET)
    times = interleaved(
        settings,
        **{
            str(n): lambda x=x: empirical_ntk(network, x, dtype=torch.float32, tiles=tiles)
            for n, x in points.items()
        },
    )
    slope = np.polyfit(np.log(SIZES), np.log([medians(times)[str(n)] for n in SIZES]), 1)[0]
    return Measured(float(slope), times, f"width {WIDTH}")


@bar("bounded-memory", at_most=1, unit="of the budget", against="the budget")
def bounded(settings: Settings) -> Measured:
    """memory that an 8000 × 8000 CNN kernel takes beyond one of 1000 × 1000, on disk"""
    _only_cpu(settings)
    small, large = (peak_memory(_to_disk, "cnn", n)[0] for n in (1000, 8000))
    note = f"peaks {small / GIB:.2f} and {large / GIB:.2f} GiB, budget {BUDGET / GIB:g} GiB"
    return Measured((large - small) / BUDGET, note=note)


@bar("disk", at_most=2, unit="GiB", against="")
def disk(settings: Settings) -> Measured:
    """peak memory of a process that writes a 20,000 × 20,000 kernel to disk"""
    _only_cpu(settings)
    peak, before = peak_memory(_to_disk, "two-layer", 20_000)
    return Measured(peak / GIB, note=f"width {WIDTH}; {before / GIB:.2f} GiB before the call")


def _to_disk(kind: str, n: int) -> None:
    network = models.mnist_cnn() if kind == "cnn" else models.two_layer(28 * 28, WIDTH)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        tiles = Tiles(memory=BUDGET, store=Path(folder, "kernel"))
        stored = empirical_ntk(network, digits(n), dtype=torch.float32, tiles=tiles)
        assert stored.shape[:2] == (n, n)


def _only_cpu(settings: Settings) -> None:
    if settings.device.type != "cpu":
        raise NotMeasuredError("measured on CPUs only")
