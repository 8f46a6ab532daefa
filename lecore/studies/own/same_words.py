"""Does a step on a sentence move those that share its words, or those of its topic?"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from lecore.data.docstrings import sentences, words_of
from lecore.errors import LecoreError
from lecore.losses import cross_entropy
from lecore.seeding import seeded
from lecore.study.study import Study
from lecore.training import train

NETWORKS = (
    "bag of words",
    "hidden layer, untrained",
    "hidden layer, topics dealt out",
    "hidden layer, trained",
)
"""The first is linear; the third is trained on the topics of other sentences, drawn at random."""

KINDS = {
    "a word, and the topic": (True, True),
    "a word": (True, False),
    "the topic": (False, True),
    "neither": (False, False),
}
"""What two sentences share, a word and the topic."""


class Texts(NamedTuple):
    """Sentences as a network reads them.

    Attributes:
        texts: The sentences.
        words: Numbers of their words, 0 for one that is not known, shape (n, words).
        topics: What they are about, shape (n,).
    """

    texts: list[str]
    words: Tensor
    topics: Tensor


class Problem(NamedTuple):
    """Training and test sentences.

    Attributes:
        train: To learn from.
        test: Others.
        names: The topics.
        known: How many words are known, those of two training sentences or more.
    """

    train: Texts
    test: Texts
    names: tuple[str, ...]
    known: int


def problem(source: str, seed: int, *, each: int, tests: int, device: str = "cpu") -> Problem:
    """Sentences of :func:`~lecore.data.docstrings.sentences`, split at random.

    Args:
        source: See there.
        seed: Of the split.
        each: Training sentences of each topic.
        tests: Test sentences of each.
        device: Where to compute.
    """
    found = sentences(source, each + tests)
    with seeded(seed) as rng:
        order = np.concatenate(
            [rng.permutation(np.flatnonzero(found.topics == k)) for k in range(len(found.names))]
        ).reshape(len(found.names), -1)
    rows = order[:, :each].ravel(), order[:, each:].ravel()
    counted = Counter(w for row in rows[0] for w in set(words_of(found.texts[row])))
    known = sorted(word for word, count in counted.items() if count > 1)
    numbers = {word: k for k, word in enumerate(known, start=1)}
    longest = max(len(words_of(text)) for text in found.texts)
    sides = []
    for some in rows:
        texts = [found.texts[row] for row in some]
        read = [[numbers.get(word, 0) for word in words_of(text)] for text in texts]
        padded = [line + [0] * (longest - len(line)) for line in read]
        words, topics = (
            torch.tensor(values, device=device) for values in (padded, found.topics[some])
        )
        sides.append(Texts(texts, words, topics))
    train_side, test_side = sides
    return Problem(train_side, test_side, found.names, len(known))


class MeanOfWords(nn.Module):
    """A number of each output for each word, or a vector; their mean; and what is made of it.

    Args:
        words: How many are known.
        width: Numbers of each word.
        head: From (n, width) to (n, outputs); the mean itself if left out.
    """

    def __init__(self, words: int, width: int, head: nn.Module | None = None) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words + 1, width, padding_idx=0)
        self.head = nn.Identity() if head is None else head

    def forward(self, words: Tensor) -> Tensor:
        """From numbers of words, shape (n, words), to (n, outputs)."""
        count = (words > 0).sum(1, keepdim=True).clamp(min=1)
        return torch.as_tensor(self.head(self.embedding(words).sum(1) / count))


def dealt_out(given: Problem, seed: int) -> Problem:
    """The same sentences, with the topics of the training sentences dealt out at random."""
    with seeded(seed) as rng:
        topics = given.train.topics[rng.permutation(len(given.train.topics))]
    return given._replace(train=given.train._replace(topics=topics))


def network(kind: str, given: Problem, seed: int, *, width: int, epochs: int) -> nn.Module:
    """One of :data:`NETWORKS`, in eval mode.

    The first is linear in its weights: a word adds its numbers to the logits.

    Args:
        kind: Which.
        given: The sentences.
        seed: Of weights and order.
        width: Of the vectors of words, and of the hidden layer.
        epochs: Passes of Adam (10⁻², batches of 50) where it is trained.

    Raises:
        LecoreError: If there is no such network.
    """
    if kind not in NETWORKS:
        raise LecoreError(f"there is no network {kind!r}", f"choose from {', '.join(NETWORKS)}")
    outputs = len(given.names)
    with seeded(seed):
        if kind == "bag of words":
            made = MeanOfWords(given.known, outputs)
        else:
            layers = nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
            made = MeanOfWords(given.known, width, nn.Sequential(*layers))
    made = made.to(given.train.words.device)
    if "dealt out" in kind:
        given = dealt_out(given, seed)
    if "untrained" not in kind:
        train(
            made, given.train.words, given.train.topics, learning_rate=1e-2, epochs=epochs,
            batch_size=50, loss=cross_entropy, optimizer="adam", shuffle="each epoch", seed=seed,
        )  # fmt: skip
    return made.eval()


def study_of(model: nn.Module, given: Problem, learning_rate: float, probes: int = 0) -> Study:
    """A network with these sentences, or with some to step on, evenly from all."""
    rows = torch.arange(len(given.train.words))
    if probes:
        rows = torch.linspace(0, len(rows) - 1, probes).long()
    return Study(
        model, (given.train.words[rows], given.train.topics[rows]),
        (given.test.words, given.test.topics), loss="cross_entropy", learning_rate=learning_rate,
    )  # fmt: skip


def accuracy(model: nn.Module, some: Texts) -> float:
    """Part of the topics that the network names."""
    with torch.no_grad():
        return float((model(some.words).argmax(1) == some.topics).double().mean())


def share_a_word(left: Tensor, right: Tensor) -> NDArray[np.bool_]:
    """Which sentences have a known word in common, shape (n, m) for (n, words) and (m, words)."""
    size = int(max(left.max(), right.max())) + 1
    sides = left.cpu(), right.cpu()
    has = [torch.zeros(len(s), size).scatter_(1, s, 1.0)[:, 1:].numpy() for s in sides]
    return np.asarray(has[0] @ has[1].T > 0)


def by_kind(
    similarity: NDArray[np.float64], words: NDArray[np.bool_], topics: NDArray[np.bool_]
) -> dict[str, float]:
    """Medians of S_rel over pairs, by what they share.

    Args:
        similarity: Shape (n, m).
        words: Whether they share a word.
        topics: Whether they share the topic.

    Raises:
        LecoreError: If no pair is of a kind.
    """
    medians = {}
    for kind, (word, topic) in KINDS.items():
        values = similarity[(words == word) & (topics == topic) & np.isfinite(similarity)]
        if not len(values):
            raise LecoreError(f"no two sentences share {kind}", "take more sentences")
        medians[kind] = float(np.median(values))
    return medians


def topic_chance(
    similarity: NDArray[np.float64], words: NDArray[np.bool_], topics: NDArray[np.bool_]
) -> float:
    """Chance that of two sentences the one on the step's topic moves further, mean over steps.

    Neither has a word in common with the sentence of the step.

    Raises:
        LecoreError: If there are no two such sentences.
    """
    chances = []
    for values, shared, same in zip(similarity, words, topics, strict=True):
        here = ~shared & np.isfinite(values)
        if 0 < same[here].sum() < here.sum():
            chances.append(roc_auc_score(same[here], values[here]))
    if not chances:
        raise LecoreError("no step has sentences of both kinds without its words", "take more")
    return float(np.mean(chances))


def measured(model: nn.Module, given: Problem, probes: int) -> dict[str, float]:
    """Medians by kind, ``chance`` of the topic, and ``accuracy`` on test sentences.

    S_rel is that of a small step on some training sentences with their true topics, at all test
    sentences.
    """
    study = study_of(model, given, 1.0, probes)
    similarity = study.similarity("linear").cpu().numpy()
    words = share_a_word(study.train.tables[0], given.test.words)
    assert study.train.targets is not None
    topics = np.equal.outer(study.train.targets.cpu().numpy(), given.test.topics.cpu().numpy())
    return {
        **by_kind(similarity, words, topics),
        "chance": topic_chance(similarity, words, topics),
        "accuracy": accuracy(model, given.test),
    }


def strongest_sentences(study: Study, given: Problem, tests: Sequence[int]) -> pd.DataFrame:
    """Of some test sentences the training sentences that help and that harm them most.

    ``place`` is the share of training sentences that have at least their self-influence.
    """
    found = study.influence(top=1)
    own = study.self_influence()
    lines: list[Mapping[str, Any]] = []
    for test in tests:
        for line in found[found.test == test].itertuples():
            lines.append(
                {
                    "test": given.test.texts[test],
                    "topic": given.names[int(given.test.topics[test])],
                    "training": given.train.texts[line.train],
                    "training_topic": given.names[int(given.train.topics[line.train])],
                    "influence": line.influence,
                    "place": float((own >= own[line.train]).mean()),
                }
            )
    return pd.DataFrame(lines)
