"""A newcomer with one of the papers in hand finds the code by its name, without a search."""

import importlib
from pathlib import Path

import pytest

import lecore

PLACES = [  # what stands in the paper, the file that its name leads to, the function
    ("He & Su (2020), equation (1)", "changes", "prediction_change"),
    ("He & Su, equation 2", "similarity", "relative_similarity"),
    ("He & Su, equation 3", "similarity", "kernelized_similarity"),
    ("He & Su's equation (4)", "models", "sign_output"),
    ("Algorithm 1", "clustering.algorithm_one", "similarities_along_walk"),
    ("He & Su's Tables 1 and 2", "studies.he_su.tables", "comparison_rows"),
    ("Table 6", "studies.he_su.tables", "table_6"),
    ("Figure 1", "studies.he_su.figure1", "correlations"),
    ('"SuHe"', "studies.dan.definitions", "relative_similarity_as_coded"),
    ("two phases of regression", "studies.dan.phases", "phases"),
    ("Figures 6 to 9", "studies.dan.ridge", "released_flow"),
    ("homogeneous", "theory.closed_forms", "homogeneous_similarity"),
]


@pytest.mark.parametrize(("place", "file", "function"), PLACES)
def test_the_name_leads_to_the_file(place, file, function):
    module = importlib.import_module(f"lecore.{file}")
    said = f"{module.__doc__} {getattr(module, function).__doc__}"
    assert place in " ".join(said.split())


def test_the_core_can_be_read_in_an_evening():
    files = Path(lecore.__file__).parent.glob("*.py")
    assert sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files) <= 1700
