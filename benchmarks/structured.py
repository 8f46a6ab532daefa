"""Tangent kernels of the papers' convolutional networks, against every tool that computes them."""

import functools
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import neural_tangents_client, peers
from benchmarks.bars import Measured, NotMeasuredError, Settings, Times, bar
from benchmarks.data import digits
from benchmarks.timing import interleaved, medians, peak_memory, seconds
from lecore import empirical_ntk, models

GIB = 2**30


@dataclass(frozen=True)
class Problem:
    """A kernel to compute.

    Attributes:
        name: Of the network, as neural-tangents' side knows it.
        network: The network.
        x: Its points.
        outputs: Its outputs.
    """

    name: str
    network: nn.Module
    x: Tensor
    outputs: int

    def lecore(self) -> Tensor:
        return empirical_ntk(self.network, self.x, dtype=torch.float32)

    def pairs(self, batch: int) -> int:
        """Tiles on and above the diagonal."""
        count = math.ceil(len(self.x) / batch)
        return count * (count + 1) // 2

    def contraction(self, batch: int) -> Callable[[], None]:
        """All tiles of Jacobian contraction by ``torch.func``."""

        def run() -> None:
            parts = self.x.split(batch)
            for i, rows in enumerate(parts):
                for columns in parts[i:]:
                    peers.jacobian_tile(self.network, rows, columns)

        return run

    def tile(self, function: Callable[..., Tensor], batch: int) -> Callable[[], Tensor]:
        """One tile off the diagonal."""
        rows, columns = self.x[:batch], self.x[batch : 2 * batch]
        return lambda: function(self.network, rows, columns)


@functools.cache
def cnn(device: torch.device, points: int = 1000) -> Problem:
    """He & Su's CNN."""
    return Problem("mnist_cnn", models.mnist_cnn().to(device), digits(points, device=device), 1)


@functools.cache
def resnet(device: torch.device, points: int = 300) -> Problem:
    """Dan et al.'s ResNet-18 without normalisation, three classes."""
    network = models.resnet18().eval().to(device)
    return Problem("resnet18", network, digits(points, 32, 3, device), 3)


class Floor:
    """What cannot be avoided by gradients layer by layer, on random numbers of the right sizes.

    One forward and one backward pass of all points; where a layer is used at several places the
    gradients of its weights and biases, written out, and their products; of a linear layer that is
    used once products of inputs and signals.

    Args:
        network: The network.
        x: Points.
        others: What they are compared with; the points themselves if left out.
    """

    def __init__(self, network: nn.Module, x: Tensor, others: Tensor | None = None) -> None:
        self.network, self.count = network, len(x)
        self.x, self.alone = (x, True) if others is None else (torch.cat([x, others]), False)
        self.weights = [p for p in network.parameters() if p.requires_grad]
        self.pairs: list[tuple[Tensor, Tensor]] = []
        hooks = [
            layer.register_forward_hook(self._add)
            for layer in network.modules()
            if isinstance(layer, nn.Conv2d | nn.Linear)
        ]
        with torch.no_grad():
            network(self.x)
        for hook in hooks:
            hook.remove()
        # written over and over, as new memory would cost more than the products themselves
        sizes = [len(self.x) * a.shape[1] * b.shape[1] for a, b in self.pairs if a.shape[2] > 1]
        self.room = torch.empty(max(sizes, default=0), device=self.x.device)

    def _add(self, layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        given = len(layer.weight), layer.weight[0].numel() + 1
        places = output[0].numel() // given[0]
        self.pairs.append(
            tuple(torch.randn(len(output), k, places, device=output.device) for k in given)
        )

    def passes(self) -> None:
        torch.autograd.grad(self.network(self.x).sum(), self.weights)

    def products(self) -> Tensor:
        kernel = torch.zeros((), device=self.x.device)
        for signals, seen in self.pairs:
            if signals.shape[2] == 1:  # used once
                kernel = kernel + self._gram(signals[:, :, 0]).mul_(self._gram(seen[:, :, 0]))
            else:
                shape = len(signals), signals.shape[1], seen.shape[1]
                room = self.room[: math.prod(shape)].view(shape)
                kernel = kernel + self._gram(torch.bmm(signals, seen.mT, out=room).flatten(1))
        return kernel

    def _gram(self, rows: Tensor) -> Tensor:
        return rows @ rows.T if self.alone else rows[: self.count] @ rows[self.count :].T

    def measured(self, settings: Settings, lecore: Callable[[], Any]) -> Measured:
        """A measurement over passes and products, in times of the same run."""
        times = interleaved(settings, lecore=lecore, passes=self.passes, products=self.products)
        total = medians(times)
        return Measured(total["lecore"] / (total["passes"] + total["products"]), times)


@bar("cnn-floor", at_most=1.6, against="one forward and backward pass, and the products")
def cnn_floor(settings: Settings) -> Measured:
    """tangent kernel of the CNN at 1000 × 1000 points"""
    problem = cnn(settings.device)
    return Floor(problem.network, problem.x).measured(settings, problem.lecore)


@bar("cnn-best-peer", at_least=1, against="the fastest of four peers")
def cnn_speed(settings: Settings) -> Measured:
    """tangent kernel of the CNN at 1000 × 1000 points"""
    problem = cnn(settings.device)
    whole = {
        "torch.func contraction": (problem.contraction(250), 1.0),
        "nngeometry": (_nngeometry(problem, 500), 1.0),
    }
    part = {"NTK-vector products": (problem.tile(peers.ntk_vector_tile, 20), problem.pairs(20))}
    return _fastest(settings, problem, whole, part, {"implementation": 3, "batch": 250})


@bar("resnet-best-peer", at_least=5, against="the fastest of four peers")
def resnet_speed(settings: Settings) -> Measured:
    """tangent kernel of ResNet-18, 300 × 300 points, 3 × 3 outputs"""
    problem = resnet(settings.device)
    few = Problem("resnet18", problem.network, problem.x[:60], 3)
    part = {
        "torch.func contraction": (problem.tile(peers.jacobian_tile, 30), problem.pairs(30)),
        "NTK-vector products": (problem.tile(peers.ntk_vector_tile, 10), problem.pairs(10)),
        "nngeometry": (_nngeometry(few, 60), (len(problem.x) / 60) ** 2),
    }
    return _fastest(settings, problem, {}, part, {"implementation": 3, "batch": 10, "points": 30})


@bar("cnn-memory", at_most=3, unit="GiB", against="")
def cnn_memory(settings: Settings) -> Measured:
    """peak memory of the process, for the same"""
    return _memory(settings, _run_cnn)


@bar("resnet-memory", at_most=3, unit="GiB", against="")
def resnet_memory(settings: Settings) -> Measured:
    """peak memory of the process, for the same"""
    return _memory(settings, _run_resnet)


Candidates = dict[str, tuple[Callable[[], Any] | None, float]]


def _fastest(
    settings: Settings,
    problem: Problem,
    whole: Candidates,
    part: Candidates,
    tangents: dict[str, Any],
) -> Measured:
    """Ratio to the fastest peer; slow ones are timed once, on a part, and extrapolated."""
    runs = {name: run for name, (run, _) in whole.items() if run is not None}
    times: Times = interleaved(settings, lecore=problem.lecore, **runs)
    totals = {name: statistics.median(values) for name, values in times.items()}
    mine = totals.pop("lecore")
    notes = []
    for name, (run, scale) in part.items():
        if run is not None:
            times[name] = [seconds(run, settings.device)]
            totals[name] = scale * times[name][0]
            notes.append(f"{name} once, on 1/{scale:.0f} of the work")
    missing = [name for name, (run, _) in (whole | part).items() if run is None]
    try:
        totals["neural-tangents"] = _neural_tangents(settings, problem, tangents, times)
        if "points" in tangents:
            notes.append(f"neural-tangents on {tangents['points']} points")
    except NotMeasuredError as reason:
        missing.append(str(reason))
    best = min(totals, key=lambda name: totals[name])
    told = ", ".join(f"{name} {total:.3g} s" for name, total in totals.items())
    note = f"lecore {mine:.3g} s, {told}; fastest: {best}"
    for more in ("; ".join(notes), "".join(f"; without {name}" for name in missing)):
        note += f"; {more}" if more and not more.startswith(";") else more
    return Measured(totals[best] / mine, times, note)


def _neural_tangents(
    settings: Settings, problem: Problem, request: dict[str, Any], times: Times
) -> float:
    if settings.device.type != "cpu":
        raise NotMeasuredError("neural-tangents (for CPUs only)")
    data = neural_tangents_client.write_network(problem.name, problem.network, problem.x)
    repeats = 1 if "points" in request else settings.repeats
    found = [
        neural_tangents_client.kernel_seconds(problem.name, data, **request) for _ in range(repeats)
    ]
    times["neural-tangents"] = found
    points = request.get("points", len(problem.x))
    count = math.ceil(points / request["batch"])
    return statistics.median(found) * problem.pairs(request["batch"]) / (count * (count + 1) // 2)


def _nngeometry(problem: Problem, batch: int) -> Callable[[], Any] | None:
    try:
        return peers.nngeometry_gram(problem.network, problem.x, batch)
    except NotMeasuredError:
        return None


def _memory(settings: Settings, run: Callable[[], None]) -> Measured:
    if settings.device.type != "cpu":
        raise NotMeasuredError("measured on CPUs only")
    peak, before = peak_memory(run)
    return Measured(peak / GIB, note=f"{before / GIB:.2f} GiB before the call")


def _run_cnn() -> None:
    cnn(torch.device("cpu")).lecore()


def _run_resnet() -> None:
    resnet(torch.device("cpu")).lecore()
