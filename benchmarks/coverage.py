"""``python -m benchmarks.coverage``: how often each interval of the book holds what it says.

Draws data whose truth is known, thousands of times, and counts. The table is committed and shown
on the page *Intervals*.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from lecore.companion.project import project_root
from lecore.companion.records import write_json
from lecore.data.manifolds import torus
from lecore.similarity import correlation_with_distance
from lecore.studies.he_su.comparisons import total_of_shares
from lecore.theory.wide_networks import infinite_width_ntk
from lecore.uncertainty import (
    Interval,
    over_points,
    over_ratios,
    over_runs,
    proportion,
)

Array = NDArray[np.float64]
RUNS = (3, 5, 10)
PAIRS = {
    "six alike, 0.95": [0.95] * 6,
    "six alike, 0.7": [0.7] * 6,
    "sure and doubtful pairs": [1, 1, 1, 0.9, 0.6, 0.3],
}
"""Chances that a method wins each of six pairs."""


class Case(NamedTuple):
    """One line of the table.

    Attributes:
        interval: Name of the function in :mod:`lecore.uncertainty`.
        covers: What it should hold.
        data: What is drawn.
        n: Runs or points.
        draw: Gives an interval, by a generator.
        truth: The number that it should hold.
    """

    interval: str
    covers: str
    data: str
    n: int
    draw: Callable[[np.random.Generator], Interval]
    truth: float


def coverage(case: Case, repeats: int, seed: int = 0) -> float:
    """Share of intervals that hold the truth."""
    rng = np.random.default_rng(seed)
    found = (case.draw(rng) for _ in range(repeats))
    return sum(low - 1e-9 <= case.truth <= high + 1e-9 for _, low, high, _ in found) / repeats


def of_runs() -> Iterator[Case]:
    """Means, ratios and shares of repeated runs."""
    for n in RUNS:
        mean, ratio = "the expectation of a run", "the median ratio"
        yield Case("over_runs", mean, "normal", n, lambda g, n=n: over_runs(g.normal(size=n)), 0)
        yield Case(
            "over_runs", mean, "uniform", n, lambda g, n=n: over_runs(g.uniform(size=n)), 0.5
        )
        yield Case(
            "over_runs", mean, "shares near 1 (Beta(18, 2))", n,
            lambda g, n=n: over_runs(g.beta(18, 2, n), bounds=(0, 1)), 0.9,
        )  # fmt: skip
        yield Case(
            "over_runs", mean, "two modes, 60 and 95 in one of two", n,
            lambda g, n=n: over_runs(g.choice([60.0, 95.0], n) + g.normal(size=n)), 77.5,
        )  # fmt: skip
        yield Case(
            "over_ratios", ratio, "lognormal, σ = 1", n,
            lambda g, n=n: over_ratios(g.lognormal(size=n)), 1,
        )  # fmt: skip
        for p in (0.5, 0.9):
            yield Case(
                "proportion", "the chance of a success", f"binomial, p = {p}", n,
                lambda g, n=n, p=p: proportion(g.binomial(n, p), n), p,
            )  # fmt: skip
        for name, chances in PAIRS.items():
            yield Case(
                "total_of_shares", "the sum of chances", name, n,
                lambda g, n=n, p=chances: total_of_shares(g.binomial(n, p), n), sum(chances),
            )  # fmt: skip


def correlation(kind: str, size: int, rng: np.random.Generator, *, self_pairs: bool) -> Any:
    """The matrices of Figure 1 with exact kernels, and the statistic of them."""
    curve = torus(2 * size, seed=int(rng.integers(2**31)))
    x = curve.points[curve.primary]
    kernel = infinite_width_ntk(x) if kind == "ReLU" else x @ x.T + 1
    similarity = np.abs(kernel) / kernel.diagonal()[:, None]
    distance = curve.distance[np.ix_(curve.primary, curve.primary)]
    return partial(correlation_with_distance, self_pairs=self_pairs), [similarity, distance]


def of_points(draws: int) -> Iterator[Case]:
    """Correlations of Figure 1, whose expectation is itself an average over draws."""
    for kind in ("ReLU", "linear"):
        for size in (25, 50):
            for self_pairs in (False, True):
                make = partial(correlation, kind, size, self_pairs=self_pairs)
                rng = np.random.default_rng(size)
                values = []
                for _ in range(draws):
                    statistic, matrices = make(rng)
                    values.append(statistic(*matrices))
                what = "with" if self_pairs else "without"
                yield Case(
                    "over_points", "the expectation at this n",
                    f"Figure 1, {kind}, {what} self-pairs", size,
                    lambda g, make=make: over_points(*make(g)), float(np.mean(values)),
                )  # fmt: skip


def line(row: dict[str, Any]) -> str:
    """A row of the table, in Markdown."""
    cells = (f"`{row['interval']}`", row["covers"], row["data"], row["n"], f"{row['held']:.1%}")
    return "| " + " | ".join(map(str, cells)) + " |"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--repeats", default=4000, show_default=True, type=click.IntRange(1))
@click.option("--points-repeats", default=300, show_default=True, type=click.IntRange(1))
def main(repeats: int, points_repeats: int) -> None:
    """Simulate the coverage of every interval, print it, and write book/coverage.json."""
    rows = []
    for case in (*of_runs(), *of_points(10 * points_repeats)):
        times = points_repeats if case.interval == "over_points" else repeats
        row = case._asdict() | {"held": coverage(case, times), "repeats": times}
        rows.append({key: value for key, value in row.items() if key not in ("draw", "truth")})
        click.echo(line(rows[-1]))
    write_json(project_root() / "book" / "coverage.json", rows)


if __name__ == "__main__":
    main()
