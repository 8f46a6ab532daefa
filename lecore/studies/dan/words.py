"""Records as the words of a table's cell."""

from collections.abc import Mapping
from typing import Any


def in_words(record: Mapping[str, Any] | None) -> tuple[str, str]:
    """A number and its interval, with as many decimals as its size asks for.

    Args:
        record: With a ``value`` and, if it has an interval, ``low`` and ``high``.

    Returns:
        The number, and the interval or nothing; a dash if there is no record.
    """
    if record is None:
        return "—", ""
    size = abs(record["value"])
    digits = 3 if size < 0.2 else 2 if size < 10 else 1 if size < 100 else 0
    number, *ends = (
        f"{record[name]:.{digits}f}".replace("-", "−")
        for name in ("value", "low", "high")
        if name in record
    )
    return number, "" if {*ends} <= {number} else " to ".join(ends)
