"""Which ReLU units are always off or on in a box: ascent finds that one is not, MILP that it is.

After Serra, Kumar, Ramalingam (CPAIOR 2020), who solve two mixed-integer programmes a unit, and
Serra, Yu, Kumar, Ramalingam (NeurIPS 2021), who first look at which units are seen in both states.
HiGHS solves the programmes here, through ``scipy.optimize.milp``.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize, sparse
from torch import Tensor

from lecore.arguments.settings import whole
from lecore.errors import LecoreError
from lecore.studies.neighbours.box_search import ascend, check_inside, points_in
from lecore.studies.neighbours.equivalent_networks import (
    WHERE,
    Affine,
    Bounds,
    Box,
    check_fit,
    interval_bounds,
    network_of,
)

MARGIN = 1e-6
"""By how much bounds of HiGHS are widened, as its tolerance on constraints is 1e-7."""

TRIES = 4
"""Beginnings of the ascent for each unit and each state."""


class Extreme(NamedTuple):
    """The result of a mixed-integer programme.

    Attributes:
        bound: No preactivation lies beyond it; infinite if none was found in time.
        found: One that is reached by an input; NaN if none was found.
        proven: Whether what was asked is proven; otherwise the time limit came first.
        message: One line about it.
    """

    bound: float
    found: float
    proven: bool
    message: str


def stable_bounds(
    layers: Sequence[Affine],
    domain: Box,
    *,
    inputs: Tensor | None = None,
    time_limit: float = 10.0,
    seed: int = 0,
) -> list[Bounds]:
    """Bounds of all hidden layers, sharp enough to say which units are always off or on.

    Intervals come first, exact in the first layer. A unit of a later layer that they leave open is
    looked for in both states, by ascent in the box from random points and from ``inputs``; where
    one state is never seen, a programme says if it exists. Bounds of a layer serve those after.

    Args:
        layers: Of a ReLU network.
        domain: The box.
        inputs: Points inside it to begin from, shape (n, …).
        time_limit: Seconds a programme; units that it leaves undecided are marked ``open``.
        seed: Of the random points.

    Raises:
        LecoreError: If inputs lie outside the box, this is of another network, a weight is not
            finite, the time limit is not positive, or a programme fails.
    """
    check_fit(layers, domain)
    if inputs is not None:
        check_inside(inputs, domain)
    _check_time(time_limit)
    known: list[Bounds] = []
    for depth in range(1, len(layers)):
        bounds = _by_intervals(layers[:depth], domain, known)
        low, high, left = bounds.low.copy(), bounds.high.copy(), bounds.open.copy()
        if depth > 1:
            seen_off, seen_on = _seen(layers[:depth], domain, inputs, seed)
            undecided = ~bounds.off & ~bounds.on
            for largest, seen in ((True, seen_on), (False, seen_off)):
                for unit in np.flatnonzero(undecided & ~seen):
                    found = extreme(
                        layers[:depth], known, domain, int(unit), largest=largest,
                        time_limit=time_limit, sign_only=True,
                    )  # fmt: skip
                    if largest:
                        high[unit] = min(high[unit], found.bound + MARGIN)
                    else:
                        low[unit] = max(low[unit], found.bound - MARGIN)
                    left[unit] |= not found.proven
            left &= (low < 0) & (high > 0)
        known.append(Bounds(low, high, left))
    return known


def _by_intervals(layers: Sequence[Affine], domain: Box, known: Sequence[Bounds]) -> Bounds:
    """Bounds of the last of the layers by intervals from those known of the layer before."""
    if known:
        domain = Box(np.maximum(known[-1].low, 0), np.maximum(known[-1].high, 0))
    last = layers[-1]
    return interval_bounds([last, last], domain)[0]


def _seen(
    layers: Sequence[Affine], domain: Box, inputs: Tensor | None, seed: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which units of the last layer were seen off, and which on."""
    network, units = network_of(layers), len(layers[-1].bias)
    starts = points_in(domain, TRIES * units, seed)
    if inputs is not None:
        some = inputs.detach().cpu().double().flatten(1)
        rows = np.random.default_rng(seed).integers(len(some), size=TRIES * units // 2)
        starts[: len(rows)] = some[rows]
    which = torch.arange(units).repeat(TRIES)[:, None]

    def reached(sign: float) -> NDArray[np.bool_]:
        def wanted(x: Tensor) -> Tensor:
            return sign * network(x).gather(1, which)[:, 0]

        with_it = wanted(ascend(wanted, starts, domain)).detach() > 0
        found: NDArray[np.bool_] = with_it.reshape(TRIES, units).any(0).numpy()
        return found

    return reached(-1.0), reached(1.0)


def extreme(
    layers: Sequence[Affine],
    bounds: Sequence[Bounds],
    domain: Box,
    unit: int,
    *,
    largest: bool,
    time_limit: float = 10.0,
    sign_only: bool = False,
) -> Extreme:
    """The largest or smallest preactivation of one unit on the box, by MILP.

    The variables are the inputs x, and for the units before it the preactivations a = W x + b, the
    outputs h and a binary z each: h ≥ a, h ≥ 0, h ≤ a − low (1 − z) and h ≤ high z. Where a unit is
    always off or on, its z is fixed.

    Args:
        layers: Up to and with that of the unit.
        bounds: Of the hidden layers before it.
        domain: The box.
        unit: Its place in the last of the layers.
        largest: Whether the maximum is wanted; else the minimum.
        time_limit: Seconds; afterwards the bound found so far is given.
        sign_only: Stop as soon as the bound has the sign of what was found.

    Raises:
        LecoreError: If the programme is infeasible or unbounded, there is no such unit, bounds or
            box are of another network, a weight is not finite, or the time limit is not positive.
    """
    _check_time(time_limit)
    check_fit(layers, domain, bounds)
    unit = whole("unit", unit, 0, len(layers[-1].bias) - 1)
    hidden = layers[:-1]
    widths = [len(domain.low), *(w for layer in hidden for w in 3 * [len(layer.bias)]), 1]
    one = len(widths) - 1  # a variable that is 1, for the bias, so that gaps are those of a
    ends, rules = [domain], []

    def row(blocks: dict[int, Any]) -> Any:
        height = next(iter(blocks.values())).shape[0]
        empty = [sparse.csr_array((height, width)) for width in widths]
        return sparse.hstack([blocks.get(k, empty[k]) for k in range(len(widths))]).tocsr()

    for number, ((weight, bias), known) in enumerate(zip(hidden, bounds, strict=True)):
        before, a, h, z = max(0, 3 * number - 1), 3 * number + 1, 3 * number + 2, 3 * number + 3
        low, high = np.minimum(known.low, 0), np.maximum(known.high, 0)
        unit_matrix = sparse.identity(len(bias))
        above = {h: unit_matrix, a: -unit_matrix}
        rules += [
            optimize.LinearConstraint(
                row({a: unit_matrix, before: sparse.csr_array(-weight)}), bias, bias
            ),
            optimize.LinearConstraint(row(above), 0, np.inf),
            optimize.LinearConstraint(row(above | {z: sparse.diags(-low)}), -np.inf, -low),
            optimize.LinearConstraint(row({h: unit_matrix, z: sparse.diags(-high)}), -np.inf, 0),
        ]
        ends += [
            Box(known.low, known.high),
            Box(np.maximum(known.low, 0), high),
            Box((known.low >= 0).astype(float), (known.high > 0).astype(float)),
        ]
    ends.append(Box(np.ones(1), np.ones(1)))
    weight, bias = layers[-1]
    sign = -1.0 if largest else 1.0
    cost = [np.zeros(width) for width in widths]
    cost[max(0, one - 2)], cost[one] = sign * weight[unit], sign * bias[unit : unit + 1]
    binary = [np.full(w, k % 3 == 0 and 0 < k < one, dtype=int) for k, w in enumerate(widths)]
    low, high = (np.concatenate(side) for side in zip(*ends, strict=True))
    result = optimize.milp(
        np.concatenate(cost), integrality=np.concatenate(binary), constraints=rules,
        bounds=optimize.Bounds(low, high),
        options={"time_limit": time_limit} | ({"mip_rel_gap": 0.99} if sign_only else {}),
    )  # fmt: skip
    return _read(result, sign, time_limit)


def _check_time(limit: float) -> None:
    if not limit > 0:
        raise LecoreError(
            f"the time limit must be positive, not {limit}",
            "give seconds; math.inf for none",
            WHERE,
        )


def _read(result: Any, sign: float, time_limit: float) -> Extreme:
    """What HiGHS found, in the unit's own sign."""
    if result.status in (2, 3, 4):
        word = {2: "infeasible", 3: "unbounded"}.get(result.status, "not solved")
        cure = "give finite ends and bounds that belong to these layers"
        raise LecoreError(f"the program is {word}", cure, WHERE)
    found = math.nan if result.fun is None else sign * float(result.fun)
    dual = result.get("mip_dual_bound")  # none where nothing is left to choose
    bound = found if dual is None else sign * float(dual)
    if result.status == 0:
        return Extreme(bound, found, True, "proven")
    if not math.isfinite(bound):
        message = f"stopped after {time_limit:g} seconds without a bound; allow more time"
        return Extreme(-sign * math.inf, found, False, message)
    message = f"stopped after {time_limit:g} seconds: {bound:.4g} is the bound found so far"
    return Extreme(bound, found, False, message)
