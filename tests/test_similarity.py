"""Similarities against closed forms, exact arithmetic and the papers' code, line by line."""

import decimal
import math
import threading
import warnings
from decimal import Decimal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lecore import (
    correlation_with_distance,
    empirical_ntk,
    kernelized_similarity,
    models,
    normalized_similarity,
    output_gradient,
    prediction_change,
    relative_similarity,
    symmetrized,
)
from lecore.engine.network.flags import fixed_flags
from lecore.engine.rounding import RoundingWarning, signal_to_rounding, warn_below_rounding
from lecore.losses import binary_cross_entropy, squared_error
from lecore.probabilities import prediction_divergence, softmax_change
from lecore.similarity import UndefinedRowsWarning, own_change
from lecore.studies.dan.definitions import (
    divergence_similarity,
    divergence_similarity_as_coded,
    relative_similarity_as_coded,
)
from lecore.studies.he_su.as_coded import kernelized_similarity_as_coded
from tests.examples import examples


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


@given(seed=st.integers(0, 1000), outputs=st.integers(1, 3), scale=st.floats(1e-3, 1e3))
@settings(max_examples=examples(30), deadline=None)
def test_relative_similarity_is_one_with_itself_and_scale_free(seed, outputs, scale):
    change = torch.randn(6, 6, outputs, generator=torch.Generator().manual_seed(seed)).double()
    similarity = relative_similarity(change)
    torch.testing.assert_close(similarity.diagonal(), torch.ones(6, dtype=torch.float64))
    assert (similarity >= 0).all()
    torch.testing.assert_close(relative_similarity(scale * change), similarity)
    own = torch.stack([change[i, i] for i in range(6)])
    torch.testing.assert_close(relative_similarity(change[:, :4], own), similarity[:, :4])


def test_norms_over_outputs():
    change = normal(4, 4, 3)
    similarity = relative_similarity(change)
    for i in range(4):
        for j in range(4):
            above, below = (np.linalg.norm(moved.numpy()) for moved in (change[i, j], change[i, i]))
            assert float(similarity[i, j]) == pytest.approx(above / below)
    one = change[:, :, :1]
    assert torch.equal(
        relative_similarity(one), one[:, :, 0].abs() / one[:, :, 0].diagonal().abs()[:, None]
    )


@pytest.mark.parametrize("form", ["numpy", "zarr"])
def test_arrays_and_matrices_on_disk_have_similarities_too(tmp_path, monkeypatch, form):
    change, own = normal(5, 3, 2), normal(5, 2, seed=1)

    def held(tensor, name):
        if form == "numpy":
            return tensor.numpy()
        zarr = pytest.importorskip("zarr")
        return zarr.create_array(tmp_path / name, data=tensor.numpy(), chunks=tensor.shape)

    monkeypatch.setattr("lecore.similarity.HELD", 13)  # two rows of six numbers
    found = relative_similarity(held(change, "change"), held(own, "own"))
    torch.testing.assert_close(found, relative_similarity(change, own))
    change[3, 1, 1] = torch.nan
    broken = held(change, "other")
    with pytest.raises(ValueError, match="1 of 12 entries of change are not finite"):
        relative_similarity(broken, own)


def test_norms_of_tiny_changes_do_not_underflow():
    change = normal(4, 4, 3)
    torch.testing.assert_close(relative_similarity(1e-200 * change), relative_similarity(change))


@pytest.mark.parametrize("outputs", [1, 3])
def test_changes_far_below_one_keep_their_similarity(outputs):
    change = normal(5, 5, outputs).float()
    tiny = (change.double() * 1e-30).float()
    torch.testing.assert_close(relative_similarity(tiny), relative_similarity(change))


def test_still_update_points_are_undefined_and_counted():
    change = normal(5, 5, 2)
    expected = relative_similarity(change)
    change[1] = 0
    change[3, 3] = 0
    with pytest.warns(UndefinedRowsWarning, match="2 of 5 update points did not move"):
        similarity = relative_similarity(change)
    assert similarity[[1, 3]].isnan().all()
    assert torch.equal(similarity[[0, 2, 4]], expected[[0, 2, 4]])
    change[0, 0] = 1e-310  # so little that the quotient overflows
    with pytest.warns(UndefinedRowsWarning, match="3 of 5"):
        assert relative_similarity(change)[0].isnan().all()


def test_linear_model_in_closed_form():
    x = torch.randn(5, 3, dtype=torch.float64)
    change = prediction_change(torch.nn.Linear(3, 1), x, torch.zeros(5, 1), learning_rate=0.1)
    expected = (x @ x.T + 1).abs() / (x.square().sum(1) + 1)[:, None]
    torch.testing.assert_close(relative_similarity(change), expected)


def test_a_loss_gradient_of_shape_n_is_that_of_the_rows():
    change, gradient = torch.arange(1.0, 10).reshape(3, 3, 1), torch.tensor([1.0, 2.0, 4.0])
    found = kernelized_similarity(change, gradient, 0.5)
    torch.testing.assert_close(found, kernelized_similarity(change, gradient[:, None], 0.5))


@pytest.mark.parametrize("size", [1e-30, 1e25])
def test_neither_small_nor_large_numbers_of_single_precision_are_lost(size):
    kernel = size * torch.tensor([[4.0, 1.0], [1.0, 1.0]])
    expected = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    torch.testing.assert_close(normalized_similarity(kernel), expected)


def test_a_product_of_rate_and_gradient_that_underflows_does_no_harm():
    expected = 1e6 * torch.tensor([[4.0, 1.0], [1.0, 1.0]])
    gradient = torch.tensor([1e-36, -1e-36])
    change = -1e-10 * (gradient[:, None] * expected)
    found = kernelized_similarity(change[:, :, None], gradient, 1e-10)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def test_what_a_precision_cannot_hold_is_refused():
    tiny, one = torch.tensor([1e-40]), torch.ones(1, 1, 1)
    with pytest.raises(ValueError, match=r"S_ker has entries beyond torch\.float32"):
        kernelized_similarity(one, tiny, 1e-3)
    with pytest.raises(ValueError, match=r"beyond torch\.float16; compute in float64"):
        normalized_similarity(torch.tensor([[1e-4, 60000.0], [60000.0, 1e-4]]).half())
    with pytest.raises(ValueError, match="2 of 4 entries of kernel are not finite"):
        normalized_similarity(torch.tensor([[1.0, torch.inf], [torch.inf, 1.0]]))


def test_kernelized_similarity_tends_to_the_kernel():
    model, x, y = models.two_layer(3, 32), torch.randn(5, 3, dtype=torch.float64), torch.rand(5, 1)
    gradient = output_gradient(model, x, y)
    change = prediction_change(model, x, y, learning_rate=1e-7)
    kernel = empirical_ntk(model, x)[..., 0, 0]
    similarity = kernelized_similarity(change, gradient, 1e-7)
    torch.testing.assert_close(similarity, kernel, rtol=1e-4, atol=1e-5)
    normalized = normalized_similarity(kernel)
    torch.testing.assert_close(normalized.diagonal(), torch.ones(5, dtype=torch.float64))
    assert (normalized.abs() <= 1 + 1e-12).all()


def test_symmetrized():
    matrix = torch.arange(9.0).reshape(3, 3)
    assert torch.equal(symmetrized(matrix), torch.tensor([[0.0, 2, 4], [2, 4, 6], [4, 6, 8]]))


def exactly(logits: torch.Tensor, change: torch.Tensor) -> tuple[list[float], float]:
    """Change of the softmax, and KL(p⁺ ‖ p) of one prediction in 500 digits."""
    with decimal.localcontext(prec=500):
        z, step = ([Decimal(float(v)) for v in vector] for vector in (logits, change))
        before = [a.exp() for a in z]
        after = [w * b.exp() for w, b in zip(before, step, strict=True)]
        p, q = ([w / sum(weights) for w in weights] for weights in (before, after))
        partition = (sum(after) / sum(before)).ln()
        triples = list(zip(p, q, step, strict=True))
        divergence = sum(b * (d - partition) for _, b, d in triples)
        return [float(b - a) for a, b, _ in triples], float(divergence)


@given(
    seed=st.integers(0, 10**6),
    classes=st.integers(2, 4),
    logits=st.sampled_from([0.1, 1, 10, 100]),
    change=st.sampled_from([1e-12, 1e-8, 1e-4, 0.1, 1, 10, 100]),
    shift=st.sampled_from([0.0, 1.0, -30.0]),
    precision=st.sampled_from([torch.float64, torch.float32]),
)
@settings(max_examples=examples(60), deadline=None)
def test_softmax_changes_keep_their_digits(seed, classes, logits, change, shift, precision):
    z = normal(1, classes, seed=seed, scale=logits).to(precision)
    step = (shift + normal(1, 1, classes, seed=seed + 1, scale=change)).to(precision)
    exact, exact_divergence = exactly(z[0], step[0, 0])
    digits = 1e-12 if precision == torch.float64 else 1e-4  # log p loses |log p| units
    tiny = torch.finfo(precision).tiny / torch.finfo(precision).eps
    found = softmax_change(z, step)[0, 0]
    for a, b in zip(found.tolist(), exact, strict=True):
        assert a == pytest.approx(b, abs=max(digits * max(map(abs, exact)), tiny))
    divergence = float(prediction_divergence(z, step))
    assert divergence == pytest.approx(exact_divergence, rel=digits, abs=tiny)
    assert divergence >= 0


def test_huge_changes_of_logits_do_not_overflow():
    z, step = torch.tensor([[0.0, -800.0]]).double(), torch.tensor([[[0.0, 1600.0]]]).double()
    assert softmax_change(z, step).tolist() == [[[-1.0, 1.0]]]
    assert prediction_divergence(z, step).tolist() == [[pytest.approx(800)]]


def test_small_divergences_are_half_the_variance_of_the_change():
    z, step = normal(3, 4), normal(2, 3, 4, seed=1, scale=1e-9)
    p = z.softmax(1)
    variance = (p * (step - (p * step).sum(2, keepdim=True)) ** 2).sum(2)
    torch.testing.assert_close(prediction_divergence(z, step), variance / 2, rtol=1e-7, atol=0)


def test_divergence_similarity_is_the_ratio_of_divergences():
    z, step = normal(4, 3), normal(4, 4, 3, seed=1, scale=0.3)
    p, q = z.softmax(1), (z + step).softmax(2)
    expected = torch.empty(4, 4, dtype=torch.float64)
    for i in range(4):

        def divergence(j, i=i):
            return F.kl_div(p[j].log(), q[i, j], reduction="sum")

        for j in range(4):
            expected[i, j] = divergence(j) / divergence(i)
    found = divergence_similarity(z, step)
    torch.testing.assert_close(found, expected)
    assert torch.equal(found.diagonal(), torch.ones(4, dtype=torch.float64))
    own = torch.stack([step[i, i] for i in range(4)])
    rectangular = divergence_similarity(z[1:], step[:, 1:], z, own)
    torch.testing.assert_close(rectangular, expected[:, 1:])
    kl = prediction_divergence(z, step)
    damped = divergence_similarity(z, step, epsilon=1e-3)
    torch.testing.assert_close(damped, kl / (kl.diagonal()[:, None] + 1e-3))
    # a shift of all logits is no change
    shifted = divergence_similarity(z + 2, step + normal(4, 4, 1))
    torch.testing.assert_close(shifted, expected)


def test_undefined_divergences():
    z, step = normal(3, 2), normal(3, 3, 2, seed=1)
    step[1, 1] = 5.0  # the same for all classes
    with pytest.warns(UndefinedRowsWarning, match="1 of 3"):
        assert divergence_similarity(z, step).isnan().any(dim=1).tolist() == [False, True, False]
    assert divergence_similarity(z, step, epsilon=1e-8).isfinite().all()
    with pytest.raises(ValueError, match="3 of 3 update points did not move"):
        divergence_similarity(z, torch.zeros(3, 3, 2))


def test_divergence_similarity_as_coded_runs_their_lines():
    z, step = normal(5, 3), normal(4, 5, 3, seed=1)
    own_z, own_step = normal(4, 3, seed=2), normal(4, 3, seed=3)
    found = divergence_similarity_as_coded(z, step, own_z, own_step)

    def their_divergence(before, after):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns that this mean is no divergence
            return F.kl_div(after[None].softmax(1), before[None].softmax(1))

    for i in range(4):
        below = their_divergence(own_z[i], own_z[i] + own_step[i]) + 1e-8
        for j in range(5):
            above = their_divergence(z[j], z[j] + step[i, j])
            assert float(found[i, j]) == pytest.approx(float(above / below), rel=1e-12)
    # −(H(p) + ⟨p, p⟩)/K without any update: ln 3 + ⅓ over 3 for uniform p, ⅓ for certain ones
    p = torch.tensor([[0.0, 0.0, 0.0], [1000.0, 0.0, 0.0]]).double()
    still = divergence_similarity_as_coded(p, torch.zeros(2, 2, 3).double())
    assert float(still[1, 0]) == pytest.approx((math.log(3) + 1 / 3) / 1)
    # the further the prediction at a test point moves from where it was, the smaller
    away = torch.zeros(1, 1, 3).double().expand(1, 3, 3).clone()
    away[0, :, 1] = torch.tensor([0.0, 3.0, 9.0])
    same = torch.tensor([[4.0, 0.0, 0.0]]).double()
    row = divergence_similarity_as_coded(same.expand(3, 3), away, same, away[:, 0])[0]
    assert row[0] > row[1] > row[2]


def test_relative_similarity_as_coded_runs_their_lines():
    z, step = normal(4, 3), normal(4, 4, 3, seed=1)
    p, q = z.softmax(1), (z + step).softmax(2)
    found = relative_similarity_as_coded(softmax_change(z, step))
    for i in range(4):
        below = F.mse_loss(q[i, i], p[i]).sqrt() + 1e-8
        for j in range(4):
            above = F.mse_loss(q[i, j], p[j], reduction="none").sqrt().mean()
            assert float(found[i, j]) == pytest.approx(float(above / below), rel=1e-12)
    own = found.diagonal()
    assert (own > 1 / math.sqrt(3) - 1e-6).all()
    assert (own < 1).all()
    own_change = torch.stack([softmax_change(z, step)[i, i] for i in range(4)])
    part = relative_similarity_as_coded(softmax_change(z, step)[:, :2], own_change)
    torch.testing.assert_close(part, found[:, :2])


@pytest.mark.parametrize("loss", ["MSE", "BCE"])
def test_kernelized_similarity_as_coded_runs_their_loop(loss):
    model = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Sigmoid()).double()
    x, y, rates = normal(4, 2), torch.tensor([[0.0], [1], [1], [0]]).double(), []
    before = model(x).detach().numpy()
    change, rows = [], []
    for i, step_rate in enumerate([1e-6, 1e-18, 0.1, 1e-18]):
        condition = 0.0
        while condition == 0.0:
            used_rate = step_rate
            stepped = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Sigmoid()).double()
            stepped.load_state_dict(model.state_dict())
            optimizer = torch.optim.SGD(stepped.parameters(), lr=step_rate)
            criterion = torch.nn.MSELoss() if loss == "MSE" else torch.nn.BCELoss()
            criterion(stepped(x[i : i + 1]), y[i : i + 1]).backward()
            optimizer.step()
            delta = stepped(x).detach().numpy() - before
            condition = delta[i]
            row = delta / 2 / step_rate
            scale = -(before[i] - int(y[i]))
            if loss == "BCE":
                scale /= before[i]
                scale /= 1 - before[i]
            step_rate *= 3
        row /= scale
        change.append(torch.from_numpy(delta))
        rows.append(row)
        rates.append(used_rate)
    assert rates[1] > 1e-18
    assert rates[2] == 0.1
    found = kernelized_similarity_as_coded(
        torch.stack(change),
        torch.from_numpy(before),
        y,
        torch.tensor(rates, dtype=torch.float64),
        loss=loss,
    )
    torch.testing.assert_close(found, torch.from_numpy(np.stack(rows))[:, :, 0])
    per_example = squared_error if loss == "MSE" else binary_cross_entropy
    printed = kernelized_similarity(
        prediction_change(model, x, y, learning_rate=0.1, loss=per_example),
        output_gradient(model, x, y, loss=per_example),
        0.1,
    )
    coded = kernelized_similarity_as_coded(
        prediction_change(model, x, y, learning_rate=0.1, loss=per_example),
        torch.from_numpy(before), y, 0.1, loss=loss,
    )  # fmt: skip
    torch.testing.assert_close(coded, printed if loss == "MSE" else printed / 2)


@given(units=st.integers(0, 1000), seed=st.integers(0, 100))
@settings(max_examples=examples(30), deadline=None)
def test_signal_to_rounding_counts_units_in_the_last_place(units, seed):
    for dtype in (torch.float32, torch.float64):
        before = torch.tensor([[2.0], [0.5], [-8.0]], dtype=dtype)  # powers of 2
        after = before.clone()
        for _ in range(units):
            after = torch.nextafter(after, torch.full_like(after, torch.inf) * before.sign())
        change = (after - before)[None].expand(3, 3, 1)
        expected = torch.full((3,), float(units), dtype=dtype)
        torch.testing.assert_close(signal_to_rounding(change, before), expected)
        assert torch.equal(
            signal_to_rounding(change[:, :2], before, change[0]),
            signal_to_rounding(change, before),
        )
        wider = torch.cat([change, normal(3, 2, 1, seed=seed).to(dtype)], dim=1)
        values = torch.cat([before, torch.ones(2, 1, dtype=dtype)])
        most = wider[:, :, 0].abs().argmax(1)
        torch.testing.assert_close(
            signal_to_rounding(wider, values),
            wider[range(3), most, 0].abs() / (torch.finfo(dtype).eps * values[most, 0].abs()),
        )


def test_signal_to_rounding_in_a_lower_precision_and_of_nothing():
    change, value = torch.full((2, 2, 1), 1e-6).double(), torch.tensor([[1.0], [0.0]]).double()
    signal = signal_to_rounding(change, value, dtype=torch.float32)
    assert signal.tolist() == [pytest.approx(1e-6 * 2**23), math.inf]
    assert signal_to_rounding(0 * change, value).tolist() == [0, 0]
    with pytest.raises(ValueError, match="need predictions of shape"):
        signal_to_rounding(change, value[:1])
    with pytest.raises(ValueError, match="need change of shape"):
        signal_to_rounding(change[0], value)


def test_steps_below_rounding_are_announced_once():
    model = torch.nn.Linear(2, 1)
    x, y = normal(6, 2).float(), torch.zeros(6, 1)
    before = model(x).detach()
    change = torch.zeros(6, 6, 1)
    for i in range(6):
        stepped = torch.nn.Linear(2, 1)
        stepped.load_state_dict(model.state_dict())
        rate = 1e-9 if i < 4 else 0.1
        (stepped(x[i]) - y[i]).square().sum().backward()
        torch.optim.SGD(stepped.parameters(), lr=rate).step()
        change[i] = (stepped(x) - before).detach()
    with pytest.warns(RoundingWarning, match="4 of 6 .* 10 units .* float32.*float64") as caught:
        warn_below_rounding(change, before)
    assert len(caught) == 1
    warn_below_rounding(change[4:, 4:], before[4:])
    own = torch.stack([change[i, i] for i in range(6)])
    with pytest.warns(RoundingWarning, match="6 of 6"):
        warn_below_rounding(change, before, torch.float32, 1e9, own_change=own)
    warn_below_rounding(change[:, :2], before, torch.float64, own_change=own + 1)


SWITCHES = [
    torch.backends, torch.backends.cudnn, torch.backends.cuda.matmul, torch.backends.cudnn.conv,
    torch.backends.cudnn.rnn, torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv,
]  # fmt: skip


def precisions() -> list[str]:
    return [switch.fp32_precision for switch in SWITCHES]


@pytest.fixture
def float32_settings():
    def follow() -> None:
        # leaves first, and only those that are set: the rest follow a more general setting
        torch.backends.cudnn.conv.fp32_precision = "none"  # torch.export sets it
        torch.backends.cuda.matmul.fp32_precision = "none"
        torch.backends.mkldnn.matmul.fp32_precision = "none"
        torch.backends.fp32_precision = "none"

    follow()  # other tests may have left a value that is its own
    before = precisions()
    yield
    follow()
    assert precisions() == before


@pytest.mark.usefixtures("float32_settings")
@pytest.mark.parametrize("setting", ["fresh", "general", "matmul", "switch", "high"])
def test_full_float32_products_and_settings_restored(setting):
    if setting == "general":
        torch.backends.fp32_precision = "tf32"
    if setting == "matmul":
        torch.backends.cuda.matmul.fp32_precision = "tf32"
    if setting == "switch":
        torch.backends.cuda.matmul.allow_tf32 = True
    if setting == "high":
        torch.set_float32_matmul_precision("medium")
    before = precisions()
    if setting in ("switch", "high"):
        assert torch.backends.cuda.matmul.allow_tf32
    with fixed_flags():
        assert "tf32" not in precisions()
        assert "bf16" not in precisions()
        with fixed_flags():
            pass
        assert "tf32" not in precisions()
    assert precisions() == before
    with pytest.raises(KeyError), fixed_flags():
        raise KeyError
    assert precisions() == before
    if setting in ("switch", "high"):
        assert torch.backends.cuda.matmul.allow_tf32
    # what followed the general setting still does
    torch.backends.fp32_precision = "ieee"
    assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    torch.set_float32_matmul_precision("highest")


@pytest.mark.usefixtures("float32_settings")
def test_the_last_of_several_threads_restores_the_settings():
    torch.backends.fp32_precision = "tf32"
    inside, first_left, seen = threading.Barrier(2), threading.Event(), []

    def early():
        with fixed_flags():
            inside.wait(10)
        first_left.set()

    def late():
        with fixed_flags():
            inside.wait(10)
            assert first_left.wait(10)
            seen.extend(precisions())

    threads = [threading.Thread(target=work) for work in (early, late)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["ieee"] * len(SWITCHES)
    assert torch.backends.fp32_precision == "tf32"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.usefixtures("float32_settings")
def test_products_on_a_gpu_are_full_float32():
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    a, image, filters = normal(256, 256), normal(4, 8, 16, 16), normal(8, 8, 3, 3)

    def error() -> float:
        product = (a.float().cuda() @ a.float().cuda()).double().cpu()
        filtered = F.conv2d(image.float().cuda(), filters.float().cuda()).double().cpu()
        errors = [product - a @ a, filtered - F.conv2d(image, filters)]
        return max(float(e.abs().max()) for e in errors)

    with fixed_flags():
        full = error()
    assert full < 1e-4 < error()


def test_correlation_counts_the_pairs_it_says():
    rng = np.random.default_rng(0)
    s, d = rng.random((5, 5)), rng.random((5, 5))
    assert correlation_with_distance(s, d) == pytest.approx(stats.pearsonr(s.ravel(), d.ravel())[0])
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    expected = stats.spearmanr([s[p] for p in pairs], [d[p] for p in pairs])[0]
    found = correlation_with_distance(s, d, method="spearman", self_pairs=False)
    assert found == pytest.approx(expected)
    assert correlation_with_distance(torch.tensor(1 - d), d) == pytest.approx(-1)
    s[2] = np.nan
    rows = [0, 1, 3, 4]
    expected = stats.pearsonr(s[rows].ravel(), d[rows].ravel())[0]
    assert correlation_with_distance(s, d) == pytest.approx(expected)


def test_bad_input():
    still = torch.zeros(2, 2, 1)
    with pytest.raises(ValueError, match="2 of 2 update points did not move"):
        relative_similarity(still)
    with pytest.raises(ValueError, match="give own_change"):
        relative_similarity(torch.ones(2, 3, 1))
    with pytest.raises(ValueError, match=r"\(n, m, outputs\)"):
        relative_similarity(torch.ones(2, 2))
    with pytest.raises(ValueError, match=r"own_change must be \(n, outputs\)"):
        relative_similarity(torch.ones(2, 3, 1), torch.ones(3, 1))
    spoiled = torch.ones(2, 2, 3)
    spoiled[0, 0, :2] = torch.tensor([math.nan, math.inf])
    for measure in (relative_similarity, relative_similarity_as_coded):
        with pytest.raises(ValueError, match="2 of 12 entries of change are not finite"):
            measure(spoiled)
    with pytest.raises(ValueError, match="2 of 6 entries of own_change are not finite"):
        relative_similarity(torch.ones(2, 2, 3), spoiled[:, 0])
    for measure in (divergence_similarity, divergence_similarity_as_coded, softmax_change):
        with pytest.raises(ValueError, match="2 of 12 entries of change are not finite"):
            measure(torch.ones(2, 3), spoiled)
        with pytest.raises(ValueError, match="softmax of one logit is constant"):
            measure(torch.ones(2, 1), torch.ones(2, 2, 1))
        with pytest.raises(ValueError, match="need logits"):
            measure(torch.ones(3, 3), torch.ones(2, 2, 3))
    for measure in (divergence_similarity, divergence_similarity_as_coded):
        with pytest.raises(ValueError, match="own_logits and own_change"):
            measure(normal(2, 3), normal(2, 2, 3), normal(2, 3))
        with pytest.raises(ValueError, match="own_logits and own_change"):
            measure(normal(2, 3), normal(2, 2, 3), normal(1, 3), normal(1, 3))
        with pytest.raises(ValueError, match="square"):
            measure(normal(3, 3), normal(2, 3, 3))
    one = torch.ones(1, 1, 1)
    with pytest.raises(ValueError, match="no loss 'CE'"):
        kernelized_similarity_as_coded(one, one[0], one[0] / 2, 1.0, loss="CE")
    with pytest.raises(ValueError, match="exactly 0 or 1"):
        kernelized_similarity_as_coded(one, one[0], 0 * one[0], 1.0, loss="BCE")
    with pytest.raises(ValueError, match="one output"):
        kernelized_similarity(torch.ones(2, 2, 3), torch.ones(2, 3), 1.0)
    with pytest.raises(ValueError, match="gradient is zero"):
        kernelized_similarity(torch.ones(2, 2, 1), torch.zeros(2, 1), 1.0)
    with pytest.raises(ValueError, match="positive"):
        normalized_similarity(-torch.eye(2))
    with pytest.raises(ValueError, match="shapes differ"):
        correlation_with_distance(np.ones((2, 2)), np.ones((3, 3)))
    with pytest.raises(ValueError, match="finite"):
        correlation_with_distance(np.eye(2), np.array([[0, np.inf], [np.inf, 0]]))
    with pytest.raises(ValueError, match="finite"):
        correlation_with_distance(np.array([[0, np.inf], [np.inf, 0]]), np.eye(2))
    for constant in (np.ones((2, 2)), np.full((2, 2), np.nan)):
        with pytest.raises(ValueError, match="constant"):
            correlation_with_distance(constant, np.eye(2))


def test_own_change_is_that_of_the_first_test_points():
    change = torch.randn(3, 5, 2)
    assert torch.equal(own_change(change), torch.stack([change[i, i] for i in range(3)]))
    assert torch.equal(own_change(change[..., 0]), change[range(3), range(3), 0])
