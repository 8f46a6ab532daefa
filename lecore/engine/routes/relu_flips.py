"""What hidden ReLU units that change sides add to a prediction change.

Unit r flips at test point j after a step on update point i exactly if κ_ij passes
t_jr = −z_jr/a_r on its side of 0, and then adds ``weight_ir |κ_ij − t_jr|``. With the units of each
test point sorted by t, a pair needs the running sums of weight and weight·t up to κ_ij.
"""

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, pad

from lecore.engine.at_once import at_once

CHUNK = 32
"""Units that are summed together; running sums are kept for whole chunks."""

BATCH_BYTES = 2**24
"""Memory of the running sums of the test points in hand."""

SINGLED_OUT = 2
"""Update points of each test point whose flips are added one by one."""


def flip_thresholds(z: Tensor, a: Tensor) -> Tensor:
    """κ at which each unit flips, t = −z/a; a unit with z = 0 is off, and d > 0 switches it on."""
    return torch.where(z == 0, a.sign() * torch.finfo(z.dtype).tiny, -z / a)


def added_by_flips(weight: Tensor, shift: Tensor, threshold: Tensor) -> Tensor:
    """``Σ_r weight[i, r] |κ_ij − t_jr|`` over the units r that flip, shape (m, n).

    Args:
        weight: Shape (n, units); 0 where the unit is off at the update point.
        shift: κ, shape (n, m).
        threshold: t, shape (m, units).
    """
    total = shift.new_zeros(shift.shape[1], len(shift))
    # a point's own step moves it much farther than others do: its few farthest update points
    # go one by one, so that the rest have closer bounds
    shift = shift.clone()
    for _ in range(min(SINGLED_OUT, len(shift))):
        farthest = shift.abs().argmax(0, keepdim=True)
        alone = shift.gather(0, farthest).T
        beyond = (threshold.sign() * alone).sub_(threshold.abs()).clamp_min_(0)
        own = beyond.mul_(weight[farthest[0]]).sum(1, keepdim=True)
        total.scatter_(1, farthest.T, own)
        shift.scatter_(0, farthest, 0.0)
    by_unit, by_test = weight.T.contiguous(), shift.T.contiguous()
    for sign in (1, -1):
        ahead = torch.where(sign * threshold > 0, sign * threshold, torch.inf)
        _add_passed(total, by_unit, (sign * by_test).clamp_min_(0), ahead)
    return total


def _add_passed(total: Tensor, by_unit: Tensor, reach: Tensor, ahead: Tensor) -> None:
    """Add Σ_r by_unit[r, i] (κ_ij − t_jr) over the units with t_jr < κ_ij to total[j, i].

    Each test point's units are sorted by t and summed in chunks, Σ weight and Σ weight·t; a pair
    takes the running sums of the chunks that it passed and, unit by unit, the one it reached.

    Args:
        total: Shape (m, n).
        by_unit: Weights, shape (units, n).
        reach: κ ≥ 0, shape (m, n).
        ahead: t > 0, infinite for units that do not count, shape (m, units).
    """
    within = (ahead < reach.amax(1, keepdim=True)).sum(1)
    near = torch.nonzero(within)[:, 0]
    if len(near) == 0:
        return
    units, n = int(within.max()), by_unit.shape[1]
    reach, (ahead, order) = reach[near], ahead[near].topk(units, largest=False)
    passed = torch.searchsorted(ahead, reach)
    needed = passed.amax(1) // CHUNK + 1
    # the rest of the last chunk is out of reach
    spare = -units % CHUNK + CHUNK
    ahead = pad(ahead, (0, spare), value=torch.inf).unflatten(1, (-1, CHUNK))
    order = pad(order, (0, spare)).unflatten(1, (-1, CHUNK))
    bytes_a_chunk = 2 * n * by_unit.element_size()
    limit = at_once(BATCH_BYTES, by_unit.device)
    batch = max(1, limit // (bytes_a_chunk * max(int(needed.max()), CHUNK // 2)))
    for j in needed.argsort().split(batch):  # alike ones together
        kappa, chunk = reach[j], passed[j] // CHUNK
        t, unit = (part[j, : int(needed[j].max())] for part in (ahead, order))
        factors = torch.stack([torch.ones_like(t), t.nan_to_num(posinf=0)], 2)
        running = _chunk_sums(by_unit, unit, factors).cumsum_(1)
        last = (chunk - 1).clamp_min_(0)[:, None, None].expand(-1, 1, 2, -1)
        weight, weight_t = running.gather(1, last)[:, 0].unbind(1)
        whole = torch.where(chunk > 0, kappa * weight - weight_t, 0.0)
        row = torch.arange(len(j), device=j.device)[:, None]
        column = torch.arange(n, device=j.device)[:, None]
        part = (kappa[:, :, None] - t[row, chunk]).clamp_min_(0)
        part *= by_unit.view(-1).take(unit[row, chunk].mul_(n).add_(column))
        total[near[j]] += whole.add_(part.sum(2))


def _chunk_sums(by_unit: Tensor, unit: Tensor, factors: Tensor) -> Tensor:
    """Σ_r factors[…, r] by_unit[unit[…, r]] over the units of each chunk.

    Args:
        by_unit: Shape (units, n).
        unit: Shape (m, chunks, units of a chunk).
        factors: Shape (m, chunks, 2, units of a chunk).

    Returns:
        Shape (m, chunks, 2, n).
    """
    n, chunk = by_unit.shape[1], unit.shape[2]
    if by_unit.dtype == torch.float32:  # what torch has a fast kernel for
        units = unit[:, :, None].expand_as(factors).reshape(-1, chunk)
        weights = factors.view(-1, chunk)
        sums = embedding_bag(units, by_unit, per_sample_weights=weights, mode="sum")
        return sums.view(*factors.shape[:3], n)
    sums = factors.new_empty(*factors.shape[:3], n)
    for one_sums, one_unit, one_factors in zip(sums, unit, factors, strict=True):
        rows = by_unit.index_select(0, one_unit.flatten()).view(-1, chunk, n)
        torch.bmm(one_factors, rows, out=one_sums)
    return sums
