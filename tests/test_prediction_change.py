"""Prediction changes against the obvious loop, closed forms, and their linearisation."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lecore import Tiles, linearized_change, losses, models, output_gradient, prediction_change


def obvious_loop(model, inputs, targets, test_inputs, learning_rate, loss):
    """Copy the model, take a real torch step, predict everything again."""
    rows = []
    for x, y in zip(inputs, targets, strict=True):
        stepped = copy.deepcopy(model).double()
        before = stepped(test_inputs).detach()
        optimizer = torch.optim.SGD(
            [p for p in stepped.parameters() if p.requires_grad], learning_rate
        )
        loss(stepped(x[None])[0], y).backward()
        optimizer.step()
        rows.append(stepped(test_inputs).detach() - before)
    return torch.stack(rows)


def image(n, channels, side):
    return torch.randn(n, channels, side, side, dtype=torch.float64)


def points(n):
    return torch.randn(n, 3, dtype=torch.float64)


PROBLEMS = {
    "relu": (lambda: models.two_layer(3, 16), points, losses.squared_error),
    "linear": (lambda: models.three_layer(3, 8, "linear"), points, losses.half_squared_error),
    "probability": (
        lambda: models.two_layer(3, 16, "tanh", probability=True),
        points,
        losses.binary_cross_entropy,
    ),
    "three classes": (
        lambda: models.two_layer(3, 16, "gelu", outputs=3),
        points,
        losses.cross_entropy,
    ),
    "sign output": (lambda: models.sign_output(3, 16), points, losses.squared_error),
    "skip": (lambda: models.three_layer_resnet(3, 8), points, losses.squared_error),
    "cnn": (models.mnist_cnn, lambda n: image(n, 1, 28), losses.squared_error),
}


def targets_for(name, n):
    if name == "three classes":
        return torch.arange(n) % 3
    return (torch.arange(n) % 2).double()[:, None]


@pytest.mark.parametrize("name", PROBLEMS)
def test_equals_the_obvious_loop(name):
    make, draw, loss = PROBLEMS[name]
    torch.manual_seed(0)
    model, x, other = make(), draw(3), draw(4)
    y = targets_for(name, 3)
    expected = obvious_loop(model, x, y, other, 0.01, loss)
    change = prediction_change(model, x, y, other, learning_rate=0.01, loss=loss)
    torch.testing.assert_close(change, expected, rtol=1e-9, atol=1e-12)
    assert change.shape == expected.shape


@pytest.mark.parametrize("name", ["relu", "three classes", "cnn"])
def test_linearisation_is_the_limit_with_slope_one(name):
    make, draw, loss = PROBLEMS[name]
    torch.manual_seed(1)
    model, x, y = make(), draw(3), targets_for(name, 3)

    def error(rate):
        exact = prediction_change(model, x, y, learning_rate=rate, loss=loss)
        linear = linearized_change(model, x, y, learning_rate=rate, loss=loss)
        return float((exact - linear).norm() / linear.norm())

    assert error(1e-6) == pytest.approx(error(1e-5) / 10, rel=0.05)
    assert error(1e-6) < 1e-3


@pytest.mark.thorough
@given(shape=st.tuples(st.integers(1, 9), st.integers(1, 9)), seed=st.integers(0, 100))
@settings(max_examples=6, deadline=None)
def test_tiles_do_not_matter(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    model = models.two_layer(2, 8, seed=seed)
    x = torch.randn(7, 2, dtype=torch.float64, generator=generator)
    y = torch.ones(7, 1)
    for step in (prediction_change, linearized_change):
        whole = step(model, x, y, learning_rate=0.1)
        cut = step(model, x, y, learning_rate=0.1, tiles=Tiles(shape=shape))
        torch.testing.assert_close(cut, whole)


def test_permuting_points_permutes_the_matrix():
    model, x, y = models.two_layer(2, 8), torch.randn(5, 2), torch.rand(5, 1)
    order = torch.tensor([3, 1, 4, 0, 2])
    change = prediction_change(model, x, y, learning_rate=0.1)
    permuted = prediction_change(model, x[order], y[order], learning_rate=0.1)
    torch.testing.assert_close(permuted, change[order][:, order])


ROUTES = {
    "matrix products": (prediction_change, lambda: models.two_layer(3, 16, outputs=4), {}),
    "changed weights": (prediction_change, lambda: normed(4), {}),
    "a real step": (prediction_change, lambda: normed(4), {"optimizer": torch.optim.Adagrad}),
    "kernel": (linearized_change, lambda: normed(4), {}),
    "along a step": (linearized_change, lambda: normed(4), {"optimizer": torch.optim.Adam}),
    "forward mode": (linearized_change, lambda: normed(300), {}),
}


def normed(outputs):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, outputs))


@pytest.mark.every(3)
@pytest.mark.filterwarnings("ignore::UserWarning")  # a real step is slower
@pytest.mark.parametrize("tiles", [Tiles(), Tiles(shape=(2, 3))])
@pytest.mark.parametrize("name", ROUTES)
def test_some_outputs_are_those_of_all(name, tiles):
    measure, make, step = ROUTES[name]
    model = make()
    step = {k: v(model.parameters(), 0.01) for k, v in step.items()} or {"learning_rate": 0.01}
    given = model, points(3), torch.arange(3), points(4)
    settings = {"loss": losses.cross_entropy, "tiles": tiles} | step
    torch.manual_seed(0)
    whole = measure(*given, **settings)
    some = measure(*given, outputs=[3, 0], **settings)
    torch.testing.assert_close(some, whole[..., [3, 0]], rtol=1e-9, atol=1e-15)


def test_a_store_knows_its_outputs(tmp_path):
    pytest.importorskip("zarr")
    for measure in (prediction_change, linearized_change):
        given = normed(4), points(3), torch.arange(3)
        settings = {"loss": losses.cross_entropy, "learning_rate": 0.01}
        tiles = Tiles(store=tmp_path / measure.__name__)
        found = measure(*given, outputs=[2], tiles=tiles, **settings)
        torch.testing.assert_close(torch.tensor(found[:]), measure(*given, **settings)[..., [2]])
        with pytest.raises(ValueError, match="holds"):
            measure(*given, outputs=[1], tiles=tiles, **settings)


@pytest.mark.parametrize(
    ("outputs", "words"),
    [([4], "choose some of 0 to 3"), ([-1], "choose"), ([], "choose"), ("3", "give numbers"),
     (2, "give numbers"), ([1.5], "give numbers"), ([True, False, True, True], "give numbers"),
     (torch.arange(4) > 1, "give numbers"), ([1, 1], "each once")],
)  # fmt: skip
def test_what_are_no_outputs_is_refused(outputs, words):
    for measure in (prediction_change, linearized_change):
        with pytest.raises(ValueError, match=words):
            measure(
                normed(4), points(2), torch.arange(2), learning_rate=0.1, outputs=outputs,
                loss=losses.cross_entropy,
            )  # fmt: skip


def test_linear_model_in_closed_form():
    model, x = nn.Linear(3, 1).double(), torch.randn(4, 3, dtype=torch.float64)
    y = torch.zeros(4, 1, dtype=torch.float64)
    change = prediction_change(model, x, y, learning_rate=0.1)[..., 0]
    residual = 2 * model(x).detach()[:, :1]
    torch.testing.assert_close(change, -0.1 * residual * (x @ x.T + 1))


def test_output_gradient_of_each_loss():
    model, x = models.two_layer(2, 8, probability=True), torch.randn(4, 2, dtype=torch.float64)
    y = torch.tensor([0.0, 1.0, 0.0, 1.0]).double()[:, None]
    p = copy.deepcopy(model).double()(x).detach()
    torch.testing.assert_close(output_gradient(model, x, y), 2 * (p - y))
    torch.testing.assert_close(output_gradient(model, x, y, loss=losses.half_squared_error), p - y)
    by_hand = (p - y) / (p * (1 - p))
    torch.testing.assert_close(
        output_gradient(model, x, y, loss=losses.binary_cross_entropy), by_hand
    )


def test_model_is_left_alone():
    model = models.two_layer(2, 8)
    before = copy.deepcopy(model.state_dict())
    prediction_change(model, torch.randn(3, 2), torch.ones(3, 1), learning_rate=1.0)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_bad_input():
    model, x, y = models.two_layer(2, 8), torch.randn(3, 2), torch.ones(3, 1)
    with pytest.raises(ValueError, match="learning_rate must be positive"):
        prediction_change(model, x, y, learning_rate=0)
    with pytest.raises(ValueError, match="as many targets"):
        prediction_change(model, x, y[:2], learning_rate=1)
    broken_x = x * torch.tensor([[1.0], [torch.nan], [torch.inf]])
    with pytest.raises(ValueError, match="2 of 3 inputs are not finite"):
        prediction_change(model, broken_x, y, learning_rate=1)
    with pytest.raises(ValueError, match="inputs is empty"):
        prediction_change(model, x[:0], y[:0], learning_rate=1)
    with pytest.raises(ValueError, match="must be one number, this one has shape"):
        prediction_change(model, x, y, learning_rate=1, loss=lambda p, y: (p - y) ** 2)
    with pytest.raises(ValueError, match=r"must map \(n, …\) to \(n, outputs\)"):
        prediction_change(nn.Sequential(model, nn.Flatten(0)), x, y, learning_rate=1)
    with pytest.raises(ValueError, match="not finite; take a smaller learning rate"):
        prediction_change(models.three_layer(2, 8), x, y, learning_rate=1e200)
    mixing = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4, track_running_stats=False)).eval()
    with pytest.raises(ValueError, match="normalises over the batch"):
        prediction_change(mixing, x, y, learning_rate=1)
    broken = models.two_layer(2, 8)
    broken[1].weight.data.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"parameter '1\.weight' is not finite"):
        prediction_change(broken, x, y, learning_rate=1)
    with pytest.raises(ValueError, match="'1' is in training mode"):
        prediction_change(nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4)), x, y, learning_rate=1)
    with pytest.raises(ValueError, match="requires_grad"):
        prediction_change(model.requires_grad_(False), x, y, learning_rate=1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_agrees_with_cpu():
    model, x, y = models.two_layer(3, 64), torch.randn(5, 3), torch.ones(5, 1)
    on_cpu = prediction_change(model, x, y, learning_rate=0.01)
    on_gpu = prediction_change(model.cuda(), x, y, learning_rate=0.01).cpu()
    torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-9, atol=1e-12)
