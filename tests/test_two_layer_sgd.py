"""SGD of two-layer networks written out, against autograd."""

import copy

import pytest
import torch
from torch import nn

from lecore import losses, models, training
from lecore.engine.routes.two_layer_sgd import two_layer_sgd
from lecore.errors import DivergenceError
from lecore.training import train

X = torch.randn(30, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = (X[:, :1] > 0).double()


def by_autograd(model, loss, rate, epochs, batch, order):
    history = []
    for _ in range(epochs):
        for rows in order.split(batch):
            value = torch.stack(
                [loss(model(X[i : i + 1])[0], Y[i]) for i in rows]
            ).mean()  # fmt: skip
            model.zero_grad()
            value.backward()
            with torch.no_grad():
                for p in model.parameters():
                    p -= rate * p.grad
            history.append(value.item())
    return history


@pytest.mark.every(3)
@pytest.mark.parametrize("activation", sorted(models.ACTIVATIONS))
@pytest.mark.parametrize(
    ("loss", "probability"),
    [
        (losses.squared_error, False),
        (losses.binary_cross_entropy, True),
        (losses.half_squared_error, True),
        (lambda prediction, target: (prediction - target).abs().sum(), False),
    ],
)
def test_steps_are_those_of_autograd(activation, loss, probability):
    ours = models.two_layer(5, 16, activation, probability=probability, seed=1).double()
    other = copy.deepcopy(ours)
    assert two_layer_sgd(ours, X, Y, learning_rate=0.1, loss=loss) is not None
    found = train(ours, X, Y, learning_rate=0.1, epochs=3, batch_size=7, loss=loss, seed=3)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(3))
    assert found.losses == pytest.approx(by_autograd(other, loss, 0.1, 3, 7, order), rel=1e-12)
    torch.testing.assert_close(ours.state_dict(), other.state_dict(), rtol=1e-12, atol=1e-14)


def test_silent_units_are_left_out_and_put_back():
    model = models.two_layer(5, 64, seed=2).double()
    with torch.no_grad():
        model[1].bias[::2] = -100.0  # silent on every example
    other, before = copy.deepcopy(model), copy.deepcopy(model)
    steps = two_layer_sgd(model, X, Y, learning_rate=0.05, loss=losses.squared_error)
    steps.leave_out_silent_units()
    assert len(steps.weight) <= 32
    sizes = []
    train(
        model, X, Y, learning_rate=0.05, epochs=4, batch_size=10,
        callback=lambda step, m: sizes.append(m[1].weight.shape),
    )  # fmt: skip
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    by_autograd(other, losses.squared_error, 0.05, 4, 10, order)
    torch.testing.assert_close(model.state_dict(), other.state_dict(), rtol=1e-12, atol=1e-14)
    assert torch.equal(model[1].weight[::2], before[1].weight[::2])
    assert set(sizes) == {torch.Size([64, 5])}


def test_callbacks_see_the_weights_of_their_step_only_when_asked():
    model, seen = models.two_layer(5, 16, seed=2).double(), {}
    train(
        model, X, Y, learning_rate=0.05, epochs=5, batch_size=10, callback_steps=[0, 4, 15],
        callback=lambda step, m: seen.update({step: copy.deepcopy(m)}),
    )  # fmt: skip
    assert list(seen) == [0, 4, 15]
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    again = seen[0]
    by_autograd(again, losses.squared_error, 0.05, 5, 10, order)
    torch.testing.assert_close(again.state_dict(), seen[15].state_dict())


@pytest.mark.parametrize(
    "model",
    [
        models.three_layer(5, 8),
        models.two_layer(5, 8, outputs=2),
        nn.Sequential(nn.Linear(5, 8, bias=False), nn.ReLU(), nn.Linear(8, 1)),
        nn.Sequential(nn.Linear(5, 8), nn.Linear(8, 1)),
        nn.Linear(5, 1),
        models.two_layer(5, 8).requires_grad_(False),
    ],
)
def test_other_networks_go_through_autograd(model):
    assert two_layer_sgd(model, X, Y, learning_rate=0.1, loss=losses.squared_error) is None


def trained_both_ways(monkeypatch, build, loss=losses.squared_error, **settings):
    """Weights after training as it is, and with autograd alone."""
    ends = []
    for written_out in (True, False):
        with monkeypatch.context() as patch:
            if not written_out:
                patch.setattr(training, "two_layer_sgd", lambda *_, **__: None)
            model = build()
            loss_of = loss(model) if settings.get("of_model") else loss
            callback = settings.get("callback")
            train(
                model, X, Y, learning_rate=0.1, epochs=5, batch_size=10, loss=loss_of,
                callback=callback,
            )  # fmt: skip
            ends.append(model.state_dict())
    return ends


def small():
    return models.two_layer(5, 64, seed=2).double()


def test_a_penalty_on_the_weights_counts(monkeypatch):
    def penalised(model):
        return lambda f, y: losses.squared_error(f, y) + 0.1 * model[1].weight.square().sum()

    ours, right = trained_both_ways(monkeypatch, small, penalised, of_model=True)
    torch.testing.assert_close(ours, right)


def hooked_parameter():
    model = small()
    model[1].weight.register_hook(lambda gradient: 0.1 * gradient)
    return model


def hooked_layer():
    model = small()
    model[3].register_full_backward_pre_hook(lambda layer, come: (0.1 * come[0],))
    return model


@pytest.mark.parametrize("build", [hooked_parameter, hooked_layer])
def test_hooks_on_gradients_count(monkeypatch, build):
    ours, right = trained_both_ways(monkeypatch, build)
    torch.testing.assert_close(ours, right)


def asleep():
    model = small()
    with torch.no_grad():
        model[1].bias[::2] = -100.0
    return model


def clamped(step, model):
    with torch.no_grad():
        model[1].weight.clamp_(-0.1, 0.1)


def woken(step, model):
    if step == 9:
        model[1].bias.data[::2] = 0.5


def replaced(step, model):
    if step == 9:
        model[3].weight.data = 0.5 * model[3].weight.data


def frozen(step, model):
    if step == 9:
        model[1].weight.requires_grad_(False)


def hooked(step, model):
    if step == 9:
        model[1].register_forward_hook(lambda layer, read, result: 0.5 * result)


@pytest.mark.parametrize("callback", [clamped, woken, replaced, frozen, hooked])
def test_what_a_callback_does_to_the_network_lasts(monkeypatch, callback):
    ours, right = trained_both_ways(monkeypatch, asleep, callback=callback)
    torch.testing.assert_close(ours, right)


def test_a_run_that_diverges_leaves_the_last_weights(monkeypatch):
    model = models.two_layer(5, 16).double()
    with pytest.raises(DivergenceError):
        train(model, X, Y, learning_rate=1e3, epochs=50, loss_limit=1e6)
    assert all(p.isfinite().all() for p in model.parameters())
    assert training.two_layer_sgd is two_layer_sgd
