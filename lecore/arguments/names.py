"""Names that choose something: an unknown one is refused, with the known ones listed."""

import reprlib
from collections.abc import Collection
from typing import Any, TypeVar

from lecore.errors import LecoreError

T = TypeVar("T")


def check_name(what: str, name: object, known: Collection[str]) -> None:
    """Refuse a name that is not known.

    Args:
        what: What is chosen, for the message.
        name: The name.
        known: Names that there are.

    Raises:
        LecoreError: With the known names.
    """
    if not isinstance(name, str) or name not in known:
        raise LecoreError(f"no {what} {reprlib.repr(name)}", f"choose from {', '.join(known)}")


class Choices(dict[str, T]):
    """What names choose; an unknown one raises :class:`~lecore.errors.LecoreError`.

    Args:
        what: What is chosen, for the message.
        known: It by name.
    """

    def __init__(self, what: str, known: dict[str, T]) -> None:
        super().__init__(known)
        self.what = what

    def __getitem__(self, name: str) -> T:
        """What a name chooses."""
        check_name(self.what, name, self.keys())
        return super().__getitem__(name)

    def __reduce__(self) -> tuple[Any, ...]:
        """As it was made, so that it travels between processes."""
        return type(self), (self.what, dict(self))
