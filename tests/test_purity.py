"""A measurement leaves no trace: in the model, in the caller's tensors, in the process.

The table of problems asks it of every network; here are the circumstances.
"""

import random
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from lecore import (
    Tiles,
    empirical_ntk,
    empirical_ntk_by_layer,
    linearized_change,
    linearized_change_by_layer,
    loss_kernel,
    loss_kernel_by_layer,
    ntk_operator,
    output_gradient,
    prediction_change,
    self_influence,
)
from lecore.engine.sketches import gradient_sketch
from lecore.errors import LecoreError
from lecore.losses import cross_entropy
from tests.oracle import differences, flags, problem, world
from tests.zoo import ARCHITECTURES, net

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # plain autograd, where needed

NETWORKS = ["cnn", "attention", "writes to its input", "counts in a buffer", "largest norm",
            "remembers", "patched forward", "reentrant checkpoint", "experts"]  # fmt: skip
STEP = {"learning_rate": 0.1, "loss": cross_entropy}
CALLS = {
    "empirical_ntk": lambda m, x, y: empirical_ntk(m, x),
    "in tiles": lambda m, x, y: empirical_ntk(m, x, tiles=Tiles(shape=(1, 2))),
    "in threads": lambda m, x, y: empirical_ntk(m, x, tiles=Tiles(shape=(1, 1), jobs=4)),
    "in float32": lambda m, x, y: empirical_ntk(m, x, dtype=torch.float32),
    "empirical_ntk_by_layer": lambda m, x, y: empirical_ntk_by_layer(m, x),
    "ntk_operator": lambda m, x, y: torch.from_numpy(ntk_operator(m, x) @ np.ones(3 * len(x))),
    "loss_kernel": lambda m, x, y: loss_kernel(m, x, y, loss=cross_entropy),
    "loss_kernel_by_layer": lambda m, x, y: loss_kernel_by_layer(m, x, y, loss=cross_entropy),
    "self_influence": lambda m, x, y: self_influence(m, x, y, loss=cross_entropy),
    "prediction_change": lambda m, x, y: prediction_change(m, x, y, **STEP),
    "linearized_change": lambda m, x, y: linearized_change(m, x, y, **STEP),
    "linearized_change_by_layer": lambda m, x, y: linearized_change_by_layer(m, x, y, **STEP),
    "output_gradient": lambda m, x, y: output_gradient(m, x, y, loss=cross_entropy),
    "gradient_sketch": lambda m, x, y: gradient_sketch(m, x, features=8),
}


@pytest.mark.every(15)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_call_leaves_all_as_it_was(name, call):
    case = problem(name, 3)
    model, x = case.model(), case.x.clone()
    before = world(model, x, case.y)
    CALLS[call](model, x, case.y)
    assert not differences(before, world(model, x, case.y))


@pytest.mark.parametrize("call", ["empirical_ntk", "prediction_change"])
def test_gradients_and_modes_of_the_model_stay(call):
    case = problem("residual block", 3)
    model = case.model()
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    model[1].relu.train()
    x = case.x.clone().requires_grad_()
    before = world(model, x, case.y)
    CALLS[call](model, x, case.y)
    assert not differences(before, world(model, x, case.y))


@pytest.mark.every(3)
@pytest.mark.parametrize("call", CALLS)
def test_random_numbers_go_on_as_if_nothing_had_been(call):
    case = problem("attention", 3)
    model = case.model()
    with torch.random.fork_rng():
        torch.manual_seed(4)
        random.seed(4)
        np.random.seed(4)
        CALLS[call](model, case.x, case.y)
        drawn = torch.rand(()).item(), random.random(), np.random.rand()
        torch.manual_seed(4)
        random.seed(4)
        np.random.seed(4)
        assert drawn == (torch.rand(()).item(), random.random(), np.random.rand())


CIRCUMSTANCES = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "enable_grad": torch.enable_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "anomaly detection": torch.autograd.detect_anomaly,
    "a device": lambda: torch.device("cpu"),
    "parametrize.cached": parametrize.cached,
}


@cache
def elsewhere(name, call):
    case = problem(name, 3)
    return CALLS[call](case.model(), case.x, case.y)


@pytest.mark.every(36)
@pytest.mark.parametrize("where", CIRCUMSTANCES)
@pytest.mark.parametrize("call", ["empirical_ntk", "in threads", "prediction_change",
                                  "linearized_change", "output_gradient"])  # fmt: skip
@pytest.mark.parametrize("name", ["cnn", "attention", "norm of llama", "counts in a buffer",
                                  "weight norm"])  # fmt: skip
def test_the_same_numbers_wherever_it_is_called(name, call, where):
    case, alone = problem(name, 3), elsewhere(name, call)
    model = case.model()  # a new one, so that it is looked at in there
    with CIRCUMSTANCES[where]():
        before = world(model, case.x, case.y)
        inside = CALLS[call](model, case.x, case.y)
        assert not differences(before, world(model, case.x, case.y))
    torch.testing.assert_close(inside.clone(), alone, rtol=1e-10, atol=1e-13)


def test_weights_that_torch_keeps_for_the_caller_stay():
    layer = parametrizations.weight_norm(nn.Linear(5, 3))
    with parametrize.cached():
        kept = layer.weight
        empirical_ntk(layer, torch.randn(4, 5))
        assert layer.weight is kept


def test_hooks_on_saved_tensors_are_refused_if_they_are_in_the_way():
    case = problem("cnn", 3)
    with torch.autograd.graph.save_on_cpu():
        for call in ("empirical_ntk", "prediction_change"):
            try:
                inside = CALLS[call](case.model(), case.x, case.y)
            except LecoreError:
                continue
            torch.testing.assert_close(inside, CALLS[call](case.model(), case.x, case.y))


@pytest.mark.parametrize(("hold", "take"), [
    (lambda t: [t], lambda kept: kept[0]),
    (lambda t: {"a": {"b": [t]}}, lambda kept: kept["a"]["b"][0]),
    (lambda t: [[(t,)]], lambda kept: kept[0][0][0]),
    (lambda t: lambda: t, lambda kept: kept()),
], ids=["list", "tables", "tuples", "function"])  # fmt: skip
def test_tensors_that_a_network_keeps_for_itself_have_the_precision_too(hold, take):
    torch.manual_seed(0)
    table, head, x = torch.randn(3, 4), nn.Linear(4, 2), torch.randn(2, 3)
    usual = net(lambda self, x: self.head(x @ self.table), head=head, table=nn.Buffer(table))
    other = net(lambda self, x: self.head(x @ take(self.kept)), head=head, kept=hold(table))
    assert torch.equal(empirical_ntk(other, x), empirical_ntk(usual, x))


def test_tensors_made_in_inference_mode_are_points_too():
    case = problem("cnn", 3)
    with torch.inference_mode():
        model, x = case.model(), case.x.clone()
    kernel = empirical_ntk(model, x)
    torch.testing.assert_close(kernel, empirical_ntk(case.model(), case.x))


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16])
def test_the_default_dtype_does_not_matter(default):
    case = problem("attention", 3)
    alone = prediction_change(case.model(), case.x, case.y, **STEP)
    model = case.model()
    torch.set_default_dtype(default)
    try:
        changed = prediction_change(model, case.x, case.y, **STEP)
        assert torch.get_default_dtype() == default
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(changed, alone, rtol=1e-10, atol=1e-13)


def test_settings_of_the_process_are_put_back():
    """Each in its other position."""
    backends = torch.backends
    found = backends.mkldnn.matmul.fp32_precision, backends.mha.get_fastpath_enabled()
    case = problem("transformer", 3)
    try:
        backends.mkldnn.matmul.fp32_precision = "bf16"
        backends.mha.set_fastpath_enabled(not found[1])
        backends.cuda.enable_flash_sdp(False)
        model = case.model()
        before = world(model, case.x)
        empirical_ntk(model, case.x, dtype=torch.float32)
        empirical_ntk(model, case.x, tiles=Tiles(jobs=3, shape=(1, 1)))
        assert not differences(before, world(model, case.x))
    finally:
        backends.mkldnn.matmul.fp32_precision = found[0]
        backends.mha.set_fastpath_enabled(found[1])
        backends.cuda.enable_flash_sdp(True)


@pytest.mark.thorough
def test_precisions_that_a_compiler_writes_down_are_put_back():
    function = torch.compile(lambda h: h.tanh(), backend="eager")
    model = net(lambda self, x: self.layer(function(x)), layer=nn.Linear(5, 2))
    before = flags()
    empirical_ntk(model, torch.randn(3, 5))
    assert not differences(before, flags())


OWN = {
    "torch": torch.Generator().manual_seed(0), "numpy": np.random.default_rng(0),
    "numpy, old": np.random.RandomState(0), "python": random.Random(0),
}  # fmt: skip
"""Generators of somebody's own; their first numbers are all below 0.999."""


def drawn_from(generator):
    if isinstance(generator, torch.Generator):
        return torch.rand(1, generator=generator).item()
    return generator.random() if hasattr(generator, "random") else generator.rand()


class RarelyDropped(nn.Module):
    """Draws a number on each call that hardly ever changes the prediction."""

    def __init__(self, own=None):
        super().__init__()
        self.layer, self.own = nn.Linear(2, 3), own

    def forward(self, x):
        return self.layer(x) * (drawn_from(self.own) < 0.999)


class NamesIt(RarelyDropped):
    def forward(self, x):
        return self.layer(x) * (drawn_from(GLOBAL) < 0.999)


GLOBAL = np.random.default_rng(0)


@pytest.mark.parametrize("name", OWN)
def test_networks_that_draw_from_a_generator_of_their_own_are_refused(name):
    model = RarelyDropped(OWN[name]).eval()
    with pytest.raises(LecoreError, match="draws random numbers"):
        empirical_ntk(model, torch.randn(3, 2))


def helper():
    return drawn_from(GLOBAL)


def closing_over(generator):
    class Inside(RarelyDropped):
        def forward(self, x):
            return self.layer(x) * (drawn_from(generator) < 0.999)

    return Inside()


class Heir(NamesIt):
    """Draws as its parent does."""


class OfItsClass(RarelyDropped):
    shared = torch.Generator().manual_seed(0)

    def forward(self, x):
        return self.layer(x) * (drawn_from(type(self).shared) < 0.999)


class CallsAHelper(RarelyDropped):
    def forward(self, x):
        return self.layer(x) * (helper() < 0.999)


PLACES = {
    "a parent class": Heir, "the class": OfItsClass, "a function it calls": CallsAHelper,
    "a closure": lambda: closing_over(OWN["python"]),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_generators_are_found_in_what_the_code_names(place):
    with pytest.raises(LecoreError, match="draws random numbers"):
        empirical_ntk(PLACES[place]().eval(), torch.randn(3, 2))


def test_a_generator_that_nobody_draws_from_is_no_matter():
    model = nn.Linear(2, 3)
    model.own, model.of_the_system = torch.Generator(), random.SystemRandom()
    assert empirical_ntk(model, torch.randn(3, 2)).shape == (3, 3, 3, 3)


@pytest.mark.filterwarnings("ignore:the network is measured by plain autograd")
@pytest.mark.filterwarnings("ignore:RMSprop takes its steps")
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_teacher_in_the_loss_keeps_its_gradients_and_its_hooks_do_not_run(jobs):
    model, teacher = nn.Linear(3, 2), nn.Linear(2, 2)
    teacher(torch.randn(3, 2)).sum().backward()
    held = {name: (p.grad, p.grad.clone()) for name, p in teacher.named_parameters()}
    ran = []
    for parameter in teacher.parameters():
        parameter.register_post_accumulate_grad_hook(ran.append)
    x, y = torch.randn(6, 3), torch.randn(6, 2)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.01)

    def loss(f, t):
        return (f - teacher(t.to(teacher.weight.dtype))).square().sum()

    prediction_change(model, x, y, optimizer=optimizer, loss=loss, tiles=Tiles(jobs=jobs))
    assert not ran
    for name, p in teacher.named_parameters():
        assert p.grad is held[name][0]
        assert torch.equal(p.grad, held[name][1])


@pytest.mark.filterwarnings("ignore:the network is measured by plain autograd")
def test_a_graph_of_somebody_elses_can_still_be_used():
    features = torch.tanh(nn.Linear(5, 8)(torch.ones(2, 5)))
    model = net(lambda self, x: self.layer(x) @ features.T.to(x), layer=nn.Linear(3, 8))
    assert empirical_ntk(model, torch.randn(4, 3)).shape == (4, 4, 2, 2)
    features.sum().backward()


def test_a_generator_that_a_network_names_is_left_where_it_was():
    before = GLOBAL.bit_generator.state
    with pytest.raises(LecoreError, match="draws random numbers"):
        empirical_ntk(NamesIt().eval(), torch.randn(3, 2))
    assert GLOBAL.bit_generator.state == before


class Failing(nn.Module):
    """Fails at an example that is not the first, in the middle of all it may have changed."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.layer, self.table = nn.Linear(2, 3), nn.Embedding(3, 2, max_norm=0.1)
        self.register_buffer("count", torch.zeros(()))
        self.error, self.last = error, None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count += 1
        self.last = x.mul_(2.0)
        self.table(torch.tensor([0]))
        if len(x) > 1 or bool((x > 10).any()):
            raise self.error
        return self.layer(x)


@pytest.mark.parametrize("tiles", [Tiles(), Tiles(jobs=2, shape=(1, 1))], ids=["one", "threads"])
@pytest.mark.parametrize("call", [empirical_ntk, prediction_change])
@pytest.mark.parametrize("error", [RuntimeError("odd"), KeyboardInterrupt("odd"), KeyError("odd")])
def test_an_exception_leaves_all_as_it_was(error, call, tiles):
    model, x, y = Failing(error).eval(), torch.randn(3, 2).abs(), torch.arange(3)
    x[1] = 9.0
    options = STEP if call is prediction_change else {}
    before = world(model, x, y)
    with pytest.raises((type(error), LecoreError), match="odd"):
        call(model, x, *([y] if options else []), tiles=tiles, **options)
    assert not differences(before, world(model, x, y))


def test_an_error_of_the_callers_own_loss_leaves_all_as_it_was():
    case = problem("cnn", 3)
    model = case.model()

    def loss(prediction, target):
        raise ZeroDivisionError("own loss")

    before = world(model, case.x)
    with pytest.raises((ZeroDivisionError, LecoreError), match="own loss"):
        prediction_change(model, case.x, case.y, learning_rate=0.1, loss=loss)
    assert not differences(before, world(model, case.x))


@pytest.mark.parametrize("through", ["layers", "reentrant checkpoint"])
def test_gradients_of_other_networks_stay(through):
    """Of a teacher in the loss, of another network in the forward, of a measured one."""
    teacher, other = nn.Linear(5, 3).double(), nn.Linear(5, 3).double()
    kept = torch.cat([p.flatten() for p in teacher.parameters()])
    model = net(
        lambda self, x: self.inner(x) * other(x),
        inner=problem(through, 3).model() if through in ARCHITECTURES else nn.Linear(5, 3),
    )

    def loss(f, t):
        return (f - teacher(t)).square().sum() + kept.square().sum()

    x = torch.randn(3, 5).double()
    empirical_ntk(model, x)
    prediction_change(model, x, x, learning_rate=0.1, loss=loss)
    assert all(p.grad is None for m in (teacher, other, model) for p in m.parameters())


def test_results_share_no_memory_with_the_model():
    layer = nn.Linear(2, 2, bias=False)
    x = torch.eye(2)
    gradient = output_gradient(layer, x, torch.zeros(2, 2))
    gradient.zero_()
    kernel = empirical_ntk(layer.double(), x.double())
    kernel.zero_()
    assert float(layer.weight.abs().sum()) > 0
    assert torch.equal(x, torch.eye(2))
    assert not kernel.requires_grad
    assert not gradient.requires_grad
