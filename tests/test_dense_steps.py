"""Steps of fully connected networks against real ones, and their digits."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_prediction_change import obvious_loop
from torch import nn

import lecore.engine.routes.dense_steps
from lecore import empirical_ntk, losses, models, prediction_change
from lecore.engine.network.snapshot import snapshot
from lecore.engine.routes.chains import dense_form
from tests.examples import examples

ACTIVATIONS = [nn.ReLU, nn.Tanh, nn.GELU, nn.LeakyReLU, nn.Identity]


def form(model):
    return dense_form(snapshot(model).module)


@given(
    st.lists(st.tuples(st.integers(1, 6), st.sampled_from(ACTIVATIONS), st.booleans()), max_size=3),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from([1e-4, 0.1, 3.0]),
    st.integers(0, 5),
    st.sampled_from([8, 400, 2**24]),
    st.integers(0, 1000),
)
@settings(deadline=None, max_examples=examples(20))
@pytest.mark.filterwarnings("ignore:.*update points moved their prediction")  # rightly, at times
def test_random_networks_take_real_steps(hidden, outputs, ends, rate, frozen, block, seed):
    torch.manual_seed(seed)
    layers, inputs = [nn.Flatten()], 4
    for width, activation, bias in hidden:
        layers += [nn.Linear(inputs, width, bias=bias), activation()]
        inputs = width
    layers.append(nn.Linear(inputs, outputs))
    model = nn.Sequential(*layers, *([nn.Sigmoid()] if ends else [])).double()
    for number, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(number != frozen or len(hidden) == 0)
    assert form(model) is not None
    x, other = torch.randn(5, 2, 2).double(), torch.randn(3, 2, 2).double()
    y = torch.randn(5, outputs).double()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lecore.engine.routes.dense_steps, "BLOCK_BYTES", block)
        found = prediction_change(model, x, y, other, learning_rate=rate)
    expected = obvious_loop(model, x, y, other, rate, losses.squared_error)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-13)


def test_tiny_steps_keep_their_digits_in_float32():
    torch.manual_seed(0)
    model, x, y = models.three_layer(20, 64), torch.randn(8, 20), torch.randn(8, 1)
    exact = prediction_change(model, x, y, learning_rate=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # in particular RoundingWarning
        found = prediction_change(model, x, y, learning_rate=1e-9, dtype=torch.float32)
    size = exact.abs().amax(dim=(1, 2), keepdim=True)
    assert float(((found - exact).abs() / size).max()) < 1e-5


def test_what_is_no_chain_of_layers_goes_another_way():
    linear = nn.Linear(3, 3)
    hooked = nn.Sequential(nn.Linear(3, 1))
    hooked[0].register_forward_hook(lambda module, args, output: 2 * output)
    for model in (
        linear,
        hooked,
        nn.Sequential(linear, nn.ReLU(), linear),
        nn.Sequential(nn.ReLU(), nn.Linear(3, 1)),
        nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)),
        nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Tanh()),
        models.fully_connected(3, 4, 1, parameterization="ntk"),
    ):
        assert form(model) is None
        x, y = torch.randn(2, 3).double(), torch.ones(2, 1).double()
        expected = obvious_loop(model, x, y, x, 0.1, losses.squared_error)
        found = prediction_change(model, x, y, learning_rate=0.1)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-13)


def test_a_layer_used_twice_is_one_layer():
    layer = nn.Linear(1, 1).double()
    with torch.no_grad():
        layer.weight.fill_(0.7), layer.bias.fill_(0.2)
    model, x = nn.Sequential(layer, nn.ReLU(), layer), torch.tensor([[1.0], [2.0]]).double()
    y = torch.zeros(2, 1).double()
    expected = obvious_loop(model, x, y, x, 0.01, losses.squared_error)
    torch.testing.assert_close(prediction_change(model, x, y, learning_rate=0.01), expected)
    gradient = torch.stack([0.7 * x[:, 0] + 0.7 * x[:, 0] + 0.2, torch.full((2,), 1.7).double()])
    torch.testing.assert_close(empirical_ntk(model, x)[..., 0, 0], gradient.T @ gradient)


def test_one_activation_may_stand_in_several_places():
    torch.manual_seed(0)
    relu, x, y = nn.ReLU(), torch.randn(4, 3).double(), torch.ones(4, 1).double()
    deep = nn.Sequential(nn.Linear(3, 4), relu, nn.Linear(4, 4), relu, nn.Linear(4, 1))
    ended = nn.Sequential(nn.Linear(3, 4), relu, nn.Linear(4, 1), relu)
    for model in (deep, ended):
        model.double()
        expected = obvious_loop(model, x, y, x, 0.1, losses.squared_error)
        found = prediction_change(model, x, y, learning_rate=0.1)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-13)
        outputs = model(x).sum(1)
        gradients = torch.stack(
            [
                torch.cat(
                    [
                        g.flatten()
                        for g in torch.autograd.grad(o, list(model.parameters()), retain_graph=True)
                    ]
                )
                for o in outputs
            ]
        )
        kernel = empirical_ntk(model, x, form="trace")
        torch.testing.assert_close(kernel, gradients @ gradients.T)
