"""Records that are published together."""

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell

from lecore.companion.records import record, record_all
from lecore.companion.repeated_runs import record_curves
from lecore.uncertainty import Interval


def test_numbers_intervals_and_all_settings_may_stand_together() -> None:
    found = record_all({
        "plain-name": 3,
        ("Two words", "and a number", "1.5"): Interval(2.0, 1.0, 4.0, 5),
        "with-details": {"value": 1.0, "unit": "s"},
    })  # fmt: skip
    assert found == {
        "plain-name": {"value": 3.0},
        "two-words-and-a-number-1.5": {"value": 2.0, "low": 1.0, "high": 4.0, "digits": 2, "n": 5},
        "with-details": {"value": 1.0, "unit": "s"},
    }


def test_curves_by_name_or_words() -> None:
    curves = np.array([[1.0, 2.0], [3.0, 4.0]])
    found = record_curves({"a": curves, ("B b", "c"): curves[:1]})
    assert found["a"] == {
        "value": 3.0, "curve": [2.0, 3.0], "lowest": [1.0, 2.0], "highest": [3.0, 4.0]
    }  # fmt: skip
    assert found["b-b-c"]["curve"] == [1.0, 2.0]


def test_a_cell_that_ends_with_a_record_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    shell = InteractiveShell.instance()
    shell.displayhook(record("one", 1.0))
    shell.displayhook(record_all({"two": 2.0}))
    assert "{" not in capsys.readouterr().out
    shell.displayhook({"value": 1.0})
    assert "{'value': 1.0}" in capsys.readouterr().out, "as any other dict would be"
