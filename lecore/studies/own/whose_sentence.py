"""What a step on one token of one sentence does to tokens of others, and through which factors.

To first order it changes the log-probabilities at another place by −η A K G (Ren & Sutherland,
2025): A is the softmax's own slope there, K the tangent kernel of the logits between both places,
G the slope of the loss at the token that is learnt.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import Tensor, nn
from torch.func import functional_call

from lecore.changes import prediction_change
from lecore.errors import LecoreError
from lecore.losses import cross_entropy
from lecore.seeding import seeded
from lecore.studies.own.languages import Language
from lecore.study.language import IGNORED
from lecore.study.study import Study
from lecore.study.tokens import sentence
from lecore.tangent_kernel import empirical_ntk

Array = NDArray[np.float64]

WAYS = ("in proportion", "softmax alone", "one step", "small steps")
"""How a token is made less likely: the others keep their proportions, the logits themselves take
the step, the network takes one, or many small ones."""

KINDS = ("token", "context", "both")
"""What two places have in common: the token that comes, those before it, or both."""

LEAST, MOST = -20.0, 20.0
"""Logarithms of the smallest and the largest rate that are tried."""


def coloured(
    study: Study, change: Tensor, probes: Mapping[str, int], read: Callable[[Sequence[int]], str]
) -> dict[str, list[tuple[str, float | None]]]:
    """Test sentences of a study, token by token, with what a step on its first sentence did.

    Args:
        study: Of a language model, with padding at the end.
        change: From :meth:`lecore.study.study.Study.change`.
        probes: By what to call them, rows of test sentences.
        read: From token numbers to text.

    Returns:
        By name, pieces with their changes; the first token has none.
    """
    found = {}
    for name, row in probes.items():
        pieces = sentence(study.test, row, read)
        moved = change[0, row].tolist()[: len(pieces) - 1]
        found[name] = list(zip(pieces, [None, *moved], strict=True))
    return found


class Places(NamedTuple):
    """Places in sentences: a token that comes, after some others.

    Attributes:
        rows: Shape (places, tokens + 1): a sentence, and where the token before it stands.
        targets: The token that comes, shape (places,).
    """

    rows: Tensor
    targets: Tensor


def places(tokens: Tensor, sentences: Tensor, at: Tensor) -> Places:
    """Places in sentences.

    Args:
        tokens: All sentences, shape (n, length).
        sentences: Rows of them, shape (places,).
        at: Where in each the token that comes stands, from 1 on, the same shape.
    """
    chosen = tokens[sentences]
    return Places(torch.cat([chosen, at[:, None] - 1], 1), chosen.gather(1, at[:, None])[:, 0])


class Next(nn.Module):
    """What a language model says at a place: shape (places, words).

    Args:
        model: From tokens to logits.
        log: Whether to give log-probabilities instead of logits.
    """

    def __init__(self, model: nn.Module, *, log: bool = False) -> None:
        super().__init__()
        self.model, self.log = model, log

    def forward(self, rows: Tensor) -> Tensor:  # noqa: D102
        logits = self.model(rows[:, :-1])
        at = rows[:, -1, None, None].expand(-1, 1, logits.shape[-1])
        here = logits.gather(1, at)[:, 0]
        return here.log_softmax(-1) if self.log else here


class Factors(NamedTuple):
    """The three factors of first-order changes of log-probabilities, float64.

    Attributes:
        softmax: A = ∂ log π / ∂z at each place that is looked at, shape (seen, words, words).
        kernel: K = ∂z/∂w (∂z′/∂w)ᵀ between it and each one learnt, (learnt, seen, words, words).
        slope: G = ∂L/∂z′ = π − 1 at the token that is learnt, shape (learnt, words).
    """

    softmax: Tensor
    kernel: Tensor
    slope: Tensor

    def change(self, learning_rate: float) -> Tensor:
        """−η A K G: change of all log-probabilities, shape (learnt, seen, words)."""
        moved = torch.einsum("uock,uk->uoc", self.kernel, self.slope)
        return -learning_rate * torch.einsum("oac,uoc->uoa", self.softmax, moved)

    def one_number(self) -> "Factors":
        """The same, with each kernel replaced by its mean diagonal, a single number."""
        mean = self.kernel.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
        eye = torch.eye(self.kernel.shape[-1], dtype=mean.dtype, device=mean.device)
        return self._replace(kernel=mean * eye)


def factors(model: nn.Module, learnt: Places, seen: Places) -> Factors:
    """Take first-order changes apart (Ren & Sutherland 2025, proposition 1).

    Args:
        model: From tokens to logits.
        learnt: Places that a step is taken on.
        seen: Places that are looked at.
    """
    probabilities, slope = (probabilities_at(model, side) for side in (seen, learnt))
    slope[torch.arange(len(slope)), learnt.targets] -= 1
    eye = torch.eye(slope.shape[1], dtype=slope.dtype, device=slope.device)
    kernel = empirical_ntk(Next(model), learnt.rows, seen.rows).transpose(-1, -2)
    return Factors(eye - probabilities[:, None, :], kernel, slope)


def probabilities_at(model: nn.Module, at: Places) -> Tensor:
    """Probabilities of all tokens at some places, shape (places, words), float64."""
    with torch.no_grad():
        return Next(_double(model))(at.rows).softmax(-1)


def stepped(model: nn.Module, learnt: Places, seen: Places, learning_rate: float) -> Tensor:
    """Change of all log-probabilities after real steps, shape (learnt, seen, words)."""
    found: Tensor = prediction_change(
        Next(model, log=True), learnt.rows, learnt.targets, seen.rows,
        learning_rate=learning_rate, loss=cross_entropy,
    )  # fmt: skip
    return found


def off(found: Tensor, right: Tensor) -> Array:
    """By pair, the largest error over all tokens, as a part of the largest change."""
    error: Array = ((found - right).abs().amax(-1) / right.abs().amax(-1)).flatten().numpy()
    return error


class Squeezed(NamedTuple):
    """Where the probability went when a token was made less likely, a line a place.

    Attributes:
        top: Part of all that was gained which the likeliest other token got, by way of
            :data:`WAYS`.
        falling: Part of the other tokens that became less likely as well, likewise.
    """

    top: pd.DataFrame
    falling: pd.DataFrame


def squeezed(model: nn.Module, at: Places, *, rank: int, fall: float, steps: int = 8) -> Squeezed:
    """Make a token less likely at each place, by steps up its loss, and follow the mass.

    Args:
        model: From tokens to logits.
        at: Places; what comes there does not matter.
        rank: Which token: the second most likely is 2. The likeliest stays, to take the mass.
        fall: By how many nats its log-probability falls; the rates are found so.
        steps: Number of small steps.

    Raises:
        LecoreError: If there is no such token, or no step lowers it so far.
    """
    model, before = _double(model), probabilities_at(model, at)
    if not 2 <= rank < before.shape[1]:
        raise LecoreError(f"rank must lie from 2 to {before.shape[1] - 1}, not {rank}")
    tops, falls = [], []
    for place, pi in enumerate(before):
        token = int(pi.argsort(descending=True)[rank - 1])
        one, many = _Up(model, at.rows[place], token), _Up(model, at.rows[place], token)
        many.small(fall, steps)
        slope = pi.clone()
        slope[token] -= 1
        after = {
            "in proportion": _in_proportion(pi, token, fall),
            "softmax alone": _fallen(partial(_moved, pi.log(), slope), token, fall),
            "one step": _fallen(one.logits, token, fall),
            "small steps": many.logits(0.0).softmax(-1),
        }
        found = {way: _where_it_went(pi, after[way], token) for way in WAYS}
        tops.append({way: top for way, (top, _) in found.items()})
        falls.append({way: falling for way, (_, falling) in found.items()})
    return Squeezed(pd.DataFrame(tops), pd.DataFrame(falls))


class _Up:
    """Steps at one place that make a token less likely: up its loss."""

    def __init__(self, model: nn.Module, row: Tensor, token: int) -> None:
        self.network, self.row, self.token = Next(model), row[None], token
        self.weights = {name: p.detach() for name, p in self.network.named_parameters()}
        self.slopes = self.slope()

    def slope(self) -> dict[str, Tensor]:
        """Slope of the token's log-probability."""
        held = {name: p.clone().requires_grad_() for name, p in self.weights.items()}
        up = functional_call(self.network, held, (self.row,))[0].log_softmax(-1)[self.token]
        return dict(zip(held, torch.autograd.grad(up, list(held.values())), strict=True))

    def moved(self, rate: float) -> dict[str, Tensor]:
        return {name: p - rate * self.slopes[name] for name, p in self.weights.items()}

    def logits(self, rate: float) -> Tensor:
        """Logits at the place after one step."""
        with torch.no_grad():
            found: Tensor = functional_call(self.network, self.moved(rate), (self.row,))[0]
        return found

    def small(self, fall: float, steps: int) -> None:
        """Take small steps instead, each as long as its first order says for what is left."""
        goal = float(self.logits(0.0).log_softmax(-1)[self.token]) - fall
        for left in range(steps, 0, -1):
            missing = float(self.logits(0.0).log_softmax(-1)[self.token]) - goal
            squared = sum(float((slope**2).sum()) for slope in self.slopes.values())
            self.weights = self.moved(missing / left / squared)
            self.slopes = self.slope()


def _moved(logits: Tensor, slope: Tensor, rate: float) -> Tensor:
    return logits + rate * slope


def _in_proportion(before: Tensor, token: int, fall: float) -> Tensor:
    """All others keep their proportions."""
    after = before.clone()
    after[token] *= math.exp(-fall)
    others = torch.arange(len(before)) != token
    after[others] *= (1 - after[token]) / (1 - before[token])
    return after


def _where_it_went(before: Tensor, after: Tensor, token: int) -> tuple[float, float]:
    others = torch.arange(len(before)) != token
    top = int(torch.where(others, before, 0).argmax())
    gained = (after - before).clamp(min=0)
    others[top] = False
    return float(gained[top] / gained.sum()), float((after < before)[others].double().mean())


def _fallen(logits: Callable[[float], Tensor], token: int, fall: float) -> Tensor:
    """Probabilities where the log-probability of a token has first fallen so far."""
    before = float(logits(0.0).log_softmax(-1)[token])

    def missing(log_rate: float) -> float:
        return before - fall - float(logits(math.exp(log_rate)).log_softmax(-1)[token])

    for high in np.arange(LEAST, MOST, 0.5):
        if missing(high) >= 0:
            log_rate = brentq(missing, high - 0.5, high, xtol=1e-9)
            return logits(math.exp(log_rate)).softmax(-1)
    raise LecoreError(f"no step lowers token {token} by {fall} nats", "take a smaller fall")


class Related(NamedTuple):
    """How steps on single tokens move tokens of other sentences, by what they have in common.

    Attributes:
        moved: By kind of :data:`KINDS`, the chance that a token moves more than after a step on a
            token with nothing in common; one half means no difference.
        shuffled: The same when it is shuffled which step did what.
        rises: By kind, and ``neither``, the part that becomes more likely.
        pairs: Pairs by kind.
    """

    moved: dict[str, float]
    shuffled: dict[str, float]
    rises: dict[str, float]
    pairs: dict[str, int]


def related(
    words: Language, *, sentences: int, each: int, probes: int, context: int, skip: int, seed: int
) -> Related:
    """Take steps on single tokens and compare what they have in common with those that move.

    A change counts in units of the step's change of its own token, to first order, so that no
    step counts more for being a large one.

    Args:
        words: A model and sentences.
        sentences: Sentences to take steps on.
        each: Tokens of each.
        probes: Other sentences, all of whose tokens are looked at.
        context: Tokens before it that two places must have in common.
        skip: Sentences to leave out first, so that draws do not overlap.
        seed: Of the draw of tokens, and of the shuffle.

    Raises:
        LecoreError: If there are not as many sentences.
    """
    if skip + sentences + probes > len(words.tokens):
        raise LecoreError(f"there are only {len(words.tokens)} sentences", "take fewer")
    with seeded(seed) as rng:
        learnt = np.concatenate(
            [
                np.stack([np.full(each, row), 1 + rng.permutation(count - 1)[:each]])
                for row in range(skip, skip + sentences)
                if (count := int(words.mask[row].sum())) > each
            ],
            axis=1,
        )
        order = rng.permutation(learnt.shape[1])
    row, at = torch.from_numpy(learnt)
    labels = torch.full_like(words.tokens[row], IGNORED)
    labels[torch.arange(len(row)), at] = words.tokens[row, at]
    seen = slice(skip + sentences, skip + sentences + probes)
    study = Study(
        words.model, words.some(row) | {"labels": labels}, words.some(seen), loss="next token",
        learning_rate=1.0,
    )  # fmt: skip
    change = study.change("linear").cpu().numpy()
    change /= study.self_influence().to_numpy()[:, None, None]
    real = words.mask[seen, 1:].bool().cpu().numpy()
    masks = _in_common(
        words.tokens.cpu().numpy(), learnt, words.tokens[seen].cpu().numpy(), context
    )
    values, kinds = change[:, real], {name: mask[:, real] for name, mask in masks.items()}
    return Related(
        {kind: _ahead(np.abs(values), kinds[kind], kinds["neither"]) for kind in KINDS},
        {kind: _ahead(np.abs(values[order]), kinds[kind], kinds["neither"]) for kind in KINDS},
        {kind: float((values[mask] > 0).mean()) for kind, mask in kinds.items()},
        {kind: int(mask.sum()) for kind, mask in kinds.items()},
    )


def _in_common(tokens: Array, learnt: Array, seen: Array, context: int) -> dict[str, Array]:
    """Which places share a token, what is before it, both or neither: (learnt, seen, at)."""
    row, at = learnt
    same = tokens[row, at][:, None, None] == seen[None, :, 1:]
    before = np.zeros_like(same)
    before[:, :, context - 1 :] = True
    before[at < context] = False
    for back in range(1, context + 1):
        mine = tokens[row, np.maximum(at - back, 0)]
        theirs = seen[:, context - back : seen.shape[1] - back]
        before[:, :, context - 1 :] &= mine[:, None, None] == theirs
    return {
        "token": same & ~before, "context": before & ~same, "both": same & before,
        "neither": ~same & ~before,
    }  # fmt: skip


def _ahead(values: Array, kind: Array, neither: Array) -> float:
    """Chance that one of a kind is above one of neither, token by token; their mean."""
    found = []
    for column, one, none in zip(values.T, kind.T, neither.T, strict=True):
        if one.any() and none.any():
            mine, theirs = column[one][:, None], column[none]
            found.append((mine > theirs).mean() + (mine == theirs).mean() / 2)
    if not found:
        raise LecoreError("no two tokens have that in common", "take more sentences")
    return float(np.mean(found))


def _double(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).double()
