"""What a call comes to is told apart, and said."""

import warnings
from tempfile import gettempdir

import numpy as np
import pytest
import torch

from lecore.companion.outcomes import OUTCOMES, outcome
from lecore.errors import LecoreError


def noticed() -> float:
    warnings.warn("by plain autograd", stacklevel=1)
    return 2.0


def refusing() -> float:
    raise LecoreError("it is random", "call eval()")


@pytest.mark.parametrize(
    ("call", "right", "word", "said"),
    [
        (lambda: 2.0, 2, "right", "2, right is 2\n"),
        (lambda: torch.tensor([[2.0, 5.0]]), 2, "right", "2, right is 2\n"),
        (lambda: np.array([True]), 1, "right", "1, right is 1\n"),
        (lambda: 2 * (1 + 1e-8), 2, "wrong", "2, right is 2\n"),
        (lambda: 2.0, None, "wrong", "2, right is a refusal\n"),
        (lambda: float("nan"), 2, "wrong", "nan, right is 2\n"),
        (noticed, 2, "right, with a notice", "2, right is 2\nnotice: by plain autograd\n"),
        (noticed, 3, "wrong", "2, right is 3\nnotice: by plain autograd\n"),
        (refusing, 2, "refused", "refused: it is random; call eval()\n"),
        (refusing, None, "refused", "refused: it is random; call eval()\n"),
    ],
)
def test_outcomes(call, right, word, said, capsys):
    assert outcome(call, right) == word
    assert word in OUTCOMES
    assert capsys.readouterr().out == said


def test_names_of_temporary_folders_are_left_out(tmp_path, capsys):
    def held():
        raise LecoreError(f"{gettempdir()}/one/two/a.zarr holds the work of another loss")

    outcome(held)
    assert capsys.readouterr().out == "refused: a.zarr holds the work of another loss\n"


def test_other_errors_are_faults():
    with pytest.raises(ZeroDivisionError):
        outcome(lambda: 1 / 0)


def test_a_long_reason_is_broken_into_lines(capsys):
    def refusing():
        raise LecoreError("it is random " * 20, "call eval()")

    outcome(refusing)
    first, *more = capsys.readouterr().out.splitlines()
    assert first.startswith("refused: it is")
    assert more
    assert all(len(line) <= 79 for line in (first, *more))
    assert all(line.startswith("  ") for line in more)
