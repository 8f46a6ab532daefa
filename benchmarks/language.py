"""Influence between sentences, of an encoder and a decoder with random weights.

Of their linear layers, which all peers know. Their blocks have the size of BERT-mini's.
"""

import functools
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.bars import Measured, Settings, bar
from benchmarks.influence import by_func, compared
from benchmarks.peers import Kronfluence
from benchmarks.structured import Floor
from lecore import loss_kernel
from lecore.losses import Loss, cross_entropy

SENTENCES, OTHERS, LENGTH = 100, 25, 32
WORDS, WIDTH, LAYERS, HEADS = 1000, 256, 4, 4


class Block(nn.Module):
    """Attention and two linear layers, each beside a path around it, normalised before."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.queries_keys_values, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """From (n, tokens, width) to the same."""
        heads = self.queries_keys_values(self.first(x)).unflatten(-1, (3 * HEADS, -1))
        q, k, v = heads.transpose(1, 2).chunk(3, dim=1)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        hidden: Tensor = x + self.down(F.gelu(self.up(self.second(x))))
        return hidden


class Transformer(nn.Module):
    """Words and places, blocks, and logits; only its linear layers have gradients.

    Args:
        outputs: Of each token of a decoder, or of a sentence.
        causal: Whether it is a decoder, which gives log-probabilities of its own next tokens.
    """

    def __init__(self, outputs: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.Sequential(*(Block(causal) for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, outputs)
        for module in self.modules():
            module.requires_grad_(not isinstance(module, nn.Embedding | nn.LayerNorm))

    def forward(self, tokens: Tensor) -> Tensor:
        """From tokens, shape (n, tokens), to (n, tokens − 1), or to (n, outputs)."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.norm(self.blocks(self.words(tokens) + self.places(places)))
        if not self.causal:
            logits: Tensor = self.head(x.mean(1))
            return logits
        log_p = self.head(x[:, :-1]).log_softmax(-1)
        return log_p.gather(-1, tokens[:, 1:, None])[..., 0]


def next_tokens(log_p: Tensor, _: Tensor) -> Tensor:
    """Minus the log-probability of a sentence."""
    return -log_p.sum()


@functools.cache
def problem(causal: bool, device: torch.device) -> tuple[nn.Module, Tensor, Tensor]:
    """A network in eval mode, sentences of random words, and their classes."""
    torch.manual_seed(0)
    network = Transformer(WORDS if causal else 4, causal).eval()
    tokens = torch.randint(0, WORDS, (SENTENCES, LENGTH))
    return network.to(device), tokens.to(device), (torch.arange(SENTENCES) % 4).to(device)


@bar("encoder-floor", at_most=2, against="one forward and backward pass, and the products")
def encoder_floor(settings: Settings) -> Measured:
    """products of loss gradients of 100 sentences with 25 others, an encoder"""
    return _floor(settings, causal=False)


@bar("encoder-peers", at_least=1, against="the faster of torch.func and kronfluence")
def encoder_peers(settings: Settings) -> Measured:
    """the same"""
    return _peers(settings, causal=False)


@bar("decoder-floor", at_most=2, against="one forward and backward pass, and the products")
def decoder_floor(settings: Settings) -> Measured:
    """the same of a decoder"""
    return _floor(settings, causal=True)


@bar("decoder-peers", at_least=1, against="the faster of torch.func and kronfluence")
def decoder_peers(settings: Settings) -> Measured:
    """the same of a decoder"""
    return _peers(settings, causal=True)


def _sides(
    settings: Settings, causal: bool
) -> tuple[nn.Module, Loss, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    network, tokens, classes = problem(causal, settings.device)
    rows, columns = (tokens, classes), (tokens.flip(0, 1)[:OTHERS], classes[:OTHERS])
    return network, next_tokens if causal else cross_entropy, rows, columns


def _floor(settings: Settings, causal: bool) -> Measured:
    network, loss, rows, columns = _sides(settings, causal)
    floor = Floor(network, rows[0], columns[0])
    return floor.measured(settings, partial(_ours, network, loss, rows, columns))


def _peers(settings: Settings, causal: bool) -> Measured:
    network, loss, rows, columns = _sides(settings, causal)

    def summed(network: nn.Module, tokens: Tensor, classes: Tensor) -> Tensor:
        given = network(tokens)
        return -given.sum() if causal else F.cross_entropy(given, classes, reduction="sum")

    return compared(
        settings, partial(_ours, network, loss, rows, columns),
        {
            "torch.func": lambda: partial(by_func, network, loss, rows, columns, OTHERS),
            "kronfluence": lambda: Kronfluence(network, summed, rows, columns, OTHERS).pairs,
        },
    )  # fmt: skip


def _ours(
    network: nn.Module, loss: Loss, rows: tuple[Tensor, ...], columns: tuple[Tensor, ...]
) -> Tensor:
    found = loss_kernel(network, *rows, *columns, loss=loss, dtype=torch.float32)
    return torch.as_tensor(found)
