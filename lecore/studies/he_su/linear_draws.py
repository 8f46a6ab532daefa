"""Figure 1c's linear network over and over, at the paper's rate and width, from other weights.

A two-layer linear network needs no width (:mod:`~lecore.studies.he_su.linear_networks`), so that
hundreds of them train side by side in seconds, exactly.
"""

from random import Random
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import pad

from lecore.data.manifolds import Manifold, torus, torus_at
from lecore.models import two_layer
from lecore.similarity import correlation_with_distance, relative_similarity
from lecore.studies.he_su.figure1_rates import paper_rate
from lecore.studies.he_su.figure1_runs import PAPER_WIDTH
from lecore.studies.he_su.linear_networks import linear_network
from lecore.uncertainty import median_range, proportion

PAPER_SEED, PAPER_POINTS = 666, 100
NEAR = 10
"""Draws whose other numbers are shown beside a printed one."""


def paper_torus() -> Manifold:
    """The points of He & Su's Figure 1: their code draws them by Python's own generator."""
    rng = Random(PAPER_SEED)
    return torus_at(np.array([rng.uniform(-np.pi, np.pi) for _ in range(PAPER_POINTS)]))


def linear_draws(
    draws: int, *, steps: int, width: int = PAPER_WIDTH, new_points: bool = False
) -> pd.DataFrame:
    """Train linear networks from weights drawn anew, all on the paper's points, at its rate.

    Args:
        draws: How many networks.
        steps: Full-batch steps of gradient descent on the squared loss; the paper has 20,000.
        width: Hidden units; at another width than the paper's the rate is scaled by it.
        new_points: Draw the points anew, too.

    Returns:
        Columns ``correlation`` of S_rel with distance, as in the paper, mean ``similarity``, and
        ``peak``, the highest loss on the way; a row a network. One that diverged has NaN in the
        first two and an infinite peak.
    """
    sets = [torus(PAPER_POINTS, seed) if new_points else paper_torus() for seed in range(draws)]
    x = pad(torch.tensor(np.stack([one.points for one in sets])), (0, 1), value=1.0)
    y = torch.tensor(sets[0].labels, dtype=x.dtype)
    starts = [linear_network(two_layer(3, width, "linear", seed=seed)) for seed in range(draws)]
    state = _State(
        torch.stack([one.gram for one in starts]), torch.stack([one.slope for one in starts]),
        torch.stack([one.square for one in starts])[:, None],
        torch.stack([one.offset for one in starts])[:, None],
    )  # fmt: skip
    peak = torch.zeros(draws, dtype=x.dtype)
    for _ in range(steps):
        residual = _times(x, state.slope) + state.offset - y
        peak = torch.maximum(peak, residual.square().mean(1).nan_to_num(torch.inf))
        state = _step(state, x, 2 / len(y) * residual, paper_rate(width))
    own = x[:, sets[0].primary]
    kernel = state.square[..., None] * (own @ own.mT) + own @ state.gram @ own.mT + 1
    lines = []
    for one, theta, highest in zip(sets, kernel, peak.tolist(), strict=True):
        line = {"correlation": np.nan, "similarity": np.nan, "peak": highest}
        if bool(theta.isfinite().all()):
            similarity = relative_similarity(theta[..., None])
            pairs = np.ix_(one.primary, one.primary)
            line["correlation"] = correlation_with_distance(similarity, one.distance[pairs])
            line["similarity"] = float(similarity.mean())
        lines.append(line)
    return pd.DataFrame(lines)


def beside_the_print(table: pd.DataFrame, printed: float) -> dict[tuple[str, ...], dict[str, Any]]:
    """Where a printed correlation lies among those of networks drawn anew.

    Args:
        table: From :func:`linear_draws`; networks that diverged count as not beyond.
        printed: The paper's correlation.

    Returns:
        The median ``correlation`` with the ends of the middle nine tenths, the share ``beyond``
        the printed one with its interval, and the median ``similarity`` of the ten draws that
        come ``near`` it most, with their range.
    """
    r = table.correlation.dropna()
    low, middle, high = r.quantile([0.05, 0.5, 0.95])
    near = table.loc[(r - printed).abs().nsmallest(NEAR).index, "similarity"]
    return {
        ("draws correlation",): {"value": middle, "low": low, "high": high, "n": len(r)},
        ("draws beyond",): proportion(int((r <= printed).sum()), len(table))._asdict(),
        ("draws near", "similarity"): median_range(near)._asdict(),
    }


class _State(NamedTuple):
    """G, h, s and c of :class:`~lecore.studies.he_su.linear_networks.LinearNetwork`, k of each."""

    gram: Tensor
    slope: Tensor
    square: Tensor
    offset: Tensor


def _step(state: _State, x: Tensor, gradient: Tensor, rate: float) -> _State:
    """One step of gradient descent, as at the head of ``linear_networks``."""
    gram, h, s, c = state
    v = _times(x.mT, gradient)
    along, towards = (h * v).sum(1, keepdim=True), _times(gram, v)
    u = rate**2 / 2 * s * v - rate * h
    outer = u[:, :, None] * v[:, None]
    return _State(
        gram + outer + outer.mT,
        h - rate * (towards + s * v) + rate**2 * along * v,
        s - 2 * rate * along + rate**2 * (v * towards).sum(1, keepdim=True),
        c - rate * gradient.sum(1, keepdim=True),
    )


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None])[..., 0]
