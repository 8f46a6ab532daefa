"""He & Su's fully connected networks; mostly two layers, 40960 ReLU units, 1000 × 1000 points."""

import copy
import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from benchmarks import neural_tangents_client
from benchmarks.bars import Measured, NotMeasuredError, Settings, bar, slowdown
from benchmarks.data import digits, signs
from benchmarks.peers import PlainLoop
from benchmarks.timing import interleaved
from lecore import linearized_change, models, prediction_change, relative_similarity
from lecore.losses import squared_error

POINTS, WIDTH = 1000, 40960
SMALL_STEP = 1e-6
"""The papers' learning rate for the step that is measured."""
LARGE_STEP = 0.5
"""One at which the linearisation is off by more than a tenth."""
LOOP_STEPS = 5
CHECKED = (0, 1, 500)
"""Update points whose rows are computed again in float64."""


@functools.cache
def problem(device: torch.device) -> tuple[nn.Module, Tensor, Tensor]:
    """The network at initialisation, its points and their targets."""
    network = models.two_layer(28 * 28, WIDTH).to(device)
    return network, digits(POINTS, device=device), signs(POINTS, device)


def similarity(network: nn.Module, x: Tensor, y: Tensor, **settings: Any) -> Tensor:
    """Linearised relative similarities in float32."""
    change = linearized_change(
        network, x, y, learning_rate=SMALL_STEP, dtype=torch.float32, **settings
    )
    return relative_similarity(change)


class Products:
    """The matrix products that the linearised similarities consist of, and nothing else."""

    def __init__(self, network: Any, *sides: Tensor) -> None:
        self.weight = network[1].weight.detach()
        self.sides = [side.flatten(1) for side in sides]
        self.hidden = [x.new_empty(len(x), WIDTH) for x in self.sides]
        self.gram = self.sides[0].new_empty(len(sides[0]), len(sides[-1]))

    def __call__(self) -> None:
        for x, hidden in zip(self.sides, self.hidden, strict=True):
            torch.mm(x, self.weight.T, out=hidden)
        torch.mm(self.sides[0], self.sides[-1].T, out=self.gram)
        for _ in ("slopes", "values"):
            torch.mm(self.hidden[0], self.hidden[-1].T, out=self.gram)


@bar("two-layer-products", at_most=0.85, against="its full matrix products")
def products(settings: Settings) -> Measured:
    """1000 × 1000 linearised S_rel of the two-layer network"""
    network, x, y = problem(settings.device)
    times = interleaved(
        settings, lecore=lambda: similarity(network, x, y), products=Products(network, x)
    )
    return Measured(slowdown(times, "lecore", "products"), times)


@bar("two-layer-two-sets", at_most=1.25, against="its full matrix products")
def two_sets(settings: Settings) -> Measured:
    """the same for 1000 update points and 1000 other test points"""
    network, x, y = problem(settings.device)
    other = digits(2 * POINTS, device=settings.device)[POINTS:]

    def lecore() -> Tensor:
        return linearized_change(
            network, x, y, other, learning_rate=SMALL_STEP, dtype=torch.float32
        )

    times = interleaved(settings, lecore=lecore, products=Products(network, x, other))
    return Measured(slowdown(times, "lecore", "products"), times)


@bar("two-layer-loop", at_least=500, against="the papers' loop")
def loop(settings: Settings) -> Measured:
    """1000 × 1000 linearised S_rel of the two-layer network"""
    network, x, y = problem(settings.device)
    one_step = PlainLoop(network, x, y, SMALL_STEP, squared_error)
    times = interleaved(
        settings, lecore=lambda: similarity(network, x, y), loop=lambda: steps(one_step)
    )
    factor = slowdown(times, "loop", "lecore", POINTS / LOOP_STEPS)
    return Measured(factor, times, f"loop: {LOOP_STEPS} of {POINTS} steps, extrapolated")


@bar("two-layer-neural-tangents", at_least=2, against="neural-tangents, structured derivatives")
def against_neural_tangents(settings: Settings) -> Measured:
    """1000 × 1000 linearised S_rel of the two-layer network"""
    if settings.device.type != "cpu":
        raise NotMeasuredError("neural-tangents is installed for CPUs only")
    network, x, y = problem(settings.device)
    data = neural_tangents_client.write_network("two_layer", network, x)
    times: dict[str, list[float]] = {"neural-tangents": []}
    for _ in range(settings.repeats):  # one side waits while the other is measured
        times["neural-tangents"].append(
            neural_tangents_client.kernel_seconds("two_layer", data, implementation=3, batch=250)
        )
        mine = interleaved(Settings(settings.device, 1), lecore=lambda: similarity(network, x, y))
        times.setdefault("lecore", []).extend(mine["lecore"])
    return Measured(slowdown(times, "neural-tangents", "lecore"), times)


@bar("two-layer-error", at_most=1e-5, unit="", against="float64 products along the gradient")
def error(settings: Settings) -> Measured:
    """largest error of a linearised S_rel, as a part of the largest entry"""
    network, x, y = problem(settings.device)
    expected = torch.stack([_row(network, x, i) for i in CHECKED])
    found = similarity(network, x, y)[list(CHECKED)]
    return Measured(float((found - expected).abs().max() / expected.abs().max()))


@bar("two-layer-step-loop", at_least=50, against="the papers' loop")
def step_loop(settings: Settings) -> Measured:
    """exact change after one step, 1000 × 1000, η = 10⁻⁶, in float64"""
    return _against_loop(settings, *problem(settings.device), SMALL_STEP)


@bar("two-layer-large-step-loop", at_least=15, against="the papers' loop")
def large_step_loop(settings: Settings) -> Measured:
    """the same at an η where the linearisation is off by over 10 %"""
    network, x, y = problem(settings.device)
    few = slice(0, 100)
    exact = prediction_change(network, x[few], y[few], learning_rate=LARGE_STEP)
    linear = linearized_change(network, x[few], y[few], learning_rate=LARGE_STEP)
    off = float((exact - linear).norm() / exact.norm())
    if off < 0.1:
        raise NotMeasuredError(f"the linearisation is off by {off:.1%} only")
    found = _against_loop(settings, network, x, y, LARGE_STEP)
    return Measured(found.value, found.times, f"η = {LARGE_STEP}, off by {off:.1%}; {found.note}")


@bar("two-layer-step-error", at_most=1e-6, unit="", against="the papers' loop in float64")
def step_error(settings: Settings) -> Measured:
    """largest error of an exact change at both η, as a part of its row's largest entry"""
    network, x, y = problem(settings.device)
    chosen, worst = list(CHECKED), 0.0
    for rate in (SMALL_STEP, LARGE_STEP):
        double = copy.deepcopy(network).double()
        one_step = PlainLoop(double, x.double(), y.double(), rate, squared_error, chosen)
        expected = torch.stack([one_step() for _ in chosen])
        found = prediction_change(network, x[chosen], y[chosen], x, learning_rate=rate)
        error = (found - expected).abs().amax((1, 2)) / expected.abs().amax((1, 2))
        worst = max(worst, float(error.max()))
    return Measured(worst)


@bar("three-layer-step-loop", at_least=1.5, against="the papers' loop")
def three_layer_step(settings: Settings) -> Measured:
    """exact change after one step of a three-layer network, width 1024, 300 × 300, in float64"""
    points, device = 300, settings.device
    network = models.three_layer(28 * 28, 1024).to(device).double()
    x, y = digits(points, device=device).double(), signs(points, device).double()
    return _against_loop(settings, network, x, y, SMALL_STEP)


def steps(one_step: PlainLoop) -> None:
    """The steps of the loop that are timed."""
    for _ in range(LOOP_STEPS):
        one_step()


def _against_loop(
    settings: Settings, network: nn.Module, x: Tensor, y: Tensor, rate: float
) -> Measured:
    """The exact change in float64 against the loop in the network's own precision."""
    one_step = PlainLoop(network, x, y, rate, squared_error)
    times = interleaved(
        settings,
        lecore=lambda: prediction_change(network, x, y, learning_rate=rate),
        loop=lambda: steps(one_step),
    )
    factor = slowdown(times, "loop", "lecore", len(x) / LOOP_STEPS)
    precision = str(x.dtype).removeprefix("torch.")
    note = f"loop, in {precision}: {LOOP_STEPS} of {len(x)} steps, extrapolated"
    return Measured(factor, times, note)


def _row(network: nn.Module, x: Tensor, i: int) -> Tensor:
    """A row of S_rel in float64: derivatives of all predictions along one gradient."""
    double, x = copy.deepcopy(network).double(), x.double()
    weights = {name: p.detach() for name, p in double.named_parameters()}
    prediction = double(x[i, None]).sum()
    gradient = torch.autograd.grad(prediction, list(double.parameters()))
    along = dict(zip(weights, gradient, strict=True))
    row = jvp(lambda w: functional_call(double, w, (x,)), (weights,), (along,))[1][:, 0].abs()
    return row / row[i]
