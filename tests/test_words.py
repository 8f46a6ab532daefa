"""Numbers of a table's cell."""

import pytest

from lecore.studies.dan.words import in_words


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0238, "0.024"), (-0.072, "−0.072"), (0.958, "0.96"), (17.26, "17.3"), (4359.6, "4360")],
)
def test_decimals_follow_the_size(value, words):
    assert in_words({"value": value}) == (words, "")


def test_interval_has_the_decimals_of_its_number():
    assert in_words({"value": 1.4414, "low": 1.394, "high": 1.4905}) == ("1.44", "1.39 to 1.49")


def test_an_interval_without_width_is_not_said():
    assert in_words({"value": 1.0, "low": 1.0, "high": 1.0}) == ("1.00", "")


def test_nothing_is_a_dash():
    assert in_words(None) == ("—", "")
