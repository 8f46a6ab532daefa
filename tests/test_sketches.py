"""Sketches against the exact kernel: unbiased, with the error they state."""

import copy

import pytest
import torch
from torch import nn

from lecore import Tiles, empirical_ntk, loss_kernel, models, output_gradient
from lecore.engine.sketches import _hashed, _mixed, gradient_sketch, sketched_ntk
from lecore.losses import cross_entropy
from lecore.seeding import seeded


def network() -> tuple[nn.Module, torch.Tensor]:
    with seeded(0):
        return models.mnist_cnn(outputs=2), torch.randn(4, 1, 28, 28)


@pytest.mark.thorough
def test_stated_error_is_the_spread_over_seeds():
    model = models.three_layer(6, 30, outputs=2)
    with seeded(0):
        x = torch.randn(5, 6)
    exact = empirical_ntk(model, x)
    own = torch.einsum("iicc->ic", exact)
    bound = ((own[:, None, :, None] * own[None, :, None, :] + exact**2) / 64).sqrt()
    errors, stated = [], []
    for seed in range(200):
        features = gradient_sketch(model, x, features=64, seed=seed, dtype=torch.float64)
        estimate = sketched_ntk(features)
        errors.append(estimate.kernel - exact)
        stated.append(estimate.standard_error)
    error = torch.stack(errors)
    # the spread of 200 errors is known to 5 %; the bound may be generous, never too small
    ratio = error.std(0) / bound
    assert 0.5 < float(ratio.min()) < float(ratio.max()) < 1.2
    torch.testing.assert_close(torch.stack(stated).mean(0), bound, rtol=0.15, atol=0)
    bias = error.mean(0) / (error.std(0) / 200**0.5)
    assert float(bias.abs().max()) < 4.5


@pytest.mark.thorough
def test_error_falls_with_the_root_of_the_features():
    model = models.image_cnn((1, 8, 8), width=4, outputs=2)
    with seeded(0):
        x = torch.randn(4, 1, 8, 8)
    exact = empirical_ntk(model, x)

    def error(features: int) -> float:
        estimates = [
            sketched_ntk(gradient_sketch(model, x, features=features, seed=s)).kernel
            for s in range(64)
        ]
        return float((torch.stack(estimates) - exact).square().mean().sqrt())

    assert error(64) / error(1024) == pytest.approx(4, rel=0.5)


def test_sets_sketched_apart_belong_together():
    model, x = network()
    whole = gradient_sketch(model, x, features=128, seed=3)
    for chunk in (1, 3):
        apart = gradient_sketch(model, x[1:], features=128, seed=3, chunk_size=chunk)
        torch.testing.assert_close(apart, whole[1:], rtol=1e-4, atol=1e-4)
    kernel = sketched_ntk(whole, whole[1:]).kernel
    torch.testing.assert_close(kernel, sketched_ntk(whole).kernel[:, 1:])


@pytest.mark.parametrize(
    "cut", [{"shape": (3, 1)}, {"jobs": 2}, {"shape": (1, 2), "progress": True}, {"store": "run"}]
)
def test_sketches_go_where_tiles_go(tmp_path, cut):
    cut = {"store": tmp_path / "run"} if "store" in cut else cut
    model, x = network()
    whole = gradient_sketch(model, x, features=128)
    found = gradient_sketch(model, x, features=128, tiles=Tiles(**cut))
    torch.testing.assert_close(torch.as_tensor(found[:]), whole, rtol=1e-4, atol=1e-4)


def test_gradients_come_in_pieces_of_the_same_sketch(monkeypatch):
    """Groups, another order of the weight, and a weight that autograd differentiates, too."""
    model = nn.Sequential(
        nn.Conv2d(4, 6, 3, groups=2), nn.Tanh(), nn.ConvTranspose2d(6, 4, 2, groups=2), nn.PReLU(4),
        nn.Flatten(), nn.Linear(64, 3),
    )  # fmt: skip
    x, given = torch.randn(3, 4, 5, 5), {"features": 256, "dtype": torch.float64}
    whole = gradient_sketch(model, x, **given)
    monkeypatch.setattr("lecore.engine.sketches.PIECE_BYTES", 1)
    torch.testing.assert_close(gradient_sketch(model, x, **given), whole)


def test_a_coordinate_has_its_feature_however_its_gradient_is_found():
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2), nn.Tanh())
    words, given = torch.tensor([[1, 1, 3], [8, 0, 1]]), {"features": 64, "dtype": torch.float64}
    whole = gradient_sketch(model, words, **given)
    rows = []
    for word in words:  # written out by autograd alone
        for output in (0, 1):
            copied = copy.deepcopy(model).double()
            grads = torch.autograd.grad(copied(word[None])[0, output], copied.parameters())
            rows.append([g.flatten() for g in grads])
    sizes = [row.numel() for row in rows[0]]
    hashes = [_hashed(size, 64, _mixed(0, k)) for k, size in enumerate(sizes)]
    right = torch.zeros(4, 64, dtype=torch.float64)
    for i, row in enumerate(rows):
        for gradient, (feature, sign) in zip(row, hashes, strict=True):
            for place, number in enumerate(gradient.tolist()):
                right[i, feature[place]] += number * int(sign[place])
    torch.testing.assert_close(whole.flatten(0, 1), right)


class Nothing(nn.Module):
    """A layer without inputs, and a table in which nothing is looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.none, self.words, self.some = nn.Linear(0, 3), nn.Embedding(4, 2), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        nothing = self.words(x[:, :0].long()).sum((1, 2))[:, None]
        return self.none(x[:, :0]) + self.some(x) + nothing


class Waves(nn.Module):
    """Complex weights, of which each number has two parts."""

    def __init__(self) -> None:
        super().__init__()
        self.waves = nn.Parameter(torch.randn(3, 3, dtype=torch.complex128))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.to(self.waves.dtype) @ self.waves).abs()


@pytest.mark.filterwarnings("ignore:Initializing zero-element", "ignore:.*plain autograd")
@pytest.mark.parametrize("kind", [Nothing, Waves])
def test_layers_with_nothing_to_read_and_complex_weights_have_sketches(kind):
    with seeded(0):
        model, x = kind().double(), torch.randn(4, 3, dtype=torch.float64)
    sketch = sketched_ntk(gradient_sketch(model, x, features=2**14, dtype=torch.float64))
    error = (sketch.kernel - empirical_ntk(model, x)).abs()
    assert bool((error <= 4 * sketch.standard_error).all())


def test_embeddings_have_sketches():
    with seeded(0):
        model = nn.Sequential(nn.Embedding(50, 4), nn.Flatten(), nn.Linear(12, 1))
        words = torch.randint(0, 50, (3, 3))
    sketch = sketched_ntk(gradient_sketch(model, words, features=2**14, dtype=torch.float64))
    error = (sketch.kernel - empirical_ntk(model, words)).abs()
    assert bool((error < 4 * sketch.standard_error).all())


@pytest.mark.parametrize("vectorizes", [True, False])
def test_sketches_of_a_loss_are_those_of_its_gradients(vectorizes):
    model, x = network()
    y = torch.tensor([0, 1, 1, 0])

    def loss(prediction, target):
        if not vectorizes and float(target) < 0:
            raise ValueError("no class")
        return cross_entropy(prediction, target)

    settings = {"features": 256, "seed": 3, "dtype": torch.float64}
    found = gradient_sketch(model, x, y, loss=loss, chunk_size=3, **settings)
    signals = output_gradient(model, x, y, loss=cross_entropy)
    right = torch.einsum("ic,icf->if", signals, gradient_sketch(model, x, **settings))
    torch.testing.assert_close(found, right[:, None])


def test_products_of_loss_sketches_are_the_loss_kernel():
    model, x = network()
    y = torch.tensor([0, 1, 1, 0])
    sketch = gradient_sketch(model, x, y, loss=cross_entropy, features=2**14)
    found, right = sketched_ntk(sketch), loss_kernel(model, x, y, loss=cross_entropy)
    assert found.kernel.shape == (4, 4, 1, 1)
    error = (found.kernel[..., 0, 0] - right).abs()
    assert bool((error < 4 * found.standard_error[..., 0, 0]).all())


def test_bad_input():
    model, x = network()
    with pytest.raises(ValueError, match="a loss was given without targets"):
        gradient_sketch(model, x, loss=cross_entropy)
    with pytest.raises(ValueError, match="features"):
        gradient_sketch(model, x, features=0)
