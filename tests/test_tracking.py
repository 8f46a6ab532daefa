"""The tracker measures what a measurement by hand gives, and leaves the training alone."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from lecore import (
    empirical_ntk,
    kernelized_similarity,
    losses,
    models,
    prediction_change,
    relative_similarity,
    train,
)
from lecore.engine.network.modes import eval_mode
from lecore.errors import LecoreError
from lecore.seeding import seeded
from lecore.tracking import Tracker, probe_similarity


def setting():
    with seeded(0):
        x, y = torch.randn(12, 3), torch.arange(12) % 3
    return models.two_layer(3, 16, outputs=3), x, y


def follow(tracker=None, epochs=2, **more):
    model, x, y = setting()
    train(
        model, x, y, learning_rate=0.1, epochs=epochs, batch_size=4, loss=losses.cross_entropy,
        callback=tracker, **more,
    )  # fmt: skip
    return model


def tracker_of(x, y, **settings):
    measure = probe_similarity(x[:4], y[:4], loss=losses.cross_entropy, **settings)
    return {"S_rel": measure}


def test_measurements_are_those_made_by_hand():
    _, x, y = setting()
    tracker = Tracker(tracker_of(x, y), every=2)
    follow(tracker)
    assert tracker.steps == [0, 2, 4, 6]
    by_hand = []
    follow(lambda step, model: by_hand.append(tracker.measures["S_rel"](model)))
    expected = torch.stack(by_hand)[::2].numpy()
    np.testing.assert_allclose(tracker.curve("S_rel"), expected, rtol=1e-6)
    np.testing.assert_allclose(tracker.curve("S_rel").diagonal(axis1=1, axis2=2), 1.0, rtol=1e-6)


def test_tidy_frame():
    _, x, y = setting()
    tracker = Tracker(tracker_of(x, y), every=3)
    assert len(tracker.frame()) == 0
    follow(tracker)
    frame = tracker.frame()
    assert list(frame.columns) == ["step", "measure", "update", "test", "value"]
    assert len(frame) == 3 * 16
    one = frame.query("step == 3 and update == 1 and test == 2")["value"]
    assert one.item() == tracker.curve("S_rel")[1, 1, 2]


def test_tidy_frame_of_measures_with_outputs():
    x = setting()[1]
    tracker = Tracker({"Θ": lambda model: empirical_ntk(model, x[:3])}, every=3)
    follow(tracker)
    frame = tracker.frame()
    one = frame.query("step == 3 and update == 1 and test == 2 and output == 0")
    one = one[one["other output"] == 0]["value"]
    assert one.tolist() == [tracker.curve("Θ")[1, 1, 2, 0, 0]]


def test_any_definition_and_other_test_points():
    _, x, y = setting()
    measure = probe_similarity(
        x[:4], y[:4], x[4:9], loss=losses.cross_entropy, change=prediction_change,
        learning_rate=0.1, dtype=torch.float64,
        similarity=lambda change, own: change.abs().sum(2) / own.abs().sum(1, keepdim=True),
    )  # fmt: skip
    model, *_ = setting()
    change = prediction_change(
        model, x[:4], y[:4], x[:9], learning_rate=0.1, loss=losses.cross_entropy
    )
    own = change[:, :4].diagonal().T.abs().sum(1, keepdim=True)
    torch.testing.assert_close(measure(model), change[:, 4:].abs().sum(2) / own)


def test_weights_that_are_followed_are_those_of_each_step():
    model, tracker = nn.Linear(3, 1).double(), Tracker({"w": lambda model: model.weight}, every=1)
    for step in range(3):
        model.weight.data.fill_(step)
        tracker(step, model)
    np.testing.assert_array_equal(tracker.curve("w"), np.arange(3)[:, None, None] * np.ones(3))


@pytest.mark.parametrize("kind", [float, np.asarray, torch.tensor])
def test_a_measure_may_be_a_number(kind):
    tracker = Tracker({"n": lambda _: kind(2.5)}, every=1)
    tracker(0, nn.Linear(1, 1))
    assert tracker.curve("n").tolist() == tracker.frame()["value"].tolist() == [2.5]


def test_a_measure_that_gives_no_numbers_is_refused():
    with pytest.raises(LecoreError, match="measure n of type NoneType holds no numbers"):
        Tracker({"n": lambda _: None}, every=1)(0, nn.Linear(1, 1))


def test_training_is_not_disturbed():
    _, x, y = setting()
    alone, tracked = follow(), follow(Tracker(tracker_of(x, y), every=1))
    for a, b in zip(alone.parameters(), tracked.parameters(), strict=True):
        assert torch.equal(a, b)


def test_modes_are_restored_even_after_an_error():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout())
    model[1].eval()
    with eval_mode(model):
        assert not any(m.training for m in model.modules())
    assert [m.training for m in model.modules()] == [True, True, False, True]
    with pytest.raises(RuntimeError, match="inside"), eval_mode(model):
        raise RuntimeError("inside")
    assert [m.training for m in model.modules()] == [True, True, False, True]


def test_interrupted_run_goes_on(tmp_path):
    _, x, y = setting()
    whole = Tracker(tracker_of(x, y), every=1)
    follow(whole)
    file = tmp_path / "curves.npz"

    class Stopped(Exception):
        pass

    def stop_after(steps):
        tracker = Tracker(tracker_of(x, y), every=1, file=file)

        def callback(step, model):
            tracker(step, model)
            if step == steps:
                raise Stopped

        return callback

    checkpoint = {"checkpoint": tmp_path / "run.pt", "checkpoint_every": 1}
    with pytest.raises(Stopped):
        follow(stop_after(3), **checkpoint)
    resumed = Tracker(tracker_of(x, y), every=1, file=file)
    assert resumed.steps == [0, 1, 2, 3]
    follow(resumed, **checkpoint)
    assert resumed.steps == whole.steps
    np.testing.assert_allclose(resumed.curve("S_rel"), whole.curve("S_rel"), rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda p, y: (p[1] - y).square(), "4 of 4 update points did not move"),
        (lambda p, y: -p[y].log(), "the loss has no finite gradient"),
    ],
)
def test_saturated_probes_do_not_end_the_training(tmp_path, loss, words):
    _, x, y = setting()
    network = nn.Sequential(nn.Linear(3, 2), nn.Softmax(1))
    saturated = nn.Sequential(nn.Linear(3, 2), nn.Softmax(1))
    nn.init.zeros_(saturated[0].weight)
    saturated[0].bias.data = torch.tensor([1e5, -1e5])
    measure = probe_similarity(x[:4], y[:4] % 2, x[4:9], loss=loss)
    with pytest.raises(ValueError, match=words):  # at the start it is a mistake
        Tracker({"S_rel": measure}, every=1)(0, saturated)
    tracker = Tracker({"S_rel": measure}, every=1)
    tracker(0, network)
    with pytest.warns(UserWarning, match=f"S_rel at step 1 is NaN: {words}"):
        tracker(1, saturated)
    first, second = tracker.curve("S_rel")
    assert np.isfinite(first).all()
    assert second.shape == (4, 5)
    assert np.isnan(second).all()


def test_bad_input(tmp_path):
    _, x, y = setting()
    with pytest.raises(ValueError, match="every must be a whole number above 0"):
        Tracker(tracker_of(x, y), every=0)
    with pytest.raises(ValueError, match="colon"):
        Tracker({"a:b": relative_similarity}, every=1)
    file = tmp_path / "other.npz"
    file.write_bytes(b"not an archive")
    with pytest.raises(ValueError, match="holds no measurements"):
        Tracker(tracker_of(x, y), every=1, file=file)
    np.savez(tmp_path / "those.npz", **{"S_rel:0": np.zeros((1, 1))})  # of whom?
    with pytest.raises(LecoreError, match="holds no measurements"):
        Tracker(tracker_of(x, y), every=1, file=tmp_path / "those.npz")
    follow(Tracker({"other": tracker_of(x, y)["S_rel"]}, every=1, file=tmp_path / "third.npz"))
    with pytest.raises(LecoreError, match=r"other measures \(other\)"):
        Tracker(tracker_of(x, y), every=1, file=tmp_path / "third.npz")


def test_measurements_of_anything_else_are_refused(tmp_path):
    _, x, y = setting()
    file = tmp_path / "curves.npz"
    follow(Tracker(tracker_of(x, y), every=1, file=file))
    content = file.read_bytes()
    for others in (
        tracker_of(x + 1, y), tracker_of(x, y.flip(0)), tracker_of(x, y, dtype=torch.float64),
        tracker_of(x, y, similarity=kernelized_similarity), tracker_of(x, y, learning_rate=2.0),
        {"S_rel": probe_similarity(x[:4], y[:4], loss=lambda f, t: 2 * losses.cross_entropy(f, t))},
        {"S_rel": probe_similarity(x[:4], y[:4], x[:2], loss=losses.cross_entropy)},
    ):  # fmt: skip
        with pytest.raises(LecoreError, match=r"'S_rel' in .*holds the work of another measure"):
            Tracker(others, every=1, file=file)
    assert file.read_bytes() == content
    assert Tracker(tracker_of(x, y), every=5, file=file).steps == [0, 1, 2, 3, 4, 5, 6]


def test_another_network_does_not_go_on_in_the_file(tmp_path):
    _, x, y = setting()
    file = tmp_path / "curves.npz"
    follow(Tracker(tracker_of(x, y), every=1, file=file))
    tracker = Tracker(tracker_of(x, y), every=1, file=file)
    with pytest.raises(LecoreError, match="holds the work of other parameters; take another"):
        tracker(7, models.two_layer(3, 17, outputs=3))
    tracker(7, models.two_layer(3, 16, outputs=3, seed=1))
    patched = models.two_layer(3, 16, outputs=3)
    patched[1].forward = torch.tanh
    with pytest.raises(LecoreError, match="holds the work of another model code"):
        Tracker(tracker_of(x, y), every=1, file=file)(8, patched)


def test_a_key_stands_for_what_cannot_be_identified(tmp_path):
    lock, file = threading.Lock(), tmp_path / "curves.npz"

    def measure(model):
        with lock:
            return torch.zeros(1, 1)

    Tracker({"m": measure}, every=1)  # nothing to be recognised
    with pytest.raises(LecoreError, match=r"measure.* uses lock: .*key="):
        Tracker({"m": measure}, every=1, file=file)
    follow(Tracker({"m": measure}, every=1, file=file, key="a"))
    assert len(Tracker({"m": measure}, every=1, file=file, key="a").steps) == 7
    with pytest.raises(LecoreError, match=r"another key \(a there, b here\)"):
        Tracker({"m": measure}, every=1, file=file, key="b")


@pytest.mark.thorough
def test_a_damaged_file_is_refused(tmp_path):
    _, x, y = setting()
    file = tmp_path / "curves.npz"
    follow(Tracker(tracker_of(x, y), every=1, file=file))
    content = file.read_bytes()
    for damaged in (b"", content[:50], content[:-30], content.replace(b"S_rel", b"S_rem")):
        file.write_bytes(damaged)
        with pytest.raises(LecoreError, match="holds no measurements, or is damaged; delete it"):
            Tracker(tracker_of(x, y), every=1, file=file)
    for place in range(0, len(content), 101):
        file.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        try:
            again = Tracker(tracker_of(x, y), every=1, file=file)
        except LecoreError:
            continue
        file.write_bytes(content)  # a bit that says nothing, such as a date
        whole = Tracker(tracker_of(x, y), every=1, file=file)
        np.testing.assert_array_equal(again.curve("S_rel"), whole.curve("S_rel"))
