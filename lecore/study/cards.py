"""Examples as a report shows them, each with those that do most to its loss."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from lecore.errors import LecoreError
from lecore.losses import NUMBER_LOSSES, Loss
from lecore.study.examples import Examples
from lecore.study.likeness import Likeness
from lecore.study.pictures import as_images, both, data_uri, in_a_row
from lecore.study.predictions import Predicted
from lecore.study.tokens import Moved, moved


class Card(NamedTuple):
    """An example as the page shows it; what is not known is empty."""

    row: int
    number: int
    """Its row in the whole data, of which the study may hold a sample."""
    label: str
    """The name of its class, or the number that is wanted."""
    said: str
    """What the network says in place of it."""
    loss: float
    picture: str
    text: str


class Line(NamedTuple):
    """A test example with those that do most to its loss, each with its influence."""

    card: Card
    helpers: list[tuple[Card, float]]
    harmers: list[tuple[Card, float]]
    strange: tuple[Card, float, float] | None
    """Of the strongest the one that is least like it, its influence and its likeness."""
    tokens: list[tuple[Card, Moved]]
    """Its tokens, as the strongest helper and the strongest harmer move them."""


class Shelf:
    """Examples of one side, and how they are shown.

    Args:
        side: The examples.
        seen: What the network says of them.
        images: Their pictures, if there are any, as :func:`~lecore.study.pictures.as_images` gives.
        texts: Their texts, if there are any.
        names: Names of the classes, if the targets are classes.
    """

    def __init__(
        self,
        side: Examples,
        seen: Predicted,
        images: NDArray[np.uint8] | None,
        texts: Sequence[str] | None,
        names: Sequence[str] | None,
    ) -> None:
        self.side, self.seen, self.images, self.texts, self.names = side, seen, images, texts, names

    def card(self, row: int) -> Card:
        """One of them."""
        label = said = ""
        if self.names is not None and self.side.targets is not None:
            label = self.names[int(self.side.targets[row])]
            said = self.names[int(self.seen.predictions[row].argmax())]
        elif self.side.targets is not None and len(self.seen.predictions[row]) == 1:
            target, given = self.side.targets[row], self.seen.predictions[row]
            if target.numel() == 1 and not (target.is_complex() or given.is_complex()):
                label, said = in_digits(target), in_digits(given)
        number = row if self.side.numbers is None else int(self.side.numbers[row])
        return Card(
            row, number, label, said, float(self.seen.losses[row]),
            "" if self.images is None else data_uri(self.images[row]),
            "" if self.texts is None else str(self.texts[row]),
        )  # fmt: skip


def in_digits(value: Tensor) -> str:
    """A number in three digits."""
    return f"{float(value):.3g}".replace("-", "−")


def names_of(
    loss: Loss | None,
    train: Examples,
    test: Examples,
    seen: Sequence[Predicted],
    given: Sequence[str] | None,
) -> list[str] | None:
    """Names of the classes; ``None`` if the targets are none.

    Raises:
        LecoreError: If names were given and there are no classes, or more or fewer.
    """
    outputs = seen[0].predictions.shape[1]
    numbers = outputs == 1 or loss is None or loss in NUMBER_LOSSES
    if numbers or not (_are_classes(train, outputs) and _are_classes(test, outputs)):
        if given is not None:
            raise LecoreError(
                "class_names were given, but targets are no classes for this loss "
                f"and network of {outputs} outputs",
                "leave them out (texts= can show several labels of an example), or give whole "
                "numbers from 0 on, an output each and cross_entropy",
            )
        return None
    names = in_a_row("class_names", range(outputs) if given is None else given)
    if len(names) != outputs:
        raise LecoreError(f"there are {len(names)} class_names for {outputs} outputs", "name all")
    # half a character is none for the frames of some versions
    return [name.encode("utf-8", "replace").decode("utf-8") for name in names]


def _are_classes(side: Examples, outputs: int) -> bool:
    targets = side.targets
    if targets is None or targets.is_floating_point() or targets.ndim > 1:
        return False
    return bool(((targets >= 0) & (targets < outputs)).all())


def pictures(
    train: Examples, test: Examples, given: tuple[Any, Any] | None
) -> list[NDArray[np.uint8] | None]:
    """Pictures of both sides: those that were given, or the inputs, if they look like images."""
    found: list[NDArray[np.uint8] | None] = []
    for own, side in zip(both("thumbnails", given), (train, test), strict=True):
        if given is not None:
            found.append(
                None if own is None else as_images(side.of_whole("thumbnails", own), len(side))
            )
            continue
        (table, *others) = side.tables
        plain = isinstance(table, Tensor) and not table.is_complex() and not others
        is_image = plain and table.ndim == 4 and table.shape[1] in (1, 3) and table.numel() > 0
        found.append(as_images(table, len(side)) if is_image else None)
    return found


def influence_lines(
    strongest: pd.DataFrame,
    shelves: Sequence[Shelf],
    tests: Sequence[int],
    top: int,
    likeness: Likeness,
) -> list[Line]:
    """Each of some test examples with its helpers, its harmers, and the strangest of both.

    Args:
        strongest: ``test``, ``train`` and ``influence``, as
            :meth:`~lecore.study.study.Study.influence` gives, of more than are shown.
        shelves: Training and test examples.
        tests: Rows of the test examples.
        top: Helpers, and harmers, that are shown.
        likeness: Of their inputs.
    """
    left, right = shelves
    found = []
    for row in tests:
        here = strongest[strongest.test == row]
        helpers, harmers = (
            [(left.card(int(i)), float(v)) for i, v in zip(some.train, some.influence, strict=True)]
            for some in (
                here[here.influence > 0].head(top), here[here.influence < 0].tail(top)[::-1]
            )
        )  # fmt: skip
        strange = None
        if likeness.known and len(here):
            likes = [likeness(int(i), row) for i in here.train]
            k = int(np.argmin(likes))
            strange = left.card(int(here.train.iloc[k])), float(here.influence.iloc[k]), likes[k]
        found.append(Line(right.card(row), helpers, harmers, strange, []))
    return found


def with_tokens(study: Any, lines: list[Line], read: Callable[[list[int]], str]) -> list[Line]:
    """The same lines, with the tokens of each test sentence by its strongest two."""
    strongest = [[found[0][0] for found in line[1:3] if found] for line in lines]
    pairs = [
        (card.row, line.card.row)
        for line, cards in zip(lines, strongest, strict=True)
        for card in cards
    ]
    by_pair = moved(study, pairs, read) if pairs else {}
    return [
        line._replace(tokens=[(card, by_pair[card.row, line.card.row]) for card in cards])
        for line, cards in zip(lines, strongest, strict=True)
    ]


def first_ones(lines: list[Line]) -> pd.DataFrame:
    """The strongest helper and harmer of each, as a frame of influences."""
    pairs = [
        (cards[0][0].row, line.card.row, cards[0][1])
        for line in lines
        for cards in (line.helpers, line.harmers)
        if cards
    ]
    return pd.DataFrame(pairs, columns=["train", "test", "influence"])
