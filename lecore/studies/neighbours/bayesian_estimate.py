"""How many posterior samples a probability takes, with error and confidence fixed beforehand.

The scheme of Cardelli, Kwiatkowska, Laurenti, Paoletti, Patane & Wicker, "Statistical guarantees
for the robustness of Bayesian neural networks" (IJCAI 2019, arXiv 1903.01980), which is that of
Jegourel, Sun & Dong (2017): samples are drawn until their number reaches a bound of Massart (1990)
that depends on the probability, for which Clopper & Pearson's interval stands in. Its text was not
at hand; settings and the scheme "as released" are those of the code at
github.com/matthewwicker/StatisticalGuarenteesForBNNs (``MNIST/RobustnessTest.py``).
"""

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lecore.arguments.settings import whole
from lecore.errors import LecoreError
from lecore.seeding import seeded

Array = NDArray[np.float64]


class Scheme(NamedTuple):
    """A sequential scheme; :func:`scheme` checks its numbers.

    Attributes:
        error: Largest distance of the estimate from the truth, in (0, 0.5).
        doubt: How often it may be farther, in (0, 1); 1 less the confidence.
        interval_doubt: The part of ``doubt`` that goes to Clopper & Pearson's interval, below it.
        constants: ``massart`` are those of the theorem, ``released`` those of the released code,
            which leaves out a factor 2 below the logarithm, has another sign where the probability
            is above one half, and draws one sample more.
    """

    error: float = 0.075
    doubt: float = 0.075
    interval_doubt: float = 0.05
    constants: str = "massart"


class Estimate(NamedTuple):
    """What a sequential estimate found.

    Attributes:
        value: Share of successes.
        low: It less the error, at least 0.
        high: It plus the error, at most 1.
        samples: Outcomes that were looked at.
    """

    value: float
    low: float
    high: float
    samples: int


def scheme(
    error: float = 0.075,
    doubt: float = 0.075,
    interval_doubt: float = 0.05,
    constants: str = "massart",
) -> Scheme:
    """A scheme, with the settings of the released code unless told otherwise.

    Raises:
        LecoreError: If a number is out of its range, or the constants are unknown.
    """
    if not 0 < error < 0.5 or not 0 < interval_doubt < doubt < 1:
        raise LecoreError(
            f"error {error:g} must lie between 0 and 0.5, and 0 < interval_doubt < doubt < 1, "
            f"not {interval_doubt:g} and {doubt:g}"
        )
    if constants not in ("massart", "released"):
        raise LecoreError(f"no constants {constants!r}", "choose from massart, released")
    return Scheme(error, doubt, interval_doubt, constants)


def chernoff_samples(error: float, doubt: float) -> int:
    """Samples that suffice whatever the probability: ⌈ln(2/δ) / 2θ²⌉ (Okamoto, 1959).

    Raises:
        LecoreError: If an argument is out of its range.
    """
    if not 0 < error < 0.5 or not 0 < doubt < 1:
        raise LecoreError(
            f"error {error:g} must lie between 0 and 0.5, and doubt {doubt:g} between 0 and 1"
        )
    return math.ceil(math.log(2 / doubt) / (2 * error**2))


def clopper_pearson(successes: ArrayLike, n: ArrayLike, doubt: float) -> tuple[Array, Array]:
    """Both ends of the exact interval, of many counts at once.

    Args:
        successes: Any shape.
        n: Trials, likewise.
        doubt: How often the interval may miss.

    Raises:
        LecoreError: If there are more successes than trials, or fewer than none.
    """
    k, n = np.asarray(successes, dtype=float), np.asarray(n, dtype=float)
    if not ((k >= 0) & (k <= n) & (n > 0)).all():
        raise LecoreError("successes must number from 0 to the trials, of which there is one")
    with np.errstate(invalid="ignore"):
        low = np.where(k == 0, 0.0, stats.beta.ppf(doubt / 2, k, n - k + 1))
        high = np.where(k == n, 1.0, stats.beta.ppf(1 - doubt / 2, k + 1, n - k))
    return low, high


def massart_samples(low: ArrayLike, high: ArrayLike, of: Scheme) -> Array:
    """Samples that suffice if the probability lies between two ends; at most Chernoff's number.

    An estimate is farther from γ than θ with probability 2 exp(−n θ² h) at most, where
    9/(2h) = (3γ + θ)(3(1 − γ) − θ) up to γ = ½, and the same in 1 − γ above (Massart, 1990,
    Theorem 2). The end nearer to one half asks for most.

    Args:
        low: Lower ends, any shape.
        high: Upper ends, likewise.
        of: The scheme.
    """
    low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    θ, left = of.error, of.doubt - of.interval_doubt
    near = np.where(high < 0.5, high, 1 - low)  # the nearer end, as if all were below one half
    spread = (3 * near + θ) * (3 * (1 - near) - θ)
    logarithm = math.log(2 / left)
    if of.constants == "released":
        logarithm = math.log(1 / left)
        spread = np.where(low >= 0.5, (3 * near + θ) * (3 * (1 - near) + θ), spread)
    needed = np.ceil(logarithm * 2 * spread / (9 * θ**2))
    most = chernoff_samples(of.error, of.doubt)
    return np.where((low < 0.5) & (high >= 0.5), most, np.minimum(needed, most))


@lru_cache
def stopping(of: Scheme) -> NDArray[np.bool_]:
    """Whether the scheme stops after n samples with k successes: entry [n, k], n from 0.

    Raises:
        LecoreError: As in :func:`scheme`.
    """
    scheme(*of)
    late = of.constants == "released"  # its loop goes on while n is the bound
    most = chernoff_samples(of.error, of.doubt) + late
    n, k = np.mgrid[: most + 1, : most + 1]
    ends = clopper_pearson(np.minimum(k, n), np.maximum(n, 1), of.interval_doubt)
    stops = n >= massart_samples(*ends, of) + late
    stops[-1] = True
    return np.asarray(stops & (n > 0))


def sequential_estimate(outcomes: Iterable[bool], of: Scheme = Scheme()) -> Estimate:  # noqa: B008
    """Estimate a probability from independent outcomes, of which no more are taken than needed.

    Args:
        outcomes: Successes and failures, such as whether a posterior sample is robust, made one by
            one when asked for.
        of: The scheme.

    Returns:
        The estimate. With the confidence of the scheme the probability lies from ``low`` to
        ``high``.

    Raises:
        LecoreError: If the outcomes end before the scheme does, or one is neither true nor false.
    """
    table, successes, n = stopping(of), 0, 0
    for n, outcome in enumerate(_told(outcomes), 1):
        successes += outcome
        if table[n, successes]:
            value = successes / n
            return Estimate(value, max(value - of.error, 0.0), min(value + of.error, 1.0), n)
    raise LecoreError(
        f"{n} outcomes are too few for an error of {of.error:g} with confidence {1 - of.doubt:g}",
        f"take {len(table) - 1}, which always suffice",
    )


def sampling_path(outcomes: Iterable[bool], of: Scheme) -> pd.DataFrame:
    """What the scheme knows after each sample, until it stops.

    Args:
        outcomes: As in :func:`sequential_estimate`.
        of: The scheme.

    Returns:
        One row for each sample, with columns ``n``, ``k`` (successes), ``value``, ``low`` and
        ``high`` (of the interval of Clopper & Pearson), ``needed`` (samples, by that interval) and
        ``stops`` (whether the scheme does).

    Raises:
        LecoreError: If an outcome is neither true nor false.
    """
    table = stopping(of)
    k = np.cumsum(np.fromiter(_told(outcomes), dtype=int))[: len(table) - 1]
    n = np.arange(1, len(k) + 1)
    stops = table[n, k]
    end = int(np.argmax(stops)) + 1 if stops.any() else len(k)
    k, n, stops = k[:end], n[:end], stops[:end]
    low, high = clopper_pearson(k, n, of.interval_doubt)
    needed = massart_samples(low, high, of).astype(int)
    columns = {"n": n, "k": k, "value": k / n, "low": low, "high": high, "needed": needed}
    return pd.DataFrame(columns | {"stops": stops})


def coverage(of: Scheme, chances: ArrayLike, sequential: bool = True) -> tuple[Array, Array]:
    """How often the estimate is within the error, and how many samples it takes, exactly.

    Follows how the number of successes is distributed until the scheme stops.

    Args:
        of: The scheme.
        chances: True probabilities.
        sequential: Whether to stop early; otherwise Chernoff's number of samples is drawn.

    Returns:
        Probability that the estimate is within the error, and expected samples, for each chance.

    Raises:
        LecoreError: If a chance is none.
    """
    chances = np.atleast_1d(np.asarray(chances, dtype=float))
    _check_chances(chances)
    table = stopping(of) if sequential else _at_the_end(chernoff_samples(of.error, of.doubt))
    within, expected = np.zeros(len(chances)), np.zeros(len(chances))
    going = np.zeros((len(chances), len(table)))
    going[:, 0] = 1.0
    p, counts = chances[:, None], np.arange(len(table))
    for n in range(1, len(table)):
        hit = np.pad(going[:, :-1], ((0, 0), (1, 0)))
        going = p * hit + (1 - p) * going
        stopped = going * table[n]
        near = np.abs(counts / n - p) <= of.error + 1e-12
        within += (stopped * near).sum(1)
        expected += n * stopped.sum(1)
        going = going - stopped
    return within, expected


def simulated_coverage(of: Scheme, chance: float, runs: int, seed: int) -> int:
    """In how many of simulated runs the sequential estimate is within the error.

    Args:
        of: The scheme.
        chance: True probability.
        runs: Runs, each of independent outcomes.
        seed: Of the outcomes.

    Raises:
        LecoreError: If the chance is none, or there are no runs.
    """
    _check_chances(np.array(chance))
    runs = whole("runs", runs)
    table = stopping(of)
    with seeded(seed) as rng:
        counts = np.cumsum(rng.random((runs, len(table) - 1)) < chance, axis=1)
    n = np.arange(1, len(table))
    at = np.argmax(table[n, counts], axis=1)
    value = counts[np.arange(runs), at] / n[at]
    return int((np.abs(value - chance) <= of.error + 1e-12).sum())


def _told(outcomes: Iterable[bool]) -> Iterator[bool]:
    for outcome in outcomes:
        if outcome not in (0, 1):
            raise LecoreError(f"an outcome must be True or False, not {outcome!r}")
        yield bool(outcome)


def _check_chances(chances: Array) -> None:
    if not ((chances >= 0) & (chances <= 1)).all():
        raise LecoreError("chances must lie between 0 and 1")


def _at_the_end(most: int) -> NDArray[np.bool_]:
    table = np.zeros((most + 1, most + 1), dtype=bool)
    table[-1] = True
    return table
