"""A language model of the Llama form, and a reader of the files of llama2.c that hold one.

Touvron et al. (2023): root-mean-square norms, rotary positions, a gated layer of units, and one
table of tokens for both ends. The file's layout is that of A. Karpathy's llama2.c: seven int32
numbers, then float32 weights.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lecore.errors import LecoreError

LARGEST = 2**28
"""Bytes that a file may have, far more than a model for a page needs."""


class Shape(NamedTuple):
    """Sizes of a model, in the order of the file's header.

    Attributes:
        dim: Numbers a token has on its way.
        hidden: Units of the gated layer.
        layers: Blocks.
        heads: Of attention; they divide ``dim`` into parts of an even size.
        shared: Heads of keys and values, each used by ``heads / shared``.
        words: Tokens that the model knows.
        length: Tokens that a sentence may have.
    """

    dim: int
    hidden: int
    layers: int
    heads: int
    shared: int
    words: int
    length: int


class Llama(nn.Module):
    """Logits of the next token at each place of some sentences.

    Args:
        shape: Its sizes.

    Raises:
        LecoreError: If they don't fit each other.
    """

    angles: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        dim, heads = shape.dim, shape.heads
        if min(shape) < 1 or dim % (2 * heads) or heads % shape.shared:
            raise LecoreError(f"a model cannot have the sizes {tuple(shape)}")
        self.shape = shape
        self.words = nn.Embedding(shape.words, dim)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(dim, eps=1e-5)
        nn.init.normal_(self.words.weight, std=dim**-0.5)
        turns = 10000.0 ** (-torch.arange(0, dim // heads, 2, dtype=torch.float64) * heads / dim)
        places = torch.arange(shape.length, dtype=torch.float64)
        self.register_buffer("angles", torch.outer(places, turns), persistent=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """From tokens, shape (n, tokens), to logits, shape (n, tokens, words).

        Nothing looks ahead, so padding at the end changes nothing before it: the mask is not
        needed, and taken so that a batch that has one fits.
        """
        hidden = self.words(input_ids)
        angles = self.angles[: input_ids.shape[1]]
        turned = angles.cos().to(hidden.dtype), angles.sin().to(hidden.dtype)
        for block in self.blocks:
            hidden = block(hidden, turned)
        return F.linear(self.norm(hidden), self.words.weight)


class Block(nn.Module):
    """Attention to what came before, then a gated layer of units, each added to what was."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        dim, size = shape.dim, shape.dim // shape.heads
        self.heads, self.shared, self.size = shape.heads, shape.shared, size
        self.attention_norm = nn.RMSNorm(dim, eps=1e-5)
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, shape.shared * size, bias=False)
        self.value = nn.Linear(dim, shape.shared * size, bias=False)
        self.mix = nn.Linear(dim, dim, bias=False)
        self.units_norm = nn.RMSNorm(dim, eps=1e-5)
        self.gate = nn.Linear(dim, shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, dim, bias=False)
        self.up = nn.Linear(dim, shape.hidden, bias=False)

    def forward(self, hidden: Tensor, turned: tuple[Tensor, Tensor]) -> Tensor:
        """From numbers at each place to numbers at each place, shape (n, tokens, dim)."""
        hidden = hidden + self.attended(self.attention_norm(hidden), turned)
        read = self.units_norm(hidden)
        return hidden + self.down(F.silu(self.gate(read)) * self.up(read))

    def attended(self, read: Tensor, turned: tuple[Tensor, Tensor]) -> Tensor:
        """What each place takes from those up to itself."""
        n, tokens, _ = read.shape
        q, k, v = (
            layer(read).reshape(n, tokens, -1, self.size).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        q, k = _turn(q, *turned), _turn(k, *turned)
        k, v = (part.repeat_interleave(self.heads // self.shared, dim=1) for part in (k, v))
        likeness = q @ k.transpose(-1, -2) / self.size**0.5
        ahead = torch.ones(tokens, tokens, dtype=torch.bool, device=read.device).triu(1)
        weights = likeness.masked_fill(ahead, float("-inf")).softmax(-1)
        return self.mix((weights @ v).transpose(1, 2).reshape(n, tokens, -1))


def _turn(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn neighbouring numbers, as points of a plane, by the angle of their place."""
    first, second = x[..., 0::2], x[..., 1::2]
    pair = first * cosine - second * sine, first * sine + second * cosine
    return torch.stack(pair, dim=-1).flatten(-2)


def read_llama(path: str | os.PathLike[str]) -> Llama:
    """Read a model from a file of llama2.c (version 0, one table of tokens for both ends).

    Args:
        path: The file; it holds numbers alone, and nothing of it is executed.

    Returns:
        The model in eval mode, float32.

    Raises:
        LecoreError: If the file is missing, of another size than its header says, or holds numbers
            that are not finite.
    """
    raw = read_bytes(path)
    where = Path(path).name
    if len(raw) < 28:
        raise LecoreError("the file is too short for a header", where=where)
    shape = Shape(*np.frombuffer(raw[:28], "<i4").tolist())
    if not all(0 < size <= 2**16 for size in shape):
        raise LecoreError(f"its header says the sizes {tuple(shape)}", where=where)
    try:
        with torch.device("meta"):  # nothing is allocated before the sizes are known to fit
            planned = Llama(shape)
    except LecoreError as error:
        raise LecoreError(error.what, where=where) from error
    turns = shape.length * shape.dim // shape.heads  # cosines and sines, which we compute
    expected = 28 + 4 * (sum(p.numel() for p in planned.parameters()) + turns)
    if len(raw) != expected:
        what = f"the file has {len(raw)} bytes, but its header wants {expected}"
        raise LecoreError(what, "take a file of llama2.c with shared weights", where)
    numbers = torch.from_numpy(np.frombuffer(raw, "<f4", offset=28).copy())
    if not bool(numbers.isfinite().all()):
        raise LecoreError("the file holds numbers that are not finite", where=where)
    model, start = Llama(shape), 0
    with torch.no_grad():
        for parameter in _in_order(model):
            parameter.copy_(numbers[start : start + parameter.numel()].view_as(parameter))
            start += parameter.numel()
    return model.eval()


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """All bytes of a file that is not too large.

    Raises:
        LecoreError: If it is missing, unreadable, or larger than :data:`LARGEST`.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise LecoreError(f"the file has more than {LARGEST} bytes", where=path.name)
        return path.read_bytes()
    except OSError as error:
        cure = "set LECORE_DATA to the folder that holds it"
        raise LecoreError("there is no such file, or it cannot be read", cure, path.name) from error


def _in_order(model: Llama) -> list[Tensor]:
    """Parameters in the file's order: a kind at a time, that of each block."""
    kinds = (
        "attention_norm", "query", "key", "value", "mix", "units_norm", "gate", "down", "up",
    )  # fmt: skip
    in_blocks = [getattr(block, kind).weight for kind in kinds for block in model.blocks]
    return [model.words.weight, *in_blocks, model.norm.weight]
