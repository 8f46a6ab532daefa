"""K-means' own objective beside the classes."""

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans

from lecore.studies.he_su.measure import problem_of
from lecore.studies.he_su.objective import objective_against_classes, pixel_starts
from lecore.studies.he_su.runs import Run

RUN = Run(
    data="digits", primary=(5, 9), auxiliary=(4,), method="pixels", per_class=40, auxiliary_size=20
)


def test_a_start_has_the_objective_and_the_accuracy_of_its_clusters():
    found = pixel_starts(RUN, 4)
    problem = problem_of(RUN)
    x = problem.inputs[:80].flatten(1).double().numpy()
    truth = np.asarray(problem.truth)
    objective, accuracy = [], []
    for seed in range(4):
        labels = KMeans(2, init="random", n_init=1, random_state=seed).fit_predict(x)
        own = [x[labels == c] for c in (0, 1)]
        objective.append(sum(((part - part.mean(0)) ** 2).sum() for part in own))
        right = np.mean(labels == (truth == truth.max()))
        accuracy.append(100 * max(right, 1 - right))
    excess = 100 * (np.array(objective) / min(objective) - 1)
    assert found.excess.tolist() == pytest.approx(excess, abs=1e-6)
    assert found.accuracy.tolist() == pytest.approx(accuracy)


def test_the_lowest_objective_stands_beside_the_best_start():
    one = pd.DataFrame({"excess": [1.5, 0.0, 0.2], "accuracy": [93.0, 56.0, 60.0]})
    two = pd.DataFrame({"excess": [0.0, 0.1], "accuracy": [70.0, 75.0]})
    found = objective_against_classes({"a": one, "b": two})
    assert found["objective lowest", "a"]["value"] == 56
    assert found["objective best", "a"]["value"] == 93
    assert found["objective excess", "a"]["value"] == 1.5
    assert found[("objective pairs apart",)] == {"value": 1, "of": 2}
