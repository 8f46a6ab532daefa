"""Two language models with their sentences: one trained here on text of Python, one from files."""

import pydoc_data.topics
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lecore.arguments.names import check_name
from lecore.data.images import data_folder
from lecore.errors import LecoreError
from lecore.seeding import seeded
from lecore.studies.own.llama import Llama, Shape, read_bytes, read_llama
from lecore.studies.own.story_tokens import StoryTokens
from lecore.study.language import next_token_loss, token_log_probabilities
from lecore.training import train

TEXTS = ("python", "stories")
"""The text of Python's own help, and TinyStories with stories260K."""

FEWEST = 12
"""Tokens of the shortest sentence that is taken."""


class Language(NamedTuple):
    """A language model, and sentences that it has not been trained on here.

    Attributes:
        model: In eval mode; from tokens to logits.
        read: From token numbers to text.
        tokens: Shape (sentences, length), each sentence with a first token that says so, cut after
            ``length``, with zeros behind a shorter one.
        mask: 1 where there is a token, the same shape.
    """

    model: nn.Module
    read: Callable[[Sequence[int]], str]
    tokens: Tensor
    mask: Tensor

    def some(self, rows: Sequence[int] | slice) -> dict[str, Tensor]:
        """Sentences as a study takes them."""
        return {"input_ids": self.tokens[rows], "attention_mask": self.mask[rows]}


def language(
    text: str, seed: int, *, length: int, dim: int = 64, epochs: int = 4, device: str = "cpu"
) -> Language:
    """A model and its sentences, in an order of their own for each seed.

    Args:
        text: ``python`` trains a model of characters (two blocks) on nine tenths of the sentences
            of Python's help; ``stories`` reads stories260K and text of TinyStories from the folder
            ``stories260K`` in LECORE_DATA.
        seed: Of the order of the sentences, and of the weights that are trained.
        length: Tokens of a sentence, at most.
        dim: Numbers a token has on its way, where a model is trained.
        epochs: Passes of Adam (0.003, batches of 32), where a model is trained.
        device: Where to compute.

    Raises:
        LecoreError: If the text is unknown, or its files are missing or unfit.
    """
    check_name("text", text, TEXTS)
    if text == "stories":
        model, read, found = _stories(length)
    else:
        characters = Characters(sentences_of("\n\n".join(_topics())))
        found = [characters.encode(sentence) for sentence in characters.sentences]
        read = characters.decode
        model = None
    found = [sentence for sentence in found if len(sentence) >= FEWEST]
    with seeded(seed) as rng:
        order = rng.permutation(len(found))
        tokens, mask = padded([found[row] for row in order], length)
        tokens, mask = tokens.to(device), mask.to(device)
        if model is None:
            some = len(tokens) // 10
            shape = Shape(dim, 2 * dim, 2, 4, 4, len(characters.known) + 1, length)
            model = Llama(shape)
            _train(model.to(device), tokens[some:], mask[some:], epochs, seed)
            tokens, mask = tokens[:some], mask[:some]
    return Language(model.to(device).eval(), read, tokens, mask)


class Characters:
    """Characters as tokens; 0 is the one that each sentence begins with.

    Args:
        sentences: All sentences that have to be spelled.
    """

    def __init__(self, sentences: Sequence[str]) -> None:
        self.sentences = sentences
        self.known = sorted(set("".join(sentences)))
        self.numbers = {character: place + 1 for place, character in enumerate(self.known)}

    def encode(self, sentence: str) -> list[int]:
        """Tokens of a sentence."""
        return [0, *(self.numbers[character] for character in sentence)]

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens."""
        return "".join(self.known[token - 1] for token in tokens if token)


def sentences_of(text: str) -> list[str]:
    """Plain sentences of a text, each once: from a capital to a stop, without odd signs."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text)]
    parts = [part for one in paragraphs for part in re.split(r"(?<=[.!?])\s+", one)]
    plain = [part for part in parts if re.fullmatch(r"[A-Z][A-Za-z0-9 ,'()\"`*_:;/=.-]+\.", part)]
    return list(dict.fromkeys(plain))


def padded(sentences: Sequence[Sequence[int]], length: int) -> tuple[Tensor, Tensor]:
    """Tokens of sentences, cut after ``length`` and filled with zeros, and where they are."""
    tokens = torch.zeros(len(sentences), length, dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for row, sentence in enumerate(sentences):
        kept = sentence[:length]
        tokens[row, : len(kept)] = torch.tensor(kept)
        mask[row, : len(kept)] = 1
    return tokens, mask


class Spoken(nn.Module):
    """What a language model says of the tokens that come: their log-probabilities."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """From tokens, shape (n, tokens), to those of all but the first."""
        return token_log_probabilities(self.model(tokens), tokens)


def _topics() -> list[str]:
    return list(pydoc_data.topics.topics.values())


def _train(model: nn.Module, tokens: Tensor, mask: Tensor, epochs: int, seed: int) -> None:
    train(
        Spoken(model), tokens, mask[:, 1:].float(), learning_rate=3e-3, epochs=epochs,
        batch_size=32, loss=next_token_loss, optimizer="adam", shuffle="each epoch", seed=seed,
    )  # fmt: skip


def _stories(length: int) -> tuple[Llama, Callable[[Sequence[int]], str], list[list[int]]]:
    """The model of the data folder, its reader, and sentences of its text."""
    folder = data_folder() / "stories260K"
    model = read_llama(folder / "stories260K.bin")
    if length > model.shape.length:
        raise LecoreError(f"length is {length}, but the model knows {model.shape.length} places")
    tokens = StoryTokens(folder / "tok512.bin", model.shape.words)
    text = read_bytes(folder / "tinystories_sample.txt").decode(errors="replace")
    return model, tokens.decode, [tokens.encode(sentence) for sentence in sentences_of(text)]
