"""What steps on sentences, and on single tokens, do to the tokens of others."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lecore.errors import LecoreError
from lecore.seeding import seeded
from lecore.studies.own.languages import Language
from lecore.study.language import IGNORED
from lecore.study.study import Study
from lecore.study.tokens import sentence

Array = NDArray[Any]

KINDS = ("token", "context", "both")
"""Two places have in common the token that comes, those before it, or both."""


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
