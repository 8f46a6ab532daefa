"""The tracker measures what a measurement by hand gives, and leaves the training alone."""

import numpy as np
import pytest
import torch
from torch import nn

from lecore import losses, models, prediction_change, relative_similarity, train
from lecore.seeding import seeded
from lecore.tracking import Tracker, eval_mode, probe_similarity


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


def test_bad_input(tmp_path):
    _, x, y = setting()
    with pytest.raises(ValueError, match="every must be 1"):
        Tracker(tracker_of(x, y), every=0)
    with pytest.raises(ValueError, match="colon"):
        Tracker({"a:b": relative_similarity}, every=1)
    file = tmp_path / "other.npz"
    file.write_bytes(b"not an archive")
    with pytest.raises(ValueError, match="holds no measurements"):
        Tracker(tracker_of(x, y), every=1, file=file)
    np.savez(tmp_path / "those.npz", **{"other:0": np.zeros((1, 1))})
    with pytest.raises(ValueError, match="other measures"):
        Tracker(tracker_of(x, y), every=1, file=tmp_path / "those.npz")
