"""Influence against gradients of the loss taken one by one, layer by layer."""

import pytest
import torch
from torch import nn

from lecore import Tiles, linearized_change, linearized_change_by_layer, loss_kernel, models
from lecore.errors import LecoreError
from lecore.losses import cross_entropy, squared_error
from lecore.study.influence import loss_kernel_by_layer, self_influence

X = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 1, 0, 1])


def network():
    return models.three_layer(3, 7, "tanh", outputs=2).double()


def slopes(model, layer=None):
    """∂L_i/∂w of the weights of one layer, or of all, one example at a time."""
    part = [*(model if layer is None else model.get_submodule(layer)).parameters()]
    rows = []
    for x, y in zip(X, Y, strict=True):
        loss = cross_entropy(model(x[None])[0], y)
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, part)]))
    return torch.stack(rows)


def test_loss_kernel_is_the_product_of_loss_gradients():
    model, rows = network(), slopes(network())
    torch.testing.assert_close(loss_kernel(model, X, Y, loss=cross_entropy), rows @ rows.T)
    some = loss_kernel(model, X, Y, X[:3], Y[:3], loss=cross_entropy)
    torch.testing.assert_close(some, rows @ rows[:3].T)


def test_columns_want_inputs_and_targets():
    with pytest.raises(LecoreError, match="together, or neither"):
        loss_kernel(network(), X, Y, X, loss=cross_entropy)


@pytest.mark.parametrize("columns", [(), (X[:2], Y[:2])])
def test_each_layer_has_the_product_of_its_own_gradients(columns):
    shares = loss_kernel_by_layer(network(), X, Y, *columns, loss=cross_entropy)
    assert len(shares) == 3
    for layer, share in shares.items():
        rows = slopes(network(), layer)
        torch.testing.assert_close(share, rows @ rows[: share.shape[1]].T)


def test_a_layer_changes_predictions_as_if_it_alone_were_trained():
    change = {"learning_rate": 0.01, "loss": cross_entropy}
    parts = linearized_change_by_layer(network(), X, Y, X[:3], **change)
    for layer, part in parts.items():
        alone = network().requires_grad_(False)
        alone.get_submodule(layer).requires_grad_(True)
        torch.testing.assert_close(part, linearized_change(alone, X, Y, X[:3], **change))


def test_self_influence_is_the_squared_length_of_the_loss_gradient():
    influence = self_influence(network(), X, Y, loss=cross_entropy)
    torch.testing.assert_close(influence, slopes(network()).square().sum(1))


def test_more_points_than_are_held_at_a_time(monkeypatch):
    monkeypatch.setattr("lecore.study.influence.chunk_size", lambda *_: 2)
    influence = self_influence(network(), X, Y, loss=cross_entropy)
    torch.testing.assert_close(influence, slopes(network()).square().sum(1))


@pytest.mark.parametrize("tiles", [Tiles(), Tiles(shape=(3, 2)), Tiles(shape=(3, 9), jobs=2)])
def test_rows_in_chunks_meet_all_columns(monkeypatch, tiles):
    """The last tile has fewer rows, and is computed by factors of its own."""
    monkeypatch.setattr("lecore.engine.gradients.per_example.chunk_size", lambda *_: 2)
    kernel = loss_kernel(network(), X, Y, X[:2], Y[:2], loss=cross_entropy, tiles=tiles)
    rows = slopes(network())
    torch.testing.assert_close(torch.as_tensor(kernel), rows @ rows[:2].T)


def test_layers_with_many_positions_are_written_out():
    """A convolution of large images, and one weight in all of it, by its closed form."""
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Flatten(), nn.Linear(400, 1))
    model[2].requires_grad_(False)
    x = torch.randn(3, 1, 20, 20).double()
    residual = model.double()(x)[:, 0]
    slope = 2 * residual * (x.flatten(1) @ model[2].weight[0])
    influence = self_influence(model, x, torch.zeros(3).double(), loss=squared_error)
    torch.testing.assert_close(influence, slope.detach().square())


@pytest.mark.filterwarnings("ignore::UserWarning")  # products of such gradients differ, too
def test_what_is_not_finite_is_refused():
    model = network()
    with torch.no_grad():
        model[-1].weight.fill_(1e200)
    with pytest.raises(LecoreError, match=r"self-influence of rows .* is not finite"):
        self_influence(model, X, Y.double()[:, None].expand(5, 2), loss=squared_error)
