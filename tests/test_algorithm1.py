"""Algorithm 1 on He & Su's problems: its data, its network, its table; and points in the plane."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics.pairwise import euclidean_distances

from lecore.clustering.algorithm_one import Similarities
from lecore.clustering.plane import in_the_plane, kernel_distance
from lecore.data.images import load, scaled
from lecore.models import two_layer
from lecore.studies.he_su import algorithm1
from lecore.studies.he_su.problems import MNIST_PAIRS, he_su_sample


@pytest.fixture(scope="module")
def problem() -> algorithm1.Problem:
    problems = algorithm1.clustering_problems(load("digits"))
    assert list(problems) == list(MNIST_PAIRS)
    return problems["5v9"]


def test_the_images_are_those_of_the_sample_with_targets_one_and_zero(problem):
    sample = he_su_sample(load("digits"), (5, 9), (4, 8))
    primary, ones, auxiliary, zeros = problem.sets
    assert torch.equal(primary, torch.tensor(scaled(sample.primary)).flatten(1))
    assert torch.equal(auxiliary, torch.tensor(scaled(sample.auxiliary)).flatten(1))
    assert torch.equal(ones, torch.ones(len(primary), 1))
    assert torch.equal(zeros, torch.zeros(len(auxiliary), 1))
    np.testing.assert_array_equal(problem.subclass, sample.subclass)


def test_the_network_starts_from_its_seed_and_learns_at_a_share_of_the_stable_rate(problem):
    few = algorithm1.Problem(problem.primary[:6], problem.auxiliary[:6], problem.subclass[:6])
    settings = {"width": 8, "rate_share": 0.25, "batch_size": 4, "seed": 3}
    network, rate = algorithm1.trained_network(few, epochs=0, **settings)
    start = two_layer(few.primary.shape[1], 8, seed=3)
    torch.testing.assert_close(network.state_dict(), start.state_dict(), rtol=0, atol=0)
    rows = []
    for x in torch.cat([few.primary, few.auxiliary]):
        gradients = torch.autograd.grad(start(x[None])[0, 0], list(start.parameters()))
        rows.append(torch.cat([g.ravel() for g in gradients]).double())
    kernel = torch.stack(rows) @ torch.stack(rows).T
    assert rate == pytest.approx(0.25 * 12 / float(torch.linalg.eigvalsh(kernel)[-1]), rel=1e-5)
    trained, same = algorithm1.trained_network(few, epochs=40, **settings)
    assert same == rate
    with torch.no_grad():
        assert float(trained(few.primary).mean()) > float(trained(few.auxiliary).mean()) + 0.3


def test_blocks_are_found_and_equal_similarities_are_not():
    subclass = np.repeat([0, 1], 10)
    points = torch.zeros(20, 2)
    blocks = torch.tensor((subclass[:, None] == subclass) + np.eye(20))
    turned = torch.roll(blocks, (5, 5), (0, 1))  # half of each class changes sides

    def similarities(problem: algorithm1.Problem, seed: int) -> dict[str, Similarities]:
        assert problem.primary is points
        return {
            "as coded": Similarities(blocks, blocks),
            "as printed": Similarities(turned, turned),
        }

    problems = {"5v8": algorithm1.Problem(points, points, subclass)}
    table = algorithm1.accuracy_table(similarities, problems, [4, 6])
    assert len(table) == 8
    assert set(table.seed) == {4, 6}
    found = algorithm1.accuracies_by_pair(table)
    assert list(found) == [
        "relative, as coded", "relative, as printed",
        "kernelized, as coded", "kernelized, as printed",
    ]  # fmt: skip
    assert found["relative, as coded"].to_dict() == {"5v8": 100.0}
    assert found["kernelized, as printed"].tolist() == [50.0, 50.0]
    assert algorithm1.printed_minus_coded(table).to_dict() == {"relative": -50, "kernelized": -50}


def test_the_difference_is_between_medians_over_pairs_and_networks():
    printed, coded = [50.0, 70.0, 99.0], [60.0, 61.0, 62.0]
    rows = [("relative", "as printed", a) for a in printed]
    rows += [("relative", "as coded", a) for a in coded]
    table = pd.DataFrame(rows, columns=["option", "how", "accuracy"])
    assert algorithm1.printed_minus_coded(table).to_dict() == {"relative": 9.0}


def test_the_linear_kernel_has_euclidean_distances():
    points = np.random.default_rng(0).normal(size=(9, 4))
    expected = euclidean_distances(points)
    np.testing.assert_allclose(kernel_distance(points @ points.T), expected, atol=1e-7)


def test_negative_squares_are_no_distance():
    assert kernel_distance(np.array([[1.0, 2.0], [2.0, 1.0]])).tolist() == [[0, 0], [0, 0]]


def test_points_of_a_plane_keep_their_distances():
    points = np.random.default_rng(1).normal(size=(12, 2))
    places = in_the_plane(points @ points.T)
    np.testing.assert_allclose(euclidean_distances(places), euclidean_distances(points), atol=1e-3)
