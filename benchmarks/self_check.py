"""What the look at two points before a measurement costs, and memory under a small budget."""

import copy
import ctypes
import multiprocessing
import re
import statistics
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.bars import Measured, NotMeasuredError, Settings, bar
from benchmarks.data import digits
from benchmarks.structured import resnet
from benchmarks.timing import seconds
from lecore import Tiles, empirical_ntk, models
from lecore.data.torchvision_import import import_torchvision
from lecore.engine.choosing import structures
from lecore.engine.opening import check_points, opened

MIB = 2**20
BUDGET = 128 * MIB


def check_seconds(network: nn.Module, x: Tensor, settings: Settings, check: bool = True) -> float:
    """A look at a network that was never seen before, and the search for its structure."""
    network = copy.deepcopy(network)  # what is known of the first is not known of this one
    with opened(network, x, torch.float32) as (measured, inputs):

        def look() -> None:
            check_points(measured, inputs, inputs, check)
            structures(measured, inputs, inputs, check)

        return seconds(look, settings.device)


def looks(network: nn.Module, x: Tensor, settings: Settings, check: bool = True) -> list[float]:
    check_seconds(network, x, settings, check)
    return [check_seconds(network, x, settings, check) for _ in range(settings.repeats)]


@bar("check-resnet", at_most=0.05, against="the kernel of 300 points and 3 outputs")
def resnet_check(settings: Settings) -> Measured:
    """self-check of ResNet-18"""
    problem = resnet(settings.device)
    times = {
        "check": looks(problem.network, problem.x, settings),
        "kernel": [seconds(problem.lecore, settings.device)],
    }
    value = statistics.median(times["check"]) / statistics.median(times["kernel"])
    return Measured(value, times)


@bar("check-cnn", at_most=30, unit="ms", against="")
def cnn_check(settings: Settings) -> Measured:
    """self-check of He & Su's CNN, the search for its structure included"""
    times = looks(
        models.mnist_cnn().to(settings.device), digits(4, device=settings.device), settings
    )
    return Measured(1000 * statistics.median(times), {"check": times})


@bar("check-mlp", at_most=30, unit="ms", against="")
def mlp_check(settings: Settings) -> Measured:
    """self-check of three layers of 256 units, the search for its structure included"""
    network = models.three_layer(784, 256, outputs=3).to(settings.device)
    times = looks(network, digits(4, device=settings.device), settings)
    return Measured(1000 * statistics.median(times), {"check": times})


@bar("structure-1000", at_most=1, unit="s", against="")
def many_outputs(settings: Settings) -> Measured:
    """search for the structure of ResNet-18 with 1000 classes"""
    network = import_torchvision().models.resnet18().eval().to(settings.device)
    x = digits(4, 32, 3, settings.device)
    times = looks(network, x, settings, check=False)
    return Measured(statistics.median(times), {"structure": times})


@bar("resnet-budget", at_most=2, against="a budget of 128 MiB")
def budget(settings: Settings) -> Measured:
    """peak memory of a kernel of ResNet-18 at 400 points, weights aside"""
    if settings.device.type != "cpu":
        raise NotMeasuredError("measured on CPUs only")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        above, weights = pool.apply(_peak_in_budget)
    note = (
        f"{above / MIB:.0f} MiB above those before the call, of which weights {weights / MIB:.0f}"
    )
    return Measured((above - weights) / BUDGET, note=note)


def _peak_in_budget() -> tuple[int, int]:
    """Bytes that a kernel takes at most beyond those held before it, and those of the weights."""
    network = models.resnet18().eval()
    empirical_ntk(copy.deepcopy(network), digits(2, 32, 3), dtype=torch.float32)  # libraries
    x, status = digits(400, 32, 3), Path("/proc/self/status")
    ctypes.CDLL(None).malloc_trim(0)  # else what was freed and kept would be used, and not seen
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # begins the peak anew
    peak = re.compile(r"VmHWM:\s+(\d+)")
    before = int(peak.search(status.read_text(encoding="ascii"))[1])  # type: ignore[index]
    empirical_ntk(network, x, dtype=torch.float32, tiles=Tiles(memory=BUDGET))
    after = int(peak.search(status.read_text(encoding="ascii"))[1])  # type: ignore[index]
    weights = sum(p.nbytes for p in network.parameters())
    return (after - before) * 1024, weights
