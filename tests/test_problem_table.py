"""Every route to kernels and changes against gradients and steps taken one by one.

Architectures × output sizes × losses × precisions; the oracle is autograd's gradient of one
example, and a real step on a copy of the model, in float64.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lecore import Tiles, empirical_ntk, linearized_change, losses, models, prediction_change
from lecore.gradients import structures_of
from lecore.seeding import seeded
from lecore.snapshot import snapshot

# torch says so where it has no batched LSTM; the numbers are the same
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")

N, M = 4, 3
"""Update and test points."""


class Attention(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


class CrossAttention(Attention):
    def forward(self, x: Tensor) -> Tensor:
        query, other = x[:, :2], x[:, 2:]
        return self.head(self.attention(query, other, other)[0].mean(1))


class Words(nn.Module):
    def __init__(self, outputs: int, padding: int | None = 0) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 6, padding_idx=padding)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.table(x)).mean(1))


class TiedWords(nn.Module):
    """Input and output share the table, as language models do."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 6)
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.table(x).mean(1))
        return F.linear(hidden, self.table.weight)[:, : self.outputs]


class Shared(nn.Module):
    """One linear map used three times, a bare matrix, a gain, a scalar and a shared bias."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)
        self.matrix = nn.Parameter(torch.randn(6, 5))
        self.gain = nn.Parameter(torch.randn(5))
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.last = nn.Linear(5, outputs)
        self.other = nn.Linear(5, outputs)
        self.other.bias = self.last.bias

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = torch.tanh(self.inner(x))
        x = self.gain * (x @ self.matrix) * self.scale
        return self.last(x) + self.other(torch.relu(x))


class SharedConvolution(nn.Module):
    """One convolution at two image sizes."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 2, 3, padding=1)
        self.head = nn.Linear(2, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(torch.relu(self.convolution(x)), 2)
        return self.head(self.convolution(x).mean((2, 3)))


class Block(nn.Module):
    """A residual block with in-place activations, as in torchvision."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.second(self.relu(self.norm(self.first(x))))
        out += x
        return self.relu(out)


class Recurrent(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.memory = nn.LSTM(4, 5, batch_first=True)
        self.head = nn.Linear(5, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.memory(x)[0][:, -1])


def frozen(model: nn.Sequential) -> nn.Sequential:
    model[0].weight.requires_grad_(False)
    return model


def words(count: int) -> Tensor:
    return torch.randint(0, 7, (count, 5))


def normal(*shape: int):
    return lambda count: torch.randn(count, *shape)


ARCHITECTURES = {
    "linear": (lambda c: nn.Sequential(nn.Linear(5, c)), normal(5)),
    "no bias": (
        lambda c: nn.Sequential(nn.Linear(5, 6, False), nn.ReLU(), nn.Linear(6, c, False)),
        normal(5),
    ),
    "two-layer": (lambda c: models.two_layer(5, 9, outputs=c), normal(5)),
    "three-layer": (lambda c: models.three_layer(5, 6, "gelu", outputs=c), normal(5)),
    "ntk parameterization": (
        lambda c: models.two_layer(5, 9, outputs=c, parameterization="ntk"), normal(5),
    ),
    "residual mlp": (lambda c: models.three_layer_resnet(5, 6, outputs=c), normal(5)),
    "frozen weight": (
        lambda c: frozen(nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, c))), normal(5),
    ),
    "shared weights": (Shared, normal(6)),
    "positions": (
        lambda c: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(15, c)),
        normal(3, 4),
    ),
    "cnn": (
        lambda c: nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, c)
        ),
        normal(1, 8, 8),
    ),
    "strided grouped dilated": (
        lambda c: nn.Sequential(
            nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2), nn.Tanh(),
            nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False), nn.AvgPool2d(2), nn.Flatten(),
            nn.Linear(24, c),
        ),
        normal(4, 9, 9),
    ),
    "same padding": (
        lambda c: nn.Sequential(
            nn.Conv2d(1, 2, 3, padding="same", dilation=2), nn.ReLU(), nn.Flatten(),
            nn.Linear(32, c),
        ),
        normal(1, 4, 4),
    ),
    "circular 1-d": (
        lambda c: nn.Sequential(
            nn.Conv1d(2, 3, 3, padding=1, padding_mode="circular"), nn.BatchNorm1d(3), nn.Tanh(),
            nn.Flatten(), nn.Linear(18, c),
        ),
        normal(2, 6),
    ),
    "3-d": (
        lambda c: nn.Sequential(
            nn.Conv3d(1, 2, 2, stride=(1, 2, 1)), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
            nn.Linear(2, c),
        ),
        normal(1, 3, 4, 4),
    ),
    "transposed": (
        lambda c: nn.Sequential(
            nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
            nn.InstanceNorm2d(6, affine=True), nn.Softplus(), nn.Flatten(), nn.Linear(216, c),
        ),
        normal(4, 3, 3),
    ),
    "transposed 1-d dilated": (
        lambda c: nn.Sequential(
            nn.ConvTranspose1d(2, 3, 3, stride=2, dilation=2), nn.Tanh(), nn.Flatten(),
            nn.Linear(39, c),
        ),
        normal(2, 5),
    ),
    "group norm": (
        lambda c: nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(16, c)
        ),
        normal(1, 4, 4),
    ),
    "layer and rms norm": (
        lambda c: nn.Sequential(
            nn.LayerNorm((3, 4)), nn.Linear(4, 5), nn.RMSNorm(5), nn.Flatten(), nn.Linear(15, c)
        ),
        normal(3, 4),
    ),
    "residual block": (
        lambda c: nn.Sequential(
            nn.Conv2d(1, 3, 3), Block(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, c)
        ),
        normal(1, 6, 6),
    ),
    "shared convolution": (SharedConvolution, normal(2, 4, 4)),
    "attention": (Attention, normal(5, 8)),
    "cross attention": (CrossAttention, normal(5, 8)),
    "transformer": (
        lambda c: nn.Sequential(
            nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True), nn.Flatten(),
            nn.Linear(24, c),
        ),
        normal(3, 8),
    ),
    "embedding": (Words, words),
    "tied embedding": (TiedWords, words),
    "prelu": (
        lambda c: nn.Sequential(nn.Linear(5, 6), nn.PReLU(), nn.Linear(6, c)), normal(5),
    ),
    "bilinear": (lambda c: nn.Sequential(nn.Linear(5, 6), nn.GLU(), nn.Linear(3, c)), normal(5)),
    "recurrent": (Recurrent, normal(3, 4)),
}  # fmt: skip

PROBLEMS = [(name, outputs) for name in ARCHITECTURES for outputs in (1, 3)]


def problem(name: str, outputs: int):
    build, draw = ARCHITECTURES[name]
    with seeded(1):
        model = build(outputs).eval()
        for buffer in model.buffers():  # running statistics that do something
            if buffer.is_floating_point():
                buffer.copy_(torch.rand_like(buffer) + 0.5)
        x, test_x = draw(N), draw(M)
    x, test_x = (p.double() if p.is_floating_point() else p for p in (x, test_x))
    if outputs == 1:
        return model, x, test_x, torch.linspace(-1, 1, N).double(), losses.squared_error
    return model, x, test_x, torch.arange(N) % outputs, losses.cross_entropy


def gradients(model: nn.Module, x: Tensor) -> Tensor:
    """∂f_c(x_i)/∂w by autograd, one example and output at a time, shape (n, c, P)."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for point in x:
        outputs = model(point[None])[0]
        row = [
            torch.autograd.grad(o, trainable, retain_graph=True, materialize_grads=True)
            for o in outputs
        ]
        rows.append(torch.stack([torch.cat([g.flatten() for g in gs]) for gs in row]))
    return torch.stack(rows)


def loop(model, x, y, test_x, rate, loss) -> Tensor:
    """Reset, one SGD step, predict: the papers' algorithm in float64."""
    rows = []
    for point, target in zip(x, y, strict=True):
        stepped = copy.deepcopy(model)
        loss(stepped(point[None])[0], target).backward()
        with torch.no_grad():
            for p in stepped.parameters():
                if p.grad is not None:
                    p -= rate * p.grad
            rows.append(stepped(test_x) - model(test_x))
    return torch.stack(rows)


@pytest.mark.parametrize(("name", "outputs"), PROBLEMS)
def test_kernels_and_changes(name, outputs):
    model, x, test_x, y, loss = problem(name, outputs)
    exact = copy.deepcopy(model).double()
    before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()

    left, right = gradients(exact, x), gradients(exact, test_x)
    for columns, other in ((None, left), (test_x, right)):
        kernel = torch.einsum("icp,jkp->ijck", left, other)
        scale = float(kernel.abs().max())
        measured = empirical_ntk(model, x, columns)
        torch.testing.assert_close(measured, kernel, rtol=0, atol=1e-12 * scale)
        tiled = empirical_ntk(model, x, columns, tiles=Tiles(shape=(3, 2)))
        torch.testing.assert_close(tiled, kernel, rtol=0, atol=1e-12 * scale)
        single = empirical_ntk(model, x, columns, dtype=torch.float32)
        torch.testing.assert_close(single.double(), kernel, rtol=0, atol=1e-5 * scale)

    prediction = exact(x).detach().requires_grad_()
    total = sum(loss(p, t) for p, t in zip(prediction, y, strict=True))
    (signal,) = torch.autograd.grad(total, prediction)
    first_order = -0.1 * torch.einsum("ik,ikp,jcp->ijc", signal, left, right)
    measured = linearized_change(model, x, y, test_x, learning_rate=0.1, loss=loss)
    torch.testing.assert_close(measured, first_order, rtol=1e-9, atol=1e-12)

    change = prediction_change(model, x, y, test_x, learning_rate=0.1, loss=loss)
    expected = loop(exact, x, y, test_x, 0.1, loss)
    torch.testing.assert_close(change, expected, rtol=1e-9, atol=1e-12)
    tiled = prediction_change(
        model, x, y, test_x, learning_rate=0.1, loss=loss, tiles=Tiles(shape=(3, 2))
    )
    torch.testing.assert_close(tiled, expected, rtol=1e-9, atol=1e-12)

    # the model is left as it was found
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key])
    assert all(p.grad is None for p in model.parameters())
    assert not model.training
    assert torch.equal(torch.get_rng_state(), random_state)


def test_structure_is_found_and_not_fallen_back_from():
    def fallbacks(name):
        model, x, *_ = problem(name, 3)
        return list(structures_of(snapshot(model), [x[:1]])[0].direct)

    everywhere = {name: fallbacks(name) for name in ARCHITECTURES}
    unstructured = {name: names for name, names in everywhere.items() if names}
    assert unstructured == {
        "shared weights": ["gain", "scale", "last.bias"],
        "cross attention": ["attention.in_proj_weight", "attention.in_proj_bias"],
        "tied embedding": ["table.weight"],
        "prelu": ["1.weight"],
        "recurrent": [f"memory.{p}_l0" for p in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")],
    }


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_random_convolutional_networks(data):
    draw = data.draw
    groups = draw(st.sampled_from([1, 2]))
    channels = [groups * draw(st.integers(1, 2)) for _ in range(2)]
    kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    padding, dilation = draw(st.integers(0, 2)), draw(st.integers(1, 2))
    bias, outputs = draw(st.booleans()), draw(st.integers(1, 2))
    with seeded(draw(st.integers(0, 9))):
        model = nn.Sequential(
            nn.Conv2d(channels[0], channels[1], kernel, stride, padding, dilation, groups, bias),
            nn.Tanh(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(4 * channels[1], outputs),
        )
        x = torch.randn(3, channels[0], 6, 6).double()
    expected = gradients(copy.deepcopy(model).double(), x)
    kernel_matrix = torch.einsum("icp,jkp->ijck", expected, expected)
    torch.testing.assert_close(empirical_ntk(model, x), kernel_matrix, rtol=1e-9, atol=1e-11)


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


def test_an_exception_leaves_the_model_alone():
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 1)

        def forward(self, x: Tensor) -> Tensor:
            out = self.linear(x)
            if len(x) > 1:
                raise RuntimeError("fails in the middle")
            return out

    model = Failing()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    with pytest.raises(RuntimeError, match="fails in the middle"):
        prediction_change(model, torch.randn(2, 2), torch.zeros(2), learning_rate=1.0)
    after_first_draw = torch.get_rng_state()
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not torch.equal(state, after_first_draw)  # by randn above, and by nothing else
    assert model.linear.weight.grad is None
