"""The rule of the scorecard: which criteria a run meets, and the verdict that follows."""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lecore.companion.documents import VERDICTS

REPRODUCED, PARTLY, NOT_REPRODUCED, UNDECIDED, NOT_TESTABLE, NOT_RUN = VERDICTS

FEWEST = 3
"""Runs without which nothing random is decided."""


@dataclass(frozen=True)
class Judged:
    """A criterion beside the record that it is about.

    Attributes:
        record: Name of the record.
        at_least: Its lower bound, if any.
        at_most: Its upper bound, if any.
        unit: What is counted or measured.
        value: The number; None if it was not run.
        low: Lower end of its interval, if it has one.
        high: Upper end.
        n: Runs or points that it is from, if it is random.
        met: Whether the criterion is met; None if that is undecided.
    """

    record: str
    at_least: float | None
    at_most: float | None
    unit: str
    value: float | None
    low: float | None
    high: float | None
    n: int | None
    met: bool | None

    @property
    def settled_by(self) -> str:
        """About what would decide it, if it is undecided."""
        value, low, high = self.value, self.low, self.high
        if self.met is not None or value is None:
            return ""
        if low is None or high is None:
            few = self.n is None or self.n < FEWEST
            return f"at least {FEWEST} runs, here {self.n}" if few else "an interval"
        straddled = [b for b in (self.at_least, self.at_most) if b is not None and low < b < high]
        bound = min(straddled, key=lambda b: abs(b - value))
        side, distance = (value - low if bound < value else high - value), abs(value - bound)
        if self.n is None or side > 20 * distance:
            return f"a number farther from {bound:g}"
        return f"about {math.ceil(round(self.n * (side / distance) ** 2, 6))} runs, here {self.n}"


def criterion_met(criterion: Mapping[str, Any], record: Mapping[str, Any]) -> bool | None:
    """Whether a record meets a criterion; None if that cannot be told.

    It does if its whole interval does, it does not if its whole interval does not, and an interval
    on both sides of a bound decides nothing, as do a random number without one and fewer than three
    runs. A number without n is not random, and decides alone, as does one that a criterion asks
    ``of_these_runs``, such as the worst of them.
    """
    lowest, highest = criterion.get("at_least", -math.inf), criterion.get("at_most", math.inf)
    if "low" in record:
        low, high = record["low"], record["high"]
    elif "n" in record and (record["n"] < FEWEST or not criterion.get("of_these_runs")):
        return None
    else:
        low = high = record["value"]
    if lowest <= low and high <= highest:
        return True
    return False if high < lowest or highest < low else None


def verdict(claim: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]]) -> str:
    """All criteria met, none, or some of them; undecided if those that are open could change it."""
    if not all(c["record"] in records for c in claim["criteria"]):
        return NOT_RUN
    met = [criterion_met(c, records[c["record"]]) for c in claim["criteria"]]
    choices = [(True, False) if one is None else (one,) for one in met]
    possible = {_of_all(case) for case in itertools.product(*choices)}
    return possible.pop() if len(possible) == 1 else UNDECIDED


def _of_all(met: Iterable[bool]) -> str:
    found = set(met)
    return PARTLY if len(found) == 2 else REPRODUCED if found == {True} else NOT_REPRODUCED


def judged(criterion: Mapping[str, Any], record: Mapping[str, Any] | None) -> Judged:
    """A criterion of a claim beside its record, if there is one."""
    found = record or {}
    return Judged(
        criterion["record"], criterion.get("at_least"), criterion.get("at_most"),
        criterion.get("unit", ""),
        found.get("value"), found.get("low"), found.get("high"), found.get("n"),
        None if record is None else criterion_met(criterion, record),
    )  # fmt: skip


def number(value: float | str | None) -> str:
    """A number for a table: three significant digits, words as they are."""
    if value is None:
        return "—"
    return value if isinstance(value, str) else f"{value:.3g}".replace("-", "−")


def measured(judged: Judged, unit: str = "") -> str:
    """A number with its unit, interval and n."""
    text = f"{number(judged.value)} {unit}".rstrip()
    if judged.low is not None and judged.high is not None:
        text += f" [{number(judged.low)}, {number(judged.high)}]"
    return text if judged.n is None else f"{text}, n = {judged.n}"


def bounds(judged: Judged) -> str:
    """What a criterion asks for: ≥ 6, ≤ 0.05, 0.9 to 1.1."""
    low, high = judged.at_least, judged.at_most
    if low is not None and high is not None:
        return f"{number(low)} to {number(high)}"
    return f"≥ {number(low)}" if low is not None else f"≤ {number(high)}"
