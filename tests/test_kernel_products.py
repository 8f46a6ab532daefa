"""Products with the tangent kernel, against the kernel written out."""

import pickle

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import cg, eigsh
from torch import nn

from lecore import empirical_ntk, ntk_operator
from lecore.engine import kernel_products
from lecore.engine.gradients.watching import PlainAutogradWarning
from lecore.errors import LecoreError
from tests.oracle import problem
from tests.zoo import mlp, net

FEW = ["cnn", "attention", "recurrent", "norm of llama", "counts in a buffer", "experts",
       "writes to its input", "complex weights", "embedding scaled by frequency"]  # fmt: skip


def written_out(model: nn.Module, x: torch.Tensor, **options: object) -> np.ndarray:
    kernel = empirical_ntk(model, x, **options)
    return kernel.transpose(1, 2).flatten(2).flatten(0, 1).cpu().numpy()


@pytest.mark.every(2)
@pytest.mark.filterwarnings("ignore::UserWarning")  # plain autograd, where needed
@pytest.mark.parametrize("name", FEW)
def test_products_are_those_of_the_kernel(name):
    case = problem(name, 2)
    kernel = written_out(case.model(), case.x)
    operator = ntk_operator(case.model(), case.x)
    assert operator.shape == kernel.shape
    every = operator @ np.eye(len(kernel))
    np.testing.assert_allclose(every, kernel, rtol=1e-9, atol=1e-12 * np.abs(kernel).max())


def fitted(n: int = 9) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return mlp(3), torch.randn(n, 5)


def test_eigenvalues_are_those_of_the_kernel():
    model, x = fitted()
    kernel, operator = written_out(model, x), ntk_operator(model, x)
    values, vectors = eigsh(operator, k=4)
    right, theirs = np.linalg.eigh(kernel)
    np.testing.assert_allclose(values, right[-4:], rtol=1e-10)
    np.testing.assert_allclose(np.abs((vectors * theirs[:, -4:]).sum(0)), 1, rtol=1e-8)


def test_it_solves():
    model, x = fitted(4)
    kernel, operator = written_out(model, x), ntk_operator(model, x)
    wanted = np.arange(12.0)
    found, failed = cg(operator, wanted, rtol=1e-12)
    assert failed == 0
    np.testing.assert_allclose(kernel @ found, wanted, rtol=1e-6, atol=1e-8)


def test_points_in_parts_give_the_same(monkeypatch):
    model, x = fitted()
    vector = np.random.default_rng(0).normal(size=27)
    whole = ntk_operator(model, x) @ vector
    monkeypatch.setattr(kernel_products, "PASS_BYTES", 400)
    np.testing.assert_allclose(ntk_operator(model, x) @ vector, whole, rtol=1e-12)


class Twice(torch.autograd.Function):
    """A way back of its own, and none forward."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, signal):
        return 2 * signal


def test_without_derivatives_forward_it_takes_gradients():
    model = net(lambda self, x: Twice.apply(self.a(x)), a=nn.Linear(5, 2))
    x = torch.randn(3, 5)
    with pytest.warns(PlainAutogradWarning, match="cannot differentiate it forward"):
        operator = ntk_operator(model, x)
    right = written_out(nn.Sequential(model.a, net(lambda self, x: 2 * x)), x)
    np.testing.assert_allclose(operator @ np.eye(6), right, rtol=1e-10)


class Unit(torch.autograd.Function):
    """A way back that is not linear in what is sent back."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, signal):
        return signal / signal.norm()


@pytest.mark.filterwarnings("ignore::UserWarning")  # plain autograd
def test_signals_that_do_not_add_up_are_sent_back_alone():
    model = net(lambda self, x: self.b(Unit.apply(self.a(x))), a=nn.Linear(5, 4), b=nn.Linear(4, 3))
    x = torch.randn(3, 5)
    np.testing.assert_allclose(
        ntk_operator(model, x) @ np.eye(9), written_out(model, x), rtol=1e-9, atol=1e-12
    )


def test_the_weights_and_points_are_those_of_then():
    model, x = fitted()
    model, x = model.double(), x.double()
    operator, vector = ntk_operator(model, x), np.ones(27)
    before = operator @ vector
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        x.zero_()
    assert np.array_equal(operator @ vector, before)
    assert np.array_equal(pickle.loads(pickle.dumps(operator)) @ vector, before)


def test_other_numbers():
    model, x = fitted()
    kernel, operator = written_out(model, x), ntk_operator(model, x)
    vector = np.arange(27)
    np.testing.assert_allclose(operator @ (vector + 1j), kernel @ (vector + 1j), rtol=1e-10)
    np.testing.assert_allclose(operator.T @ vector, kernel @ vector, rtol=1e-10)
    single = ntk_operator(model, x, dtype=torch.float32)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single @ vector, kernel @ vector, rtol=1e-4)
    with pytest.raises(ValueError, match="imension mismatch"):
        operator @ np.ones(3)
    with pytest.raises(LecoreError, match="not finite"):
        operator @ np.full(27, np.nan)


def test_frozen_weights_do_not_count():
    model, x = fitted()
    model[0].requires_grad_(False)
    np.testing.assert_allclose(
        ntk_operator(model, x) @ np.eye(27), written_out(model, x), rtol=1e-9, atol=1e-12
    )
