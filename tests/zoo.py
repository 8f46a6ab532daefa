"""Small networks of every kind that people build, `name: (build, draw)`.

`build(outputs)` gives a new module, `draw(count)` so many inputs; a third entry draws test points
that differ from the update points. Most have a width of 4 to 6, so that a whole table of them
against slow oracles takes seconds.
"""

import functools
import threading
import types
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

from lecore import models

# --- how they are written ---------------------------------------------------------------------


UNSET = object()


def net(forward: Callable[[nn.Module, Tensor], Tensor], **parts: object) -> nn.Module:
    """A module of a class of its own: what it holds, and its forward."""
    module = type("Net", (nn.Module,), {"forward": forward})()
    for name, part in parts.items():
        setattr(module, name, part)
    return module


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) / (shape or (1,))[-1] ** 0.5)


def mlp(c: int, hidden: Callable[[], nn.Module] = nn.Tanh) -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 6), hidden(), nn.Linear(6, c))


def changed(module: nn.Module, change: Callable[[nn.Module], object]) -> nn.Module:
    change(module)
    return module


def normal(*shape: int) -> Callable[[int], Tensor]:
    return lambda count: torch.randn(count, *shape)


def words(count: int) -> Tensor:
    return torch.randint(0, 7, (count, 5))


# --- networks as in the papers, in torchvision and in language models ---------------------------


class Attention(nn.Module):
    def __init__(self, outputs: int, **options: object) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)
        self.head = nn.Linear(8, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


class CrossAttention(Attention):
    def forward(self, x: Tensor) -> Tensor:
        query, other = x[:, :2], x[:, 2:]
        return self.head(self.attention(query, other, other)[0].mean(1))


class MaskedAttention(Attention):
    """Positions whose first value is negative are padding, but never the first one."""

    def forward(self, x: Tensor) -> Tensor:
        padding = (x[:, :, 0] < 0) & (torch.arange(x.shape[1]) > 0)
        return self.head(self.attention(x, x, x, key_padding_mask=padding)[0].mean(1))


class Words(nn.Module):
    def __init__(self, outputs: int, **options: object) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 6, **options)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.table(x)).mean(1))


class TiedWords(nn.Module):
    """Input and output share the table, as language models do."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 6)
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.table(x).mean(1))
        return F.linear(hidden, self.table.weight)[:, : self.outputs]


class Shared(nn.Module):
    """One linear map used three times, a bare matrix, a gain, a scalar and a shared bias."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)
        self.matrix = weight(6, 5)
        self.gain = nn.Parameter(torch.randn(5))
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.last = nn.Linear(5, outputs)
        self.other = nn.Linear(5, outputs)
        self.other.bias = self.last.bias

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = torch.tanh(self.inner(x))
        x = self.gain * (x @ self.matrix) * self.scale
        return self.last(x) + self.other(torch.relu(x))


class SharedConvolution(nn.Module):
    """One convolution at two image sizes."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 2, 3, padding=1)
        self.head = nn.Linear(2, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(torch.relu(self.convolution(x)), 2)
        return self.head(self.convolution(x).mean((2, 3)))


class Block(nn.Module):
    """A residual block with in-place activations, as in torchvision."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.second(self.relu(self.norm(self.first(x))))
        out += x
        return self.relu(out)


class UNet(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(1, 2, 2, stride=2)
        self.up = nn.ConvTranspose2d(2, 1, 2, stride=2)
        self.squeeze = nn.Linear(2, 2)
        self.last = nn.Conv2d(2, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        low = torch.relu(self.down(x))
        low = low * torch.sigmoid(self.squeeze(low.mean((2, 3))))[:, :, None, None]
        return self.last(torch.cat([x, self.up(low)], 1)).mean((2, 3))


class Recurrent(nn.Module):
    def __init__(self, outputs: int, kind: type[nn.RNNBase] = nn.LSTM, **options: object) -> None:
        super().__init__()
        self.memory = kind(4, 5, batch_first=True, **options)
        ways = 2 if self.memory.bidirectional else 1
        self.head = nn.Linear(ways * 5, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.memory(x)[0][:, -1])


class Packed(Recurrent):
    """Sequences end where their first value is above 1, at the second place or later."""

    def forward(self, x: Tensor) -> Tensor:
        over = x[:, 1:, 0] > 1
        lengths = torch.where(over.any(1), over.int().argmax(1) + 1, x.shape[1])
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.memory(packed)[0], batch_first=True)
        return self.head(out.sum(1))


def cells(self: nn.Module, x: Tensor) -> Tensor:
    h = x.new_zeros(len(x), 5)
    for step in x.unbind(1):
        h = self.cell(step, h)
    return self.head(h)


def scan(self: nn.Module, x: Tensor) -> Tensor:
    """A state-space layer: h ← a h + B x."""
    h, decay = torch.zeros(len(x), 3, dtype=x.dtype), torch.sigmoid(self.decay)
    for step in x.unbind(1):
        h = decay * h + step @ self.entry
    return self.head(h)


def by_hand(self: nn.Module, x: Tensor) -> Tensor:
    """Attention with two heads by einsum, weights of shape (heads, inputs, size)."""
    q, k, v = (torch.einsum("btc,hcd->bhtd", x, w) for w in (self.q, self.k, self.v))
    attention = torch.softmax(torch.einsum("bhtd,bhsd->bhts", q, k), -1)
    mixed = torch.einsum("bhts,bhsd,hdo->bto", attention, v, self.o)
    return mixed.mean(1)


def frozen(model: nn.Sequential) -> nn.Sequential:
    model[0].weight.requires_grad_(False)
    return model


USUAL = {
    "linear": (lambda c: nn.Sequential(nn.Linear(5, c)), normal(5)),
    "no bias": (
        lambda c: nn.Sequential(nn.Linear(5, 6, False), nn.ReLU(), nn.Linear(6, c, False)),
        normal(5),
    ),
    "two-layer": (lambda c: models.two_layer(5, 9, outputs=c), normal(5)),
    "three-layer": (lambda c: models.three_layer(5, 6, "gelu", outputs=c), normal(5)),
    "ntk parameterization": (
        lambda c: models.two_layer(5, 9, outputs=c, parameterization="ntk"), normal(5),
    ),
    "residual mlp": (lambda c: models.three_layer_resnet(5, 6, outputs=c), normal(5)),
    "frozen weight": (lambda c: frozen(mlp(c)), normal(5)),
    "shared weights": (Shared, normal(6)),
    "positions": (
        lambda c: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(15, c)),
        normal(3, 4),
    ),
    "cnn": (
        lambda c: nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, c)
        ),
        normal(1, 8, 8),
    ),
    "strided grouped dilated": (
        lambda c: nn.Sequential(
            nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2), nn.Tanh(),
            nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False), nn.AvgPool2d(2), nn.Flatten(),
            nn.Linear(24, c),
        ),
        normal(4, 9, 9),
    ),
    "same padding": (
        lambda c: nn.Sequential(
            nn.Conv2d(1, 2, 3, padding="same", dilation=2), nn.ReLU(), nn.Flatten(),
            nn.Linear(32, c),
        ),
        normal(1, 4, 4),
    ),
    "one number for all dimensions": (  # as torch takes tuples of one
        lambda c: net(
            lambda self, x: self.head(F.conv2d(
                F.conv2d(x, self.w, padding="same", dilation=(2,)),
                self.w, self.b, stride=(2,), padding=[1]).flatten(1)),
            w=weight(2, 2, 3, 3), b=weight(2), head=nn.Linear(8, c)),
        normal(2, 4, 4),
    ),
    "circular 1-d": (
        lambda c: nn.Sequential(
            nn.Conv1d(2, 3, 3, padding=1, padding_mode="circular"), nn.BatchNorm1d(3), nn.Tanh(),
            nn.Flatten(), nn.Linear(18, c),
        ),
        normal(2, 6),
    ),
    "3-d": (
        lambda c: nn.Sequential(
            nn.Conv3d(1, 2, 2, stride=(1, 2, 1)), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
            nn.Linear(2, c),
        ),
        normal(1, 3, 4, 4),
    ),
    "transposed": (
        lambda c: nn.Sequential(
            nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
            nn.InstanceNorm2d(6, affine=True), nn.Softplus(), nn.Flatten(), nn.Linear(216, c),
        ),
        normal(4, 3, 3),
    ),
    "transposed 1-d dilated": (
        lambda c: nn.Sequential(
            nn.ConvTranspose1d(2, 3, 3, stride=2, dilation=2), nn.Tanh(), nn.Flatten(),
            nn.Linear(39, c),
        ),
        normal(2, 5),
    ),
    "group norm": (
        lambda c: nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(16, c)
        ),
        normal(1, 4, 4),
    ),
    "layer and rms norm": (
        lambda c: nn.Sequential(
            nn.LayerNorm((3, 4)), nn.Linear(4, 5), nn.RMSNorm(5, eps=1e-6), nn.Flatten(),
            nn.Linear(15, c),
        ),
        normal(3, 4),
    ),
    "residual block": (
        lambda c: nn.Sequential(
            nn.Conv2d(1, 3, 3), Block(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, c)
        ),
        normal(1, 6, 6),
    ),
    "shared convolution": (SharedConvolution, normal(2, 4, 4)),
    "unet": (UNet, normal(1, 4, 4)),
    "attention": (Attention, normal(5, 8)),
    "cross attention": (CrossAttention, normal(5, 8)),
    "masked attention": (MaskedAttention, normal(5, 8)),
    "attention with bias of keys": (
        lambda c: Attention(c, add_bias_kv=True, add_zero_attn=True), normal(5, 8),
    ),
    "attention by hand": (
        lambda c: net(by_hand, q=weight(2, 4, 3), k=weight(2, 4, 3), v=weight(2, 4, 3),
                      o=weight(2, 3, c)),
        normal(3, 4),
    ),
    "transformer": (
        lambda c: nn.Sequential(
            nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True), nn.Flatten(),
            nn.Linear(24, c),
        ),
        normal(3, 8),
    ),
    "decoder": (
        lambda c: net(
            lambda self, x: self.head(self.layer(x[:, :2], x[:, 2:]).mean(1)),
            layer=nn.TransformerDecoderLayer(4, 2, 6, batch_first=True), head=nn.Linear(4, c),
        ),
        normal(4, 4),
    ),
    "embedding": (lambda c: Words(c, padding_idx=0), words),
    "tied embedding": (TiedWords, words),
    "embedding scaled by frequency": (lambda c: Words(c, scale_grad_by_freq=True), words),
    "sparse embedding": (lambda c: Words(c, sparse=True), words),
    "embedding bag": (
        lambda c: nn.Sequential(nn.EmbeddingBag(7, 4, mode="mean"), nn.Linear(4, c)), words,
    ),
    "prelu": (lambda c: mlp(c, nn.PReLU), normal(5)),
    "gated": (lambda c: nn.Sequential(nn.Linear(5, 6), nn.GLU(), nn.Linear(3, c)), normal(5)),
    "bilinear": (
        lambda c: net(lambda self, x: self.layer(x, x.tanh()), layer=nn.Bilinear(5, 5, c)),
        normal(5),
    ),
    "radial": (
        lambda c: net(lambda self, x: (-torch.cdist(x, self.centres)).exp() @ self.head,
                      centres=weight(4, 5), head=weight(4, c)),
        normal(5),
    ),
    "recurrent": (Recurrent, normal(3, 4)),
    "two-way recurrent": (
        lambda c: Recurrent(c, nn.GRU, num_layers=2, bidirectional=True), normal(3, 4),
    ),
    "cells": (
        lambda c: net(cells, cell=nn.GRUCell(4, 5), head=nn.Linear(5, c)), normal(3, 4),
    ),
    "packed": (Packed, normal(4, 4)),
    "state space": (
        lambda c: net(scan, decay=weight(3), entry=weight(4, 3), head=nn.Linear(3, c)),
        normal(5, 4),
    ),
}  # fmt: skip


# --- forward writes -----------------------------------------------------------------------------


def remembers(self: nn.Module, x: Tensor) -> Tensor:
    self.last = torch.tanh(self.layer(x))
    return self.head(self.last)


def appends(self: nn.Module, x: Tensor) -> Tensor:
    h = torch.tanh(self.layer(x))
    self.seen.append(h)
    return self.head(h)


def counts(self: nn.Module, x: Tensor) -> Tensor:
    self.calls += 1
    return self.layer(x)


def caches(self: nn.Module, x: Tensor) -> Tensor:
    """Positions made once for each length."""
    length = x.shape[1]
    if length not in self.cache:
        self.cache[length] = torch.arange(length).to(x.dtype)[:, None].sin()
    return self.head((x + self.cache[length]).tanh().mean(1))


def running_mean(self: nn.Module, x: Tensor) -> Tensor:
    """Statistics that go on running in eval mode; each forward uses those from before it."""
    h = self.layer(x)
    out = self.head(h - self.mean)
    self.mean.mul_(0.5).add_(h.mean(0).detach())
    return out


def measures(self: nn.Module, x: Tensor) -> Tensor:
    h = self.layer(x)
    self.log["norm"] = h.norm().item()
    return self.head(torch.tanh(h))


def locked(self: nn.Module, x: Tensor) -> Tensor:
    with self.lock:
        return self.layer(x).tanh() @ self.head


def writes_weight(self: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        self.layer.weight.clamp_(-0.2, 0.2)
    return self.layer(x)


def fills(self: nn.Module, x: Tensor) -> Tensor:
    out = torch.zeros(len(x), 4, dtype=x.dtype)
    out[:, :2] = self.first(x)
    out[:, 2:] += self.second(x).exp()
    out[:, 0].mul_(2.0)
    return self.head(out)


def peak(self: nn.Module, x: Tensor) -> Tensor:
    """An observer that writes past the version counter."""
    self.peak.data.copy_(torch.maximum(self.peak.data, x.detach().abs().amax()))
    return self.layer(x) / self.peak


def rebinds(self: nn.Module, x: Tensor) -> Tensor:
    self.scale.data = self.scale.data * (1 + (x.abs().max() > 1))
    return self.layer(x * self.scale)


def layers(c: int) -> dict[str, nn.Module]:
    return {"layer": nn.Linear(5, 6), "head": nn.Linear(6, c)}


WRITES = {
    "writes to its input": (
        lambda c: net(lambda self, x: self.head(self.layer(x.sub_(1.0)).tanh()), **layers(c)),
        normal(5),
    ),
    "fills its input": (
        lambda c: net(lambda self, x: self.layer(x.masked_fill_(x < 0, 0.25)),
                      layer=nn.Linear(5, c)),
        normal(5),
    ),
    "relu of its input": (lambda c: nn.Sequential(nn.ReLU(inplace=True), mlp(c)), normal(5)),
    "in-place activations": (
        lambda c: nn.Sequential(nn.Linear(5, 6), nn.ReLU(inplace=True), nn.Linear(6, 6),
                                nn.ELU(inplace=True), nn.Linear(6, c)),
        normal(5),
    ),
    "in-place sums": (
        lambda c: net(lambda self, x: self.head(self.layer(x).add_(x).mul_(self.gain)),
                      layer=nn.Linear(5, 5), gain=weight(5), head=nn.Linear(5, c)),
        normal(5),
    ),
    "fills places": (
        lambda c: net(fills, first=nn.Linear(5, 2), second=nn.Linear(5, 2), head=nn.Linear(4, c)),
        normal(5),
    ),
    "counts in a buffer": (
        lambda c: net(lambda self, x: self.layer(x) * self.count.add_(1.0),
                      layer=nn.Linear(5, c), count=nn.Buffer(torch.ones(()))),
        normal(5),
    ),
    "running mean": (
        lambda c: net(running_mean, mean=nn.Buffer(torch.randn(6)), **layers(c)), normal(5),
    ),
    "writes a tensor": (  # neither buffer nor parameter
        lambda c: net(lambda self, x: self.layer(x) * self.count.add_(1.0), layer=nn.Linear(5, c),
                      count=torch.ones(())),
        normal(5),
    ),
    "writes a tensor in a table": (
        lambda c: net(lambda self, x: self.layer(x) * self.log["of"]["calls"][0].add_(1.0),
                      layer=nn.Linear(5, c), log={"of": {"calls": [torch.ones(())]}}),
        normal(5),
    ),
    "largest norm": (lambda c: Words(c, max_norm=0.5), words),
    "writes a weight": (lambda c: net(writes_weight, layer=nn.Linear(5, c)), normal(5)),
    "a peak past autograd": (
        lambda c: net(peak, peak=nn.Buffer(torch.ones(())), layer=nn.Linear(5, c)), normal(5),
    ),
    "other memory": (
        lambda c: net(rebinds, scale=nn.Buffer(torch.ones(5)), layer=nn.Linear(5, c)), normal(5),
    ),
    "remembers": (lambda c: net(remembers, last=None, **layers(c)), normal(5)),
    "appends": (lambda c: net(appends, seen=[], **layers(c)), normal(5)),
    "counts": (lambda c: net(counts, calls=0, layer=nn.Linear(5, c)), normal(5)),
    "caches": (lambda c: net(caches, cache={}, head=nn.Linear(4, c)), normal(3, 4)),
    "measures": (lambda c: net(measures, log={}, **layers(c)), normal(5)),
    "locked": (
        lambda c: net(locked, lock=threading.Lock(), layer=nn.Linear(5, 6), head=weight(6, c)),
        normal(5),
    ),
}  # fmt: skip


# --- batch folded into rows, or elsewhere than in front -----------------------------------------


def folded(layer: Callable[[], nn.Module], *extra: int) -> Callable[[int], nn.Module]:
    """A layer on (batch · positions, channels, …)."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[2], *extra)
        return self.head(self.layer(self.before(rows)).tanh().reshape(*x.shape[:2], -1).mean(1))

    def build(c: int) -> nn.Module:
        before = nn.Identity() if extra else nn.Linear(4, 4)
        return net(forward, before=before, layer=layer(), head=nn.Linear(4, c))

    return build


def frames(self: nn.Module, x: Tensor) -> Tensor:
    h = self.norm(self.convolution(x.flatten(0, 1))).relu().mean((2, 3))
    return self.head(h.unflatten(0, x.shape[:2]).amax(1))


def windows(self: nn.Module, x: Tensor) -> Tensor:
    """Attention within windows of two positions, as in Swin."""
    pairs = x.unflatten(1, (-1, 2)).flatten(0, 1)
    return self.head(self.attention(pairs, pairs, pairs)[0].reshape(len(x), -1))


def pairs(self: nn.Module, x: Tensor) -> Tensor:
    """A relation network: all pairs of positions."""
    a, b = torch.broadcast_tensors(x[:, :, None], x[:, None])
    return self.head(self.layer(torch.cat([a, b], -1)).relu().sum((1, 2)))


FOLDS = {
    "norm of folded rows": (folded(lambda: nn.BatchNorm1d(4)), normal(3, 4)),
    "layer norm of folded rows": (folded(lambda: nn.LayerNorm(4)), normal(3, 4)),
    "group norm of folded rows": (folded(lambda: nn.GroupNorm(2, 4)), normal(3, 4)),
    "linear on folded rows": (folded(lambda: nn.Linear(4, 4)), normal(3, 4)),
    "convolution of folded rows": (
        folded(lambda: nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 1, 3, padding=1),
                                     nn.BatchNorm1d(1), nn.Flatten())),
        normal(3, 4),
    ),
    "norm of folded images": (folded(lambda: nn.BatchNorm2d(4), 1, 1), normal(3, 4)),
    "norm of sequences": (
        lambda c: net(lambda self, x: self.head(self.norm(x.transpose(1, 2)).tanh().mean(2)),
                      norm=nn.BatchNorm1d(4), head=nn.Linear(4, c)),
        normal(3, 4),
    ),
    "norm with positions as channels": (
        lambda c: net(lambda self, x: self.head(self.norm(x).tanh().mean(1)),
                      norm=nn.BatchNorm1d(3), head=nn.Linear(4, c)),
        normal(3, 4),
    ),
    "frames": (
        lambda c: net(frames, convolution=nn.Conv2d(1, 2, 2), norm=nn.BatchNorm2d(2),
                      head=nn.Linear(2, c)),
        normal(3, 1, 4, 4),
    ),
    "two frames": (
        lambda c: net(frames, convolution=nn.Conv2d(1, 2, 2), norm=nn.BatchNorm2d(2),
                      head=nn.Linear(2, c)),
        normal(2, 1, 4, 4),
    ),
    "windows": (
        lambda c: net(windows, attention=nn.MultiheadAttention(4, 2, batch_first=True),
                      head=nn.Linear(16, c)),
        normal(4, 4),
    ),
    "pairs": (
        lambda c: net(pairs, layer=nn.Linear(6, 4), head=nn.Linear(4, c)), normal(3, 3),
    ),
    "batch in the second place": (
        lambda c: net(lambda self, x: self.head(self.memory(x.transpose(0, 1))[0][-1]),
                      memory=nn.RNN(4, 5), head=nn.Linear(5, c)),
        normal(3, 4),
    ),
    "linear with the batch second": (
        lambda c: net(lambda self, x: self.head(self.layer(x.transpose(0, 1)).tanh().sum(0)),
                      layer=nn.Linear(4, 4), head=nn.Linear(4, c)),
        normal(3, 4),
    ),
    "batch in the last place": (
        lambda c: net(lambda self, x: (self.head @ (self.weight @ x.T).tanh()).T,
                      weight=weight(6, 5), head=weight(c, 6)),
        normal(5),
    ),
    "one by one": (
        lambda c: net(lambda self, x: torch.stack([self.head(self.image(i).tanh()[:, 0, 0])
                                                   for i in x]),
                      image=nn.Conv2d(1, 3, 4), head=nn.Linear(3, c)),
        normal(1, 4, 4),
    ),
    "other lengths": (
        lambda c: net(lambda self, x: self.head(self.norm(self.layer(x)).tanh().sum(1)),
                      norm=nn.LayerNorm(4), layer=nn.Linear(4, 4), head=nn.Linear(4, c)),
        normal(1, 4), normal(3, 4),
    ),
    "a layer for longer points": (
        lambda c: net(lambda self, x: self.head((self.mix(x) if x.shape[1] > 1 else x).tanh()
                                                .sum(1)),
                      mix=nn.Linear(4, 4), head=nn.Linear(4, c)),
        normal(3, 4), normal(1, 4),
    ),
    "longer rows": (
        lambda c: net(lambda self, x: self.head(self.layer(x.transpose(1, 2)).tanh().sum(2)),
                      layer=nn.Conv1d(4, 3, 2), head=nn.Linear(3, c)),
        normal(5, 4), normal(2, 4),
    ),
}  # fmt: skip


# --- one parameter in several uses and forms ----------------------------------------------------


def adapted(self: nn.Module, x: Tensor) -> Tensor:
    """LoRA: a frozen map and a trained one of rank 2."""
    return self.head((self.base(x) + 0.5 * self.up(self.down(x))).tanh())


def defaults(self: nn.Module, x: Tensor) -> Tensor:
    h = F.conv_transpose1d(F.conv1d(x, self.down).tanh(), self.up)
    h = F.batch_norm(F.group_norm(h, 1, self.scale), self.mean, self.spread, self.gain)
    return torch.addmm(self.bias, h.flatten(1), self.head)


def attributes(self: nn.Module, x: Tensor) -> Tensor:
    return self.head(x @ self.first.weight.T).tanh() @ self.first.weight[:3]


USES = {
    "linear and matmul": (
        lambda c: net(lambda self, x: (F.linear(x, self.weight) @ self.weight)[:, :c],
                      weight=weight(4, 4)),
        normal(4),
    ),
    "linear and matmul of other shapes": (
        lambda c: net(lambda self, x: self.head(F.linear(x, self.weight) @ self.weight),
                      weight=weight(3, 4), head=nn.Linear(4, c)),
        normal(4),
    ),
    "mixes positions": (
        lambda c: net(lambda self, x: self.head((self.weight @ x).tanh().flatten(1)),
                      weight=weight(2, 3), head=nn.Linear(8, c)),
        normal(3, 4),
    ),
    "addmm": (
        lambda c: net(lambda self, x: torch.addmm(self.bias, torch.addmm(x, x, self.weight).tanh(),
                                                  self.head, beta=0.5, alpha=2.0),
                      bias=weight(c), weight=weight(5, 5), head=weight(5, c)),
        normal(5),
    ),
    "functions with their defaults": (
        lambda c: net(defaults, down=weight(3, 2, 2), up=weight(3, 2, 3), scale=weight(2),
                      mean=nn.Buffer(torch.randn(2)), spread=nn.Buffer(torch.rand(2) + 0.5),
                      gain=weight(2), head=weight(12, c), bias=weight(c)),
        normal(2, 5),
    ),
    "bmm": (
        lambda c: net(lambda self, x: torch.bmm(x[None].expand(2, -1, -1), self.weight).sum(0),
                      weight=weight(2, 5, c)),
        normal(5),
    ),
    "bmm an example": (
        lambda c: net(lambda self, x: torch.bmm(self.weight.expand(len(x), -1, -1),
                                                x[:, :, None])[:, :, 0],
                      weight=weight(1, c, 5)),
        normal(5),
    ),
    "baddbmm": (
        lambda c: net(lambda self, x: torch.baddbmm(self.bias, x[None].expand(2, -1, -1),
                                                    self.weight).tanh().sum(0),
                      bias=weight(2, 1, c), weight=weight(2, 5, c)),
        normal(5),
    ),
    "einsum": (
        lambda c: net(lambda self, x: torch.einsum("oh,bh->bo", self.head, torch.einsum(
                          "bi,ih->bh", x, self.weight).tanh()),
                      weight=weight(5, 6), head=weight(c, 6)),
        normal(5),
    ),
    "einsum in other orders": (  # without an arrow, letters are sorted
        lambda c: net(lambda self, x: torch.einsum("bi,io", torch.einsum(
                          "bi,ai->ba", x, self.weight).tanh(), self.head),
                      weight=weight(6, 5), head=weight(6, c)),
        normal(5),
    ),
    "called by other names": (
        lambda c: net(lambda self, x: x.mm(mat2=torch.mm(self.weight, mat2=self.head)),
                      weight=weight(5, 4), head=weight(4, c)),
        normal(5),
    ),
    "einsum with one weight twice": (
        lambda c: net(lambda self, x: self.head(torch.einsum("bi,ij,jk->bk", x, self.weight,
                                                             self.weight)),
                      weight=weight(4, 4), head=nn.Linear(4, c)),
        normal(4),
    ),
    "weights of three axes": (
        lambda c: net(lambda self, x: torch.matmul(x[:, None, None], self.w).tanh().sum((1, 2)),
                      w=weight(2, 5, c)),
        normal(5),
    ),
    "experts by vmap": (
        lambda c: net(lambda self, x: torch.vmap(lambda w: (x @ w).tanh())(self.weight).mean(0),
                      weight=weight(3, 5, c)),
        normal(5),
    ),
    "chunks of a weight": (
        lambda c: net(lambda self, x: sum(F.linear(x, w).tanh() for w in self.weight.chunk(2)),
                      weight=weight(2 * c, 5)),
        normal(5),
    ),
    "joined weights": (
        lambda c: net(lambda self, x: F.linear(x.tanh(), torch.cat([self.a, self.b], 1), self.bias),
                      a=weight(c, 2), b=weight(c, 3), bias=weight(c)),
        normal(5),
    ),
    "weight of a weight": (
        lambda c: net(lambda self, x: F.linear(x, self.up @ self.down + self.base),
                      up=weight(c, 2), down=weight(2, 5), base=weight(c, 5)),
        normal(5),
    ),
    "squared weight": (
        lambda c: net(lambda self, x: F.linear(x, self.weight.square() / 2, self.weight[:, 0]),
                      weight=weight(c, 5)),
        normal(5),
    ),
    "standardised weight": (
        lambda c: net(lambda self, x: F.linear(x, F.layer_norm(self.weight, (5,))),
                      weight=weight(c, 5)),
        normal(5),
    ),
    "reads another layer's weight": (
        lambda c: net(lambda self, x: self.head((self.layer(x) + x @ self.layer.weight.T).tanh()),
                      **layers(c)),
        normal(5),
    ),
    "tied autoencoder": (
        lambda c: net(lambda self, x: F.linear(F.linear(x, self.w).tanh(), self.w.t())[:, :c],
                      w=weight(6, 5)),
        normal(5),
    ),
    "tied convolution": (
        lambda c: net(lambda self, x: self.head(F.conv_transpose1d(F.conv1d(
                          x, self.w).tanh(), self.w).flatten(1)),
                      w=weight(3, 2, 2), head=nn.Linear(10, c)),
        normal(2, 5),
    ),
    "two embeddings of one table": (
        lambda c: net(lambda self, x: (self.table[x[:, 0]] * F.embedding(x[:, 1:], self.table)
                                       .mean(1)) @ self.head,
                      table=weight(7, 4), head=weight(4, c)),
        words,
    ),
    "one hot": (
        lambda c: net(lambda self, x: F.one_hot(x, 7).to(self.table.dtype).sum(1) @ self.table,
                      table=weight(7, c)),
        words,
    ),
    "positions added": (
        lambda c: net(lambda self, x: self.head((self.layer(x) + self.places).tanh().mean(1)),
                      layer=nn.Linear(4, 4), places=weight(3, 4), head=nn.Linear(4, c)),
        normal(3, 4),
    ),
    "class token": (
        lambda c: net(lambda self, x: self.head(self.layer(torch.cat(
                          [self.token.expand(len(x), -1, -1), x], 1))[:, 0]),
                      token=weight(1, 1, 4), head=nn.Linear(4, c),
                      layer=nn.TransformerEncoderLayer(4, 2, 6, batch_first=True)),
        normal(2, 4),
    ),
    "bias as gain": (
        lambda c: net(lambda self, x: self.head(self.layer(x).tanh() * self.layer.bias),
                      **layers(c)),
        normal(5),
    ),
    "hypernetwork": (
        lambda c: net(lambda self, x: torch.einsum("bi,boi->bo", x,
                                                   self.maker(x.tanh()).unflatten(1, (c, 5))),
                      maker=nn.Linear(5, 5 * c)),
        normal(5),
    ),
    "lora": (
        lambda c: net(adapted, base=nn.Linear(5, 6).requires_grad_(False), head=nn.Linear(6, c),
                      down=nn.Linear(5, 2, False), up=nn.Linear(2, 6, False)),
        normal(5),
    ),
    "low rank": (
        lambda c: nn.Sequential(nn.Linear(5, 2, False), nn.Linear(2, 6), nn.Tanh(),
                                nn.Linear(6, c)),
        normal(5),
    ),
    "one module in two places": (
        lambda c: net(lambda self, x: self.head(self.b(self.a(x).tanh())), head=nn.Linear(5, c),
                      **dict.fromkeys("ab", nn.Linear(5, 5))),
        normal(5),
    ),
    "linear of one row": (
        lambda c: net(lambda self, x: torch.stack([self.layer(row.tanh()) for row in x]),
                      layer=nn.Linear(5, c)),
        normal(5),
    ),
    "vector products": (
        lambda c: net(lambda self, x: (x @ self.v)[:, None] * self.u + torch.outer(
                          x.mean(1), self.u).tanh(),
                      v=weight(5), u=weight(c)),
        normal(5),
    ),
}  # fmt: skip


# --- structure by example -----------------------------------------------------------------------


def order_by_example(self: nn.Module, x: Tensor) -> Tensor:
    def one(row: Tensor) -> Tensor:
        a, b = (self.first, self.second) if row[0] > 0 else (self.second, self.first)
        return self.head(b(a(row).tanh()))

    return torch.stack([one(row) for row in x])


def experts(self: nn.Module, x: Tensor) -> Tensor:
    """A mixture of experts with top-1 routing, as it is batched in practice."""
    gates = self.gate(x).softmax(1)
    chosen, out = gates.argmax(1), x.new_zeros(len(x), self.outputs)
    for k, expert in enumerate(self.experts):
        mine = (chosen == k).nonzero()[:, 0]
        out = out.index_add(0, mine, gates[mine, k, None] * expert(x[mine]))
    return out


def by_mask(self: nn.Module, x: Tensor) -> Tensor:
    up, out = x[:, 0] > 0, torch.zeros(len(x), self.outputs, dtype=x.dtype)
    out[up], out[~up] = self.first(x[up]), self.second(x[~up]).tanh()
    return out


def length_by_example(self: nn.Module, x: Tensor) -> Tensor:
    def one(row: Tensor) -> Tensor:
        end = int((row[:, 0] > 0).sum()) + 1
        return self.head(self.layer(row[:end]).tanh().sum(0))

    return torch.stack([one(row) for row in x])


def until_settled(self: nn.Module, x: Tensor) -> Tensor:
    """A fixed point, from as many rounds as an example needs."""

    def one(row: Tensor) -> Tensor:
        z = torch.zeros_like(row)
        while (new := (self.layer(z) / 4 + row).tanh()).dist(z) > 0.1:
            z = new
        return self.head(z)

    return torch.stack([one(row) for row in x])


def skips(self: nn.Module, x: Tensor) -> Tensor:
    """Leaves early where it can."""
    h = self.layer(x)
    if len(x) == 1 and float(h[0, 0].detach()) > 0:
        return self.early(h)
    late, early = self.head(h.tanh()), self.early(h)
    return torch.where(h[:, :1] > 0, early, late)


def two(c: int, size: int = 5) -> dict[str, nn.Module]:
    return {"first": nn.Linear(size, size), "second": nn.Linear(size, size),
            "head": nn.Linear(size, c)}  # fmt: skip


EXAMPLES = {
    "order by example": (lambda c: net(order_by_example, **two(c)), normal(5)),
    "experts": (
        lambda c: net(experts, outputs=c, gate=nn.Linear(5, 3),
                      experts=nn.ModuleList(nn.Linear(5, c) for _ in range(3))),
        normal(5),
    ),
    "parts by mask": (
        lambda c: net(by_mask, outputs=c, first=nn.Linear(5, c), second=nn.Linear(5, c)),
        normal(5),
    ),
    "length by example": (
        lambda c: net(length_by_example, layer=nn.Linear(4, 4), head=nn.Linear(4, c)),
        normal(3, 4),
    ),
    "rounds by example": (
        lambda c: net(until_settled, layer=nn.Linear(5, 5), head=nn.Linear(5, c)), normal(5),
    ),
    "early exit": (lambda c: net(skips, early=nn.Linear(6, c), **layers(c)), normal(5)),
}  # fmt: skip


# --- patched and hooked -------------------------------------------------------------------------


def patched(model: nn.Module) -> nn.Module:
    layer = model[0]
    layer.forward = types.MethodType(lambda self, x: 3 * F.linear(x, self.weight), layer)
    return model


def wrapped(model: nn.Module) -> nn.Module:
    inner = model[0].forward
    model[0].forward = lambda x: inner(x).square()
    return model


def guarded(model: nn.Module) -> nn.Module:
    inner, lock = model[0].forward, threading.Lock()

    def forward(x: Tensor) -> Tensor:
        with lock:
            return inner(x).square()

    model[0].forward = forward
    return model


def wrapped_whole(model: nn.Module) -> nn.Module:
    inner = model.forward
    model.forward = lambda x: 2 * inner(x + 0.5)
    return model


class Reshaped(nn.Linear):
    """Another forward than its class's, and a lambda that knows it."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.scaled = lambda x: x * self.weight.mean()

    def forward(self, x: Tensor) -> Tensor:
        return self.scaled(super().forward(x)).sin()


PATCHED = {
    "patched forward": (lambda c: patched(mlp(c)), normal(5)),
    "patched forward of a two-layer net": (
        lambda c: changed(models.two_layer(5, 4, outputs=c), lambda m: patched(m[1:])), normal(5),
    ),
    "closure over a forward": (lambda c: wrapped(mlp(c)), normal(5)),
    "closure over a lock": (lambda c: guarded(mlp(c)), normal(5)),
    "closure over the whole": (lambda c: wrapped_whole(mlp(c)), normal(5)),
    "partial forward": (
        lambda c: changed(mlp(c), lambda m: setattr(
            m[0], "forward", functools.partial(F.linear, weight=m[0].weight))),
        normal(5),
    ),
    "lambda with self": (lambda c: nn.Sequential(Reshaped(5, 6), Reshaped(6, c)), normal(5)),
    "lambda for a layer": (
        lambda c: changed(net(lambda self, x: self.head(self.act(x)), **layers(c)), lambda m:
                          setattr(m, "act", lambda x: m.layer(x).tanh() * m.head.weight[0])),
        normal(5),
    ),
    "forward hook": (
        lambda c: changed(mlp(c), lambda m: m[0].register_forward_hook(
            lambda module, args, out: 2 * out + module.bias)),
        normal(5),
    ),
    "forward pre-hook": (
        lambda c: changed(mlp(c), lambda m: m[2].register_forward_pre_hook(
            lambda module, args: (args[0] ** 2,))),
        normal(5),
    ),
    "hook on the whole": (
        lambda c: changed(models.two_layer(5, 4, outputs=c), lambda m: m.register_forward_hook(
            lambda module, args, out: out.sinh())),
        normal(5),
    ),
    "hook that keeps": (
        lambda c: changed(mlp(c), lambda m: m[1].register_forward_hook(
            lambda module, args, out: setattr(m, "kept", out))),
        normal(5),
    ),
    "forward called by name": (
        lambda c: net(lambda self, x: self.head.forward(self.layer.forward(x).tanh()), **layers(c)),
        normal(5),
    ),
    "called with keywords": (
        lambda c: net(lambda self, x: self.head(input=F.linear(bias=self.layer.bias, input=x,
                                                weight=self.layer.weight).tanh()), **layers(c)),
        normal(5),
    ),
}  # fmt: skip


# --- what autograd sees as one piece ------------------------------------------------------------


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor, gain: Tensor) -> Tensor:
        ctx.save_for_backward(x, gain)
        return gain * x**3

    @staticmethod
    def backward(ctx: object, g: Tensor) -> tuple[Tensor, Tensor]:
        x, gain = ctx.saved_tensors
        return 3 * g * gain * x**2, (g * x**3).sum(0)


class CubeOfToday(Cube):
    @staticmethod
    def forward(x: Tensor, gain: Tensor) -> Tensor:
        return gain * x**3

    @staticmethod
    def setup_context(ctx: object, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)


class Reversal(torch.autograd.Function):
    """The identity, whose gradient is turned around."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: object, g: Tensor) -> Tensor:
        return -g


@functools.cache
def compiled(which: str) -> Callable[..., Tensor]:
    """Made at first use, as torch.jit warns that it will go one day."""

    def gated(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.tanh(torch.matmul(x, weight.t()) + bias) * weight.sum()

    return torch.jit.script(gated)


def alone(self: nn.Module, x: Tensor) -> Tensor:
    assert len(x) == 1
    return self.layer(x).tanh()


def beside(self: nn.Module, x: Tensor) -> Tensor:
    """Uses of weights that no watch over torch's functions sees."""
    h, w, found = self.layer(x).tanh(), self.head.weight, []
    apart = threading.Thread(target=lambda: found.append((h * w.exp().sum(0)).sum(1)))
    apart.start()
    apart.join()
    found.append(torch.func.vmap(lambda row: (x * row).sum(1))(self.layer.weight).prod(0))
    found.append(compiled("gated")(h, w, self.head.bias).sum(1))
    out = self.head(h)
    out[:, out.shape[1] // 2] += sum(found)
    return out


def with_gradient(self: nn.Module, x: Tensor) -> Tensor:
    """A physics-informed net: u and Σ_i ∂u/∂x_i, by torch.func."""

    def u(row: Tensor) -> Tensor:
        return self.head(self.layer(row).tanh()).sum()

    slope = torch.func.vmap(torch.func.grad(u))(x)
    return self.head(self.layer(x).tanh()) + slope.sum(1, keepdim=True)


def with_autograd(self: nn.Module, x: Tensor) -> Tensor:
    """The same by autograd."""
    with torch.enable_grad():
        x = x.clone().requires_grad_()
        u = self.head(self.layer(x).tanh())
        (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    return u + slope.sum(1, keepdim=True)


def with_penalty(self: nn.Module, x: Tensor) -> Tensor:
    """A prediction beside the size of its own gradient by the weights."""

    def one(row: Tensor) -> Tensor:
        with torch.enable_grad():
            u = self.head(self.layer(row).tanh())
            weights = [self.layer.weight, self.head.weight]
            slopes = torch.autograd.grad(u.sum(), weights, create_graph=True)
        return u + sum(slope.square().sum() for slope in slopes)

    return torch.stack([one(row) for row in x])


def after_a_step(self: nn.Module, x: Tensor) -> Tensor:
    """What the layers predict after a step of their own on half of each example, as in MAML."""

    def one(row: Tensor) -> Tensor:
        weights = dict(self.inner.named_parameters())
        with torch.enable_grad():
            loss = torch.func.functional_call(self.inner, weights, row[:5]).square().sum()
            slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        moved = {k: w - 0.1 * g for (k, w), g in zip(weights.items(), slopes, strict=True)}
        return torch.func.functional_call(self.inner, moved, row[5:])

    return torch.stack([one(row) for row in x])


def with_tangent(self: nn.Module, x: Tensor) -> Tensor:
    def u(x: Tensor) -> Tensor:
        return self.head(self.layer(x).tanh())

    value, along = torch.func.jvp(u, (x,), (torch.ones_like(x),))
    return value + along


def ensemble(self: nn.Module, x: Tensor) -> Tensor:
    def member(weights: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(self.base, weights, (x,))

    stacked = {"weight": self.w, "bias": self.b}
    return torch.func.vmap(member)(stacked).tanh().mean(0)


def checkpointed(reentrant: bool) -> Callable[[nn.Module, Tensor], Tensor]:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        h = self.layer(x)
        return self.head(checkpoint(self.middle, h, use_reentrant=reentrant))

    return forward


def checkpointed_from_the_start(self: nn.Module, x: Tensor) -> Tensor:
    return self.head(checkpoint(self.layer, x.requires_grad_(), use_reentrant=True).tanh())


def script(module: nn.Module) -> nn.Module:
    return torch.jit.script(module)


def trace(module: nn.Module) -> nn.Module:
    return torch.jit.trace(module, torch.zeros(1, 5))


OPAQUE = {
    "scripted function": (
        lambda c: net(lambda self, x: self.head(compiled("gated")(x, self.layer.weight,
                                                                  self.layer.bias)), **layers(c)),
        normal(5),
    ),
    "scripted function and layer": (
        lambda c: net(lambda self, x: self.head(self.layer(x) + compiled("gated")(
                          x, self.layer.weight, self.layer.bias)), **layers(c)),
        normal(5),
    ),
    "unseen uses beside a layer": (  # in one of several outputs
        lambda c: net(beside, **layers(c)), normal(5),
    ),
    "rows in nested tensors": (
        lambda c: net(lambda self, x: torch.stack([q.sum(0) for q in self.layer(
                          torch.nested.as_nested_tensor([r[None] for r in x.unbind()])).unbind()]),
                      layer=nn.Linear(5, c)),
        normal(5),
    ),
    "scripted layer": (lambda c: nn.Sequential(script(mlp(5)), nn.Linear(5, c)), normal(5)),
    "scripted layers alone": (lambda c: nn.Sequential(script(mlp(c))), normal(5)),
    "traced layer": (lambda c: nn.Sequential(trace(mlp(5)), nn.Linear(5, c)), normal(5)),
    "own function": (
        lambda c: net(lambda self, x: self.head(Cube.apply(self.layer(x), self.gain)),
                      gain=weight(6), **layers(c)),
        normal(5),
    ),
    "own function of today": (
        lambda c: net(lambda self, x: self.head(CubeOfToday.apply(self.layer(x), self.gain)),
                      gain=weight(6), **layers(c)),
        normal(5),
    ),
    "gradient reversal": (
        lambda c: net(lambda self, x: self.head(Reversal.apply(self.layer(x).tanh())), **layers(c)),
        normal(5),
    ),
    "straight through": (
        lambda c: net(lambda self, x: self.head((h := self.layer(x)) + (h.round() - h).detach()),
                      **layers(c)),
        normal(5),
    ),
    "detached": (
        lambda c: net(lambda self, x: self.head(self.layer(x).tanh()) + self.head.weight.detach()
                      .sum() * self.layer(x).detach().sum(1, keepdim=True), **layers(c)),
        normal(5),
    ),
    "checkpoint": (
        lambda c: net(checkpointed(False), middle=nn.Sequential(nn.Tanh(), nn.Linear(6, 6)),
                      **layers(c)),
        normal(5),
    ),
    "reentrant checkpoint": (
        lambda c: net(checkpointed(True), middle=nn.Sequential(nn.Tanh(), nn.Linear(6, 6)),
                      **layers(c)),
        normal(5),
    ),
    "reentrant checkpoint from the start": (
        lambda c: net(checkpointed_from_the_start, **layers(c)), normal(5)
    ),
    "gradient inside": (lambda c: net(with_gradient, **layers(c)), normal(5)),
    "autograd inside": (lambda c: net(with_autograd, **layers(c)), normal(5)),
    "gradient by weights inside": (lambda c: net(with_penalty, **layers(c)), normal(5)),
    "a step inside": (lambda c: net(after_a_step, inner=mlp(c)), normal(10)),
    "tangent inside": (lambda c: net(with_tangent, **layers(c)), normal(5)),
    "ensemble": (
        lambda c: net(ensemble, base=nn.Linear(5, c).requires_grad_(False), w=weight(3, c, 5),
                      b=weight(3, c)),
        normal(5),
    ),
    "data parallel": (lambda c: nn.DataParallel(mlp(c)), normal(5)),
    "compiled inside": (
        lambda c: changed(mlp(c), lambda m: m.add_module(
            "0", torch.compile(nn.DataParallel(m[0]), backend="eager"))),
        normal(5),
    ),
    "compiled": (lambda c: torch.compile(mlp(c), backend="eager"), normal(5)),
    "compiled part": (
        lambda c: nn.Sequential(torch.compile(nn.Linear(5, 6), backend="eager"), nn.Linear(6, c)),
        normal(5),
    ),
    "data parallel part": (
        lambda c: nn.Sequential(nn.DataParallel(nn.Linear(5, 6)), nn.Linear(6, c)), normal(5),
    ),
    "traced into a graph": (lambda c: torch.fx.symbolic_trace(mlp(c)), normal(5)),
    "one at a time": (lambda c: net(alone, layer=nn.Linear(5, c)), normal(5)),
    "in channels-last": (
        lambda c: nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, c))
        .to(memory_format=torch.channels_last),
        normal(2, 4, 4),
    ),
}  # fmt: skip


# --- parameters of every kind -------------------------------------------------------------------


class Own(nn.Parameter):
    scale = 2.0


def attributed(self: nn.Module, x: Tensor) -> Tensor:
    kind = 5.0 if isinstance(self.layer.weight, Own) else 1.0
    return self.layer(x) * self.layer.weight.scale * kind


class Halved(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.triu() / 2


def listed(c: int) -> nn.Module:
    """Parameters in a list of torch's, and in a plain one that nobody keeps up to date."""
    own = [weight(5, 5), weight(5)]
    module = net(lambda self, x: self.head((x @ self.own[0] * self.own[1]).tanh()),
                 kept=nn.ParameterList(own), head=nn.Linear(5, c))  # fmt: skip
    module.own = own
    return module


def fourier(self: nn.Module, x: Tensor) -> Tensor:
    """A spectral layer with complex weights."""
    return self.head(torch.fft.irfft(torch.fft.rfft(x) * self.w, n=x.shape[1]).tanh())


PARAMETERS = {
    "pruned": (
        lambda c: changed(mlp(c), lambda m: prune.l1_unstructured(m[0], "weight", 0.5)), normal(5),
    ),
    "pruned twice": (
        lambda c: changed(mlp(c), lambda m: (prune.random_unstructured(m[0], "weight", 0.3),
                                             prune.ln_structured(m[0], "weight", 0.3, 2, 0))),
        normal(5),
    ),
    "weight norm": (
        lambda c: changed(mlp(c), lambda m: parametrizations.weight_norm(m[0])), normal(5),
    ),
    "weight norm of old": (
        lambda c: changed(mlp(c), lambda m: nn.utils.weight_norm(m[0])), normal(5),
    ),
    "spectral norm": (
        lambda c: changed(mlp(c), lambda m: parametrizations.spectral_norm(m[0])), normal(5),
    ),
    "spectral norm of old": (
        lambda c: changed(mlp(c), lambda m: nn.utils.spectral_norm(m[0])), normal(5),
    ),
    "orthogonal": (
        lambda c: changed(mlp(c), lambda m: parametrizations.orthogonal(m[0])), normal(5),
    ),
    "own parametrization": (
        lambda c: changed(mlp(c), lambda m: nn.utils.parametrize.register_parametrization(
            m[0], "weight", Halved())),
        normal(5),
    ),
    "complex weights": (
        lambda c: net(lambda self, x: (x.to(self.w.dtype) @ self.w).abs() @ self.head,
                      w=nn.Parameter(torch.randn(5, 4, dtype=torch.complex64)), head=weight(4, c)),
        normal(5),
    ),
    "spectral layer": (
        lambda c: net(fourier, w=nn.Parameter(torch.randn(3, dtype=torch.complex64)),
                      head=nn.Linear(5, c)),
        normal(5),
    ),
    "unused": (
        lambda c: net(lambda self, x: self.head(self.layer(x).tanh()), spare=nn.Linear(3, 3),
                      **layers(c)),
        normal(5),
    ),
    "unused output": (
        lambda c: net(lambda self, x: self.layer(x)[:, :c], layer=nn.Linear(5, c + 2)), normal(5),
    ),
    "empty weight": (
        lambda c: net(lambda self, x: self.layer(x), layer=nn.Linear(5, c), none=weight(0, 3)),
        normal(5),
    ),
    "scalars": (
        lambda c: net(lambda self, x: (self.a * x[:, :c]).tanh() * self.b.exp() + self.a,
                      a=weight(), b=weight(1)),
        normal(5),
    ),
    "attributes of tensors": (
        lambda c: net(attributed, layer=changed(nn.Linear(5, c), lambda m: (
                          setattr(m, "weight", Own(m.weight)), setattr(m.weight, "scale", 3.0)))),
        normal(5),
    ),
    "a look at the kind of a weight": (
        lambda c: net(lambda self, x: self.layer(x) * (
                          2 if isinstance(self.layer.weight, nn.Parameter) else 1) * (
                          3 if self.layer.weight.requires_grad else 1), layer=nn.Linear(5, c)),
        normal(5),
    ),
    "list of parameters": (
        lambda c: net(lambda self, x: (x @ self.w[0]).tanh() @ self.w[1],
                      w=nn.ParameterList([weight(5, 4), weight(4, c)])),
        normal(5),
    ),
    "dict of parameters": (
        lambda c: net(lambda self, x: x.tanh() @ self.w["a"] + self.w["b"],
                      w=nn.ParameterDict({"a": weight(5, c), "b": weight(c)})),
        normal(5),
    ),
    "plain list of parameters": (listed, normal(5)),
    "tensor as attribute": (
        lambda c: net(lambda self, x: self.head((x * self.scale).tanh()), head=nn.Linear(5, c),
                      scale=torch.randn(5)),
        normal(5),
    ),
    "trunk without gradient": (
        lambda c: net(lambda self, x: self.head(torch.no_grad()(self.layer)(x).tanh()),
                      **layers(c)),
        normal(5),
    ),
    "frozen trunk": (
        lambda c: nn.Sequential(mlp(5).requires_grad_(False), nn.Tanh(), nn.Linear(5, c)),
        normal(5),
    ),
    "only a bias trains": (
        lambda c: changed(mlp(c).requires_grad_(False), lambda m: m[0].bias.requires_grad_(True)),
        normal(5),
    ),
}  # fmt: skip


# --- single precision on the way, which means double in a double calculation ----------------------


def llama(self: nn.Module, x: Tensor) -> Tensor:
    h = x.to(torch.float32)
    h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)
    return self.head(self.gain * h.to(x.dtype))


def factories(self: nn.Module, x: Tensor) -> Tensor:
    """Constants made without a word on their precision."""
    places = torch.arange(0, 5, 1.0) / 7 + torch.linspace(0, 1, 5) + torch.full((5,), 0.1)
    scale = torch.tensor([1.1, 0.3, 0.7, 0.9, 1.3]) + torch.zeros(5) + torch.ones(1)
    return self.head((x.to(places.dtype) * scale + places).tanh() + torch.eye(5)[0])


def physics(self: nn.Module, x: Tensor) -> Tensor:
    """A prediction and its own slope, in the manner of networks that obey an equation."""
    x = x.requires_grad_()
    u = self.head(self.layer(x).tanh())
    (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    return u + slope.sum(1, keepdim=True)


def recorded(self: nn.Module, x: Tensor) -> Tensor:
    """One more step where gradients are recorded, as implicit networks take it."""
    h = self.layer(x).tanh()
    return self.head(h.sin() if torch.is_grad_enabled() else h)


def looked(self: nn.Module, x: Tensor) -> Tensor:
    h = self.layer(x).tanh()
    return self.head(h.sin() if h.requires_grad else h)


def graph(self: nn.Module, x: Tensor) -> Tensor:
    """A layer on a graph, whose edges are a sparse buffer."""
    edges = self.edges.to(x.dtype)
    return self.layer(torch.sparse.mm(edges, x.T).T)


RECORDED = {
    "slope of itself": (lambda c: net(physics, **layers(c)), normal(5)),
    "asks whether gradients are recorded": (lambda c: net(recorded, **layers(c)), normal(5)),
    "asks whether a gradient is wanted": (lambda c: net(looked, **layers(c)), normal(5)),
    "sparse buffer": (
        lambda c: net(graph, layer=nn.Linear(5, c), edges=nn.Buffer(torch.eye(5).to_sparse())),
        normal(5),
    ),
    "sentinel": (
        lambda c: net(lambda self, x: self.head(self.layer(x) * (3 if self.scale is UNSET else 1)),
                      **layers(c), scale=UNSET),
        normal(5),
    ),
}  # fmt: skip

DIGITS = {
    "float inside": (
        lambda c: net(lambda self, x: self.head(self.layer(x).float().exp().type_as(x).log1p()),
                      **layers(c)),
        normal(5),
    ),
    "weights as float": (
        lambda c: net(lambda self, x: (x.float() @ self.w.float()).tanh().to(x.dtype),
                      w=weight(5, c)),
        normal(5),
    ),
    "norm of llama": (lambda c: net(llama, gain=weight(5), head=nn.Linear(5, c)), normal(5)),
    "softmax in float32": (
        lambda c: net(lambda self, x: self.head(self.layer(x).softmax(1, dtype=torch.float32)
                                                .to(x.dtype)), **layers(c)),
        normal(5),
    ),
    "sum in float32": (
        lambda c: net(lambda self, x: self.head(self.layer(x).tanh() / self.layer(x).square().sum(
                          1, keepdim=True, dtype=torch.float32)), **layers(c)),
        normal(5),
    ),
    "type in float32": (
        lambda c: net(lambda self, x: self.head(self.layer(x).type(torch.FloatTensor).sin()
                                                .to(dtype=x.dtype)), **layers(c)),
        normal(5),
    ),
    "buffer of float32": (
        lambda c: net(lambda self, x: self.head((x + torch.empty(5, dtype=torch.float32).fill_(0.1))
                                                .to(self.head.weight.dtype)),
                      head=nn.Linear(5, c)),
        normal(5),
    ),
    "whole numbers divided": (
        lambda c: net(lambda self, x: self.head(x / 7 + 1.1 ** x.sqrt() + (x > 3) / 3
                                                + torch.arange(5) / 10
                                                + torch.where(x > 2, 0.1, 0.3)),
                      head=nn.Linear(5, c)),
        words,
    ),
    "constants": (lambda c: net(factories, head=nn.Linear(5, c)), normal(5)),
}  # fmt: skip

ARCHITECTURES = {
    **USUAL, **WRITES, **FOLDS, **USES, **EXAMPLES, **PATCHED, **OPAQUE, **PARAMETERS, **DIGITS,
    **RECORDED,
}  # fmt: skip
