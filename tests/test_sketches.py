"""Sketches against the exact kernel: unbiased, with the error they state."""

import pytest
import torch
from torch import nn

from lecore import empirical_ntk, models
from lecore.engine.sketches import gradient_sketch, sketched_ntk
from lecore.seeding import seeded


def network() -> tuple[nn.Module, torch.Tensor]:
    with seeded(0):
        return models.mnist_cnn(outputs=2), torch.randn(4, 1, 28, 28)


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


def test_embeddings_have_sketches():
    with seeded(0):
        model = nn.Sequential(nn.Embedding(50, 4), nn.Flatten(), nn.Linear(12, 1))
        words = torch.randint(0, 50, (3, 3))
    sketch = sketched_ntk(gradient_sketch(model, words, features=2**14, dtype=torch.float64))
    error = (sketch.kernel - empirical_ntk(model, words)).abs()
    assert bool((error < 4 * sketch.standard_error).all())


def test_bad_input():
    model, x = network()
    with pytest.raises(ValueError, match="features"):
        gradient_sketch(model, x, features=0)
