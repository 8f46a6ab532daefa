"""Kernels against gradients taken one by one, against each other, and against their limits."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from lecore import Tiles, empirical_ntk, linearized_change, models, prediction_change
from lecore.engine.gradients import layer_kernels
from lecore.engine.kernel_matrix import StructuredRoute
from lecore.engine.network.flags import fixed_flags
from lecore.tangent_kernel import empirical_ntk_by_layer, precision_error, stability_limit
from lecore.theory.wide_networks import (
    activation_overlap,
    activation_pattern,
    infinite_width_ntk,
    two_layer_relative_similarity,
)

X = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def gradients_one_by_one(model, x, output):
    rows = []
    for point in x:
        trainable = [p for p in model.parameters() if p.requires_grad]
        value = model(point[None])[0, output]
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, trainable)]))
    return torch.stack(rows)


@pytest.mark.parametrize("shape", [None, (1, 1), (2, 3)])
def test_empirical_ntk_is_the_product_of_gradients(shape):
    model = models.three_layer(3, 7, "tanh", outputs=2).double()
    kernel = empirical_ntk(model, X, X[:3], tiles=Tiles(shape=shape))
    for c in range(2):
        for k in range(2):
            expected = gradients_one_by_one(model, X, c) @ gradients_one_by_one(model, X[:3], k).T
            torch.testing.assert_close(kernel[:, :, c, k], expected)


def test_layers_add_up_to_the_whole():
    model = models.three_layer_resnet(3, 6, outputs=2)
    for columns in (None, X[:2]):
        shares = empirical_ntk_by_layer(model, X, columns)
        assert set(shares) == {"1", "3.linear", "4"}
        torch.testing.assert_close(sum(shares.values()), empirical_ntk(model, X, columns))


def test_forms_of_the_kernel():
    model = models.three_layer(3, 6, outputs=2)
    for columns in (None, X[:2]):
        full = empirical_ntk(model, X, columns)
        trace = empirical_ntk(model, X, columns, form="trace")
        torch.testing.assert_close(trace, torch.einsum("ijcc->ij", full))
        diagonal = empirical_ntk(model, X, columns, form="diagonal")
        torch.testing.assert_close(diagonal, torch.einsum("ijcc->ijc", full))
    with pytest.raises(ValueError, match="no form"):
        empirical_ntk(model, X, form="half")  # type: ignore[arg-type]


def test_equation_four_for_a_tiny_step():
    model = models.sign_output(3, 200).double()
    change = prediction_change(model, X, torch.ones(5, 1), learning_rate=1e-9)[..., 0]
    predicted = two_layer_relative_similarity(model[1].weight, model[1].bias, X)
    torch.testing.assert_close(change / change.diagonal()[:, None], predicted, rtol=1e-5, atol=1e-6)


def test_infinite_width_limit_is_approached():
    limit = torch.tensor(infinite_width_ntk(X.numpy()))
    errors = []
    for width in (256, 4096, 65536):
        model = models.two_layer(3, width, parameterization="ntk", seed=1)
        errors.append(float((empirical_ntk(model, X)[..., 0, 0] - limit).norm() / limit.norm()))
    assert errors[2] < 0.02
    assert errors[2] < errors[0]


def test_infinite_width_ntk_by_sampling_and_on_the_diagonal():
    x = np.array([[1.0, 2.0], [-0.5, 0.3]])
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(400_000, 2)), rng.normal(size=400_000)
    u = w @ x.T / math.sqrt(2) + b[:, None]
    active, relu = (u > 0).astype(float), np.maximum(u, 0)
    sampled = (x @ x.T / 2 + 1) * (active.T @ active) / len(w) + relu.T @ relu / len(w) + 1
    np.testing.assert_allclose(infinite_width_ntk(x), sampled, rtol=0.02)
    k = (x**2).sum(1) / 2 + 1
    np.testing.assert_allclose(infinite_width_ntk(x).diagonal(), k / 2 + k / 2 + 1)


def test_stability_limit_separates_descent_from_divergence():
    model = torch.nn.Linear(3, 1).double()
    limit = stability_limit(empirical_ntk(model, X)[..., 0, 0])
    features = torch.cat([X, torch.ones(5, 1)], dim=1).double()
    for share, grows in ((0.95, False), (1.05, True)):
        w = torch.ones(4, 1, dtype=torch.float64)
        sizes = []
        for _ in range(400):
            w = w - share * limit * 2 / 5 * features.T @ (features @ w)
            sizes.append(float((features @ w).norm()))
        assert (sizes[-1] > sizes[0]) == grows


def test_activation_patterns():
    hidden = models.two_layer(3, 50).double()[1]
    pattern = activation_pattern(hidden.weight, hidden.bias, X)
    assert set(pattern.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(pattern, (hidden(X) >= 0).double())
    overlap = activation_overlap(pattern)
    torch.testing.assert_close(overlap.diagonal(), torch.ones(5, dtype=torch.float64))
    i, j = pattern[0], pattern[1]
    assert float(overlap[0, 1]) == pytest.approx(float(i @ j / (i.norm() * j.norm())))


@pytest.mark.parametrize("network", [models.two_layer(64, 512), models.mnist_cnn()])
def test_shorter_products_are_asked_for_and_leave_no_trace(network, tmp_path):
    side = 8 if isinstance(network[0], torch.nn.Flatten) else 28
    x = torch.rand(12, 1, side, side, generator=torch.Generator().manual_seed(0))
    full = precision_error(network, x, dtype=torch.float32)
    assert precision_error(network, x, dtype=torch.float64) == 0
    assert 0 < full < 1e-5
    assert full <= precision_error(network, x, dtype="bf16") < 0.05  # equal on older processors
    assert precision_error(network, x, dtype=torch.float32) == full
    change = linearized_change(network, x, torch.ones(12, 1), learning_rate=1.0, dtype="bf16")
    assert change.dtype == torch.float32
    for wrong in ("tf32", "fp8"):
        with pytest.raises(ValueError, match=f"cpu has no products of kind '{wrong}'; take 'bf16'"):
            empirical_ntk(network, x, dtype=wrong)
    with fixed_flags("bf16"), pytest.raises(ValueError, match="with bf16 products runs"):
        empirical_ntk(network, x)
    pytest.importorskip("zarr")
    tiles = Tiles(store=tmp_path / "kernel")
    empirical_ntk(network, x, dtype="bf16", tiles=tiles)
    with pytest.raises(ValueError, match="holds the work of other settings"):
        empirical_ntk(network, x, dtype=torch.float32, tiles=tiles)


@pytest.mark.parametrize("at_once", [1, 700, 2**20])
def test_positions_are_summed_the_same_however_many_at_once(monkeypatch, at_once):
    torch.manual_seed(0)
    network = nn.Sequential(  # few positions of many channels, by Gram matrices
        nn.Conv2d(8, 16, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(144, 3)
    ).double()
    x, z = torch.randn(4, 8, 3, 3).double(), torch.randn(3, 8, 3, 3).double()
    monkeypatch.setattr(layer_kernels, "FEW_BYTES", at_once)
    monkeypatch.setattr(layer_kernels, "gram_is_cheaper", lambda *extents: True)

    def gradients(points):
        found = torch.func.jacrev(lambda w: functional_call(network, w, (points,)))(weights)
        return torch.cat([part.flatten(2) for part in found.values()], 2)

    weights = dict(network.named_parameters())
    for other in (x, z):
        right = torch.einsum("icp,jkp->ijck", gradients(x), gradients(other))
        torch.testing.assert_close(empirical_ntk(network, x, other), right)


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("shape", [None, (5, 3), (2, 12), (12, 12)])
def test_a_layer_too_long_to_keep_is_written_out_when_needed(monkeypatch, shape, outputs):
    """A linear map of 20 positions, whose gradients are larger than its factors, yet quicker."""
    torch.manual_seed(0)
    head = nn.Linear(1200, outputs)
    network = nn.Sequential(nn.Linear(40, 60), nn.Tanh(), nn.Flatten(), head).double()
    points, others = torch.randn(12, 20, 40).double(), torch.randn(12, 20, 40).double()
    written = []
    spied = layer_kernels._weight_and_bias
    monkeypatch.setattr(
        layer_kernels, "_weight_and_bias", lambda *given: written.append(1) or spied(*given)
    )

    rows = gradients_one_by_one(network, points, 0)
    for other in (points, others):
        kernel = empirical_ntk(network, points, other, tiles=Tiles(shape=shape), check=False)
        right = rows @ gradients_one_by_one(network, other, 0).T
        torch.testing.assert_close(kernel[..., 0, 0], right)
    assert written or shape in ((5, 3), (2, 12))  # few points take products of factors


@pytest.mark.parametrize("outputs", [1, 2])
def test_columns_that_all_tiles_share_pass_once(monkeypatch, outputs):
    network = models.three_layer(3, 7, "tanh", outputs=outputs).double()
    passed = []
    found = StructuredRoute._found

    def spied(route, place, part, *given):
        passed.append((place, part.start, part.stop))
        return found(route, place, part, *given)

    monkeypatch.setattr(StructuredRoute, "_found", spied)
    right = empirical_ntk(network, X, X[:3], check=False)
    passed.clear()
    kernel = empirical_ntk(network, X, X[:3], check=False, tiles=Tiles(shape=(2, 3)))
    torch.testing.assert_close(kernel, right)
    starts = range(0, len(X), 2)
    expected = [(1, 0, 3), *((0, i, min(i + 2, len(X))) for i in starts)]
    assert sorted(passed) == sorted(expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_what_torch_derives_from_a_type_stays_that_of_the_owner(dtype):
    """Its epsilon of a norm is 10⁹ times smaller in float64, and inputs may be of its size."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.RMSNorm(3), nn.Linear(3, 2)).to(dtype)
    x = (1e-4 * torch.randn(4, 3)).to(dtype)
    owners = copy.deepcopy(network).double()
    owners[0].eps = 2.0**-52 if dtype is torch.float64 else 2.0**-23
    rows = torch.stack([gradients_one_by_one(owners, x.double(), c)[0] for c in (0, 1)])
    kernel = empirical_ntk(network, x[:1])
    torch.testing.assert_close(kernel[0, 0], rows @ rows.T, rtol=1e-10, atol=0)
    assert network[0].eps is None
