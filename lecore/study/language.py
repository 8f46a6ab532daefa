"""Language models: what they give is the log-probability of each token that really comes next."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from lecore.errors import LecoreError
from lecore.study.examples import Examples

NEXT_TOKEN = "next token"
"""The loss by which a :class:`~lecore.study.study.Study` knows a language model."""

IGNORED = -100
"""The label of a token that does not count, as Hugging Face has it."""


def check_places(output: Any, target: Any) -> None:
    """Refuse names of outputs and targets, which are no choice of a language model.

    Raises:
        LecoreError: If there are some.
    """
    if not (output in (None, "logits") and target in (None, False, "labels")):
        raise LecoreError(
            f"with loss={NEXT_TOKEN!r} outputs are log-probabilities of tokens, and the tokens are "
            "the targets",
            "leave output= and target= out; a column labels says which tokens count",
        )


def next_token_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Minus the mean log-probability of the tokens that count.

    Args:
        prediction: log p of every token but the first, shape (tokens − 1,).
        target: 1 for those that count, else 0, the same shape.
    """
    return -(prediction * target).sum() / target.sum()


def token_log_probabilities(given: Any, inputs: Any) -> Tensor:
    """Log p(token t + 1 given those up to t), 0 at padding.

    Args:
        given: What the model gives: its logits, of shape (n, tokens, words), or something that
            holds them as ``logits``.
        inputs: What it was given: the tokens, shape (n, tokens), or a mapping with ``input_ids``
            and, if there is padding, ``attention_mask``.

    Returns:
        Shape (n, tokens − 1).

    Raises:
        LecoreError: If there are no such logits or tokens.
    """
    ids, mask = tokens_in(inputs)
    held = given.get("logits") if isinstance(given, dict) else getattr(given, "logits", given)
    logits = held[0] if isinstance(held, tuple) else held
    if not isinstance(logits, Tensor) or logits.ndim != 3 or logits.shape[:2] != ids.shape:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise LecoreError(
            f"the model gives {shape}, no logits of shape {(*ids.shape, 'words')}",
            f"give a language model, or another loss than {NEXT_TOKEN!r}",
        )
    log_p = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return log_p if mask is None else log_p * mask[:, 1:].to(log_p.dtype)


def tokens_in(inputs: Any) -> tuple[Tensor, Tensor | None]:
    """The tokens of what a language model is given, and which of them are no padding."""
    mask = None
    if isinstance(inputs, dict):
        inputs, mask = inputs.get("input_ids"), inputs.get("attention_mask")
    elif isinstance(inputs, tuple):
        inputs = inputs[0]
    if not isinstance(inputs, Tensor) or inputs.ndim != 2 or inputs.is_floating_point():
        raise LecoreError("the data hold no tokens", "name them input_ids, shape (n, tokens)")
    return inputs, mask


def sentences(found: Examples) -> Examples:
    """Sentences with the tokens that count as their targets, shape (n, tokens − 1).

    A column ``labels`` with :data:`IGNORED` says which do, else ``attention_mask``, else all do.

    Raises:
        LecoreError: If they have different lengths, one has no token that counts, or a mask or
            labels do not stand for the tokens.
    """
    if len(found.tables) > 1:
        raise LecoreError(
            "sentences have different lengths", "pad them to one, with an attention_mask"
        )
    (table,) = found.tables
    labels = table.get("labels") if isinstance(table, dict) else None
    if labels is not None:
        table = {name: column for name, column in table.items() if name != "labels"}
    ids, mask = tokens_in(table)
    for name, column in (("attention_mask", mask), ("labels", labels)):
        if column is not None and getattr(column, "shape", None) != ids.shape:
            shape = tuple(getattr(column, "shape", ()))
            raise LecoreError(
                f"{name} has shape {shape}, and the tokens {tuple(ids.shape)}", "give one a token"
            )
    others = tree_leaves(table[1:]) if isinstance(table, tuple) else []
    if any(bool((part == IGNORED).any()) for part in others):
        raise LecoreError(
            f"a part of the tuple holds labels of {IGNORED}, and would be an input of the model",
            "give a mapping with input_ids and labels",
        )
    counts = torch.ones_like(ids) if mask is None else mask
    if labels is not None:
        counts = counts * (labels != IGNORED)
    targets = counts[:, 1:].double()
    if not bool(targets.any(1).all()):
        row = int((~targets.any(1)).nonzero()[0])
        raise LecoreError(f"sentence {row} has no token that counts", "leave it out")
    return replace(found, tables=(table,), targets=targets)
