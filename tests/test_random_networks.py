"""Networks composed at random against gradients and steps taken one by one.

Layers act on (batch, positions, channels). Each is drawn with a way to be used: as it is, shared,
patched, hooked, on folded rows, in a branch, in place.
"""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lecore import Tiles, empirical_ntk, prediction_change
from tests.examples import examples
from tests.oracle import Problem
from tests.zoo import net, weight

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # plain autograd, where needed

T, C = 3, 4
"""Positions and channels."""

LAYERS = {
    "linear": lambda: nn.Linear(C, C),
    "no bias": lambda: nn.Linear(C, C, bias=False),
    "layer norm": lambda: nn.LayerNorm(C),
    "norm of rows": lambda: net(
        lambda self, x: self.norm(x.flatten(0, 1)).view_as(x), norm=nn.BatchNorm1d(C)
    ),
    "norm of channels": lambda: net(
        lambda self, x: self.norm(x.mT).mT, norm=nn.BatchNorm1d(C)
    ),
    "groups of rows": lambda: net(
        lambda self, x: self.norm(x.reshape(-1, C)).reshape(x.shape), norm=nn.GroupNorm(1, C)
    ),
    "convolution": lambda: net(
        lambda self, x: self.layer(x.mT).mT, layer=nn.Conv1d(C, C, 3, padding=1, groups=2)
    ),
    "convolution of rows": lambda: net(
        lambda self, x: self.layer(x.reshape(-1, 1, C)).view_as(x),
        layer=nn.Conv1d(1, 1, 3, padding=1),
    ),
    "mixes positions": lambda: net(lambda self, x: self.w @ x, w=weight(T, T)),
    "matmul": lambda: net(lambda self, x: x @ self.w, w=weight(C, C)),
    "einsum": lambda: net(
        lambda self, x: torch.einsum("bthc,hcd->bthd", x.unflatten(2, (2, -1)), self.w).flatten(2),
        w=weight(2, C // 2, C // 2),
    ),
    "two forms": lambda: net(lambda self, x: F.linear(x, self.w) @ self.w, w=weight(C, C)),
    "low rank": lambda: net(
        lambda self, x: x + x @ self.a @ self.b, a=weight(C, 1), b=weight(1, C)
    ),
    "gain": lambda: net(lambda self, x: x * self.gain + self.b, gain=weight(C), b=weight(1)),
    "places": lambda: net(lambda self, x: x + self.places, places=weight(T, C)),
    "attention": lambda: net(
        lambda self, x: self.layer(x, x, x)[0],
        layer=nn.MultiheadAttention(C, 2, batch_first=True),
    ),
    "memory": lambda: net(lambda self, x: self.layer(x)[0], layer=nn.GRU(C, C, batch_first=True)),
    "switch": lambda: net(
        lambda self, x: torch.stack([(self.a if r.sum() > 0 else self.b)(r) for r in x]),
        a=nn.Linear(C, C), b=nn.Linear(C, C),
    ),
    "slope": lambda: nn.PReLU(),
}  # fmt: skip


def patched(layer: nn.Module) -> nn.Module:
    inner = layer.forward
    layer.forward = lambda x: inner(2 * x).sin()
    return layer


def hooked(layer: nn.Module) -> nn.Module:
    layer.register_forward_hook(lambda module, args, out: out + args[0])
    return layer


WAYS = {
    "plain": lambda layer: layer,
    "twice": lambda layer: nn.Sequential(layer, nn.Tanh(), layer),
    "patched": patched,
    "hooked": hooked,
    "branch": lambda layer: net(lambda self, x: x + self.inner(x.tanh()), inner=layer),
    "two branches": lambda layer: net(
        lambda self, x: self.inner(x).sigmoid() * self.inner(-x), inner=layer
    ),
    "relu in place": lambda layer: nn.Sequential(layer, nn.ReLU(inplace=True)),
    "sum in place": lambda layer: net(lambda self, x: self.inner(x).add_(x), inner=layer),
    "of input in place": lambda layer: net(
        lambda self, x: self.inner(x.clone().mul_(0.5)), inner=layer
    ),
    "without bias": lambda layer: layer.requires_grad_(False) if "bias" in dir(layer) else layer,
    "one by one": lambda layer: net(
        lambda self, x: torch.cat([self.inner(r[None]) for r in x]), inner=layer
    ),
}

ENDS = {
    "mean": lambda x: x.mean(1),
    "last": lambda x: x[:, -1],
    "largest": lambda x: x.amax(1),
}

PLAN = st.lists(
    st.tuples(st.sampled_from(sorted(LAYERS)), st.sampled_from(sorted(WAYS))), max_size=4
)


def forward(self: nn.Module, x: Tensor) -> Tensor:
    if self.writes:
        x.sub_(0.5)
    for layer in self.layers:
        x = layer(x).tanh()
    return self.head(ENDS[self.end](x))


@settings(
    max_examples=examples(10), deadline=None, phases=[Phase.reuse, Phase.generate]
)  # read unshrunk
@given(
    plan=PLAN,
    again=st.booleans(),
    writes=st.booleans(),
    end=st.sampled_from(sorted(ENDS)),
    outputs=st.sampled_from([1, 2]),
    seed=st.integers(0, 99),
)
def test_any_composition(plan, again, writes, end, outputs, seed):
    def build() -> nn.Module:
        torch.manual_seed(seed)
        layers = [WAYS[way](LAYERS[kind]()) for kind, way in plan]
        layers += layers[:1] if again else []
        return net(forward, layers=nn.ModuleList(layers), head=nn.Linear(C, outputs), end=end,
                   writes=writes)  # fmt: skip

    generator = torch.Generator().manual_seed(seed)
    x, test_x = (torch.randn(n, T, C, generator=generator).double() for n in (3, 2))
    case = Problem(build, x, torch.linspace(-1, 1, 3).double(), test_x)
    kernel = case.kernel(case.left, case.right)
    measured = empirical_ntk(case.model(), x, test_x)
    torch.testing.assert_close(measured, kernel, rtol=1e-9, atol=1e-10 * float(kernel.abs().max()))
    tiled = empirical_ntk(case.model(), x, test_x, tiles=Tiles(shape=(1, 2)))
    torch.testing.assert_close(tiled, measured, rtol=1e-9, atol=1e-12 * float(kernel.abs().max()))
    change = prediction_change(case.model(), x, case.y, test_x, learning_rate=0.01)
    right = case.change(torch.optim.SGD, 0.01)
    torch.testing.assert_close(change, right, rtol=1e-9, atol=1e-10 * float(right.abs().max()))


@settings(max_examples=examples(15), deadline=None)
@given(data=st.data())
def test_any_convolution(data):
    draw = data.draw
    groups = draw(st.sampled_from([1, 2]))
    channels = [groups * draw(st.integers(1, 2)) for _ in range(2)]
    kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    padding, dilation = draw(st.integers(0, 2)), draw(st.integers(1, 2))
    bias, outputs = draw(st.booleans()), draw(st.integers(1, 2))

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(channels[0], channels[1], kernel, stride, padding, dilation, groups, bias),
            nn.Tanh(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(4 * channels[1], outputs),
        )

    generator = torch.Generator().manual_seed(draw(st.integers(0, 9)))
    x = torch.randn(3, channels[0], 6, 6, generator=generator).double()
    case = Problem(build, x, torch.zeros(3), x)
    right = case.kernel(case.left, case.left)
    torch.testing.assert_close(empirical_ntk(case.model(), x), right, rtol=1e-9, atol=1e-11)
