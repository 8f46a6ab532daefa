"""What a walk over a graph of objects offers to those who enter parts of it."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol


class Feed(Protocol):
    """Takes the parts of things into a digest; see :class:`lecore.identity.digests.Walk`.

    Attributes:
        seen: What was met, by id, with its number or name.
    """

    seen: dict[Any, tuple[str, object]]

    def feed(self, *parts: str | bytes | memoryview) -> None:
        """Text and bytes, kept apart."""

    def add(self, thing: Any, where: str) -> None:
        """A thing by value, or by its number."""

    def each(self, what: str, things: Iterable[Any], where: str) -> None:
        """Things in their order."""

    def named(self, what: str, things: Mapping[str, Any], where: str) -> None:
        """Things by name, in the order of the names."""

    def dictionary(self, thing: Mapping[Any, Any], where: str) -> None:
        """Keys and values in their order."""

    def unknown(self, thing: Any, where: str, cause: BaseException | None = None) -> None:
        """Refuse a thing, unless the key stands for it."""

    def outside(self, thing: Any, where: str) -> None:
        """What depends on more than objects, such as files or the environment."""
