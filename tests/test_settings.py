"""Settings of the public calls: each one of another kind or out of range is refused by its name."""

import inspect
import math
from collections.abc import Callable
from fractions import Fraction
from types import UnionType
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

import lecore
from lecore import LecoreError, Study, Tiles, Tracker, losses, models
from lecore.clustering.estimator import ElasticityClustering
from lecore.clustering.kernel_kmeans import KernelKMeans
from lecore.data import manifolds

X, Y = torch.arange(12.0).reshape(4, 3) / 12, torch.arange(4.0)[:, None]
CHANGE = torch.arange(1.0, 10.0).reshape(3, 3, 1)
BAD = {
    int: [None, "2", b"2", -1, 1.5, math.nan, True, [], np.array([1, 2]), 2**64],
    float: [None, "2", -math.inf, math.nan, True, [], torch.tensor(math.nan), 1j],
    bool: [None, "yes", 1, 0.0, [], np.array([True, False])],
}
"""What is no whole number, no number and no truth."""


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))


def study() -> Study:
    return Study(model(), (X, Y), learning_rate=0.1)


def plain(name: str, *given: Any, **settings: Any) -> Callable[..., Any]:
    return lambda **more: getattr(lecore, name)(model(), *given, **settings | more)


CALLS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    name: (getattr(lecore, name), plain(name, *given, **settings))
    for name, given, settings in [
        ("prediction_change", (X, Y), {"learning_rate": 0.1}),
        ("linearized_change", (X, Y), {"learning_rate": 0.1}),
        ("linearized_change_by_layer", (X, Y), {"learning_rate": 0.1}),
        ("output_gradient", (X, Y), {}),
        ("empirical_ntk", (X,), {}),
        ("empirical_ntk_by_layer", (X,), {}),
        ("ntk_operator", (X,), {}),
        ("loss_kernel", (X, Y), {}),
        ("loss_kernel_by_layer", (X, Y), {}),
        ("self_influence", (X, Y), {}),
        ("gradient_sketch", (X,), {"features": 8}),
        ("train", (X, Y), {"learning_rate": 0.1, "epochs": 1}),
    ]
} | {
    "Tiles": (Tiles, Tiles),
    "Tracker": (Tracker, lambda **more: Tracker({"S_rel": torch.sum}, **more)),
    "over_runs": (lecore.over_runs, lambda **more: lecore.over_runs([1, 2, 3], **more)),
    "over_points": (
        lecore.over_points, lambda **more: lecore.over_points(np.mean, [np.eye(7)], **more),
    ),
    "seeded": (lecore.seeded, lambda seed: lecore.seeded(seed).__enter__()),
    "kernelized_similarity": (
        lecore.kernelized_similarity,
        lambda **more: lecore.kernelized_similarity(CHANGE, torch.ones(3), **more),
    ),
    "correlation_with_distance": (
        lecore.correlation_with_distance,
        lambda **more: lecore.correlation_with_distance(CHANGE[..., 0], CHANGE[..., 0], **more),
    ),
    "Study": (Study, lambda **more: Study(model(), (X, Y), **more)),
    "Study.influence": (Study.influence, lambda **more: study().influence(**more)),
    "Study.report": (Study.report, lambda **more: study().report("report.html", **more)),
}  # fmt: skip


def kinds(function: Callable[..., Any]) -> dict[str, tuple[Any, ...]]:
    """The kinds of each setting."""
    return {
        name: get_args(one.annotation) if isinstance(one.annotation, UnionType)
        else (one.annotation,)
        for name, one in inspect.signature(function).parameters.items()
    }  # fmt: skip


ASKED = [
    (call, name, kind, place)
    for call, (function, _) in CALLS.items()
    for name, of in kinds(function).items()
    for kind in BAD
    if kind in of
    for place in range(len(BAD[kind]))
    if not (BAD[kind][place] is None and type(None) in of)
    and name != "target"  # a place, or whether there is one
]  # fmt: skip


@pytest.mark.every(6)
@pytest.mark.parametrize(("call", "name", "kind", "place"), ASKED)
def test_a_setting_of_another_kind_is_refused_by_its_name(call, name, kind, place, tmp_path):
    if call == "train" and name == "seed" and place == 3:
        pytest.skip("torch takes it")
    if kind is float and BAD[float][place] is None and call.startswith(("prediction", "linear")):
        pytest.skip("an optimiser may be given instead")
    with pytest.raises(LecoreError) as caught:
        CALLS[call][1](**{name: BAD[kind][place]})
    message = str(caught.value)
    assert name in message
    assert "\n" not in message
    assert len(message) < 300


def test_all_numbers_and_truths_among_the_settings_are_asked_for():
    public = {name for name in lecore.__all__ if callable(getattr(lecore, name))}
    for name in public - set(CALLS):
        of = kinds(getattr(lecore, name))
        assert not {kind for some in of.values() for kind in some} & set(BAD), name


@pytest.mark.parametrize("number", [np.int64(1), np.uint8(1)])
def test_whole_numbers_of_numpy_are_taken(number):
    lecore.train(model(), X, Y, learning_rate=np.float32(0.1), epochs=number, batch_size=number)
    assert lecore.gradient_sketch(model(), X, features=number).shape == (4, 1, 1)


@pytest.mark.parametrize("steps", [3, "3", [1.5], [math.nan], [True], torch.tensor(1.0)])
def test_steps_of_a_callback_that_are_none_are_refused(steps):
    with pytest.raises(LecoreError, match="callback_steps"):
        lecore.train(model(), X, Y, learning_rate=0.1, epochs=1, callback_steps=steps)


def test_what_is_no_function_is_refused():
    for call in (
        lambda: lecore.train(model(), X, Y, learning_rate=0.1, epochs=1, callback="print"),
        lambda: lecore.over_points("mean", [np.eye(7)]),
        lambda: lecore.probe_similarity(X, Y, loss=losses.squared_error, change="linear"),
        lambda: Tracker({"S_rel": "S_rel"}, every=1),
    ):
        with pytest.raises(LecoreError, match="is of type str; give a function"):
            call()


@pytest.mark.parametrize("path", [3, b"x", "a\0b", None, ["x"]])
@pytest.mark.parametrize(
    "call",
    [
        lambda path: lecore.open_matrix(path),
        lambda path: Tiles(store=path or 0),
        lambda path: Tracker({"S_rel": torch.sum}, every=1, file=path or 0),
        lambda path: study().report("report.html", store=path or 0),
        lambda path: lecore.train(model(), X, Y, learning_rate=0.1, epochs=1, checkpoint=path or 0),
    ],
)
def test_what_is_no_path_is_refused(call, path):
    with pytest.raises(LecoreError, match="give a path"):
        call(path)


def test_a_checkpoint_may_be_named_by_a_word_and_is_no_folder(tmp_path):
    given = {"learning_rate": 0.1, "epochs": 3, "checkpoint_every": 1}
    file, seen = str(tmp_path / "run.pt"), []

    def stop(step, network):
        seen.append(step)
        if step == 2 and len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lecore.train(model(), X, Y, checkpoint=file, callback=stop, **given)
    assert lecore.train(model(), X, Y, checkpoint=file, callback=stop, **given).steps == 3
    assert seen == [0, 1, 2, 2, 3]


@pytest.mark.parametrize(
    ("place", "why"),
    [
        (".", "is a folder; give the name of a file"), ("a file/it", "cannot be made in"),
        ("a file/deeper/it", "cannot be made in"), ("x" * 300, "names no file"),
    ],
)  # fmt: skip
def test_work_that_could_not_be_written_does_not_begin(place, why, tmp_path):
    (tmp_path / "a file").write_text("")
    path = tmp_path / place
    with pytest.raises(LecoreError, match=f"^checkpoint .*{why}"):
        lecore.train(model(), X, Y, checkpoint=path, learning_rate=0.1, epochs=1)
    with pytest.raises(LecoreError, match=f"^file .*{why}"):
        lecore.Tracker({"a": lambda network: torch.ones(1)}, every=1, file=path)


@pytest.mark.parametrize("matrix", [None, "x", 1.5, [1.0, 2.0], torch.ones(2, 3), {"a": 1}])
@pytest.mark.parametrize(
    "call",
    [
        lecore.symmetrized, lecore.normalized_similarity,
        lambda s: lecore.correlation_with_distance(s, np.eye(2)),
        lambda s: lecore.correlation_with_distance(np.eye(2), s),
    ],
)  # fmt: skip
def test_what_is_no_square_matrix_is_refused(call, matrix):
    with pytest.raises(LecoreError, match=r"^(similarity|kernel|distance) "):
        call(matrix)


@pytest.mark.parametrize("change", [None, "x", 1.5, torch.ones(2, 2), [[[1.0], [2.0, 3.0]]]])
@pytest.mark.parametrize(
    "call",
    [
        lecore.relative_similarity,
        lambda change: lecore.kernelized_similarity(change, torch.ones(2), 0.1),
    ],
)
def test_what_is_no_change_is_refused(call, change):
    with pytest.raises(LecoreError, match=r"^change "):
        call(change)


@pytest.mark.parametrize("wrong", [torch.ones(2), torch.ones(3, 3), torch.full((3,), math.nan)])
def test_gradients_of_other_points_or_that_are_not_finite_are_refused(wrong):
    with pytest.raises(LecoreError, match="output_gradient"):
        lecore.kernelized_similarity(CHANGE, wrong, 0.1)


def test_own_changes_of_other_outputs_are_refused():
    for other in (torch.ones(3, 5), torch.ones(3), torch.ones(2, 2)):
        with pytest.raises(LecoreError, match="own_change must"):
            lecore.relative_similarity(torch.ones(3, 3, 2), other)


@pytest.mark.parametrize(
    "values",
    [
        np.arange(4.0)[::-1], np.arange(4.0).astype(">f8"), np.arange(4.0).astype(np.longdouble),
        np.arange(4.0).astype(object), [Fraction(1, 3), 2, 2**70], torch.arange(4),
        np.arange(4, dtype=np.uint8), torch.arange(4.0, requires_grad=True),
    ],
)  # fmt: skip
def test_numbers_in_any_form_are_taken(values):
    plain = values.detach() if isinstance(values, torch.Tensor) else values
    mean = sum(map(float, plain)) / len(values)
    assert lecore.over_runs(values).value == pytest.approx(mean)


@pytest.mark.parametrize(
    "values", [np.ma.masked_array([1.0, 2.0, 3.0], [0, 0, 1]), [1 + 1j, 2, 3], [1.0, None, 2.0]]
)
def test_numbers_that_are_masked_complex_or_missing_are_refused(values):
    with pytest.raises(LecoreError):
        lecore.over_runs(values)


def test_whole_numbers_are_compared_exactly():
    large = np.array([[2**25 + 1, 1], [1, 3]])
    assert lecore.symmetrized(large)[0, 0] == 2**25 + 1
    assert lecore.symmetrized(torch.full((2, 2), 200, dtype=torch.uint8))[0, 1] == 200


def test_a_statistic_gets_the_matrices_as_they_are():
    matrix = np.ma.masked_array(np.arange(64.0).reshape(8, 8), np.eye(8, dtype=bool))
    assert lecore.over_points(np.ma.mean, [matrix]).value == np.ma.mean(matrix)
    tensor = torch.from_numpy(matrix.data)
    assert lecore.over_points(torch.mean, [tensor]).value == float(tensor.mean())


@pytest.mark.parametrize("steps", [range(-2, 3), np.linspace(0, 2, 3), torch.tensor([0, 1, 2])])
def test_steps_of_a_callback_may_be_any_whole_numbers(steps):
    seen = []
    lecore.train(
        model(), X, Y, learning_rate=0.1, epochs=4, callback_steps=steps, seed=-1,
        callback=lambda step, _: seen.append(step),
    )  # fmt: skip
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("number", [torch.tensor(3), np.array(3), np.int64(3)])
def test_single_numbers_of_torch_and_numpy_are_taken(number):
    with lecore.seeded(number) as given, lecore.seeded(3) as three:
        assert given.random() == three.random()
    assert Tracker({"S_rel": torch.sum}, every=number).every == 3
    assert models.image_cnn((1, 8, 8), width=number)[0].out_channels == 3
    tiles = Tiles(jobs=number, memory=10**6 * number, shape=(number, number))
    assert (tiles.jobs, tiles.memory, tiles.shape) == (3, 3 * 10**6, (3, 3))
    assert {type(size) for size in (tiles.jobs, tiles.memory, *tiles.shape)} == {int}
    rate = number / number / 10
    assert lecore.train(model(), X, Y, learning_rate=rate, epochs=number).steps == 3


def test_settings_are_checked_however_few_runs_there_are():
    for given in ({"confidence": 95}, {"bounds": (3, 1)}):
        with pytest.raises(LecoreError, match=next(iter(given))):
            lecore.over_runs([1.0, 2.0], **given)


def test_similarities_take_arrays_and_lists():
    array = CHANGE.double()
    for given in (array.numpy(), array.tolist()):
        for call in (
            lecore.relative_similarity,
            lambda change: lecore.kernelized_similarity(change, [1.0, 2.0, 3.0], 0.1),
        ):
            assert torch.equal(call(given), call(array))
        square = np.asarray(given)[..., 0]
        assert torch.equal(lecore.symmetrized(square), lecore.symmetrized(array[..., 0]))


@pytest.mark.parametrize("matrices", [None, 7, [], "x", [np.eye(7), np.eye(8)], [[1.0]]])
def test_what_are_no_matrices_is_refused(matrices):
    with pytest.raises(LecoreError, match=r"matri(x|ces) "):
        lecore.over_points(np.mean, matrices)


def test_sketches_of_other_features_are_refused():
    own, other = (torch.ones(2, 1, features) for features in (4, 8))
    for first, second in ((own, other), (own[0], own), (own, "x")):
        with pytest.raises(LecoreError, match="features"):
            lecore.sketched_ntk(first, second)


SIZES = {
    "two layers": lambda size: models.two_layer(3, size),
    "a skip": lambda size: models.three_layer_resnet(3, size),
    "a CNN": lambda size: models.image_cnn((3, 8, 8), width=size),
    "sides": lambda size: models.image_cnn((size, 8, 8)),
    "outputs": lambda size: models.mnist_cnn(outputs=size),
    "torus": manifolds.torus,
    "spheres": manifolds.spheres,
    "clusters": lambda size: KernelKMeans(size).fit(X),
    "starts": lambda size: KernelKMeans(n_init=size).fit(X),
    "iterations": lambda size: KernelKMeans(max_iter=size).fit(X),
    "starts of an estimator": lambda size: ElasticityClustering(n_init=size).fit(X),
    "its clusters": lambda size: ElasticityClustering(size).fit(X),
}


@pytest.mark.parametrize("size", [None, "3", 0, 1.5, math.nan, True])
@pytest.mark.parametrize("of", SIZES)
def test_sizes_and_numbers_that_are_none_are_refused(of, size):
    with pytest.raises(LecoreError, match="must be a whole number"):
        SIZES[of](size)


@pytest.mark.parametrize("seed", [-1, 1.5, "a", True])
def test_a_seed_is_not_rounded(seed):
    for call in (
        lambda: ElasticityClustering(random_state=seed).fit(X),
        lambda: manifolds.placed(manifolds.torus(8), turn=seed),
        lambda: models.two_layer(3, 4, seed=seed),
    ):
        with pytest.raises(LecoreError, match="must be a whole number from 0"):
            call()


@pytest.mark.parametrize("place", [{"scale": 0}, {"scale": math.inf}, {"shift": math.nan}])
def test_a_set_stays_in_space(place):
    with pytest.raises(LecoreError, match=next(iter(place))):
        manifolds.placed(manifolds.torus(8), **place)


def test_small_kinds_of_whole_numbers_do_not_wrap():
    network = models.image_cnn((1, 8, 8), width=np.uint8(100))
    assert [layer.out_channels for layer in network if isinstance(layer, nn.Conv2d)] == [
        100, 200, 400,
    ]  # fmt: skip
    with lecore.seeded(np.uint8(3)) as given, lecore.seeded(3) as three:
        assert given.random() == three.random()
