"""What an attack on the neighbours found: refused in one line, where numbers were wrong or none."""

import numpy as np
import pytest
import torch
from torch import nn

from lecore import LecoreError
from lecore.models import NTKLinear
from lecore.studies.neighbours import added_layers as added
from lecore.studies.neighbours import (
    bayesian_elasticity,
    equivalent_elasticity,
    held_out,
    polynomial_elasticity,
    stable_units,
)
from lecore.studies.neighbours import bayesian_estimate as estimate
from lecore.studies.neighbours import calibration_error as ks
from lecore.studies.neighbours import equivalent_networks as equivalent
from lecore.studies.neighbours import ks_calibration as maps
from lecore.studies.neighbours.added_layers_elasticity import superiority
from lecore.studies.neighbours.bayesian_posterior import last_layer_posterior
from lecore.studies.neighbours.box_search import check_inside
from lecore.studies.neighbours.ks_elasticity import Path, class_preference, looks, together
from lecore.studies.neighbours.partial_correlation import partial_interval, partial_spearman
from lecore.studies.neighbours.polynomial_nets import convolutional, dense, width_for

RNG = np.random.default_rng(0)
C, N = 3, 30
Z = RNG.normal(size=(N, C))
P = np.exp(Z) / np.exp(Z).sum(1, keepdims=True)
Y = np.arange(N) % C
TENSORS = torch.tensor(Z), torch.tensor(Y)
SIZE, LABELS = RNG.random((8, 8)), np.arange(8) % 2
X = RNG.normal(size=(3, 20))
LAYERS = [
    equivalent.Affine(RNG.normal(size=(4, 2)), RNG.normal(size=4)),
    equivalent.Affine(RNG.normal(size=(3, 4)), RNG.normal(size=3)),
    equivalent.Affine(RNG.normal(size=(1, 3)), RNG.normal(size=1)),
]
BOX = equivalent.box(-1, 1, 2)
SCORES = ks.Scores(P.max(1), (P.argmax(1) == Y).astype(float))


def path(**sides):
    return Path(*np.arange(5 * 9.0).reshape(5, 9))._replace(**sides)


def posterior(*layers, images=None, labels=None, samples=2):
    network = nn.Sequential(*layers)
    images = torch.rand(6, 4) if images is None else images
    labels = torch.arange(len(images)) % 3 if labels is None else labels
    return last_layer_posterior(network, images, labels, precision=1, samples=samples, seed=0)


def extreme(unit=0, bounds=None, domain=BOX, **settings):
    bounds = equivalent.interval_bounds(LAYERS[:2], BOX) if bounds is None else bounds
    return stable_units.extreme(LAYERS[:2], bounds, domain, unit, largest=True, **settings)


def with_weight(value):
    """The layers with one weight of the second replaced."""
    first, (weight, bias), last = LAYERS
    return [first, equivalent.Affine(np.where(np.eye(*weight.shape), value, weight), bias), last]


def trained(**changes):
    settings = {"penalty": 0, "width": 2, "epochs": 1, "images": 9, "tests": 9} | changes
    return equivalent_elasticity.trained("digits", 0, **settings)


def problem(**changes):
    settings = {"width": 2, "training": 9, "images": 2, "epochs": 1, "precision": 1, "samples": 2}
    return bayesian_elasticity.problem("digits", 0, **settings | changes)


def untrained(**changes):
    settings = {"training": 2, "calibration": 2, "tests": 2, "width": 2} | changes
    return held_out.untrained("digits", 0, **settings)


def split(**changes):
    return polynomial_elasticity.image_split("digits", 0, **{"images": 9, "tests": 9} | changes)


REFUSED = {
    "labels from 1": (lambda: ks.top(P, Y + 1), "no classes of 3; give whole numbers from 0 to 2"),
    "labels of -1": (lambda: maps.temperature(Z, Y - 1), "labels are no classes of 3"),
    "labels between": (lambda: ks.within_top(P, Y + 0.5, 2), "labels are no classes of 3"),
    "labels in words": (lambda: ks.top(P, Y.astype(str)), "labels are no classes of 3"),
    "logits": (lambda: ks.top(Z, Y), "these are no probabilities; take the softmax"),
    "odds": (lambda: ks.within_top(P * 3, Y, 2), "these are no probabilities; take the softmax"),
    "half a place": (lambda: ks.top(P, Y, 1.5), "r must be 1 to 3"),
    "half a knot": (
        lambda: maps.fit_spline(*SCORES, 2.5),
        "knots must be a whole number from 2 on",
    ),
    "half a bin": (lambda: ks.binned_error(*SCORES, 2.5), "bins must be a whole number above 0"),
    "no draws": (lambda: ks.chance_error(P[:, 0], draws=0), "draws must be a whole number above 0"),
    "choice": (lambda: maps.recalibrated((Z, Y), Z, Y, choice="all"), "no choice 'all'; choose"),
    "other classes": (lambda: maps.recalibrated((Z, Y), Z[:, :2], Y), "give both of one network"),
    "fewer than none": (
        lambda: maps.by_knots(SCORES, SCORES, [3], -5),
        "calibration images must be a whole number above 0, not -5",
    ),
    "sizes of others": (lambda: class_preference(SIZE[:5], LABELS), r"finite sizes \(n, n\)"),
    "unknown sizes": (lambda: class_preference(SIZE * np.nan, LABELS), r"finite sizes \(n, n\)"),
    "still pairs": (
        lambda: class_preference(np.eye(8)[::-1] + np.eye(8), LABELS, pooled=True),
        "most steps move no point of another class",
    ),
    "no step": (lambda: looks(0, 3), "steps must be a whole number above 0"),
    "two looks": (lambda: together(path(), 7), "2 looks from step 7 on are too few; take 3"),
    "other points": (lambda: partial_spearman(X[0], X[1][:5]), r"one shape \(n,\), got \(5,\), "),
    "no points": (lambda: partial_interval([], []), r"one shape \(n,\)"),
    "unknown point": (lambda: partial_spearman([1, np.nan, 2], [1, 2, 3]), "is NaN at some point"),
    "no resamples": (lambda: partial_interval(*X, resamples=0), "resamples must be a whole number"),
    "half a unit": (
        lambda: dense("CCP", 3, 1.5, 2),
        "width must be a whole number above 0, not 1.5",
    ),
    "flat images": (lambda: convolutional("CCP", (8, 8), 3, 2), r"\(channels, height, width\)"),
    "no parameters": (
        lambda: width_for(0, nn.Identity),
        "wanted must be a whole number above 0, not 0",
    ),
    "degree in words": (
        lambda: polynomial_elasticity.torus_network("degree two", 99),
        "no network 'degree two'; choose from linear, degree 2",
    ),
    "half a degree": (
        lambda: polynomial_elasticity.wide_ccp_kernel(X.T, 1.5),
        "degree must be a whole number above 0, not 1.5",
    ),
    "ignored labels": (
        lambda: added.fit(added.AddedLayers(C), TENSORS[0], torch.full((N,), -100)),
        "labels are no classes of 3",
    ),
    "labels of g between": (
        lambda: added.fit(added.AddedLayers(C), TENSORS[0], TENSORS[1] + 0.5),
        "labels are no classes of 3",
    ),
    "frequency of none": (
        lambda: added.frequency_error(*TENSORS[:1], TENSORS[1] + 1),
        "no classes",
    ),
    "no error": (lambda: estimate.chernoff_samples(0, 0.1), "error 0 must lie between 0 and 0.5"),
    "no doubt": (lambda: estimate.chernoff_samples(0.1, 0), "doubt 0 between 0 and 1"),
    "unchecked scheme": (
        lambda: estimate.sequential_estimate([True], estimate.Scheme(2, 0.1, 0.2)),
        "error 2 must lie between 0 and 0.5",
    ),
    "no chance": (lambda: estimate.coverage(estimate.scheme(), [2]), "chances must lie between"),
    "unknown chance": (
        lambda: estimate.simulated_coverage(estimate.scheme(), np.nan, 5, 0),
        "chances must lie between",
    ),
    "more hits than shots": (lambda: estimate.clopper_pearson(5, 3, 0.05), "from 0 to the trials"),
    "an outcome of two": (lambda: estimate.sequential_estimate([2] * 300), "True or False, not 2"),
    "half an outcome": (
        lambda: estimate.sequential_estimate([0.3] * 300),
        "True or False, not 0.3",
    ),
    "unknown outcome": (lambda: estimate.sequential_estimate([np.nan] * 300), "False, not nan"),
    "half an outcome on a path": (
        lambda: estimate.sampling_path([0.3], estimate.scheme()),
        "True or False, not 0.3",
    ),
    "no runs": (
        lambda: estimate.simulated_coverage(estimate.scheme(), 0.5, -1, 0),
        "runs must be a whole number above 0, not -1",
    ),
    "no layers": (posterior, "does not end with a linear layer"),
    "scaled weights": (lambda: posterior(NTKLinear(4, 3)), "does not end with a linear layer"),
    "frozen": (lambda: posterior(nn.Linear(4, 3).requires_grad_(False)), "last layer is frozen"),
    "images of another shape": (
        lambda: posterior(nn.Linear(5, 3)),
        "does not take the images .*shapes cannot be multiplied",
    ),
    "images in double": (
        lambda: posterior(nn.Linear(4, 3), images=torch.rand(6, 4).double()),
        "does not take the images .*same dtype",
    ),
    "images of bytes": (
        lambda: posterior(nn.Linear(4, 3), images=torch.ones(6, 4).byte()),
        "does not take the images .*same dtype",
    ),
    "images in rows": (
        lambda: posterior(nn.Linear(4, 3), images=torch.rand(6, 2, 4)),
        r"the outputs for 2 images have shape \(2, 2, 3\); they must be 3 each, so flatten",
    ),
    "unknown pixels": (
        lambda: posterior(nn.Linear(4, 3), images=torch.full((6, 4), torch.nan)),
        "some pixels are not finite; look at the images",
    ),
    "no images to fit": (
        lambda: posterior(nn.Linear(4, 3), images=torch.rand(0, 4)),
        r"need images \(n, …\) and labels \(n,\), got \(0, 4\) and \(0,\)",
    ),
    "labels of fewer images": (
        lambda: posterior(nn.Linear(4, 3), labels=torch.zeros(5).long()),
        r"need images \(n, …\) and labels \(n,\), got \(6, 4\) and \(5,\)",
    ),
    "half a sample": (
        lambda: posterior(nn.Linear(4, 3), samples=2.5),
        "samples must be a whole number above 0, not 2.5",
    ),
    "no training images": (
        lambda: problem(training=0),
        "training must be a whole number above 0, not 0",
    ),
    "fewer images to judge than none": (
        lambda: problem(images=-3),
        "images must be a whole number above 0, not -3",
    ),
    "no bias": (lambda: posterior(nn.Linear(4, 3, bias=False)), "the last layer has no bias"),
    "too few outputs": (lambda: posterior(nn.Linear(4, 2)), "labels are no classes of 2"),
    "ends of others": (lambda: equivalent.box([0, 0, 0], 1, 2), "an end has not one number for"),
    "another box": (
        lambda: stable_units.stable_bounds(LAYERS, equivalent.box(0, 1, 5)),
        "the box has 5 inputs, the network 2",
    ),
    "too many factors": (lambda: equivalent.rescaled(LAYERS, [1, 2, 3]), "factors do not fit"),
    "too few factors": (lambda: equivalent.rescaled(LAYERS, [2]), "factors do not fit"),
    "factors of others": (lambda: equivalent.rescaled(LAYERS, [[1, 2], 1]), "factors do not fit"),
    "no bounds": (
        lambda: equivalent.compress(LAYERS, [], BOX),
        r"bounds of \[\] units; give those of each hidden layer, \[4, 3\]",
    ),
    "bounds of other units": (
        lambda: equivalent.compress(LAYERS, 2 * equivalent.interval_bounds(LAYERS[:2], BOX), BOX),
        r"bounds of \[4, 4\] units; give those of each hidden layer, \[4, 3\]",
    ),
    "a box to compress on": (
        lambda: equivalent.compress(
            LAYERS, equivalent.interval_bounds(LAYERS, BOX), equivalent.box(0, 1, 5)
        ),
        "the box has 5 inputs, the network 2",
    ),
    "no bounds of a unit": (lambda: extreme(bounds=[]), r"bounds of \[\] units"),
    "a box around a unit": (
        lambda: extreme(domain=equivalent.box(0, 1, 3)),
        "the box has 3 inputs, the network 2",
    ),
    "unknown weight": (
        lambda: stable_units.stable_bounds(with_weight(np.nan), BOX),
        "3 of 12 entries of the weight of linear layer 2 are not finite",
    ),
    "infinite weight": (
        lambda: equivalent.compress(
            with_weight(np.inf), equivalent.interval_bounds(LAYERS, BOX), BOX
        ),
        "3 of 12 entries of the weight of linear layer 2 are not finite",
    ),
    "weights of a network": (
        lambda: equivalent.layers_of(equivalent.network_of(with_weight(np.nan))),
        "3 of 12 entries of the weight of linear layer 2 are not finite",
    ),
    "unit": (lambda: extreme(9), "unit must be a whole number of at most 2, not 9"),
    "half a unit of a layer": (lambda: extreme(1.5), "unit must be a whole number from 0 on"),
    "no time": (lambda: extreme(time_limit=-1), "the time limit must be positive, not -1"),
    "unknown time": (
        lambda: extreme(time_limit=np.nan),
        "the time limit must be positive, not nan",
    ),
    "unknown inputs": (lambda: check_inside(torch.full((1, 2), torch.nan), BOX), "or not numbers"),
    "no inputs": (lambda: check_inside(torch.ones(0, 2), BOX), "give points of 2 numbers"),
    "inputs of others": (lambda: check_inside(torch.ones(1, 3), BOX), "give points of 2 numbers"),
    "unknown penalty": (
        lambda: trained(penalty=np.nan),
        "penalty must be 0 or larger and finite",
    ),
    "a diverging penalty": (
        lambda: trained(penalty=1e300),
        "entries of the weights are not finite; take a smaller",
    ),
    "no images": (lambda: trained(images=0), "images must be a whole number above 0, not 0"),
    "fewer epochs than none": (
        lambda: trained(epochs=-1),
        "epochs must be a whole number from 0 on, not -1",
    ),
    "no images to split": (lambda: split(images=0), "images must be a whole number above 0, not 0"),
    "fewer tests to split": (
        lambda: split(tests=-3),
        "tests must be a whole number above 0, not -3",
    ),
    "half an image to hold out": (
        lambda: untrained(training=2.5),
        "training must be a whole number above 0, not 2.5",
    ),
    "no device": (lambda: untrained(device="gpu"), "torch finds no device 'gpu'; compute on cpu"),
    "no name": (
        lambda: polynomial_elasticity.torus_network("", 99),
        "no network ''; choose from linear, degree 2",
    ),
    "labels of fewer logits": (
        lambda: added.frequency_error(TENSORS[0], TENSORS[1][:5]),
        r"got \(30, 3\) and \(5,\)",
    ),
    "huge logits of g": (
        lambda: added.fit(added.AddedLayers(C), 1e300 * TENSORS[0], TENSORS[1]),
        r"not finite, or beyond 1e\+50; look at the network's outputs",
    ),
    "huge logits": (lambda: maps.temperature(1e300 * Z, Y), r"not finite, or beyond 1e\+50"),
    "a gradient of nothing": (
        lambda: added.gradient_norm(nn.Identity(), *TENSORS),
        "all weights are frozen",
    ),
    "a gradient at other labels": (
        lambda: added.gradient_norm(nn.Linear(C, C).double(), TENSORS[0], TENSORS[1] + 1),
        "labels are no classes of 3",
    ),
    "similarities of others": (
        lambda: superiority(SIZE, LABELS[:5]),
        r"need similarities \(n, n\) and labels \(n,\), got \(8, 8\) and \(5,\)",
    ),
    "scores in rows": (lambda: ks.chance_error(P), "need n scores and n hits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_in_one_line(name):
    call, words = REFUSED[name]
    with pytest.raises(LecoreError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_side_that_never_moves_has_no_correlation():
    assert np.isnan(together(path(ks=np.ones(9)), 0)).all()
    assert together(path(ks=np.arange(9.0) ** 2, similarity=-(np.arange(9.0) ** 2)), 0) == (
        pytest.approx(-1),
        pytest.approx(-1),
    )
