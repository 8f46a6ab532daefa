"""What a step on one token does to the probabilities at another place, in three factors.

To first order log-probabilities change by −η A K G (Ren & Sutherland, 2025): A is the softmax's own
slope at the place that is looked at, K the tangent kernel of the logits between both places, G the
slope of the loss at the token that is learnt.
"""

import copy
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lecore.changes import prediction_change
from lecore.losses import cross_entropy
from lecore.tangent_kernel import empirical_ntk

Array = NDArray[np.float64]


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

    def forward(self, rows: Tensor) -> Tensor:
        """From rows of :class:`Places`."""
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

    def best_number(self) -> "Factors":
        """The same, with each kernel replaced by the number that comes nearest to the change."""
        eye = torch.eye(self.kernel.shape[-1]).to(self.kernel)
        plain = self._replace(kernel=eye.expand_as(self.kernel))
        wanted, given = self.change(1.0), plain.change(1.0)
        number = (wanted * given).sum(-1) / (given**2).sum(-1)
        return self._replace(kernel=number[..., None, None] * eye)


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
        return Next(double(model))(at.rows).softmax(-1)


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


def double(model: nn.Module) -> nn.Module:
    """A copy in float64."""
    return copy.deepcopy(model).double()
