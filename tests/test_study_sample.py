"""A study of some of its examples: the same numbers as of these alone, under their own rows."""

import re

import pytest
import torch
from test_study import CASES, built, study
from test_study_over_time import network

from lecore import LecoreError, Study
from lecore.study.sample import sampled

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # lengths want plain autograd


@pytest.mark.every(3)
@pytest.mark.parametrize("name", CASES)
def test_it_has_the_numbers_of_its_examples(name):
    whole = study(name)
    one = sampled(whole, 2)
    torch.testing.assert_close(one.change(), whole.change()[[0, 5]][:, [0, 2]])
    assert one.self_influence().tolist() == pytest.approx(whole.self_influence()[[0, 5]].tolist())
    assert one.train.numbers.tolist() == [0, 5]
    assert sampled(one, 1).train.numbers.tolist() == [0]
    assert len(whole.train) == 6


def test_one_side_stays_one_side():
    one = sampled(Study(built(CASES["tuple"][0]), CASES["tuple"][1], loss="cross_entropy"), 3)
    assert one.train is one.test
    assert sampled(one, 5).train.numbers.tolist() == one.train.numbers.tolist()


def test_a_report_gives_the_rows_of_the_whole_data(tmp_path):
    x, y = torch.randn(40, 4), torch.arange(40) % 3
    whole = Study(network(), (x, y), (x[:3], y[:3]), loss="cross_entropy", learning_rate=0.1)
    sampled(whole, 4).report(tmp_path / "it.html")
    html = (tmp_path / "it.html").read_text(encoding="utf-8")
    assert "4 of 40, evenly spread" in html
    assert "study = sampled(study, 4)" in html
    assert {int(n) for n in re.findall(r"no\. (\d+)", html)} <= {0, 13, 26, 39, 1, 2}
    assert "no. 39" in html


def test_names_are_rows_of_the_whole_data():
    pytest.importorskip("xarray")
    found = sampled(study("tuple"), 2).results("change")
    assert found.train.values.tolist() == [0, 5]
    assert found.test.values.tolist() == [0, 2]


@pytest.mark.parametrize("points", [0, -1, 2.5, True])
def test_numbers_of_examples_are_whole(points):
    with pytest.raises(LecoreError, match="points must be a whole number above 0"):
        sampled(study("tuple"), points)


def test_one_of_many_is_counted_among_all(tmp_path):
    x, y = torch.randn(40, 4), torch.arange(40) % 3
    whole = Study(network(), (x, y), loss="cross_entropy", learning_rate=0.1)
    sampled(sampled(whole, 7), 1).report(tmp_path / "it.html")
    assert "1 of 40, evenly spread" in (tmp_path / "it.html").read_text(encoding="utf-8")
