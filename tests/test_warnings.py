"""What warnings of a step say is true: how it is computed, and which digits it has."""

import warnings

import pytest
import torch
from torch import nn

from lecore import Tiles, prediction_change
from lecore.engine.gradients.watching import PlainAutogradWarning
from lecore.engine.rounding import RoundingWarning
from lecore.losses import cross_entropy
from tests.zoo import layers, net, normal, weight

X, Y = torch.linspace(-1, 1, 20).double().sin().view(4, 5), torch.tensor([0, 1, 2, 0])


def deep(c=3):
    return net(lambda self, x: self.head(self.layer(x).tanh()), **layers(c))


def table():
    """Words of which each has weights of its own."""
    return net(lambda self, x: self.table[x].sin().sum(1), table=weight(12, 3))


WORDS = torch.tensor([[0, 1], [2, 3], [4, 5], [6, 7]])
OTHERS = torch.tensor([[0, 2], [2, 8], [4, 9]])  # none has a word of the last row

STILL = {
    "an ignored label": (deep, X, X, nn.CrossEntropyLoss(ignore_index=2)),
    "an ignored label in a chain": (
        lambda: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)), X, X,
        nn.CrossEntropyLoss(ignore_index=2),
    ),
    "no word in common": (table, WORDS, OTHERS, cross_entropy),
    "a point of its own": (table, WORDS, OTHERS[[1, 2, 0, 1]], cross_entropy),
}  # fmt: skip


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("name", STILL)
def test_steps_that_move_nothing_are_no_rounding_error(name, stored, tmp_path):
    build, rows, columns, loss = STILL[name]
    tiles = Tiles(store=tmp_path / "change.zarr") if stored else Tiles()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RoundingWarning)
        change = prediction_change(
            build(), rows, Y, columns, learning_rate=0.1, loss=loss, tiles=tiles
        )
    assert float(torch.as_tensor(change[:]).abs().flatten(1).amax(1).min()) < 1e-15 or "own" in name


def test_optimizers_that_move_nothing_are_no_rounding_error():
    model = table()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, nesterov=True, momentum=0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RoundingWarning)
        prediction_change(model, WORDS, Y, OTHERS, optimizer=sgd, loss=cross_entropy)


@pytest.mark.parametrize("build", [
    deep, STILL["an ignored label in a chain"][0],
    lambda: net(lambda self, x: self.bias.expand(len(x), 3), bias=weight(3)),  # a view of it
])  # fmt: skip
def test_steps_that_rounding_swallows_are_told(build):
    with pytest.warns(RoundingWarning, match="4 of 4 update points"):
        prediction_change(build(), X, Y, learning_rate=1e-30, loss=cross_entropy)


def test_only_rows_that_rounding_swallows_are_counted():
    loss = nn.CrossEntropyLoss(ignore_index=2)
    with pytest.warns(RoundingWarning, match="3 of 3 update points"):
        prediction_change(deep(), X, Y, learning_rate=1e-30, loss=loss)


def unused():
    return changed(deep())


def changed(model):
    model.spare = nn.Linear(2, 2)
    return model


SLOW = {
    "a weight without a gradient": (
        unused, lambda m: {"optimizer": torch.optim.Adam(m.parameters())}, "weights that get no",
    ),
    "complex weights": (
        lambda: net(lambda self, x: (x.to(self.w.dtype) @ self.w).abs(),
                    w=nn.Parameter(torch.randn(5, 3, dtype=torch.complex64))),
        lambda m: {"learning_rate": 0.1}, "its weights are complex",
    ),
    "a list of weights": (
        lambda: (lambda m: (setattr(m, "own", [m.head.weight]), m)[1])(net(
            lambda self, x: self.layer(x).tanh() @ self.own[0].T, **layers(3))),
        lambda m: {"learning_rate": 0.1}, "past their names",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SLOW)
def test_the_reason_for_plain_autograd_is_the_one_said(name):
    build, step, reason = SLOW[name]
    model = build()
    with pytest.warns(PlainAutogradWarning, match=reason):
        prediction_change(model, normal(5)(3), Y[:3], loss=cross_entropy, **step(model))
