"""Steps on photographs, by slow loops on a tiny network; intervals and p-values over images."""

import copy
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from lecore.errors import LecoreError
from lecore.seeding import seeded
from lecore.studies.own import photograph_contrasts as contrasts
from lecore.studies.own import photograph_tables as tables
from lecore.studies.own import photographs
from lecore.studies.own.photographs import BATCH, CLASSES, PhotographRun

RATE = 0.05


@pytest.fixture
def network() -> nn.Module:
    with seeded(2):
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU6(), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(4, 1000),
        ).eval()  # fmt: skip


@pytest.fixture
def images() -> dict[str, torch.Tensor]:
    with seeded(4):
        return {name: torch.rand(4, 3, 6, 6) for name in CLASSES}


def moved_by(network, images, labels, test):
    """log₁₀ KL(p⁺ ‖ p) at a test image after a step on the mean loss."""
    before = copy.deepcopy(network).double()
    after = copy.deepcopy(before)
    F.cross_entropy(after(images.double()), torch.tensor(labels)).backward()
    torch.optim.SGD(after.parameters(), lr=RATE).step()
    with torch.no_grad():
        p, q = (n(test[None].double()).softmax(1)[0] for n in (before, after))
    return float((q * (q / p).log()).sum().log10())


def test_steps_on_photographs_by_a_loop(network, images):
    updates = {name: images[name][:n] for name, n in (("tabby", 2), ("warplane", 1), ("frog", 2))}
    batches = {name: images[name][2:] for name in ("tabby", "warplane")}
    tests = {name: x[-n:] for (name, x), n in zip(images.items(), (1, 2, 3, 1), strict=True)}
    found = photographs.moved_photographs(
        network, updates, batches, tests, learning_rate=RATE, dtype=torch.float64
    )
    singles = set(itertools.product(updates, ("tiger_cat", "warplane", "frog")))
    pairs = {(BATCH, name) for name in ("tabby", "warplane", "frog")}
    kinds = (singles | pairs) - {("frog", "frog")}
    assert set(found) == {f"{update} at {test}" for update, test in kinds}
    for update, test in kinds:
        if update == BATCH:
            steps = torch.stack([batches["tabby"], batches["warplane"]], dim=1)
            labels = [281, 895]
        else:
            steps, labels = updates[update][:, None], [CLASSES[update]]
        expected = [[moved_by(network, step, labels, x) for x in tests[test]] for step in steps]
        np.testing.assert_allclose(found[f"{update} at {test}"], expected, rtol=1e-6)


def test_no_image_is_updated_and_tested_at_once(monkeypatch, network):
    """Each image has a number of its own, by which it is recognised."""
    sizes = {"tabby": 9, "tiger_cat": 7, "warplane": 9, "frog": 4}
    numbered = {
        name: (100.0 * k + torch.arange(n)).reshape(-1, 1, 1, 1)
        for k, (name, n) in enumerate(sizes.items())
    }
    seen = []

    def recorded(network, updates, batches, tests, **settings):
        seen.append((updates, batches, tests))
        return {}

    monkeypatch.setattr(photographs, "photographs", lambda folder: numbered)
    monkeypatch.setattr(photographs, "pretrained", lambda name: network)
    monkeypatch.setattr(photographs, "moved_photographs", recorded)
    monkeypatch.setattr(photographs, "named_right", lambda network, images: {})
    photographs.measure_photographs(
        PhotographRun(
            network="efficientnet-lite2", folder="", photographs="", updates=6, controls=3,
            tests=4, batches=5,
        ), "cpu", None,
    )  # fmt: skip
    ((updates, batches, tests),) = seen
    numbers = {
        (kind, name): set(x.flatten().tolist())
        for kind, sets in (("update", updates), ("batch", batches), ("test", tests))
        for name, x in sets.items()
    }
    assert {key: len(x) for key, x in numbers.items()} == {
        ("update", "tabby"): 6, ("update", "warplane"): 3, ("update", "frog"): 3,
        ("batch", "tabby"): 5, ("batch", "warplane"): 5,
        ("test", "tabby"): 4, ("test", "tiger_cat"): 4, ("test", "warplane"): 4,
        ("test", "frog"): 4,
    }  # fmt: skip
    for name in ("tabby", "warplane"):
        assert not numbers["batch", name] & numbers["test", name]
    assert not numbers["update", "warplane"] & numbers["test", "warplane"]


def test_folders_of_other_names_are_refused(tmp_path):
    for name in ("tabby", "warplane"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (9, 7)).save(tmp_path / name / "one.png")
    cure = "name the folders tabby, tiger_cat, warplane, frog"
    with pytest.raises(LecoreError, match=f"no folder frog or tiger_cat; {cure}"):
        photographs.photographs(tmp_path)


def test_a_folder_is_named_from_the_data_folder_or_by_its_whole_path(tmp_path, monkeypatch):
    for name in photographs.CLASSES:
        (tmp_path / "mine" / name).mkdir(parents=True)
        Image.new("RGB", (9, 7)).save(tmp_path / "mine" / name / "one.png")
    monkeypatch.setenv("LECORE_DATA", str(tmp_path))
    for ask in (photographs.fingerprint_of, photographs.photographs):
        assert str(ask("mine")) == str(ask(tmp_path / "mine"))
    assert len(photographs.photographs("mine")["frog"]) == 1


def test_a_photograph_that_changes_or_moves_is_another_set(tmp_path):
    (tmp_path / "tabby").mkdir()
    file = tmp_path / "tabby" / "one.png"
    file.write_bytes(b"cat")
    (tmp_path / "notes.txt").write_text("not a photograph")
    first = photographs.fingerprint_of(tmp_path)
    (tmp_path / "notes.txt").write_text("still none")
    assert photographs.fingerprint_of(tmp_path) == first
    renamed = file.rename(file.with_name("two.png"))
    second = photographs.fingerprint_of(tmp_path)
    renamed.write_bytes(b"dog")
    assert len({first, second, photographs.fingerprint_of(tmp_path)}) == 3


def test_names_are_those_of_the_folders(images):
    network = nn.Module()
    network.forward = lambda x: F.one_hot(torch.tensor([281, 281, 282, 895]), 1000)
    found = photographs.named_right(network, images)
    assert found == {"tabby": 50, "tiger_cat": 25, "warplane": 25, "frog": 0}


@pytest.mark.parametrize(
    "settings", [{"network": "lite"}, {"weights": "none"}, {"precision": "bf16"}]
)
def test_a_run_of_unknown_words_is_refused(settings):
    known = {"network": "resnet152", "folder": "", "photographs": ""}
    with pytest.raises(LecoreError, match="choose from"):
        PhotographRun(**(known | settings))


def test_the_permutation_test_by_a_loop_over_all_choices():
    rng = np.random.default_rng(0)
    near, far = rng.normal(0.5, size=4), rng.normal(size=5)
    pooled, observed = np.concatenate([near, far]), near.mean() - far.mean()
    at_least = []
    for chosen in itertools.combinations(range(9), 4):
        others = [i for i in range(9) if i not in chosen]
        difference = pooled[list(chosen)].mean() - pooled[others].mean()
        at_least.append(difference >= observed - 1e-12)
    assert len(at_least) == 126
    assert contrasts.permutation_p_value(near, far) == pytest.approx(np.mean(at_least))


def test_of_many_permutations_a_seeded_sample_is_taken():
    rng = np.random.default_rng(1)
    near, far = rng.normal(0.3, size=25), rng.normal(size=25)
    one, same, other = (contrasts.permutation_p_value(near, far, seed=s) for s in (0, 0, 1))
    assert one == same != other
    loop = np.concatenate([near, far])
    differences = []
    for _ in range(4000):
        rng.shuffle(loop)
        differences.append(loop[:25].mean() - loop[25:].mean())
    expected = np.mean(np.array(differences) >= near.mean() - far.mean())
    assert one == pytest.approx(expected, abs=0.02)


def matrices(near, far, updates=5, noise=0.1, seed=0):
    """Rows of updates at 6 near and 7 far test images, at these levels."""
    rng = np.random.default_rng(seed)
    return (
        near + noise * rng.normal(size=(updates, 6)),
        far + noise * rng.normal(size=(updates, 7)),
    )


def test_a_contrast_is_a_difference_of_mean_logarithms():
    near, far = matrices(-1.0, -2.0)
    found = contrasts.contrast({"tabby at a": near, "tabby at b": far}, "tabby", "a", "b")
    assert found.effect.value == pytest.approx(near.mean() - far.mean())
    assert found.effect.low < found.effect.value < found.effect.high
    assert found.p_value == pytest.approx(1 / 1716)  # of all 13 over 6
    assert found.rank_p_value == pytest.approx(1 / 1716)
    back = contrasts.contrast({"tabby at a": near, "tabby at b": far}, "tabby", "b", "a")
    assert back.effect.value == pytest.approx(-found.effect.value)
    assert back.p_value == 1


def test_what_any_step_moves_more_is_subtracted_image_by_image():
    rng = np.random.default_rng(5)
    easy_near, easy_far = rng.normal(2, 1, size=6), rng.normal(0, 1, size=7)
    near, far = matrices(easy_near, easy_far, noise=0)
    control_near, control_far = matrices(easy_near - 3, easy_far - 3, updates=3, noise=0)
    moved = {
        "tabby at a": near, "tabby at b": far, "frog at a": control_near, "frog at b": control_far
    }  # fmt: skip
    plain = contrasts.contrast(moved, "tabby", "a", "b")
    beyond = contrasts.contrast(moved, "tabby", "a", "b", against="frog")
    assert plain.effect.value > 1
    assert plain.p_value < 0.05
    np.testing.assert_allclose(beyond.effect.value, 0, atol=1e-12)
    moved["tabby at a"] = near + 0.5
    beyond = contrasts.contrast(moved, "tabby", "a", "b", against="frog")
    np.testing.assert_allclose(beyond.effect.value, 0.5)
    assert beyond.p_value < 0.05


def test_ranks_are_of_the_mean_divergence_not_of_its_logarithm():
    """One large update at the near images outweighs nine small ones in a mean, not in logs."""
    near, far = np.full((10, 3), -9.0), np.full((10, 3), -4.0)
    near[0] = -1
    near, far = (m + 1e-3 * np.arange(3) for m in (near, far))  # no ties
    found = contrasts.contrast({"u at a": near, "u at b": far}, "u", "a", "b")
    assert found.effect.value < 0
    assert found.rank_p_value == pytest.approx(0.05)  # 1 of 20


@pytest.mark.thorough
def test_intervals_over_images_cover_as_often_as_they_say():
    """Each image has an effect of its own; the truth is a difference of 1."""
    covered = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        near, far = 1 + rng.normal(size=25), rng.normal(size=20)

        def difference(i, j, near=near, far=far):
            return near[i].mean() - far[j].mean()

        found = contrasts.over_images(difference, [25, 20], resamples=200)
        covered.append(found.low < 1 < found.high)
    assert 0.85 < np.mean(covered) <= 1


def test_the_smaller_change_of_a_mini_batch_is_over_the_third_class():
    levels = {"tabby": -1.0, "warplane": -2.0, "frog": -3.5}
    moved = {f"{BATCH} at {name}": np.full((3, 4), level) for name, level in levels.items()}
    assert contrasts.smaller_over_third(moved) == pytest.approx((*[10**1.5] * 3, 3))
    moved[f"{BATCH} at warplane"] = np.log10(np.array([[1e-2, 3e-2]] * 3))
    found = contrasts.smaller_over_third(moved)
    assert found.value == pytest.approx(2e-2 / 10**-3.5)
    assert found.low == pytest.approx(1e-2 / 10**-3.5)
    assert found.high == pytest.approx(3e-2 / 10**-3.5)


def as_moved(lift):
    """Steps on tabby cats move tiger cats more by so many orders of magnitude."""
    rng = np.random.default_rng(3)
    kinds = [f"{u} at {t}" for u in ("tabby", "warplane", "frog", BATCH) for t in CLASSES]
    moved = {kind: -3 + 0.01 * rng.normal(size=(3, 5)) for kind in kinds}
    moved["tabby at tiger_cat"] += lift
    return moved | {"named right": np.array([90.0, 80.0, 70.0, 60.0])}


def run(network, **settings):
    return PhotographRun(network=network, folder="", photographs="", **settings)


def test_claims_are_judged_by_the_worst_network_that_did_not_name_the_folders():
    found = {
        run("efficientnet-lite2"): as_moved(2.0),
        run("efficientnet-lite1"): as_moved(1.0),
        run("efficientnet-lite0"): as_moved(-5.0),
        run("efficientnet-lite1", weights="random"): as_moved(-6.0),
    }
    answers = tables.contrasts(found)
    worst = tables.worst_of_all(found, answers)
    assert worst["photographs-similar-over-distant"].value == pytest.approx(1, abs=0.02)
    beyond = worst["photographs-similar-over-distant-beyond-frogs"]
    assert 0.9 < beyond.low < beyond.value < beyond.high < 1.1
    assert worst["photographs-similar-over-distant-p-value"]["value"] < 0.05
    assert worst["photographs-batch-change-ratio"].value == pytest.approx(1, abs=0.1)
    only_lite0 = {r: m for r, m in found.items() if r.network == "efficientnet-lite0"}
    assert tables.worst_of_all(only_lite0, tables.contrasts(only_lite0)) == {}


def test_each_network_takes_two_sizes_of_step_and_has_a_random_control():
    runs = tables.photograph_runs(["resnet152", "efficientnet-lite1"], 1e-3, "f", "p", tests=4)
    assert [(r.network, r.weights, r.learning_rate) for r in runs] == [
        (name, *way)
        for name in ("resnet152", "efficientnet-lite1")
        for way in (("ImageNet", 1e-3), ("ImageNet", 1e-4), ("random", 1e-3))
    ]
    assert {(r.folder, r.photographs, r.tests) for r in runs} == {("f", "p", 4)}
    assert len(set(map(tables.name_of, runs))) == 6


def test_what_is_recorded_of_each_run():
    found = {run("resnet152"): as_moved(1.0)}
    answers = tables.contrasts(found)
    numbers = tables.of_each_run(found, answers)
    name = ("photographs", "resnet152, rate 0.001")
    assert numbers[*name, "tabby at frog"] == {
        "value": pytest.approx(-3, abs=0.02), "updates": 3, "tests": 5
    }  # fmt: skip
    assert numbers[*name, "named", "tiger_cat"] == {"value": 80.0, "unit": "%"}
    effect = numbers[*name, "similar over distant"]
    shown = tables.shown(answers).loc["resnet152, rate 0.001", "similar over distant"]
    assert shown.startswith(f"{effect.value:.2f} ({effect.low:.2f} to {effect.high:.2f}), p 0.004")
