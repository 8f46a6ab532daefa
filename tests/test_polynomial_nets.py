"""Polynomial nets against their expanded polynomials, real steps, and a closed form."""

import copy

import numpy as np
import pytest
import sympy
import torch
from torch import nn

from lecore import LecoreError, empirical_ntk, prediction_change, seeded
from lecore.data.manifolds import torus
from lecore.engine.choosing import structures
from lecore.engine.opening import opened
from lecore.losses import cross_entropy, squared_error
from lecore.studies.neighbours import polynomial_elasticity as elasticity
from lecore.studies.neighbours.polynomial_nets import (
    KINDS,
    convolutional,
    dense,
    parameters_of,
    width_for,
)

SHAPE = (2, 6, 6)


def networks() -> dict[str, tuple[nn.Module, torch.Tensor]]:
    with seeded(1):
        flat, images = torch.randn(5, 4).double(), torch.randn(4, *SHAPE).double()
    found = {}
    for kind in KINDS:
        found[f"{kind}, dense"] = dense(kind, 4, 5, 3, outputs=3).double(), flat
        net = convolutional(kind, SHAPE, 3, 3, outputs=3, pool=3)
        found[f"{kind}, convolutional"] = net.double(), images
    return found


NETWORKS = networks()


def expanded(net: nn.Module, z: list[sympy.Symbol]) -> sympy.Poly:
    """The output of a dense net as a polynomial, by symbols and the equations as printed."""
    numbers = {
        name: sympy.Matrix(p.detach().reshape(p.shape[0], -1).tolist())
        for name, p in net[1].named_parameters()
    }

    def affine(name: str, x: sympy.Matrix) -> sympy.Matrix:
        return numbers[f"{name}.weight"] * x + numbers[f"{name}.bias"]

    kind, degree = net[1].kind, net[1].degree
    x = affine("of_input.0", sympy.Matrix(z))
    for n in range(1, degree):
        of_input = affine(f"of_input.{n}", sympy.Matrix(z))
        if kind == "CCP":
            x = of_input.multiply_elementwise(x) + x
            continue
        product = of_input.multiply_elementwise(affine(f"of_state.{n - 1}", x))
        x = product if kind == "NCP" else product + affine(f"skips.{n - 1}", x)
    return sympy.Poly(affine("head", x)[0], *z)


@pytest.mark.parametrize("kind", KINDS)
def test_a_net_is_its_expanded_polynomial_of_its_degree(kind):
    net = dense(kind, 2, 2, 3).double()
    z = list(sympy.symbols("z0:2"))
    polynomial = expanded(net, z)
    points = np.random.default_rng(0).normal(size=(6, 2))
    wanted = [float(polynomial.eval(dict(zip(z, point, strict=True)))) for point in points]
    found = net(torch.tensor(points)).detach()[:, 0].numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert polynomial.total_degree() == 3


@pytest.mark.parametrize("name", NETWORKS)
def test_along_a_line_it_is_a_polynomial_of_no_higher_degree(name):
    net, x = NETWORKS[name]
    t = np.linspace(-1, 1, 9)
    along = torch.stack([x[0] + s * x[1] for s in t])
    values = net(along).detach().numpy()
    fits = [np.polynomial.Polynomial.fit(t, v, 3)(t) for v in values.T]
    np.testing.assert_allclose(np.stack(fits, 1), values, atol=1e-12)
    lower = [np.polynomial.Polynomial.fit(t, v, 2)(t) for v in values.T]
    assert np.abs(np.stack(lower, 1) - values).max() > 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_is_that_of_a_copy(name):
    net, x = NETWORKS[name]
    y = torch.arange(len(x)) % 3
    change = prediction_change(net, x, y, learning_rate=0.1, loss=cross_entropy)
    for i in range(len(x)):
        other = copy.deepcopy(net)
        step = torch.optim.SGD(other.parameters(), lr=0.1)
        cross_entropy(other(x[i : i + 1])[0], y[i]).backward()
        step.step()
        torch.testing.assert_close(change[i], other(x) - net(x), atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_factored_gradients_apply(name):
    net, x = NETWORKS[name]
    with opened(net, x, None) as (measured, rows):
        for structure in structures(measured, rows, rows, True):
            assert (structure.direct, structure.route) == ((), "vectorized")


def test_a_step_on_the_expanded_polynomial_gives_the_same_change():
    net = dense("CCP", 1, 1, 2).double()
    names = ["u", "a", "v", "b", "c", "d"]  # of x_1 = u z + a, x_2 = (1 + v z + b) x_1, c x_2 + d
    *w, z = sympy.symbols([*names, "z"])
    u, a, v, b, c, d = w
    output = sympy.expand(c * (1 + v * z + b) * (u * z + a) + d)
    start = dict(zip(w, (p.item() for p in net.parameters()), strict=True))
    here, there, target, rate = 0.7, -1.3, 0.5, 0.1
    slope = 2 * (output - target)
    gradient = {p: (slope * output.diff(p)).subs(start | {z: here}) for p in w}
    after = {p: start[p] - rate * gradient[p] for p in w}
    wanted = output.subs(after | {z: there}) - output.subs(start | {z: there})
    x, y, other = (torch.tensor([[v]], dtype=torch.float64) for v in (here, target, there))
    change = prediction_change(net, x, y, other, learning_rate=rate, loss=squared_error)
    assert float(change) == pytest.approx(float(wanted), abs=1e-12)


@pytest.mark.parametrize("degree", [0, 1, -2, 2.0, True])
def test_a_degree_below_two_is_refused_with_the_cure(degree):
    cure = "2 or larger; take fully_connected" if str(degree) == "1" else "a whole number above 0"
    with pytest.raises(LecoreError, match=f"^degree must be {cure}") as error:
        dense("NCP", 3, 4, degree)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: dense("CP", 3, 4, 2),
        lambda: dense("CCP", 3, 0, 2),
        lambda: convolutional("CCP", (1, 8, 8), 4, 2, kernel=2),
        lambda: convolutional("CCP", (1, 9, 8), 4, 2),
        lambda: elasticity.wide_ccp_kernel(np.eye(3), 0),
    ],
)
def test_other_sizes_and_names_are_refused_in_one_line(make):
    with pytest.raises(LecoreError) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_the_nearest_width_has_the_nearest_number_of_parameters(kind):
    def make(width):
        return dense(kind, 6, width, 3)

    counts = {width: parameters_of(make(width)) for width in range(1, 40)}
    for wanted in (1, 100, 555, 700):
        nearest = min(counts, key=lambda width: abs(counts[width] - wanted))
        assert width_for(wanted, make) == nearest


def test_a_wide_net_has_the_kernel_of_the_closed_form():
    points = torus(12, 0).points / 8
    x = torch.tensor(points)
    kernels = [
        empirical_ntk(dense("CCP", 3, 20_000, 3, seed=s).double(), x).squeeze() / 20_000
        for s in range(3)
    ]
    found = torch.stack(kernels).mean(0).numpy()
    wanted = elasticity.wide_ccp_kernel(points, 3)
    np.testing.assert_allclose(found, wanted, atol=0.02 * wanted.max())


def test_degree_one_of_the_closed_form_is_the_linear_network():
    curves = torus(40, 0)
    network = elasticity.torus_network("linear", 20_000)
    found = elasticity.torus_correlation(network, curves)
    own = curves.primary
    similarity = elasticity.wide_similarity(curves.points[own], 1)
    wanted = elasticity.correlation_with_distance(similarity, curves.distance[np.ix_(own, own)])
    assert found == pytest.approx(wanted, abs=0.03)


def test_networks_of_a_comparison_have_the_same_size():
    made = elasticity.image_networks(64, 10, width=64, degree=4, seed=0)
    sizes = [parameters_of(net) for net in made.values()]
    assert max(sizes) < 1.05 * min(sizes)


def test_superiority_counts_pairs(monkeypatch):
    s = np.array([[1, 0.9, 0.2], [0.5, 1, 0.7], [0.3, 0.1, 1]])
    change = torch.tensor(s)[:, :, None]
    monkeypatch.setattr(elasticity, "prediction_change", lambda *a, **k: change)
    y = torch.tensor([0, 0, 1])
    split = elasticity.ImageSplit(y, y, torch.zeros(3, 1), y)
    pairs = [(w > b) for w in (0.9, 0.5) for b in (0.2, 0.7, 0.3, 0.1)]
    assert elasticity.same_class_superiority(nn.Identity(), split, 3) == np.mean(pairs)
