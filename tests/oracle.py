"""What the library should give, from the definitions: slow, one example and output at a time.

A network is never copied, as many cannot be: it is built anew from the same seed for each look.
f(x) is what a network just built gives for the batch of one, so nothing that a forward leaves
behind counts.
"""

import contextlib
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from lecore.losses import Loss, cross_entropy, squared_error
from tests.zoo import ARCHITECTURES

N, M = 3, 2
"""Update and test points."""


@contextlib.contextmanager
def seed(number: int) -> Iterator[None]:
    """Of the processor's generator alone, which is quicker."""
    state = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(number)
        yield
    finally:
        torch.set_rng_state(state)


@contextlib.contextmanager
def exactly() -> Iterator[None]:
    """A world in which single precision is double precision."""
    default = torch.get_default_dtype()
    with contextlib.ExitStack() as stack:
        stack.callback(torch.set_default_dtype, default)
        for name, double in (
            ("float32", torch.float64),
            ("float", torch.float64),
            ("complex64", torch.complex128),
            ("FloatTensor", torch.DoubleTensor),
        ):
            stack.enter_context(mock.patch.object(torch, name, double))
        stack.enter_context(mock.patch.object(Tensor, "float", Tensor.double))
        torch.set_default_dtype(torch.float64)
        yield


def doubled(model: nn.Module) -> nn.Module:
    """All tensors of a model in double precision, in place."""
    model = getattr(model, "_orig_mod", model)  # of torch.compile
    model.double()
    for tensor in model.parameters():
        if tensor.is_complex():
            tensor.data = tensor.data.to(torch.complex128)
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor) and value.is_floating_point():
                setattr(module, name, value.detach().double())
    return model


def real(gradient: Tensor) -> Tensor:
    """As a vector of real numbers, whose product is that of the real and imaginary parts."""
    dense = gradient.detach().to_dense() if gradient.is_sparse else gradient.detach()
    return (torch.view_as_real(dense) if dense.is_complex() else dense).flatten().clone()


@dataclass(frozen=True, eq=False)
class Problem:
    """A network, and points and a loss to measure it with.

    Attributes:
        build: Makes the network, from the seeded generator.
        x: Update points.
        y: Their targets.
        test_x: Test points.
        loss: Loss of one prediction.
    """

    build: Callable[[], nn.Module]
    x: Tensor
    y: Tensor
    test_x: Tensor
    loss: Loss = squared_error

    def model(self) -> nn.Module:
        """As people have it, in single precision."""
        with seed(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch would rather have the newer weight norms
            model = self.build().eval()
            for name, buffer in model.named_buffers():
                if "running" in name:  # statistics that do something
                    buffer.copy_(torch.rand_like(buffer) + 0.5)
        return model

    def predict(self, point: Tensor, moved: list[Tensor | None] | None = None) -> Tensor:
        """f(x) with the weights as they are, or at others."""
        model = doubled(self.model())
        if moved is not None:
            for parameter, value in zip(model.parameters(), moved, strict=True):
                parameter.data = value
        with exactly():
            return model(point[None].clone())[0].detach()

    def gradient(self, point: Tensor, of: Callable[[Tensor], Tensor]) -> list[Tensor | None]:
        """The gradient of a number made of f(x), one tensor a parameter."""
        model = doubled(self.model())
        with exactly():
            of(model(point[None].clone())[0]).backward()
        return [p.grad for p in model.parameters()]

    def gradients(self, points: Tensor) -> Tensor:
        """∂f_c(x_i)/∂w, shape (n, outputs, size)."""

        def rows(point: Tensor) -> Iterator[Tensor]:
            model = doubled(self.model())
            trained = [p for p in model.parameters() if p.requires_grad]
            with exactly():
                prediction = model(point[None].clone())[0]
                for c in range(self.outputs):
                    model.zero_grad()
                    prediction[c].backward(retain_graph=True)
                    yield torch.cat(
                        [real(torch.zeros_like(p) if p.grad is None else p.grad) for p in trained]
                    )

        return torch.stack([torch.stack(list(rows(point))) for point in points])

    def change(self, kind: type[torch.optim.Optimizer], learning_rate: float) -> Tensor:
        """Δ[i, j, c] after one step of an optimiser on each update point."""
        rows = []
        for slopes in self.slopes:
            model = doubled(self.model())
            for parameter, slope in zip(model.parameters(), slopes, strict=True):
                parameter.grad = None if slope is None else slope.to_dense()
            kind(model.parameters(), lr=learning_rate).step()
            moved = [p.detach() for p in model.parameters()]
            rows.append(torch.stack([self.predict(other, moved) for other in self.test_x]))
        return torch.stack(rows) - torch.stack([self.predict(other) for other in self.test_x])

    @cached_property
    def slopes(self) -> list[list[Tensor | None]]:
        """∂L_i/∂w."""
        return [
            self.gradient(point, lambda f, t=target: self.loss(f, t))
            for point, target in zip(self.x, self.y, strict=True)
        ]

    @cached_property
    def network(self) -> nn.Module:
        """One to measure again and again, as measuring must leave it alone."""
        return self.model()

    @cached_property
    def outputs(self) -> int:
        return len(self.predict(self.x[0]))

    @cached_property
    def left(self) -> Tensor:
        return self.gradients(self.x)

    @cached_property
    def right(self) -> Tensor:
        return self.gradients(self.test_x)

    @cached_property
    def signal(self) -> Tensor:
        """∂L/∂f, shape (n, outputs)."""
        prediction = torch.stack([self.predict(point) for point in self.x]).requires_grad_()
        total = sum(self.loss(f, t) for f, t in zip(prediction, self.y, strict=True))
        return torch.autograd.grad(total, prediction)[0]

    def kernel(self, left: Tensor, right: Tensor) -> Tensor:
        """Θ[i, j, c, k]."""
        return torch.einsum("icp,jkp->ijck", left, right)


@cache
def problem(name: str, outputs: int) -> Problem:
    """One of the zoo, with a squared error of one output or classes of several."""
    build, draw, *other = ARCHITECTURES[name]
    with seed(2):
        x, test_x = draw(N), (other or [draw])[0](M)
    x, test_x = (p.double() if p.is_floating_point() else p for p in (x, test_x))
    if outputs == 1:
        return Problem(lambda: build(1), x, torch.linspace(-1, 1, N).double(), test_x)
    return Problem(lambda: build(outputs), x, torch.arange(N) % outputs, test_x, cross_entropy)


# --- the world, to be left as it was found ------------------------------------------------------


def look(value: object) -> object:
    """What would show that an object was exchanged or written to."""
    if isinstance(value, Tensor):
        return id(value), value._version, value.requires_grad, value.dtype, real(value)
    if isinstance(value, dict):
        return {key: look(v) for key, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [look(v) for v in value]
    if isinstance(value, np.ndarray):
        return value.tobytes()
    return value if isinstance(value, int | float | str | None) else id(value)


def world(model: nn.Module, *tensors: Tensor) -> dict[str, object]:
    """All that a measurement could change."""
    seen = {f"{name}.{key}": look(value)
            for name, module in model.named_modules()
            for key, value in vars(module).items()}  # fmt: skip
    return {
        **seen,
        **{f"gradient of {name}": look(p.grad) for name, p in model.named_parameters()},
        **{f"tensor {i}": look(t) for i, t in enumerate(tensors)},
        "torch's random state": torch.get_rng_state(),
        "python's random state": random.getstate(),
        "numpy's random state": look(np.random.get_state(legacy=False)),
        **flags(),
    }


def flags() -> dict[str, object]:
    """The process's and the thread's settings."""
    backends, cuda = torch.backends, torch.backends.cuda
    return {
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "default dtype": torch.get_default_dtype(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "fast attention": backends.mha.get_fastpath_enabled(),
        "cudnn": backends.cudnn.enabled,
        "fused attention": [cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(),
                            cuda.math_sdp_enabled(), cuda.cudnn_sdp_enabled()],
        "precision": [backends.fp32_precision, backends.mkldnn.matmul.fp32_precision,
                      backends.mkldnn.conv.fp32_precision, cuda.matmul.fp32_precision],
        "module hooks": len(nn.modules.module._global_forward_hooks)
        + len(nn.modules.module._global_forward_pre_hooks),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
    }  # fmt: skip


def differences(before: object, after: object, where: str = "") -> list[str]:
    """Places at which two looks differ."""
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        return [] if torch.equal(before, after) else [where]
    if isinstance(before, dict) and isinstance(after, dict):
        names = before.keys() ^ after.keys()
        inner = [differences(before[k], after[k], f"{where} {k}") for k in before if k in after]
        return [f"{where} {k}" for k in names] + [d for found in inner for d in found]
    if isinstance(before, list | tuple) and isinstance(after, list | tuple):
        if len(before) != len(after):
            return [where]
        inner = [differences(b, a, where) for b, a in zip(before, after, strict=True)]
        return [d for found in inner for d in found]
    return [] if before == after else [where]
