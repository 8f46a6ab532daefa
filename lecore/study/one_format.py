"""Numbers of a table in one format, so that the eye can compare them."""

import math
from collections.abc import Iterable
from typing import NamedTuple

PLAIN = (0.1, 1000.0)
"""The largest numbers that are shown without a power of ten."""

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class OneFormat(NamedTuple):
    """How to write numbers: in units of a power of ten, with two decimals."""

    power: int

    @property
    def unit(self) -> str:
        """In what they are, for a caption; empty for plain ones."""
        return f"×\u00a010{str(self.power).translate(RAISED)}" if self.power else ""

    def __call__(self, value: float) -> str:
        """A number; a dash for none."""
        if math.isnan(value):
            return "—"
        # in two steps, as 10³¹⁰ is none of floating point
        half = self.power // 2
        found = f"{value / 10.0**half / 10.0 ** (self.power - half):.2f}"
        return "0.00" if found == "-0.00" else found.replace("-", "−")


def one_format(values: Iterable[float]) -> OneFormat:
    """The format in which the largest of some numbers has one digit before the point, or is plain.

    Args:
        values: Those of a table or a column.
    """
    largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    if largest == 0 or PLAIN[0] <= largest < PLAIN[1]:
        return OneFormat(0)
    return OneFormat(math.floor(math.log10(largest)))
