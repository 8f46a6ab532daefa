"""Classifiers in training, probed: against plain loops, and on small files of every set."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lecore.data.images import load
from lecore.losses import cross_entropy
from lecore.models import image_cnn, resnet18
from lecore.studies.dan import classification as classification_runs
from lecore.studies.dan.accuracies import final_accuracies, training_curves
from lecore.studies.dan.classification import (
    drawn_probes,
    follow_classifier,
)
from lecore.studies.dan.classification_measures import sgd_logit_change
from lecore.studies.dan.problem import Classification, classification_problem
from lecore.tangent_kernel import empirical_ntk
from tests.image_files import MAKERS

SMALL = Classification(
    data="digits", classes=(0, 2, 4), network="cnn", per_class=20, test_per_class=5,
    batch_size=16, epochs=2, every=2, probes=3, learning_rate=1e-3,
)  # fmt: skip


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_images_from_the_original_formats(name, tmp_path, monkeypatch):
    monkeypatch.setenv("LECORE_DATA", str(tmp_path))
    MAKERS[name](tmp_path, monkeypatch)
    run = Classification(data=name, classes=(1, 0), per_class=1, probes=1)
    problem, images = classification_problem(run), load(name)
    assert problem.inputs.shape == (2, 3, 32, 32)
    assert problem.targets.tolist() == [0, 1]
    colours = {tuple(c) for c in images.x_train[images.y_train == 1].reshape(-1, 3)} | {(0, 0, 0)}
    mean, deviation = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    original = images.x_train[images.y_train == 1].transpose(0, 3, 1, 2)
    for cropped in (problem.inputs[0], problem.again[0]):
        pixels = cropped.numpy() * np.reshape(deviation, (3, 1, 1)) + np.reshape(mean, (3, 1, 1))
        pixels = np.rint(255 * pixels).astype(int)
        assert {tuple(pixel) for pixel in pixels.reshape(3, -1).T} <= colours
        assert (pixels != original).any(axis=(1, 2, 3)).all()  # moved, or flipped
    assert not torch.equal(problem.inputs, problem.again)
    first = images.x_test[images.y_test == 1][0].transpose(2, 0, 1) / 255
    expected = (first - np.reshape(mean, (3, 1, 1))) / np.reshape(deviation, (3, 1, 1))
    np.testing.assert_allclose(problem.held_out[0].numpy(), expected, atol=1e-6)


def test_the_problem_is_of_the_seed():
    one, same, other = (
        classification_problem(replace(SMALL, per_class=9, seed=s)) for s in (0, 0, 1)
    )
    assert torch.equal(one.inputs, same.inputs)
    assert not torch.equal(one.inputs, other.inputs)
    assert one.targets.tolist() == [0] * 9 + [1] * 9 + [2] * 9
    assert torch.equal(one.held_out, other.held_out)
    assert len(one.again) == 15
    with pytest.raises(ValueError, match=r"no training images of class \[11\]"):
        classification_problem(replace(SMALL, classes=(0, 11)))


def test_looks_are_those_of_plain_loops(tmp_path):
    found = follow_classifier(SMALL, "cpu", tmp_path)
    assert found["steps"].tolist() == [0, 1, 3, 4, 6]
    assert found["labels"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2] * 2
    assert found["accuracy"].shape == found["loss"].shape == (6,)
    problem = classification_problem(SMALL)
    points, labels = drawn_probes(SMALL, problem)
    before, changes = image_cnn((3, 8, 8), outputs=3)(points), []
    for i in range(9):
        clone = image_cnn((3, 8, 8), outputs=3)
        adam = torch.optim.Adam(clone.parameters(), lr=1e-3)
        F.cross_entropy(clone(points[i : i + 1]), labels[i : i + 1]).backward()
        adam.step()
        changes.append((clone(points) - before).detach())
    np.testing.assert_allclose(found["adam"][0], torch.stack(changes), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found["logits"][0], before.detach(), atol=1e-6)
    network = image_cnn((3, 8, 8), outputs=3)
    parameters = dict(network.named_parameters())
    gradients = torch.func.jacrev(lambda w: torch.func.functional_call(network, w, points))(
        parameters
    )
    flat = torch.cat([g.flatten(2) for g in gradients.values()], dim=2).detach().double()
    theta = torch.einsum("icw,jkw->ijck", flat, flat)
    np.testing.assert_allclose(found["kernel"][0], theta, rtol=1e-3, atol=1e-3)

    # the third look and the accuracies of the first epoch, from a loop of our own
    adam = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-4)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0)).split(16)[:3]
    for step, rows_ in enumerate(order):
        prediction, y = network(problem.inputs[rows_]), problem.targets[rows_]
        loss = F.cross_entropy(prediction, y)
        assert found["loss"][step] == pytest.approx(loss.item(), rel=1e-4)
        assert found["accuracy"][step] == (prediction.argmax(1) == y).double().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    np.testing.assert_allclose(found["logits"][2], network(points).detach(), atol=1e-4)
    sets = (
        (problem.inputs, problem.targets),
        (problem.again, problem.again_targets),
        (problem.held_out, problem.held_out_targets),
    )
    for column, (x, y) in enumerate(sets):
        right = (network(x).argmax(dim=1) == y).double().mean()
        assert found["epoch_accuracy"][0, column] == pytest.approx(right.item(), abs=1e-6)
    assert np.abs(found["exact"] - found["first_order"]).max() < 0.2 * np.abs(found["exact"]).max()


def test_sgd_logit_change_is_the_small_step():
    from lecore import linearized_change

    torch.manual_seed(0)
    network = image_cnn((1, 8, 8), width=2, outputs=3).double()
    x, y = torch.randn(5, 1, 8, 8).double(), torch.tensor([0, 1, 2, 0, 1])
    expected = linearized_change(network, x, y, loss=cross_entropy, learning_rate=0.1)
    found = sgd_logit_change(network(x).detach(), y, empirical_ntk(network, x), 0.1)
    torch.testing.assert_close(found, expected)


@pytest.mark.thorough
def test_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    run = replace(SMALL, every=4, probes=1)
    whole = follow_classifier(run, "cpu", tmp_path / "whole")
    kernel, calls = classification_runs.empirical_ntk, []

    def interrupted(*args, **settings):
        calls.append(None)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return kernel(*args, **settings)

    monkeypatch.setattr(classification_runs, "empirical_ntk", interrupted)
    with pytest.raises(KeyboardInterrupt):
        follow_classifier(run, "cpu", tmp_path / "half")
    resumed = follow_classifier(run, "cpu", tmp_path / "half")
    assert set(resumed) == set(whole)
    for name, values in whole.items():
        np.testing.assert_allclose(resumed[name], values, rtol=1e-4, atol=1e-5)


@pytest.mark.thorough
def test_the_papers_network_follows_its_other_sets(tmp_path, monkeypatch):
    monkeypatch.setenv("LECORE_DATA", str(tmp_path))
    MAKERS["svhn"](tmp_path, monkeypatch)
    run = Classification(
        data="svhn", classes=(1, 0), per_class=1, probes=1, epochs=1, batch_size=2, seed=1
    )
    found = follow_classifier(run, "cpu", tmp_path / "scratch")
    assert found["steps"].tolist() == [0, 1]
    assert found["adam"].shape == (2, 2, 4, 2)
    network = resnet18(outputs=2, seed=1)
    points = torch.cat([(problem := classification_problem(run)).inputs, problem.held_out])
    np.testing.assert_allclose(found["logits"][0], network(points).detach(), rtol=1e-4, atol=1e-4)


def test_too_few_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match="fewer than 30"):
        follow_classifier(replace(SMALL, probes=30), "cpu", tmp_path)
    with pytest.raises(ValueError, match="epochs must be"):
        follow_classifier(replace(SMALL, epochs=0), "cpu", tmp_path)
    with pytest.raises(ValueError, match="a batch of 100"):
        follow_classifier(replace(SMALL, batch_size=100), "cpu", tmp_path)


def test_one_table_says_when_each_thing_is_measured():
    when = classification_runs.moments(replace(SMALL, epochs=2, every=3), per_epoch=5)
    assert when["logits"] == when["adam"] == when["kernel"] == {0, 1, 4, 6, 9}
    assert when["epoch_accuracy"] == {5, 10}
    assert when["exact"] == when["first_order"] == {10}


def test_curves_of_training_by_epoch():
    one = {
        "loss": np.array([4.0, 2.0, 1.0, 0.0]), "accuracy": np.array([0.0, 0.5, 0.5, 1.0]),
        "epoch_accuracy": np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]),
    }  # fmt: skip
    curves = training_curves([one, one])
    assert curves["training loss"].tolist() == [[3, 0.5]] * 2
    assert curves["training accuracy"].tolist() == [[0.25, 0.75]] * 2
    assert curves['"test" accuracy'].tolist() == [[0.2, 0.5]] * 2
    assert curves["held-out accuracy"].tolist() == [[0.3, 0.6]] * 2
    released = {'"test" accuracy': {"mean": [0.1, 0.53]}, "training loss": {"mean": [1, 1]}}
    numbers = final_accuracies(curves, released)
    assert numbers["held-out accuracy",]["value"] == pytest.approx(60)
    assert numbers['"test" accuracy', "difference"]["value"] == pytest.approx(-3)
    assert set(map(len, numbers)) == {1, 2}
    assert len(numbers) == 4
