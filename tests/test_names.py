"""A name that is unknown never falls through to some other choice."""

import pickle

import numpy as np
import pytest
import torch

from lecore.arguments.names import Choices
from lecore.clustering.algorithm_one import cluster_similarity
from lecore.clustering.estimator import ElasticityClustering
from lecore.data.manifolds import MANIFOLDS
from lecore.errors import LecoreError
from lecore.models import ACTIVATIONS, fully_connected
from lecore.similarity import correlation_with_distance
from lecore.studies.dan.classification_measures import steps_of
from lecore.studies.dan.preference import class_means
from lecore.studies.dan.problem import DAN_CLASSES, Classification
from lecore.studies.dan.regression import Regression, regression_data
from lecore.studies.he_su.as_coded import similarities_by_tripling
from lecore.studies.he_su.measure import LOSSES
from lecore.studies.he_su.problems import CIFAR10_PAIRS, MNIST_PAIRS
from lecore.studies.he_su.runs import comparison_runs, he_su_run

SQUARE, POINTS = np.eye(4), torch.eye(4)


def he_su(**changes):
    return he_su_run("digits", (5, 8), (3,), **changes)


@pytest.mark.parametrize(
    ("choose", "known"),
    [
        (lambda: Classification(data="digits", classes=(0, 1), network="vgg"), "resnet18, cnn"),
        (lambda: DAN_CLASSES["vgg"], "cifar10, cifar100, svhn, mnist, digits"),
        (lambda: he_su(method="vgg"), "two-layer, cnn, skip, pixels"),
        (lambda: he_su(loss="vgg"), "squared, cross-entropy"),
        (lambda: he_su(activation="vgg"), "relu, linear, sigmoid"),
        (lambda: comparison_runs("digits", [((5, 8), (3,))], losses=["vgg"]), "cross-entropy"),
        (lambda: LOSSES["vgg"], "squared, cross-entropy"),
        (lambda: Regression(target="vgg"), "linear, sine, product, diabetes"),
        (lambda: Regression(target="sine", activation="vgg"), "relu, linear"),
        (lambda: regression_data("vgg", 5), "linear, sine, product, diabetes"),
        (lambda: ACTIVATIONS["vgg"], "relu, linear, sigmoid, tanh, gelu, softplus"),
        (lambda: fully_connected(2, 3, 1, "vgg"), "relu, linear"),
        (lambda: fully_connected(2, 3, 1, parameterization="vgg"), "standard, ntk"),
        (lambda: MNIST_PAIRS["vgg"], "5v8, 4v9"),
        (lambda: CIFAR10_PAIRS["vgg"], "car v cat, car v horse"),
        (lambda: MANIFOLDS["vgg"], "torus, boxes"),
        (lambda: cluster_similarity(SQUARE, "vgg"), "relative, kernelized"),
        (lambda: ElasticityClustering(similarity="vgg").fit(SQUARE), "relative, kernelized"),
        (lambda: ElasticityClustering(algorithm="vgg").fit(SQUARE), "as coded, as printed"),
        (lambda: similarities_by_tripling(None, POINTS, POINTS, loss="vgg"), "squared, cross"),
        (lambda: correlation_with_distance(SQUARE, SQUARE, method="vgg"), "pearson, spearman"),
        (
            lambda: class_means(SQUARE, [0, 1], [0, 1], average="vgg"),
            "mean, median, ratio of means",
        ),
        (lambda: steps_of({}, "vgg", 0.1), "Adam, SGD, none"),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones(choose, known):
    with pytest.raises(LecoreError, match=r"^no .* 'vgg'; choose from ") as caught:
        choose()
    assert known in str(caught.value)


@pytest.mark.parametrize("name", [None, 3, ["5v8"], ("5v8",)])
def test_what_is_no_word_is_refused_too(name):
    with pytest.raises(LecoreError, match="no pair"):
        MNIST_PAIRS[name]


def test_choices_travel_between_processes():
    again = pickle.loads(pickle.dumps(Choices("colour", {"red": 1})))
    assert again["red"] == 1
    with pytest.raises(LecoreError, match="no colour 'blue'; choose from red"):
        again["blue"]
