"""Every network of the zoo against gradients and steps taken one by one, one question a test."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lecore import (
    Tiles,
    empirical_ntk,
    empirical_ntk_by_layer,
    linearized_change,
    loss_kernel,
    models,
    output_gradient,
    prediction_change,
)
from lecore.seeding import seeded
from lecore.sketches import gradient_sketch
from tests.oracle import differences, problem, world
from tests.zoo import ARCHITECTURES

# some networks need plain autograd, which is said; the numbers are the same
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

NAMES = list(ARCHITECTURES)
WRITES_WEIGHTS = {"largest norm", "writes a weight"}  # a step on what forward then overwrites


@pytest.fixture(params=[1, 3], ids=["one output", "outputs"])
def outputs(request):
    return request.param


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def case(name, outputs):
    return problem(name, outputs)


@pytest.fixture
def stepped(case, name):
    if name in WRITES_WEIGHTS:
        pytest.skip("forward overwrites the step")
    return case


def close(measured: Tensor, right: Tensor, part: float = 1e-10) -> None:
    """Equal up to a part of the largest entry."""
    atol = part * float(right.abs().max())
    torch.testing.assert_close(measured.double(), right, rtol=0, atol=atol)


def test_kernel(case):
    close(empirical_ntk(case.model(), case.x), case.kernel(case.left, case.left))


def test_kernel_of_two_sets(case):
    kernel = empirical_ntk(case.model(), case.x, case.test_x)
    close(kernel, case.kernel(case.left, case.right))


def test_trace_in_tiles(case):
    tiles = Tiles(shape=(2, 1))
    trace = empirical_ntk(case.model(), case.x, case.test_x, form="trace", tiles=tiles)
    close(trace, torch.einsum("icp,jcp->ij", case.left, case.right))


def test_diagonal_in_tiles(case):
    diagonal = empirical_ntk(case.model(), case.x, form="diagonal", tiles=Tiles(shape=(2, 2)))
    close(diagonal, torch.einsum("icp,jcp->ijc", case.left, case.left))


def test_kernel_in_single_precision(case):
    kernel = empirical_ntk(case.model(), case.x, case.test_x, dtype=torch.float32)
    close(kernel, case.kernel(case.left, case.right), 1e-4)


def test_shares_of_the_layers(case):
    shares = empirical_ntk_by_layer(case.model(), case.x, case.test_x)
    close(sum(shares.values()), case.kernel(case.left, case.right))


def test_kernel_of_the_loss(case):
    kernel = loss_kernel(case.model(), case.x, case.y, loss=case.loss)
    slopes = torch.einsum("ic,icp->ip", case.signal, case.left)
    close(kernel, slopes @ slopes.T)
    close(output_gradient(case.model(), case.x, case.y, loss=case.loss), case.signal)


def test_sketch(case):
    """With many times more features than weights few of these meet, so that little is lost."""
    sketch = gradient_sketch(case.model(), case.x, features=2**18, dtype=torch.float64)
    kernel = case.kernel(case.left, case.left)
    assert (case.kernel(sketch, sketch) - kernel).norm() < 0.05 * kernel.norm()


def test_first_order_of_a_step(case):
    change = linearized_change(
        case.model(), case.x, case.y, case.test_x, learning_rate=0.1, loss=case.loss
    )
    right = torch.einsum("ik,ikp,jcp->ijc", case.signal, case.left, case.right)
    close(change, -0.1 * right)


@pytest.mark.parametrize("tiles", [Tiles(), Tiles(shape=(2, 1))], ids=["whole", "tiles"])
def test_step(stepped, tiles):
    change = prediction_change(
        stepped.model(), stepped.x, stepped.y, stepped.test_x, learning_rate=0.1,
        loss=stepped.loss, tiles=tiles,
    )  # fmt: skip
    close(change, stepped.change(torch.optim.SGD, 0.1))


def test_step_of_adam(stepped):
    model = stepped.model()
    change = prediction_change(
        model, stepped.x, stepped.y, stepped.test_x, loss=stepped.loss,
        optimizer=torch.optim.Adam(model.parameters(), lr=0.01),
    )  # fmt: skip
    close(change, stepped.change(torch.optim.Adam, 0.01))


def test_all_is_left_as_it_was_found(case):
    model, inputs = case.model(), case.x.clone()
    before = world(model, inputs, case.y)
    empirical_ntk(model, inputs)
    prediction_change(model, inputs, case.y, learning_rate=0.1, loss=case.loss)
    assert not differences(before, world(model, inputs, case.y))


STRUCTURED = [
    "linear", "no bias", "two-layer", "three-layer", "ntk parameterization", "residual mlp",
    "frozen weight", "positions", "cnn", "strided grouped dilated", "same padding",
    "circular 1-d", "3-d", "transposed", "transposed 1-d dilated", "group norm",
    "layer and rms norm", "residual block", "shared convolution", "unet", "attention",
    "transformer", "embedding", "gated", "in-place activations", "low rank", "lora",
]  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", STRUCTURED)
def test_common_networks_need_no_plain_autograd(name):
    case = problem(name, 3)
    empirical_ntk(case.model(), case.x)
    prediction_change(case.model(), case.x, case.y, learning_rate=0.1, loss=case.loss)


def test_plain_autograd_is_said_once_with_the_layer():
    case = problem("scripted function", 3)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        empirical_ntk(case.model(), case.x, tiles=Tiles(shape=(1, 1)))
    (warning,) = [w for w in said if w.category.__name__ == "PlainAutogradWarning"]
    assert "layer" in str(warning.message)
    assert issubclass(warning.category, UserWarning)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), order=st.permutations(range(5)), rate=st.floats(1e-8, 1e3))
def test_permuted_points_permute_the_matrix(seed, order, rate):
    with seeded(seed):
        model, x, y = models.two_layer(3, 8, seed=seed), torch.randn(5, 3), torch.randn(5)
    order = list(order)
    for measure in (prediction_change, linearized_change):
        change = measure(model, x, y, learning_rate=rate)
        permuted = measure(model, x[order], y[order], learning_rate=rate)
        scale = float(change.abs().max())
        torch.testing.assert_close(permuted, change[order][:, order], rtol=0, atol=1e-12 * scale)


def test_hooks_for_all_modules_count():
    case = problem("residual mlp", 3)
    plain = empirical_ntk(case.model(), case.x)

    def twice(module, args, out):
        return 2 * out if isinstance(module, nn.Linear) else None

    with nn.modules.module.register_module_forward_hook(twice) as handle:
        hooked = case.gradients(case.x)
        close(empirical_ntk(case.model(), case.x), case.kernel(hooked, hooked))
        assert handle.id in nn.modules.module._global_forward_hooks
    close(empirical_ntk(case.model(), case.x), plain)
