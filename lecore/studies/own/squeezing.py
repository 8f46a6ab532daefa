"""A token is made less likely: where its probability goes."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.optimize import brentq
from torch import Tensor, nn
from torch.func import functional_call

from lecore.errors import LecoreError
from lecore.studies.own.three_factors import Next, Places, double, probabilities_at

WAYS = ("in proportion", "softmax alone", "one step", "small steps")
"""A token is made less likely while the others keep their proportions, by a step of the logits
themselves, by one of the network, or by many small ones of it."""

LEAST, MOST = -20.0, 20.0
"""Logarithms of the smallest and the largest rate that are tried."""


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
    model, before = double(model), probabilities_at(model, at)
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
