"""What a call comes to: the right number, perhaps with a notice, a refusal, or a wrong number."""

import re
import warnings
from collections.abc import Callable
from tempfile import gettempdir
from textwrap import fill
from typing import Any

import torch

from lecore.errors import LecoreError

OUTCOMES = ("right", "right, with a notice", "refused", "wrong")
"""All that :func:`outcome` gives."""

WIDTH = 79
"""Columns of a page, beyond which nobody reads."""


def outcome(call: Callable[[], Any], right: float | None = None) -> str:
    """Print what a call gives beside what is right, or why it refuses, and its warnings.

    Temporary folders are left out, whose names are others each time.

    Args:
        call: Gives a tensor, an array or a number, whose first entry counts.
        right: What that should be; a refusal is right if left out.

    Returns:
        One of :data:`OUTCOMES`; ``right`` is right to nine digits.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            got = float(torch.as_tensor(call(), dtype=torch.float64).flatten()[0])
            expected = "a refusal" if right is None else f"{right:.6g}"
            print(f"{got:.6g}, right is {expected}")
            close = right is not None and abs(got - right) <= 1e-9 * abs(right)
            found = "right" if close else "wrong"
        except LecoreError as error:
            told = re.sub(rf"{re.escape(gettempdir())}/(?:[^/\s]+/)*", "", str(error))
            print(fill(f"refused: {told}", WIDTH, subsequent_indent="  "))
            found = "refused"
    for warning in said:
        print(fill(f"notice: {warning.message}", WIDTH, subsequent_indent="  "))
    return "right, with a notice" if said and found == "right" else found
