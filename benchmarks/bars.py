"""What a bar is, and how its result is told."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch

Times = dict[str, list[float]]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Settings:
    """Of one run.

    Attributes:
        device: Where lecore and the torch peers compute.
        repeats: Interleaved measurements of each time.
    """

    device: torch.device = CPU
    repeats: int = 5


class NotMeasuredError(RuntimeError):
    """A bar cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Measured:
    """What a bar's measurement found.

    Attributes:
        value: To be compared with the bar.
        times: Seconds of each repeat, by what was timed.
        note: What a reader needs beside the number, such as what was extrapolated.
    """

    value: float
    times: Times = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Bar:
    """A number that lecore has to reach.

    Attributes:
        id: Its name on the command line.
        bar: The number.
        at_most: Whether smaller is better.
        unit: Of the measured value; ``×`` is a ratio of times.
        against: What lecore is compared with.
        measure: Measures it; its docstring says what.
    """

    id: str
    bar: float
    at_most: bool
    unit: str
    against: str
    measure: Callable[[Settings], Measured]

    def result(self, settings: Settings) -> dict[str, Any]:
        """Measure, and tell with the bar what was found."""
        told: dict[str, Any] = {
            "id": self.id,
            "what": (self.measure.__doc__ or "").split("\n")[0],
            "measured": None,
            "bar": self.bar,
            "met": None,
            "unit": self.unit,
            "against": self.against,
            "direction": "at most" if self.at_most else "at least",
            "device": str(settings.device),
            "times": {},
            "note": "",
        }
        try:
            found = self.measure(settings)
        except NotMeasuredError as reason:
            return told | {"note": str(reason)}
        met = found.value <= self.bar if self.at_most else found.value >= self.bar
        return told | {
            "measured": found.value, "met": met, "times": found.times, "note": found.note
        }  # fmt: skip


_ENTERED: dict[str, Bar] = {}


def bars_of(*modules: ModuleType) -> dict[str, Bar]:
    """The bars that some modules have entered, in that order."""
    names = [module.__name__ for module in modules]
    entered = sorted(_ENTERED.values(), key=lambda bar: names.index(bar.measure.__module__))
    return {bar.id: bar for bar in entered}


def bar(
    name: str, *, against: str, at_most: float | None = None, at_least: float | None = None,
    unit: str = "×",
) -> Callable[[Callable[[Settings], Measured]], Callable[[Settings], Measured]]:  # fmt: skip
    """Enter a measurement as a :class:`Bar`, with either ``at_most`` or ``at_least``."""
    number = at_least if at_most is None else at_most
    assert number is not None

    def enter(measure: Callable[[Settings], Measured]) -> Callable[[Settings], Measured]:
        _ENTERED[name] = Bar(name, number, at_most is not None, unit, against, measure)
        return measure

    return enter


def slowdown(times: Times, slow: str, fast: str, scale: float = 1.0) -> float:
    """How many times as long ``slow`` takes, by medians; ``scale`` extrapolates it."""
    return scale * statistics.median(times[slow]) / statistics.median(times[fast])


def line(result: dict[str, Any]) -> str:
    """A row of the table, in Markdown."""
    sign = "≤" if result["direction"] == "at most" else "≥"
    value = "—" if result["measured"] is None else f"{result['measured']:.3g}"
    verdict = {True: "yes", False: "**no**", None: "not measured"}[result["met"]]
    unit = f" {result['unit']}" if result["unit"] else ""
    return (
        f"| `{result['id']}` | {result['what']} | {result['against']} | {value}{unit} "
        f"| {sign} {result['bar']:g} | {verdict} |"
    )


HEAD = "| bar | what | against | measured | bar | met |\n|---|---|---|---|---|---|"
