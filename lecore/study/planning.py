"""What the questions of a study will take, from trials on a few of its examples."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.optimize import nnls
from torch import Tensor

from lecore.changes import linearized_change, prediction_change
from lecore.engine.optimizer_steps import has_rule
from lecore.engine.tiling.plans import Plan, Planned, asked
from lecore.engine.tiling.tiles import Tiles
from lecore.study.influence import loss_kernel, self_influence
from lecore.study.influence_blocks import block_size

if TYPE_CHECKING:
    from lecore.study.study import Study

FIRST, LONG_ENOUGH = 2, 0.3
"""Examples of the first trial, and seconds after which a trial is no longer doubled."""

FACTORS = "factors of the layers' gradients"

SHORTER = {
    f"{FACTORS}; ": "factors; ",
    " parameters written out": " written out",
    ", many steps at once": ", steps at once",
    " to first order": "",
    "plain autograd, steps of": "autograd, steps of",
    "matrix products of a two-layer network": "matrix products, two layers",
}
"""Words of long routes, beside which a printed table would leave the seconds out."""

Ask = Callable[[int, int], Any]
"""A question about so many training and so many test examples."""


def planned(study: "Study", tiles: Tiles) -> pd.DataFrame:
    """See :meth:`lecore.study.study.Study.plan`."""
    n, m = len(study.train), len(study.test)
    lines = []
    trials = _questions(study, replace(tiles, store=None, progress=False))
    for (name, ask), whole in zip(trials.items(), _questions(study, tiles).values(), strict=True):
        pairs = name != "self-influence"
        blocks = name == "influence" and tiles.store is None
        plan = _plan(whole, min(n, block_size(study)) if blocks else n, m) if pairs else None
        seconds = _seconds(ask, n, m if pairs else 1)
        kept = 0 if plan is None or name == "influence" else plan.result_bytes
        held = 0 if plan is None else plan.tile_bytes + plan.result_bytes - kept
        route = FACTORS if plan is None else plan.work.route.words
        for long, short in SHORTER.items():
            route = route.replace(long, short)
        lines.append((name, seconds, kept / 2**30, held / 2**30, route))
    # pandas prints the two first and the two last where 80 letters are too few for all
    return pd.DataFrame(lines, columns=["question", "seconds", "result", "work", "route"])


def _questions(study: "Study", tiles: Tiles) -> dict[str, Ask]:
    network, rows, columns = study._network, study._rows, study._columns
    given: dict[str, Any] = {"loss": study.loss, "dtype": study.dtype}
    step = given | {
        "tiles": tiles,
        "learning_rate": study.learning_rate, "optimizer": study.optimizer,
        "outputs": study.outputs,
    }  # fmt: skip
    known: Tensor | None = None if study.train.targets is None else study._targets(study.train)
    found: dict[str, Ask] = {}
    if known is None:
        return found
    if study.test.targets is not None:
        wanted = study._targets(study.test)
        found["influence"] = lambda n, m: loss_kernel(
            network, rows[:n], known[:n], columns[:m], wanted[:m], tiles=tiles, **given
        )
    found["self-influence"] = lambda n, m: self_influence(network, rows[:n], known[:n], **given)
    if study.learning_rate is not None or study.optimizer is not None:

        def change(measure: Callable[..., Any], n: int, m: int) -> Any:
            return measure(network, rows[:n], known[:n], columns[:m], **step)

        found["change, exact"] = partial(change, prediction_change)
        if study.optimizer is None or has_rule(study.optimizer):
            found["change, linear"] = partial(change, linearized_change)
    return found


def _plan(ask: Ask, n: int, m: int) -> Plan:
    try:
        with asked():
            ask(n, m)
    except Planned as found:
        return found.plan
    raise AssertionError("no matrix was asked for")


def _seconds(ask: Ask, n: int, m: int) -> float:
    """Seconds for all of them, as a + b n + c m + d n m with no term below zero."""
    ask(min(n, FIRST), min(m, FIRST))  # what is looked at once is remembered
    size = FIRST
    while True:
        r, c = min(n, size), min(m, size)
        took = _timed(ask, r, c)
        if took > LONG_ENOUGH or (r, c) == (n, m):
            break
        size *= 2
    sizes = {(r, c), (-(-r // 2), c), (r, -(-c // 2)), (-(-r // 2), -(-c // 2))}
    times = {(r, c): took} | {s: _timed(ask, *s) for s in sizes - {(r, c)}}
    terms = np.array([[1, a, b, a * b] for a, b in times], dtype=float)
    scale = np.array(list(times.values()))
    found, _ = nnls(terms / scale[:, None], np.ones(len(scale)))
    return float(found @ [1, n, m, n * m])


def _timed(ask: Ask, n: int, m: int) -> float:
    start = time.perf_counter()
    _ = ask(n, m)
    return time.perf_counter() - start
