"""Wrong labels that were put in, and what finds them."""

import numpy as np
import pandas as pd
import pytest
import torch

from lecore import LecoreError
from lecore.studies.own import wrong_labels

SMALL = {"images": 200, "tests": 10, "epochs": 0, "width": 2}


@pytest.fixture(scope="module")
def problem():
    return wrong_labels.mislabelled("digits", 0, part=0.1, **SMALL)


def test_exactly_the_wrong_labels_differ_from_the_sound_set(problem):
    sound = wrong_labels.mislabelled("digits", 0, part=0.005, **SMALL)  # one wrong label
    torch.testing.assert_close(problem.images, sound.images)
    assert int(problem.wrong.sum()) == 20
    assert int(sound.wrong.sum()) == 1
    differ = problem.labels != sound.labels
    assert set(differ.nonzero()[:, 0].tolist()) <= set(
        (problem.wrong | sound.wrong).nonzero()[:, 0].tolist()
    )
    assert int(differ.sum()) >= 19


def test_harm_is_minus_the_mean_influence(problem):
    study = wrong_labels.study_of(problem, 0.1)
    found = study.influence(top=200)
    total = found.groupby("train").influence.sum() / len(problem.test_labels)
    harm = wrong_labels.scores(study)["harm"]
    np.testing.assert_allclose(harm[total.index], -total, rtol=1e-8, atol=1e-15)


def test_a_score_that_knows_finds_all_and_one_that_lies_none():
    wrong = torch.tensor([True, False, False, True])
    found = pd.DataFrame({"knows": [3.0, 1.0, 0.0, 2.0], "lies": [0.0, 2.0, 3.0, 1.0]})
    assert wrong_labels.areas(found, wrong) == {"knows": 1.0, "lies": 0.0}
    caught = wrong_labels.caught(found, wrong, [0, 0.25, 0.5, 1])
    assert caught["knows"].tolist() == [0, 0.5, 1, 1]
    assert caught["lies"].tolist() == [0, 0, 0, 1]


def test_harmers_are_those_with_negative_influence(problem):
    study = wrong_labels.study_of(problem, 0.1)
    found = study.influence(top=3)
    harmers = found[found.influence < 0].train
    share = problem.wrong.numpy()[harmers.to_numpy()].mean()
    assert wrong_labels.wrong_among_harmers(study, problem.wrong, 3) == pytest.approx(float(share))


@pytest.mark.parametrize("part", [0.0, 1.0, -0.1])
def test_a_part_that_is_none_is_refused(part):
    with pytest.raises(LecoreError, match="part must lie between 0 and 1"):
        wrong_labels.mislabelled("digits", 0, part=part, **SMALL)
