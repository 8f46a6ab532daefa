"""Which classes a step moves, by slow loops; networks and images in the roles of the paper's."""

import copy
import itertools
from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lecore.models import fully_connected, image_cnn
from lecore.seeding import seeded
from lecore.studies.own import figures, pretrained, tables
from lecore.studies.own import pretrained_measures as measures

CLASSES, IMAGES, RATE = 3, 4, 0.3
with seeded(5):
    X = [torch.randn(IMAGES, 1, 2, 3) + k for k in range(CLASSES)]
Y = [torch.full((IMAGES,), k) for k in range(CLASSES)]


@pytest.fixture
def closed() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture
def network() -> nn.Module:
    return fully_connected(6, 5, 1, "tanh", outputs=CLASSES, seed=1).eval()


def moved_by(network, images, labels, tests):
    """KL(p⁺ ‖ p) at each test image after a step on the mean loss of all images."""
    before = copy.deepcopy(network).double()
    after = copy.deepcopy(before)
    F.cross_entropy(after(images.double()), labels).backward()
    torch.optim.SGD(after.parameters(), lr=RATE).step()
    with torch.no_grad():
        p, moved = (n(tests.double()).softmax(1).numpy() for n in (before, after))
    return (moved * np.log(moved / p)).sum(1)


def test_divergences_by_a_loop(network):
    found = measures.divergences(network, (X[0], Y[0]), X[1], learning_rate=RATE)
    for i in range(IMAGES):
        expected = moved_by(network, X[0][i : i + 1], Y[0][i : i + 1], X[1])
        np.testing.assert_allclose(found[i], expected, rtol=1e-7)
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_similar_and_distant_by_loops(network):
    near, far = X[1], X[2][:3]
    found = measures.similar_and_distant(network, (X[0], Y[0]), near, far, learning_rate=RATE)
    steps = [(X[0][i : i + 1], Y[0][i : i + 1]) for i in range(IMAGES)]
    at_near, at_far, own = (
        np.array([moved_by(network, x, y, at if at is not None else x) for x, y in steps])
        for at in (near, far, None)
    )
    np.testing.assert_allclose(found.similar, at_near.mean(0))
    np.testing.assert_allclose(found.distant, at_far.mean(0))
    np.testing.assert_allclose(found.relative, [(at / own).mean() for at in (at_near, at_far)])
    assert found.log_ratio == pytest.approx(np.log10(at_near.mean() / at_far.mean()))
    values = np.concatenate([at_near.mean(0), at_far.mean(0)])
    ranks = values.argsort().argsort()
    sums = [ranks[list(chosen)].sum() for chosen in itertools.combinations(range(7), IMAGES)]
    assert found.p_value == pytest.approx(np.mean(np.array(sums) >= ranks[:IMAGES].sum()))


def test_batches_of_two_by_a_loop(network):
    sets = [x[-2:] for x in X]
    found = measures.batch_changes(
        network, (X[0], Y[0]), (X[2][:3], Y[2]), sets, learning_rate=RATE
    )
    pairs = [(torch.stack([X[0][i], X[2][i]]), torch.tensor([0, 2])) for i in range(3)]
    expected = [np.mean([moved_by(network, *pair, x).mean() for pair in pairs]) for x in sets]
    np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_movement_of_classes_by_a_loop(network):
    found = measures.class_movement(network, X, Y, learning_rate=RATE, few=2)
    for update, test in np.ndindex(CLASSES, CLASSES):
        steps = [(X[update][i : i + 1], Y[update][i : i + 1]) for i in range(2)]
        mean = np.mean([moved_by(network, *step, X[test][:2]) for step in steps])
        assert found[update, test] == pytest.approx(np.log10(mean))


def test_confusion_is_a_mean_probability(network):
    found = measures.confusion(network, X)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
    expected = network(X[2])[:, 1].exp() / network(X[2]).exp().sum(1)
    assert found[2, 1] == pytest.approx(expected.mean().item())


def test_movement_follows_confusion_in_both_directions_off_the_diagonal():
    confused = np.random.default_rng(0).random((5, 5))
    both = confused + confused.T
    for sign in (1, -1):
        movement = sign * np.exp(3 * both) + np.diag(np.full(5, 100 * sign))
        assert measures.movement_confusion(movement, confused) == pytest.approx(sign)


def test_classes_count_alike_in_the_accuracy():
    by_first_value = nn.Module()
    by_first_value.forward = lambda x: F.one_hot(x[:, 0].long(), 3)
    images = [torch.tensor([[0.0], [1.0]]), torch.full((6, 1), 1.0), torch.zeros(1, 1)]
    assert measures.accuracy(by_first_value, images) == pytest.approx(50)


def test_the_analogue_has_the_paper_s_roles():
    problem = pretrained.analogue("digits", (4, 9, 0, 1), (3, 4), epochs=5, width=4)
    assert problem.roles == (4, 9, 0, 1)
    assert {kind: len(n) for kind, n in problem.networks.items()} == {
        "trained": 2, "random": 2, "linear": 2
    }  # fmt: skip
    assert sum(map(len, problem.images)) == 297
    for k, (x, y) in enumerate(zip(problem.images, problem.labels, strict=True)):
        assert x.shape == (len(y), 1, 8, 8)
        assert set(y.tolist()) == {k}
    at_first = image_cnn((1, 8, 8), width=4, seed=4)
    for p, q in zip(at_first.parameters(), problem.networks["random"][1].parameters(), strict=True):
        torch.testing.assert_close(p, q)
    accuracy = {
        kind: measures.accuracy(members[1], problem.images)
        for kind, members in problem.networks.items()
    }
    assert accuracy["random"] < 20 < min(accuracy["trained"], accuracy["linear"])


def moved(p_value, log_ratio, *relative):
    values = np.array([1e-3, 1e-2])
    return measures.Moved(values, values / 10, p_value, log_ratio, relative)


def ends(entry):
    """Value, lower and upper end of what is recorded."""
    entry = entry._asdict() if hasattr(entry, "_asdict") else entry
    entry = entry if isinstance(entry, dict) else {"value": entry}
    low, high = entry.get("low"), entry.get("high")
    return (entry["value"], *((None, None) if low is None or np.isnan(low) else (low, high)))


def test_what_is_recorded():
    results = [moved(0.01, 1.0, 4.0, 7.0), moved(0.2, 3.0, 5.0, 8.0), moved(0.1, 2.0, 9.0, 6.0)]
    recorded = {
        **tables.similar_over_distant({"trained": results, "linear": results[:1]}),
        **tables.batch_changes({"trained": [1.0, 100.0], "linear": [10.0]}),
    }
    found = {name: ends(entry) for name, entry in recorded.items()}
    half = 4.302652729911275 / 3**0.5  # Student's t with two degrees of freedom
    assert found == {
        "similar-over-distant-p-value": (0.2, 0.01, 0.2),
        "similar-over-distant-trained": (2.0, pytest.approx(2 - half), pytest.approx(2 + half)),
        "similar-over-distant-linear": (1.0, None, None),
        "relative-similar": (5.0, None, None),
        "relative-distant": (7.0, None, None),
        "batch-change-log-ratio-trained": (1.0, None, None),
        "batch-change-log-ratio-linear": (1.0, None, None),
        "batch-change-ratio": (pytest.approx(10.0), 1.0, 100.0),
    }  # fmt: skip


@pytest.mark.usefixtures("closed")
def test_each_dot_is_a_test_image_and_each_column_a_network():
    results = [moved(0.01, 1.0, 4.0, 7.0)] * 2
    fig = figures.similar_figure({"trained": results, "linear": results[:1]}, "4", "9", "0")
    trained, linear = fig.axes
    assert [ax.get_title() for ax in fig.axes] == ["trained", "linear"]
    assert len(trained.lines) == 4
    for line, exponents in zip(linear.lines, ([-3, -2], [-4, -3]), strict=True):
        np.testing.assert_allclose(line.get_ydata(), exponents)
    assert [line.get_xdata().mean() for line in linear.lines] == pytest.approx([0, 1])
    assert [t.get_text() for t in linear.get_xticklabels()] == ["9\n(similar)", "0\n(distant)"]


@pytest.mark.usefixtures("closed")
def test_classes_of_updates_are_rows_of_the_heat_map():
    movement = np.arange(4.0).reshape(2, 2)
    ax, _ = figures.class_movement_figure(movement, ["cat", "plane"]).axes
    np.testing.assert_array_equal(ax.images[0].get_array(), movement)
    assert ax.get_ylabel() == "class of the update image"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["cat", "plane"]
