"""What holds on one image set beside what holds on another, and Dan et al.'s released numbers."""

from collections.abc import Mapping
from typing import Any

from lecore.studies.dan.words import in_words

ROWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "share of the own class, new as coded": (
        "share-new-as-coded-adam-as-published", ("new", "intraclass share"),
    ),
    "share of the own class, original as coded": (
        "share-original-as-coded-adam-as-published", ("original", "intraclass share"),
    ),
    "share of the own class, true divergence": ("share-new-true-divergence-adam-as-published", ()),
    "growth of the original within the class": (
        "original-as-coded-intraclass-growth", ("original", "growth", "intraclass"),
    ),
    "growth of the original between classes": (
        "original-as-coded-interclass-growth", ("original", "growth", "interclass"),
    ),
    "accuracy on training images (%)": ("training-accuracy", ("training accuracy", "mean")),
    'accuracy on "test" images (%)': ("test-accuracy", ('"test" accuracy', "mean")),
    "accuracy on held-out images (%)": ("held-out-accuracy", ()),
    "chance of the own class, logits, small SGD step": (
        "direction-or-size-original-of-logits-sgd-small", (),
    ),
    "chance of the own class, logits, large Adam step": (
        "direction-or-size-original-of-logits-adam-large", (),
    ),
    "chance of the own class, divergence, small SGD step": (
        "direction-or-size-new-true-divergence-sgd-small", (),
    ),
    "chance of the own class, divergence, large Adam step": (
        "direction-or-size-new-true-divergence-adam-large", (),
    ),
}  # fmt: skip
"""By quantity the record that holds ours, and the way to the released number, if there is one."""

Said = dict[str, list[tuple[str, str]]]
"""Number and interval of each set and source, by quantity."""


def released_number(released: Mapping[str, Any], quantity: str) -> float | None:
    """The released number of a quantity on one image set, in the unit of ours.

    Args:
        released: Dan et al.'s numbers on that set.
        quantity: A key of :data:`ROWS`.
    """
    way = ROWS[quantity][1]
    found: Any = released if way else None
    for word in way:
        found = found[word]
    if isinstance(found, list):  # of epochs, as a share
        return float(100 * found[-1])
    return None if found is None else float(found)


def beside_released(
    runs: Mapping[str, Mapping[str, Mapping[str, Any]]], released: Mapping[str, Mapping[str, Any]]
) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """Cells of a table: released number and ours, by set and quantity.

    Args:
        runs: Records of a run by image set.
        released: Dan et al.'s numbers by image set.

    Returns:
        By set and source (``released`` or ``ours``), a record a quantity.
    """
    table: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for data, records in runs.items():
        numbers = {row: released_number(released[data], row) for row in ROWS}
        table[data, "released"] = {
            row: {"value": number} for row, number in numbers.items() if number is not None
        }
        table[data, "ours"] = {
            row: dict(records[name]) for row, (name, _) in ROWS.items() if name in records
        }
    return table


def said(table: Mapping[tuple[str, str], Mapping[str, Mapping[str, Any]]], kind: str) -> Said:
    """What such a table says, line by line.

    Args:
        table: From :func:`beside_released`.
        kind: The first word of the quantities to show.

    Returns:
        By quantity a number and its interval in words for each set and source; a dash where
        nothing is known.
    """
    rows = [row for row in ROWS if row.startswith(kind)]
    return {row: [in_words(cells.get(row)) for cells in table.values()] for row in rows}
