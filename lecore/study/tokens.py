"""Sentences as a report shows them: token by token, coloured by what a step moved."""

from collections.abc import Callable, Sequence
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
        LecoreError: If there are no tokens to read, or this cannot read them.
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

    read([int(tokens_in(study.train.tables[0])[0][0, 0])])
    return read


def sentence(side: Examples, row: int, read: Callable[[list[int]], str]) -> list[str]:
    """The pieces of a sentence, one a token that is no padding.

    A token may read otherwise by itself, without its space say, so each is what it adds.
    """
    ids, mask = tokens_in(side.tables[0])
    here: list[int] = ids[row].tolist()
    if mask is not None:
        here = [token for token, counts in zip(here, mask[row].tolist(), strict=True) if counts]
    texts = ["", *(read(here[: k + 1]) for k in range(len(here)))]
    return [
        after.removeprefix(before) if after.startswith(before) else read([here[k]])
        for k, (before, after) in enumerate(pairwise(texts))
    ]


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
