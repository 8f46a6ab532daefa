"""Sentences as a report shows them: token by token, coloured by what a step moved."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

from torch import Tensor

from lecore.changes import linearized_change
from lecore.errors import LecoreError, in_short
from lecore.study.examples import Examples
from lecore.study.language import next_token_loss, tokens_in

Moved = list[tuple[str, float | None]]
"""Pieces of a sentence, each with the change of its log-probability; none of the first one."""


def reader(study: Any, tokenizer: Any) -> Callable[[list[int]], str]:
    """From token numbers to text.

    Args:
        study: A study of a language model.
        tokenizer: Has ``decode``, as those of Hugging Face, or is such a function itself.

    Raises:
        LecoreError: If there are no tokens to read, or this cannot read them, knows fewer, or reads
            nothing in any sentence.
    """
    if study.loss is not next_token_loss:
        raise LecoreError(
            "a tokenizer was given, but the study is of no language model",
            'make it with loss="next token", or leave the tokenizer out',
        )
    decode = getattr(tokenizer, "decode", tokenizer)
    if not callable(decode):
        raise LecoreError(
            f"a {type(tokenizer).__name__} is no tokenizer",
            "give something with decode, or a function from token numbers to text",
        )

    def read(tokens: list[int]) -> str:
        try:
            found = decode(tokens)
        except Exception as error:
            raise LecoreError(
                f"the tokenizer cannot read the data ({in_short(error)})",
                "give the one that made them",
            ) from error
        if not isinstance(found, str):
            raise LecoreError(f"the tokenizer gives a {type(found).__name__}, no text")
        return found

    sides = study.train, study.test
    largest, known = max(map(_largest, sides)), _known(tokenizer)
    if known is not None and largest >= known:
        raise LecoreError(
            f"the data hold token {largest}, and the tokenizer has {known}",
            "give the one that made them",
        )
    if not any(read(_shown(side, row)).strip() for side in sides for row in range(len(side))):
        raise LecoreError(
            "the tokenizer reads nothing in any sentence", "give the one that made them"
        )
    return read


def _known(tokenizer: Any) -> int | None:
    """The number above all tokens that it knows, if it says so."""
    with suppress(Exception):  # it may be only a function
        return 1 + max(tokenizer.get_vocab().values())  # some numbers may be left out
    with suppress(Exception):
        return len(tokenizer)
    return None


def sentence(side: Examples, row: int, read: Callable[[list[int]], str]) -> list[str]:
    """The pieces of a sentence, one a token that is no padding.

    A token may read otherwise by itself, without its space say, so each is what it adds.
    """
    here = _shown(side, row)
    texts = ["", *(read(here[: k + 1]) for k in range(len(here)))]
    return [
        after.removeprefix(before) if after.startswith(before) else read([here[k]])
        for k, (before, after) in enumerate(pairwise(texts))
    ]


def _largest(side: Examples) -> int:
    ids, mask = tokens_in(side.tables[0])
    return int((ids if mask is None else ids[mask.bool()]).max())


def _shown(side: Examples, row: int) -> list[int]:
    """The tokens of a sentence that are no padding."""
    ids, mask = tokens_in(side.tables[0])
    here: list[int] = ids[row].tolist()
    if mask is None:
        return here
    return [token for token, counts in zip(here, mask[row].tolist(), strict=True) if counts]


def moved(
    study: Any, pairs: Sequence[tuple[int, int]], read: Callable[[list[int]], str]
) -> dict[tuple[int, int], Moved]:
    """How far a step on a training sentence moves each token of a test sentence, to first order.

    Args:
        study: A study of a language model.
        pairs: Rows of a training and a test sentence each.
        read: From :func:`reader`.

    Returns:
        By pair the test sentence's pieces and changes, for a rate of 1 where the study has none.
    """
    lefts, rights = (sorted(set(side)) for side in zip(*pairs, strict=True))
    with study._trained():
        change = linearized_change(
            study._network, study._rows[lefts], study._targets(study.train)[lefts],
            study._columns[rights], learning_rate=study.learning_rate or 1.0, loss=study.loss,
            dtype=study.dtype,
        )  # fmt: skip
    mask = tokens_in(study.test.tables[0])[1]
    found = {}
    for i, j in pairs:
        values: Tensor = change[lefts.index(i), rights.index(j)].cpu()
        if mask is not None:  # every token but the first has a change
            values = values[mask[j, 1:].bool().cpu()]
        pieces = sentence(study.test, j, read)
        first = [None] * (len(pieces) - len(values))  # padding on the left leaves none
        found[i, j] = list(zip(pieces, [*first, *values.tolist()], strict=True))
    return found
