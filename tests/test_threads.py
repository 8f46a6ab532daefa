"""The same numbers however the work is cut and wherever it runs, with networks that people use."""

import contextvars
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrizations, parametrize

from lecore import Tiles, empirical_ntk, linearized_change, loss_kernel, prediction_change
from lecore.errors import LecoreError
from lecore.losses import cross_entropy
from tests.oracle import differences, flags, seed, world
from tests.zoo import Attention, Block, Recurrent, Words, net

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # plain autograd, where needed

NETWORKS = {
    "convolution": (
        lambda: nn.Sequential(nn.Conv2d(1, 3, 3), Block(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                              nn.LayerNorm(3), nn.Linear(3, 3)),
        lambda n: torch.randn(n, 1, 5, 5),
    ),
    "dense": (
        lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 2)),
        lambda n: torch.randn(n, 4),
    ),
    "attention": (lambda: Attention(2), lambda n: torch.randn(n, 3, 8)),
    "transformer": (
        lambda: nn.Sequential(nn.TransformerEncoderLayer(8, 2, 12, batch_first=True),
                              nn.Flatten(), nn.Linear(24, 2)),
        lambda n: torch.randn(n, 3, 8),
    ),
    "memory": (lambda: Recurrent(2), lambda n: torch.randn(n, 3, 4)),
    "words": (lambda: Words(3, padding_idx=0), lambda n: torch.randint(0, 7, (n, 5))),
}  # fmt: skip


def network(name: str, count: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    build, draw = NETWORKS[name]
    with seed(3):
        model, x = build().eval(), draw(count)
        y = torch.randint(0, 2, (count,))
    return model, x.double() if x.is_floating_point() else x, y


MEASURES = {
    "kernel": lambda model, x, y, tiles: empirical_ntk(model, x, tiles=tiles),
    "kernel of two sets": lambda model, x, y, tiles: empirical_ntk(model, x, x[1:], tiles=tiles),
    "trace": lambda model, x, y, tiles: empirical_ntk(model, x, form="trace", tiles=tiles),
    "loss kernel": lambda model, x, y, tiles: loss_kernel(
        model, x, y, loss=cross_entropy, tiles=tiles
    ),
    "step": lambda model, x, y, tiles: prediction_change(
        model, x, y, learning_rate=0.1, loss=cross_entropy, tiles=tiles
    ),
    "first order": lambda model, x, y, tiles: linearized_change(
        model, x, y, learning_rate=0.1, loss=cross_entropy, tiles=tiles
    ),
}


def same(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12 * float(other.abs().max()))


@pytest.fixture(scope="module")
def client(forks):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, processes=True, memory_limit="2GiB",
            dashboard_address=":0", silence_logs="CRITICAL",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):  # fmt: skip
        yield client


@pytest.mark.every(16)
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("name", NETWORKS)
def test_threads_give_what_one_gives(name, measure):
    model, x, y = network(name, 8)
    alone = MEASURES[measure](model, x, y, Tiles())
    before = world(model, x, y)
    together = MEASURES[measure](model, x, y, Tiles(jobs=8, shape=(2, 3)))
    same(together, alone)
    assert not differences(before, world(model, x, y))


@pytest.mark.thorough
def test_threads_give_it_again_and_again():
    """The race of many small tiles shows in some kernels only."""
    model, x, _ = network("dense", 40)
    alone = empirical_ntk(model, x, form="trace")
    for _ in range(6):
        tiles = Tiles(jobs=8, shape=(2, 20))
        same(empirical_ntk(model, x, x.clone(), form="trace", tiles=tiles), alone)


@pytest.mark.parametrize("measure", ["kernel of two sets", "step"])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.processes
@pytest.mark.usefixtures("forks")
def test_processes_give_what_one_gives(name, measure):
    model, x, y = network(name, 6)
    alone = MEASURES[measure](model, x, y, Tiles())
    tiles = Tiles(jobs=2, backend="processes", shape=(3, 4))
    same(MEASURES[measure](model, x, y, tiles), alone)


@pytest.mark.every(8)
@pytest.mark.parametrize("measure", ["kernel", "step"])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.processes
def test_a_cluster_gives_what_one_thread_gives(name, measure, client):
    model, x, y = network(name, 6)
    alone = MEASURES[measure](model, x, y, Tiles())
    same(MEASURES[measure](model, x, y, Tiles(client=client, shape=(2, 3))), alone)


def test_callers_in_threads_of_their_own_get_their_own_numbers(pytestconfig):
    work = [(name, measure) for name in NETWORKS for measure in MEASURES]
    work = work if pytestconfig.getoption("thorough") else work[::5]  # each network, each measure
    problems = {name: network(name, 8) for name in NETWORKS}
    alone = [MEASURES[m](*problems[name], Tiles()) for name, m in work]
    before = flags()
    with ThreadPoolExecutor(8) as pool:
        together = pool.map(lambda w: MEASURES[w[1]](*problems[w[0]], Tiles()), work)
        for one, other in zip(together, alone, strict=True):
            same(one, other)
    assert not differences(before, flags())


def test_one_model_measured_by_several_threads_at_once():
    model, x, y = network("attention", 8)
    alone = {name: measure(model, x, y, Tiles()) for name, measure in MEASURES.items()}
    before = world(model, x, y)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda m: MEASURES[m](model, x, y, Tiles()), MEASURES))
    for name, one in zip(MEASURES, found, strict=True):
        same(one, alone[name])
    assert not differences(before, world(model, x, y))


class Breaks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError("in the middle")


def test_settings_are_put_back_after_an_exception_in_one_thread():
    torch.backends.mha.set_fastpath_enabled(True)
    before, start = flags(), Barrier(4)
    model, x, _ = network("transformer", 6)
    alone = empirical_ntk(model, x)

    def measure(k: int) -> torch.Tensor:
        start.wait()
        if k % 2:
            with pytest.raises((LecoreError, ZeroDivisionError), match="in the middle"):
                empirical_ntk(Breaks(), torch.randn(2, 3))
            return alone
        return empirical_ntk(model, x, tiles=Tiles(jobs=2, shape=(2, 2)))

    with ThreadPoolExecutor(4) as pool:
        for kernel in pool.map(measure, range(4)):
            same(kernel, alone)
    assert not differences(before, flags())


class Doubling(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        return 2 * result if function is torch.tanh else result


def test_threads_are_in_the_modes_of_their_caller():
    model, x = net(lambda self, x: torch.tanh(self.a(x)), a=nn.Linear(4, 2)), torch.randn(6, 4)
    plain = empirical_ntk(model, x)
    with Doubling():
        together = empirical_ntk(model, x, tiles=Tiles(jobs=3, shape=(2, 2)))
    torch.testing.assert_close(together, 4 * plain)


SCALE = contextvars.ContextVar("SCALE", default=1.0)


def test_threads_are_in_the_context_of_their_caller():
    model = net(lambda self, x: SCALE.get() * self.a(x), a=nn.Linear(4, 2))
    x = torch.randn(6, 4)
    plain = empirical_ntk(model, x)
    token = SCALE.set(3.0)
    try:
        together = empirical_ntk(model, x, tiles=Tiles(jobs=3, shape=(2, 2)))
    finally:
        SCALE.reset(token)
    torch.testing.assert_close(together, 9 * plain)


def test_threads_that_know_another_network_are_refused():
    own = threading.local()
    own.scale = 3.0
    model = net(lambda self, x: getattr(own, "scale", 1.0) * self.a(x), a=nn.Linear(4, 2))
    with pytest.raises(LecoreError, match="another process or thread computes another"):
        empirical_ntk(model, torch.randn(6, 4), tiles=Tiles(jobs=3, shape=(2, 2)))


def test_threads_that_know_another_network_at_some_rows_are_refused():
    own = threading.local()
    own.scale = 3.0

    def forward(self, x):
        return torch.where(x[:, :1] > 0, 1.0, getattr(own, "scale", 1.0)) * self.a(x)

    x = torch.cat([torch.ones(5, 4), -torch.ones(1, 4)])
    with pytest.raises(LecoreError, match="another process or thread computes another"):
        empirical_ntk(net(forward, a=nn.Linear(4, 2)), x, tiles=Tiles(jobs=3, shape=(2, 2)))


def cached(self, x):
    with parametrize.cached():
        return self.head(self.layer(x).tanh() @ self.layer.weight)


def test_parametrized_weights_that_are_kept_are_kept_by_one_thread_alone():
    layer = parametrizations.weight_norm(nn.Linear(4, 6))
    model = net(cached, layer=layer, head=nn.Linear(4, 2))
    x, y = torch.randn(20, 4), torch.randn(20, 2)
    alone = prediction_change(model, x, y, learning_rate=0.1)
    for _ in range(3):
        tiles = Tiles(jobs=6, shape=(2, 5))
        together = prediction_change(model, x, y, learning_rate=0.1, tiles=tiles)
        torch.testing.assert_close(together, alone)


def slow(self, x):
    h = self.first(x).tanh()
    time.sleep(0.01)  # while another thread is on its way
    return self.last(h)


def derivative(self, x):
    def inner(z):
        h = self.first(z).tanh()
        time.sleep(0.01)
        return self.last(h)

    return torch.func.jvp(inner, (x,), (torch.ones_like(x),))[1]


def test_threads_that_take_derivatives_forward_do_not_clear_each_others():
    with seed(3):
        model = net(slow, first=nn.Linear(3, 4), last=nn.Linear(4, 20))
        x, y = torch.randn(4, 3), torch.arange(4)

    def measure(tiles):  # of many outputs it goes forward
        return linearized_change(model, x, y, learning_rate=0.1, loss=cross_entropy, tiles=tiles)

    same(measure(Tiles(jobs=2, shape=(1, 2))), measure(Tiles()))


def flash(self, x):
    h = self.layer(x)[:, None]
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        time.sleep(0.01)
        return torch.nn.functional.scaled_dot_product_attention(h, h, h).mean((1, 2))


def test_threads_of_a_network_that_chooses_its_attention_leave_the_choice():
    with seed(3):
        model, x = net(flash, layer=nn.Linear(3, 2)), torch.randn(4, 2, 3)
    before = flags()
    empirical_ntk(model, x, tiles=Tiles(jobs=2, shape=(1, 2)))
    assert not differences(before, flags())


def test_threads_measure_a_network_with_derivatives_forward_inside():
    with seed(3):
        model = net(derivative, first=nn.Linear(3, 4), last=nn.Linear(4, 2))
        x = torch.randn(4, 3)
    alone = empirical_ntk(model, x)
    same(empirical_ntk(model, x, tiles=Tiles(jobs=2, shape=(1, 2))), alone)
