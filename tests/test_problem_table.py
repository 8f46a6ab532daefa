"""The networks of the zoo against gradients and steps taken one by one, one question a test.

What decides between right and wrong is always asked of all networks; what only cuts or sums up the
same numbers in another way is asked of some, and of all by ``make thorough``.
"""

import warnings

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lecore import (
    Tiles,
    empirical_ntk,
    empirical_ntk_by_layer,
    linearized_change,
    linearized_change_by_layer,
    loss_kernel,
    models,
    output_gradient,
    prediction_change,
    self_influence,
)
from lecore.engine.choosing import structures
from lecore.engine.gradients.watching import PlainAutogradWarning
from lecore.engine.opening import opened
from lecore.engine.sketches import gradient_sketch
from lecore.seeding import seeded
from tests.oracle import differences, problem, world
from tests.zoo import ARCHITECTURES, USUAL, net

# some networks need plain autograd, which is said; the numbers are the same
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

NAMES = list(ARCHITECTURES)
WRITES_WEIGHTS = {"largest norm", "writes a weight"}  # so that a step is overwritten

STEPPED = [name for name in NAMES if name not in WRITES_WEIGHTS]


def cases(names, counts=(1, 3)):
    return pytest.mark.parametrize(("name", "outputs"), [(n, c) for n in names for c in counts])


def mostly(names):
    """Three outputs of all, one output of the usual ones, whose route differs."""
    several = [(name, 3) for name in names]
    single = [(name, 1) for name in names if name in USUAL]
    return pytest.mark.parametrize(("name", "outputs"), several + single)


def close(measured: Tensor, right: Tensor, part: float = 1e-10) -> None:
    """Equal up to a part of the largest entry."""
    atol = part * float(right.abs().max())
    torch.testing.assert_close(measured.double(), right, rtol=0, atol=atol)


@pytest.mark.every(40)
@mostly(NAMES)
def test_kernel(name, outputs):
    case = problem(name, outputs)
    close(empirical_ntk(case.network, case.x), case.kernel(case.left, case.left))


@pytest.mark.every(10)
@mostly(NAMES)
def test_kernel_of_two_sets(name, outputs):
    case = problem(name, outputs)
    kernel = empirical_ntk(case.network, case.x, case.test_x)
    close(kernel, case.kernel(case.left, case.right))


@pytest.mark.every(28)
@cases(NAMES, [3])
def test_trace_in_tiles(name, outputs):
    case = problem(name, outputs)
    tiles = Tiles(shape=(2, 1))
    trace = empirical_ntk(case.network, case.x, case.test_x, form="trace", tiles=tiles)
    close(trace, torch.einsum("icp,jcp->ij", case.left, case.right))


@pytest.mark.every(28)
@cases(NAMES, [3])
def test_diagonal_in_tiles(name, outputs):
    case = problem(name, outputs)
    diagonal = empirical_ntk(case.network, case.x, form="diagonal", tiles=Tiles(shape=(2, 2)))
    close(diagonal, torch.einsum("icp,jcp->ijc", case.left, case.left))


@pytest.mark.every(40)
@cases(NAMES, [3])
def test_kernel_in_single_precision(name, outputs):
    case = problem(name, outputs)
    kernel = empirical_ntk(case.network, case.x, case.test_x, dtype=torch.float32)
    close(kernel, case.kernel(case.left, case.right), 1e-4)


@pytest.mark.every(40)
@cases(NAMES, [3])
def test_shares_of_the_layers(name, outputs):
    case = problem(name, outputs)
    shares = empirical_ntk_by_layer(case.network, case.x, case.test_x)
    close(sum(shares.values()), case.kernel(case.left, case.right))
    parts = linearized_change_by_layer(
        case.network, case.x, case.y, case.test_x, learning_rate=0.1, loss=case.loss
    )
    assert parts.keys() == shares.keys()
    right = torch.einsum("ik,ikp,jcp->ijc", case.signal, case.left, case.right)
    close(sum(parts.values()), -0.1 * right)


@pytest.mark.every(20)
@cases(NAMES, [3])
def test_kernel_of_the_loss(name, outputs):
    case = problem(name, outputs)
    kernel = loss_kernel(case.network, case.x, case.y, loss=case.loss)
    slopes = torch.einsum("ic,icp->ip", case.signal, case.left)
    close(kernel, slopes @ slopes.T)
    close(output_gradient(case.network, case.x, case.y, loss=case.loss), case.signal)


@pytest.mark.every(28)
@cases(NAMES, [3])
def test_self_influence(name, outputs):
    case = problem(name, outputs)
    slopes = torch.einsum("ic,icp->ip", case.signal, case.left)
    influence = self_influence(case.network, case.x, case.y, loss=case.loss)
    close(influence, slopes.square().sum(1))


@pytest.mark.every(28)
@cases(NAMES, [3])
def test_sketch(name, outputs):
    """With many times more features than weights few of these meet, so that little is lost."""
    case = problem(name, outputs)
    sketch = gradient_sketch(case.network, case.x, features=2**16, dtype=torch.float64)
    kernel = case.kernel(case.left, case.left)
    assert (case.kernel(sketch, sketch) - kernel).norm() < 0.05 * kernel.norm()


@pytest.mark.every(20)
@mostly(NAMES)
def test_first_order_of_a_step(name, outputs):
    case = problem(name, outputs)
    change = linearized_change(
        case.network, case.x, case.y, case.test_x, learning_rate=0.1, loss=case.loss
    )
    right = torch.einsum("ik,ikp,jcp->ijc", case.signal, case.left, case.right)
    close(change, -0.1 * right)


@pytest.mark.every(10)
@mostly(STEPPED)
def test_step(name, outputs):
    case = problem(name, outputs)
    change = prediction_change(
        case.network, case.x, case.y, case.test_x, learning_rate=0.1, loss=case.loss
    )
    close(change, case.change(torch.optim.SGD, 0.1))


@pytest.mark.every(40)
@cases(STEPPED, [3])
def test_step_in_tiles(name, outputs):
    case = problem(name, outputs)
    change = prediction_change(
        case.network, case.x, case.y, case.test_x, learning_rate=0.1, loss=case.loss,
        tiles=Tiles(shape=(2, 1)),
    )  # fmt: skip
    close(change, case.change(torch.optim.SGD, 0.1))


@pytest.mark.every(28)
@cases(STEPPED, [3])
def test_step_of_adam(name, outputs):
    case = problem(name, outputs)
    change = prediction_change(
        case.network, case.x, case.y, case.test_x, loss=case.loss,
        optimizer=torch.optim.Adam(case.network.parameters(), lr=0.01),
    )  # fmt: skip
    close(change, case.change(torch.optim.Adam, 0.01))


@pytest.mark.every(32)
@cases(NAMES, [3])
def test_all_is_left_as_it_was_found(name, outputs):
    case = problem(name, outputs)
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
    "transformer", "embedding", "functions with their defaults", "gated", "in-place activations",
    "low rank", "lora",
]  # fmt: skip


@pytest.mark.every(12)
@pytest.mark.parametrize("name", STRUCTURED)
def test_common_networks_need_no_plain_autograd(name):
    case = problem(name, 3)
    model = case.model()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the module's mark would overrule one of the test's own
        empirical_ntk(model, case.x)
        prediction_change(model, case.x, case.y, learning_rate=0.1, loss=case.loss)


FACTORED = [
    *STRUCTURED, "einsum", "mixes positions", "bmm", "linear of one row", "frames",
    "two frames", "windows", "pairs", "norm of folded rows", "linear on folded rows",
    "convolution of folded rows", "linear with the batch second", "batch in the last place",
    "other lengths", "longer rows", "einsum in other orders",
]  # fmt: skip


@pytest.mark.every(12)
@pytest.mark.parametrize("name", FACTORED)
def test_common_networks_have_no_gradient_written_out_for_want_of_factors(name):
    case = problem(name, 3)
    for check in (False, True):
        with opened(case.model(), case.x, None) as (measured, x):
            for structure in structures(measured, x, case.test_x, check):
                assert (structure.direct, structure.route) == ((), "vectorized")


def almost_cancelling(scale):
    """One weight in two uses, whose shares of the gradient nearly cancel."""

    def forward(self, x):
        one, other = (F.linear(h, self.layer.weight) for h in (x, (1 - 1 / scale) * x))
        by_weight = scale * (one - one.detach()) - scale * (other - other.detach())
        return self.head(one.tanh().detach() + by_weight)

    return net(forward, layer=nn.Linear(6, 6), head=nn.Linear(6, 2))


@pytest.mark.parametrize(("scale", "written_out"), [(40, False), (3000, True)])
def test_rounding_alone_takes_no_factors_away_unless_it_takes_the_digits(scale, written_out):
    x = torch.randn(4, 6)
    with opened(almost_cancelling(scale), x, torch.float32) as (measured, rows):
        for structure in structures(measured, rows, rows, True):
            assert ("layer.weight" in structure.direct) is written_out


def test_a_network_of_single_precision_alone_is_measured_in_it():
    model = almost_cancelling(40)
    single = net(lambda self, x: self.inner(x) @ torch.eye(2, dtype=torch.float32), inner=model)
    x = torch.randn(4, 6)
    kernel = empirical_ntk(single, x, dtype=torch.float32)
    torch.testing.assert_close(kernel, empirical_ntk(model, x).float(), rtol=1e-3, atol=1e-3)


WANT_A_LOOK = {  # torch.func is wrong, without an error
    "radial", "scripted function and layer", "unseen uses beside a layer",
    "attributes of tensors", "a look at the kind of a weight",
}  # fmt: skip


@pytest.mark.every(28)
@cases([name for name in NAMES if name not in WANT_A_LOOK], [3])
def test_kernel_without_a_look_first(name, outputs):
    """Else a wrong factor would only be slow, as the look puts plain autograd in its place."""
    case = problem(name, outputs)
    kernel = empirical_ntk(case.network, case.x, case.test_x, check=False)
    close(kernel, case.kernel(case.left, case.right))


@pytest.mark.every(20)
@cases(STRUCTURED, [1, 3])
def test_step_without_a_look_first(name, outputs):
    case = problem(name, outputs)
    given = {"learning_rate": 0.1, "loss": case.loss, "check": False}
    change = prediction_change(case.network, case.x, case.y, case.test_x, **given)
    close(change, case.change(torch.optim.SGD, 0.1))
    linearized = linearized_change(case.network, case.x, case.y, case.test_x, **given)
    close(linearized, -0.1 * torch.einsum("ik,ikp,jcp->ijc", case.signal, case.left, case.right))


@pytest.mark.parametrize(
    ("name", "place"),
    [("partial forward", "'0'"), ("order by example", "network"), ("reentrant checkpoint", "")],
)
def test_plain_autograd_is_said_once_with_its_place(name, place):
    case = problem(name, 3)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        empirical_ntk(case.model(), case.x, tiles=Tiles(shape=(1, 1)))
    (warning,) = [w for w in said if issubclass(w.category, PlainAutogradWarning)]
    assert place in str(warning.message)


@settings(max_examples=10, deadline=None)
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
    plain = empirical_ntk(case.network, case.x)

    def twice(module, args, out):
        return 2 * out if isinstance(module, nn.Linear) else None

    with nn.modules.module.register_module_forward_hook(twice) as handle:
        hooked = case.gradients(case.x)
        close(empirical_ntk(case.network, case.x), case.kernel(hooked, hooked))
        assert handle.id in nn.modules.module._global_forward_hooks
    close(empirical_ntk(case.network, case.x), plain)
