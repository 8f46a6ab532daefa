"""Networks of the zoo on a GPU, against the same oracles on the CPU, and what only a GPU has."""

import pytest
import torch
from torch import Tensor, nn

from lecore import (
    Tiles,
    empirical_ntk,
    linearized_change,
    loss_kernel,
    models,
    prediction_change,
    self_influence,
)
from lecore.training import train
from tests.oracle import differences, problem, world
from tests.zoo import ARCHITECTURES, USUAL

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # plain autograd is said
]

MOVES_ITSELF = {"data parallel", "data parallel part", "compiled inside"}  # the oracle's, too
NAMES = [name for name in ARCHITECTURES if name not in MOVES_ITSELF]
STEPPED = [name for name in NAMES if name not in ("largest norm", "writes a weight")]


FUSED = {"weight norm", "weight norm of old"}
"""torch's own weight norm keeps only 24 bits on CUDA, in float64 too: 5e-8 on an H200."""


def close(measured: Tensor, right: Tensor, part: float = 1e-9) -> None:
    """On the GPU, and equal up to a part of the largest entry."""
    assert measured.is_cuda
    atol = part * float(right.abs().max())
    torch.testing.assert_close(measured.cpu().double(), right, rtol=0, atol=atol)


class OnGPU:
    """A problem of the zoo with its network and points on the GPU."""

    def __init__(self, name: str, outputs: int) -> None:
        self.right = problem(name, outputs)
        self.network = self.right.model().cuda()
        self.x, self.y, self.test_x = (
            t.cuda() for t in (self.right.x, self.right.y, self.right.test_x)
        )
        self.loss, self.part = self.right.loss, 1e-6 if name in FUSED else 1e-9
        x = self.x.float() if self.x.is_floating_point() else self.x
        try:
            self.right.model().cuda()(x)
        except Exception as error:
            pytest.skip(f"the network itself does not run there: {error}")


@pytest.mark.parametrize("name", NAMES)
def test_kernel(name):
    case = OnGPU(name, 3)
    right = case.right
    kernel = empirical_ntk(case.network, case.x)
    close(kernel, right.kernel(right.left, right.left), case.part)


@pytest.mark.parametrize("name", [name for name in NAMES if name in USUAL])
def test_kernel_of_one_output_and_two_sets(name):
    case = OnGPU(name, 1)
    right = case.right
    kernel = empirical_ntk(case.network, case.x, case.test_x)
    close(kernel, right.kernel(right.left, right.right))


@pytest.mark.parametrize("name", STEPPED)
def test_kernel_of_the_loss_and_its_diagonal(name):
    case = OnGPU(name, 3)
    slopes = torch.einsum("ic,icp->ip", case.right.signal, case.right.left)
    kernel = loss_kernel(case.network, case.x, case.y, loss=case.loss)
    close(kernel, slopes @ slopes.T, case.part)
    influence = self_influence(case.network, case.x, case.y, loss=case.loss)
    close(influence, slopes.square().sum(1), case.part)


@pytest.mark.parametrize("name", STEPPED)
def test_step_and_its_first_order(name):
    case = OnGPU(name, 3)
    given = (case.network, case.x, case.y, case.test_x)
    change = prediction_change(*given, learning_rate=0.1, loss=case.loss)
    close(change, case.right.change(torch.optim.SGD, 0.1), case.part)
    right = case.right
    slope = torch.einsum("ik,ikp,jcp->ijc", right.signal, right.left, right.right)
    first_order = linearized_change(*given, learning_rate=0.1, loss=case.loss)
    close(first_order, -0.1 * slope, case.part)


@pytest.mark.parametrize("name", STEPPED[::3])
def test_step_of_adam(name):
    case = OnGPU(name, 3)
    change = prediction_change(
        case.network, case.x, case.y, case.test_x, loss=case.loss,
        optimizer=torch.optim.Adam(case.network.parameters(), lr=0.01),
    )  # fmt: skip
    close(change, case.right.change(torch.optim.Adam, 0.01), case.part)


@pytest.mark.parametrize("name", NAMES)
def test_single_precision(name):
    case = OnGPU(name, 3)
    right = case.right
    kernel = empirical_ntk(case.network, case.x, dtype=torch.float32)
    close(kernel, right.kernel(right.left, right.left), 1e-4)


def larger_network() -> tuple[nn.Module, Tensor]:
    network = models.mnist_cnn().cuda()
    x = torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(0)).cuda()
    return network, x


def test_threads_give_the_same_numbers():
    network, x = larger_network()
    one = empirical_ntk(network, x, tiles=Tiles(shape=(3, 5)))
    for _ in range(5):
        many = empirical_ntk(network, x, tiles=Tiles(shape=(3, 5), jobs=8))
        torch.testing.assert_close(many, one, rtol=0, atol=1e-12 * float(one.abs().max()))


def test_shorter_products_are_within_their_rounding():
    network, x = larger_network()
    exact = empirical_ntk(network, x)
    for dtype, part in ((torch.float32, 1e-5), ("tf32", 1e-2)):
        kernel = empirical_ntk(network, x, dtype=dtype)
        assert float((kernel.double() - exact).abs().max()) < part * float(exact.abs().max())


def test_memory_stays_within_a_budget():
    torch.cuda.empty_cache()
    network, x = models.resnet18().eval().cuda(), torch.rand(100, 3, 32, 32).cuda()
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    budget = 2**29
    empirical_ntk(network, x, form="trace", tiles=Tiles(memory=budget), dtype=torch.float32)
    above = torch.cuda.max_memory_allocated() - held
    weights = sum(p.nbytes for p in network.parameters())
    assert above < 2 * budget + 2 * weights


@pytest.mark.parametrize("name", ["recurrent", "cnn", "residual block"])
def test_settings_are_put_back(name):
    case = OnGPU(name, 3)
    before = world(case.network, case.x, case.y)
    empirical_ntk(case.network, case.x)
    prediction_change(case.network, case.x, case.y, learning_rate=0.1, loss=case.loss)
    assert not differences(before, world(case.network, case.x, case.y))


def test_all_is_left_as_it_was_found():
    network, x = larger_network()
    y = torch.ones(40, 1).cuda()
    drawn = torch.cuda.get_rng_state()
    before = world(network, x, y)
    empirical_ntk(network, x)
    prediction_change(network, x[:3], y[:3], learning_rate=0.1)
    self_influence(network, x, y)
    assert not differences(before, world(network, x, y))
    assert torch.equal(torch.cuda.get_rng_state(), drawn)


@pytest.mark.parametrize("batch_size", [None, 7])
def test_training_takes_the_steps_of_the_cpu(batch_size):
    x, y = torch.randn(40, 5), torch.randn(40, 1)
    networks = [models.two_layer(5, 5000, seed=1), models.two_layer(5, 5000, seed=1).cuda()]
    for network, device in zip(networks, ("cpu", "cuda"), strict=True):
        train(
            network, x.to(device), y.to(device),
            learning_rate=1e-3, epochs=5, batch_size=batch_size,
        )  # fmt: skip
    for one, other in zip(*(n.parameters() for n in networks), strict=True):
        torch.testing.assert_close(other.cpu(), one, rtol=1e-4, atol=1e-6)
