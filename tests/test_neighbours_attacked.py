"""What an attack on the neighbours found: refused in one line, where numbers were wrong or none."""

import numpy as np
import pytest
import torch
from torch import nn

from lecore import LecoreError
from lecore.studies.neighbours import added_layers as added
from lecore.studies.neighbours import bayesian_estimate as estimate
from lecore.studies.neighbours import calibration_error as ks
from lecore.studies.neighbours import equivalent_elasticity, polynomial_elasticity, stable_units
from lecore.studies.neighbours import equivalent_networks as equivalent
from lecore.studies.neighbours import ks_calibration as maps
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


def posterior(last, labels=None):
    network = nn.Sequential(nn.Flatten(), last)
    labels = torch.arange(6) % 3 if labels is None else labels
    return last_layer_posterior(network, torch.rand(6, 4), labels, precision=1, samples=2, seed=0)


def extreme(unit=0, **settings):
    bounds = equivalent.interval_bounds(LAYERS[:2], BOX)
    return stable_units.extreme(LAYERS[:2], bounds, BOX, unit, largest=True, **settings)


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
    "no bounds": (lambda: equivalent.compress(LAYERS, [], BOX), "0 bounds; give those of each"),
    "unit": (lambda: extreme(9), "there is no unit 9; choose from 0 to 2"),
    "no time": (lambda: extreme(time_limit=-1), "the time limit must be positive, not -1"),
    "unknown time": (
        lambda: extreme(time_limit=np.nan),
        "the time limit must be positive, not nan",
    ),
    "unknown inputs": (lambda: check_inside(torch.full((1, 2), torch.nan), BOX), "or not numbers"),
    "no inputs": (lambda: check_inside(torch.ones(0, 2), BOX), "give points of 2 numbers"),
    "inputs of others": (lambda: check_inside(torch.ones(1, 3), BOX), "give points of 2 numbers"),
    "unknown penalty": (
        lambda: equivalent_elasticity.trained(
            "digits", 0, penalty=np.nan, width=2, epochs=1, images=9, tests=9
        ),
        "penalty must be 0 or larger and finite",
    ),
    "no images": (
        lambda: equivalent_elasticity.trained(
            "digits", 0, penalty=0, width=2, epochs=1, images=0, tests=9
        ),
        "images and tests 1 or more, not 0, 0 and 9",
    ),
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
