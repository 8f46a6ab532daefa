"""A study at other weights, and before it begins: checkpoints, plans, similarities."""

import copy
import pickle
import traceback

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lecore import (
    LecoreError,
    Tiles,
    linearized_change,
    models,
    prediction_change,
    relative_similarity,
)
from lecore.engine.kernel_matrix import StructuredRoute
from lecore.study.checkpoints import in_order
from lecore.study.influence_blocks import BLOCK_BYTES
from lecore.study.over_time import SAMPLE, over_checkpoints
from lecore.study.study import Study

N, M, RATE = 9, 5, 0.05


def network(seed=0):
    return models.three_layer(4, 8, "tanh", outputs=3, seed=seed)


@pytest.fixture
def data():
    x, y = torch.randn(N + M, 4), torch.arange(N + M) % 3
    return (x[:N], y[:N]), (x[N:], y[N:])


def study(data, model=None, **more):
    settings = {"loss": "cross_entropy", "learning_rate": RATE} | more
    return Study(model or network(), *data, **settings)


SAVED = {
    "one.safetensors": lambda w, p: save_file(w, p),
    "one.pt": lambda w, p: torch.save(w, p),
    "lightning.ckpt": lambda w, p: torch.save(
        {"state_dict": {f"model.{k}": v for k, v in w.items()}, "epoch": 3}, p
    ),
    "part.ckpt": lambda w, p: torch.save(
        {"state_dict": {f"net.{k}": v for k, v in w.items()} | {"loss.weight": torch.ones(3)}}, p
    ),
    "script.bin": lambda w, p: torch.save({"model": w, "loss": 0.1}, p),
    "parallel.pth": lambda w, p: torch.save({f"module.{k}": v for k, v in w.items()}, p),
    "compiled.pth": lambda w, p: torch.save({f"_orig_mod.{k}": v for k, v in w.items()}, p),
}


@pytest.mark.every(3)
@pytest.mark.parametrize("name", SAVED)
def test_a_checkpoint_is_the_network_that_was_saved(tmp_path, data, name):
    SAVED[name](network(seed=7).state_dict(), tmp_path / name)
    now = network()
    before = copy.deepcopy(now.state_dict())
    ((found, then),) = study(data, now).follow(tmp_path / name)
    assert found == name
    right = study(data, network(seed=7))
    assert torch.equal(then.change(), right.change())
    assert then.self_influence().equals(right.self_influence())
    assert all(torch.equal(v, before[k]) for k, v in now.state_dict().items())
    assert study(data, now).self_influence().equals(study(data).self_influence())


def test_files_are_taken_by_their_numbers_or_as_they_are_given(tmp_path):
    for step in (100, 20, 3):
        (tmp_path / f"step-{step}.pt").touch()
    (tmp_path / "step-7.pt").mkdir()
    names = [path.name for path in in_order(str(tmp_path / "*.pt"))]
    assert names == ["step-3.pt", "step-20.pt", "step-100.pt"]
    given = [tmp_path / "step-20.pt", tmp_path / "step-3.pt"]
    assert in_order(given) == given
    for name in ("lr[1].pt", "a²1².pt"):
        (tmp_path / name).touch()
        assert in_order(tmp_path / name) == [tmp_path / name]


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('it ran')",))


BAD = {
    "nothing there": (lambda p: None, "no file is named"),
    "text": (lambda p: p.write_text("weights"), "cannot be read as weights"),
    "a pickle": (lambda p: p.write_bytes(pickle.dumps(Bomb())), "cannot be read as weights"),
    "objects": (lambda p: torch.save({"model": Bomb()}, p), "it.pt holds more than weights; save"),
    "a module": (lambda p: torch.save(network(), p), "it.pt holds more than weights; save"),
    "numbers": (lambda p: torch.save({"epoch": 3}, p), "holds no state_dict"),
    "another network": (
        lambda p: torch.save(models.two_layer(4, 8).state_dict(), p), "lacks '5.bias'",
    ),
    "another width": (
        lambda p: torch.save(models.three_layer(4, 9, "tanh", outputs=3).state_dict(), p),
        "has another shape of '1.bias'",
    ),
    "two of them": (
        lambda p: torch.save(
            {f"{of}.{k}": v for of in ("one", "other") for k, v in network().state_dict().items()},
            p,
        ),
        "lacks '1.bias'",
    ),
    "rounded": (
        lambda p: torch.save(network().double().state_dict(), p), "as torch.float64, the model as",
    ),
    "more": (
        lambda p: torch.save(network().state_dict() | {"head": torch.ones(1)}, p),
        "has another 'head'",
    ),
}  # fmt: skip


class Made(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, x):
        return self.inner(x)


def cut(path):
    torch.save(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:900])


UNREADABLE = {
    "a module": lambda p: torch.save(Made(), p),
    "an old file of a module": lambda p: torch.save(
        Made(), p, _use_new_zipfile_serialization=False
    ),
    "a script": lambda p: torch.jit.save(torch.jit.trace(network(), torch.ones(1, 4)), p),
    "a pickle": lambda p: p.write_bytes(pickle.dumps(Bomb())),
    "cut": cut,
    "empty": lambda p: p.write_bytes(b""),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("name", UNREADABLE)
def test_no_advice_of_torch_to_run_a_file_is_passed_on(tmp_path, data, name):
    UNREADABLE[name](tmp_path / "it.pt")
    with pytest.raises(
        LecoreError, match=r"it.pt (holds more than|cannot be read as) weights"
    ) as e:
        next(study(data).follow(tmp_path / "it.pt"))
    assert "weights_only" not in "".join(traceback.format_exception(e.value))


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_checkpoint_of_the_network_is_refused(tmp_path, data, name):
    save, words = BAD[name]
    save(tmp_path / "it.pt")
    with pytest.raises(LecoreError, match=words) as refused:
        next(study(data).follow(tmp_path / "it.pt"))
    assert str(refused.value).isprintable()  # torch's messages have colours


def test_a_damaged_safetensors_file_is_refused(tmp_path, data):
    (tmp_path / "it.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(LecoreError, match="cannot be read"):
        next(study(data).follow(tmp_path / "it.safetensors"))


def test_of_a_folder_a_pattern_is_asked_for(tmp_path):
    with pytest.raises(LecoreError, match=r"is a folder; give a pattern such as '.*\*\.pt'"):
        in_order(tmp_path)


def test_the_state_of_an_optimizer_is_in_no_checkpoint(tmp_path, data):
    model = network()
    adam = torch.optim.Adam(model.parameters())
    torch.save(model.state_dict(), tmp_path / "it.pt")
    with pytest.raises(LecoreError, match="make the study with learning_rate"):
        study(data, model, learning_rate=None, optimizer=adam).follow(tmp_path / "it.pt")


def test_only_the_chosen_parameters_train_at_a_checkpoint_too(tmp_path, data):
    torch.save(network(seed=7).state_dict(), tmp_path / "it.pt")
    ((_, then),) = study(data, parameters="5.*").follow(tmp_path / "it.pt")
    right = study(data, network(seed=7), parameters="5.*")
    assert then.self_influence().equals(right.self_influence())


@pytest.mark.parametrize("step", ["exact", "linear"])
def test_similarity_is_the_change_over_the_own_change(data, step):
    (x, y), (test_x, _) = data
    measure = prediction_change if step == "exact" else linearized_change
    given = {"learning_rate": RATE, "loss": nn.functional.cross_entropy}
    whole = measure(network(), x, y, torch.cat([x, test_x]), **given)
    right = whole.norm(dim=2) / whole[:, :N].norm(dim=2).diagonal()[:, None]
    found = study(data).similarity(step)
    torch.testing.assert_close(found, right[:, N:])
    torch.testing.assert_close(study(data[:1]).similarity(step), right[:, :N])


def test_similarity_in_parts_is_the_same(data, monkeypatch):
    whole = study(data).similarity()
    monkeypatch.setattr("lecore.study.findings.TOGETHER", 2)
    torch.testing.assert_close(study(data).similarity(), whole)


def test_a_line_a_checkpoint(tmp_path, data):
    torch.save(network(seed=7).state_dict(), tmp_path / "old.pt")
    one = study(data)
    table = over_checkpoints(one, one.follow(tmp_path / "old.pt"), classes=True)
    assert table.weights.tolist() == ["old.pt", "now"]
    for line, model in zip(table.to_dict("records"), (network(seed=7), network()), strict=True):
        (x, y), (test_x, test_y) = data
        with torch.no_grad():
            right = model(test_x).argmax(1) == test_y
        assert line["test, right (%)"] == pytest.approx(100 * right.double().mean())
        change = linearized_change(
            model, x, y, learning_rate=1, loss=nn.functional.cross_entropy
        )  # fmt: skip
        similarity = relative_similarity(change)
        pairs = [(i, j) for i in range(N) for j in range(N) if i != j]
        for words, same in (("within", True), ("between", False)):
            some = [similarity[i, j] for i, j in pairs if (y[i] == y[j]) == same]
            median = torch.stack(some).quantile(0.5)
            assert line[f"S_rel {words} classes"] == pytest.approx(float(median))


def test_a_line_of_saturated_weights_has_no_similarity(tmp_path):
    x, y = torch.randn(N, 4), torch.zeros(N, 2)

    def sure(factor):
        model = nn.Sequential(nn.Linear(4, 2), nn.Softmax(1))
        model[0].bias.data = factor * torch.tensor([1.0, -1.0])
        return model

    torch.save(sure(1e5).state_dict(), tmp_path / "sure.pt")
    one = Study(sure(1), (x, y), loss="squared_error")
    table = over_checkpoints(one, one.follow(tmp_path / "sure.pt"), classes=False)
    assert table.S_rel.isna().tolist() == [True, False]


def test_a_report_tells_of_checkpoints(tmp_path, data):
    odd = "<i>&.pt"
    torch.save(network(seed=7).state_dict(), tmp_path / odd)
    study(data).report(tmp_path / "it.html", checkpoints=tmp_path / odd)
    html = (tmp_path / "it.html").read_text()
    section = html[html.index('id="past"') :]
    assert f"at most {SAMPLE} training examples" in section
    assert '<th scope="row">&lt;i&gt;&amp;.pt</th>' in section
    assert '<th scope="row">now</th>' in section
    assert "checkpoints=&#34;" in section
    assert "<i>" not in html


def test_a_plan_says_how_and_how_much(data):
    plan = study(data).plan().set_index("question")
    assert list(plan.index) == ["influence", "self-influence", "change, exact", "change, linear"]
    assert (plan.seconds > 0).all()
    assert plan.result["change, exact"] == N * M * 3 * 8 / 2**30
    assert plan.route["change, exact"] == "matrix products, layer by layer"
    assert plan.route["influence"] == "factors of the layers' gradients"
    adam = study(data, network(), learning_rate=None)
    assert list(adam.plan().question) == ["influence", "self-influence"]
    with_no_targets = Study(network(), data[0][0], data[1][0])
    assert len(with_no_targets.plan()) == 0


def test_a_plan_knows_of_a_budget_and_of_a_store_and_writes_nothing(data, tmp_path):
    tiles, one = Tiles(memory=2**20, store=tmp_path / "run"), study(data)
    plan = one.plan(tiles).set_index("question")
    assert not list(tmp_path.iterdir())
    assert plan.result["change, exact"] == 0  # on disk
    assert (plan.work <= 2**20 / 2**30).all()
    with pytest.raises(LecoreError, match=r"one entry needs .* bytes and the budget is 9"):
        one.plan(Tiles(memory=9))


def test_strongest_influences_are_kept_in_a_store_and_found_there(data, tmp_path, monkeypatch):
    one, tiles = study(data), Tiles(store=tmp_path / "run")
    right = one.influence(3)
    pd.testing.assert_frame_equal(one.influence(3, tiles), right)
    monkeypatch.setattr(StructuredRoute, "block", None)  # nothing is computed again
    pd.testing.assert_frame_equal(one.influence(3, tiles), right)


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("rate", [None, 0.1])
def test_influences_may_be_estimated_with_an_error(data, tmp_path, sides, rate):
    one = study(data[:sides], learning_rate=rate, dtype=torch.float64)
    store = Tiles(store=tmp_path / "run")
    exact = pd.concat(
        [pd.DataFrame(block.numpy(), index=range(start, start + len(block)))
         for start, block in one.influences()]
    )  # fmt: skip
    found = one.influence(20, store, features=2**14)
    right = exact.to_numpy()[found.train, found.test]
    assert len(found) == exact.size
    assert (abs(found.influence - right) < 4 * found.standard_error).all()
    assert (found.standard_error < abs(exact.to_numpy()).max() / 50).all()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    pd.testing.assert_frame_equal(one.influence(20, store, features=2**14), found)
    assert kept == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    with pytest.raises(LecoreError, match="holds the work of other settings"):
        one.influence(20, store, features=64)
    with pytest.raises(LecoreError, match="features must be"):
        one.influence(features=0)


def test_a_printed_plan_shows_how_and_how_long(data, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    plan = study(data).plan()
    with pd.option_context("display.width", 80, "display.max_columns", 0):
        head, *lines = repr(plan).split("\n")
    assert {"question", "seconds", "route"} <= set(head.split())
    assert all(line.endswith(route) for line, route in zip(lines, plan.route, strict=False))


@pytest.mark.thorough
def test_a_plan_of_what_does_not_fit_is_a_plan_too(monkeypatch):
    monkeypatch.setattr("lecore.engine.tiling.budgets.free_memory", lambda device: 2**28)
    monkeypatch.setattr("lecore.study.planning.LONG_ENOUGH", 0.0)
    n, m = 2**16, 2**9
    x, y = torch.randn(1, 4).expand(n, -1), torch.zeros(n, dtype=torch.long)
    plan = study(((x, y), (x[:m], y[:m]))).plan().set_index("question")
    assert plan.result["change, exact"] == n * m * 3 * 8 / 2**30 > 2**28 / 2**30
    assert (plan.work <= (2**27 + BLOCK_BYTES) / 2**30).all()


@pytest.mark.thorough
def test_a_plan_is_near_what_it_takes():
    import time

    x, y = torch.randn(1500, 3, 16, 16), torch.arange(1500) % 10
    convolutions = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(8 * 12 * 12, 10),
    )  # fmt: skip
    one = Study(convolutions, (x, y), (x[:60], y[:60]), loss="cross_entropy")
    told = one.plan().set_index("question").seconds["self-influence"]
    start = time.perf_counter()
    one.self_influence()
    took = time.perf_counter() - start
    assert told / 4 < took < told * 4
