"""The benchmarks' peers compute what lecore computes, and their bars tell the truth."""

import json
import math
import multiprocessing

import pytest
import torch
from click.testing import CliRunner

import benchmarks.__main__ as command
from benchmarks import peers
from benchmarks.bars import Bar, Measured, NotMeasuredError, Settings, line, slowdown
from benchmarks.data import digits, signs
from benchmarks.influence import by_func
from benchmarks.language import WORDS, Transformer, next_tokens
from benchmarks.structured import Floor, Problem
from benchmarks.timing import interleaved, peak_memory
from benchmarks.two_layer import Products
from lecore import empirical_ntk, loss_kernel, losses, models, prediction_change


@pytest.fixture
def problem():
    torch.manual_seed(0)
    return Problem(
        "tiny", models.two_layer(4, 5, outputs=2).double(), torch.randn(6, 4).double(), 2
    )


def test_peers_compute_the_same(problem):
    network, x = problem.network, problem.x
    kernel = empirical_ntk(network, x)
    with torch.no_grad():
        flat = peers.jacobian_tile(network, x[:4], x[2:])
        torch.testing.assert_close(flat.view(4, 2, 4, 2).transpose(1, 2), kernel[:4, 2:])
        torch.testing.assert_close(peers.jacobian_tile(network, x, x)[:2, :2], kernel[0, 0])
        torch.testing.assert_close(peers.ntk_vector_tile(network, x[:4], x[2:]), kernel[:4, 2:])
    one_output = models.two_layer(4, 5)
    x, y = x.float(), signs(6)
    loop = peers.PlainLoop(one_output, x, y, 0.1, losses.squared_error, rows=[2, 0])
    change = prediction_change(one_output, x, y, learning_rate=0.1, dtype=torch.float32)
    for row in (2, 0, 2):  # and from the start again
        torch.testing.assert_close(loop(), change[row], rtol=1e-4, atol=1e-6)


def test_products_are_those_of_the_kernel():
    network, x = models.two_layer(28 * 28, 40960), digits(3)
    with torch.no_grad():
        products = Products(network, x)
        products()
        hidden = x.flatten(1) @ network[1].weight.T
        torch.testing.assert_close(products.gram, hidden @ hidden.T, rtol=1e-4, atol=1e-4)


@pytest.fixture(params=[False, True], ids=["encoder", "decoder"])
def sentences(request):
    torch.manual_seed(0)
    network = Transformer(WORDS if request.param else 4, causal=request.param).eval()
    loss = next_tokens if request.param else losses.cross_entropy
    return network, loss, torch.randint(0, WORDS, (5, 6)), torch.arange(5) % 4


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of the peer
def test_products_of_sentences_are_those_of_torch(sentences):
    network, loss, tokens, y = sentences
    sides = (tokens[:3], y[:3]), (tokens[3:], y[3:])
    kernel = loss_kernel(network, *sides[0], *sides[1], loss=loss, dtype=torch.float32)
    peer = by_func(network, loss, *sides, chunk=2)
    torch.testing.assert_close(peer, kernel, rtol=1e-3, atol=1e-4 * float(kernel.abs().max()))


def test_the_floor_has_each_layer_at_each_place(sentences):
    network, _, tokens, _ = sentences
    floor = Floor(network, tokens[:3], tokens[3:])
    seen = [(len(signals), *signals.shape[1:], read.shape[1]) for signals, read in floor.pairs]
    head = (5, WORDS, 5, 257) if network.causal else (5, 4, 1, 257)
    block = [(5, 768, 6, 257), (5, 256, 6, 257), (5, 1024, 6, 257), (5, 256, 6, 1025)]
    assert seen == [*block * 4, head]
    assert floor.products().shape == (3, 2)


def test_tiles_cover_a_symmetric_matrix(problem):
    assert [problem.pairs(batch) for batch in (1, 2, 4, 6, 9)] == [21, 6, 3, 1, 1]


def test_digits_are_images_and_all_different():
    images = digits(1800, 8, 3)
    assert images.shape == (1800, 3, 8, 8)
    assert len(images.flatten(1).unique(dim=0)) == 1800
    assert torch.equal(images[:5], digits(1800, 8, 3)[:5])
    assert signs(3).tolist() == [[1], [-1], [1]]


def test_times_are_interleaved():
    calls = []
    times = interleaved(
        Settings(repeats=2), a=lambda: calls.append("a"), b=lambda: calls.append("b")
    )
    assert calls == ["a", "b"] * 3  # the first round warms up
    assert [len(times[name]) for name in "ab"] == [2, 2]
    assert slowdown({"slow": [3, 1, 2], "fast": [1, 5, 1]}, "slow", "fast", 10) == 20


def allocate(size):
    bytearray(size)


@pytest.mark.processes
def test_peak_memory_is_that_of_the_call(forks, monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: forks)  # not started anew
    peak, before = peak_memory(allocate, 2**28)
    assert abs(peak - before - 2**28) < 2**26


def entry(value, at_most=True):
    def measure(settings):
        """what it is

        And more.
        """
        if value is None:
            raise NotMeasuredError("no peer here")
        return Measured(value, {"a": [1.0]}, "a note")

    return Bar("name", 2.0, at_most, "×", "them", measure)


@pytest.mark.parametrize(
    ("value", "at_most", "met"),
    [(1.9, True, True), (2.1, True, False), (2.1, False, True), (1.9, False, False),
     (math.nan, True, False), (math.nan, False, False), (None, True, None)],
)  # fmt: skip
def test_a_bar_is_met_or_not(value, at_most, met):
    result = entry(value, at_most).result(Settings())
    assert result["met"] is met
    assert result["what"] == "what it is"
    shown = {True: "| yes |", False: "| **no** |", None: "| not measured |"}[met]
    assert line(result).endswith(shown)
    assert ("no peer here" in result["note"]) == (value is None)


def test_the_command(tmp_path, monkeypatch):
    run, output = CliRunner(), tmp_path / "deep" / "results.json"
    bars = {"low": entry(1.0), "high": entry(3.0), "peerless": entry(None)}
    monkeypatch.setattr(
        command, "BARS", {k: Bar(k, *list(vars(b).values())[1:]) for k, b in bars.items()}
    )
    assert run.invoke(command.main, ["low", "--output", output]).exit_code == 0
    done = run.invoke(command.main, ["high", "--output", output])
    assert done.exit_code == 1
    assert "| `high` | what it is | them | 3 × | ≤ 2 | **no** |" in done.output
    written = json.loads(output.read_text())
    assert [(r["id"], r["measured"], r["met"]) for r in written] == [
        ("low", 1.0, True),
        ("high", 3.0, False),
    ]
    assert [p.name for p in output.parent.iterdir()] == ["results.json"]
    assert "peerless" in run.invoke(command.main, ["--list"]).output
    for bad in (["lo"], ["--device", "abacus"], ["--repeats", "0"]):
        assert run.invoke(command.main, bad).exit_code == 2
    output.write_text("no json")
    broken = run.invoke(command.main, ["low", "--output", output])
    assert broken.exit_code == 2
    assert "results.json" in broken.output
