"""Sentences that installed packages carry: the first one of what each function says of itself."""

import functools
import importlib
import inspect
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lecore.data.images import data_folder
from lecore.errors import LecoreError, in_short

PACKAGES: Mapping[str, Sequence[str]] = {
    "arrays": ("numpy", "numpy.linalg", "numpy.random", "numpy.ma", "numpy.polynomial.polynomial"),
    "figures": ("matplotlib.pyplot", "matplotlib.axes", "matplotlib.colors", "matplotlib.patches"),
    "tables": ("pandas", "pandas.api.types", "pandas.tseries.offsets"),
    "learning": ("sklearn.metrics", "sklearn.linear_model", "sklearn.preprocessing",
                 "sklearn.model_selection", "sklearn.datasets", "sklearn.cluster",
                 "sklearn.ensemble", "sklearn.decomposition", "sklearn.neighbors",
                 "sklearn.feature_selection", "sklearn.feature_extraction.text"),
}  # fmt: skip
"""Modules of numpy, matplotlib, pandas and scikit-learn, by the topic of their sentences."""

WORDS = 5, 20
"""Words that a sentence has, at least and at most."""


class Sentences(NamedTuple):
    """Sentences with their topics.

    Attributes:
        texts: The sentences.
        topics: Places of their topics in ``names``, shape (n,).
        names: The topics.
    """

    texts: list[str]
    topics: NDArray[np.int64]
    names: tuple[str, ...]


def sentences(source: str, each: int) -> Sentences:
    """As many sentences of each topic, topic by topic, evenly from all in alphabetical order.

    Args:
        source: ``docstrings``, those of :data:`PACKAGES`, which change with their versions; or a
            file in the folder of the image sets, with a topic, a tab and a sentence in each line.
        each: How many.

    Raises:
        LecoreError: If there is no such file, it has other lines, or a topic has fewer sentences.
    """
    by_topic = _of_packages() if source == "docstrings" else _of_file(source)
    texts: list[str] = []
    topics: list[int] = []
    for k, (topic, found) in enumerate(by_topic.items()):
        others: set[str] = set().union(*(said for name, said in by_topic.items() if name != topic))
        own = sorted(found - others)
        if len(own) < each:
            raise LecoreError(
                f"there are {len(own)} sentences on {topic}, not {each}", f"take {len(own)} of each"
            )
        rows = np.linspace(0, len(own) - 1, each).round().astype(int)
        texts += [own[row] for row in rows]
        topics += [k] * each
    return Sentences(texts, np.array(topics), tuple(by_topic))


@functools.cache
def _of_packages() -> dict[str, set[str]]:
    return {
        topic: {text for name in modules for text in _said_by(importlib.import_module(name))}
        for topic, modules in PACKAGES.items()
    }


def _of_file(path: str) -> dict[str, set[str]]:
    try:
        lines = (data_folder() / path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LecoreError(
            f"there are no sentences in {path!r} ({in_short(error)})",
            "give docstrings, or a file in LECORE_DATA with a topic, a tab and a sentence a line",
        ) from error
    found: dict[str, set[str]] = {}
    for number, line in enumerate(lines, start=1):
        topic, tab, text = line.partition("\t")
        if not (topic and tab and words_of(text)):
            raise LecoreError(
                f"line {number} of {path!r} is no sentence", "write a topic, a tab and a sentence"
            )
        found.setdefault(topic, set()).add(text)
    if len(found) < 2:
        raise LecoreError(f"{path!r} has {len(found)} topics", "give sentences of two or more")
    return found


def _said_by(module: ModuleType) -> Iterator[str]:
    """First sentences of a module's functions and classes, and of the methods of these."""
    for thing in _public(module):
        yield from _first_sentence(thing)
        if inspect.isclass(thing):
            for method in _public(thing):
                yield from _first_sentence(method)


def _public(owner: Any) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some names are going to be taken out
        for name in dir(owner):
            if not name.startswith("_"):
                thing = getattr(owner, name, None)
                if callable(thing) or isinstance(thing, property):
                    yield thing


def _first_sentence(thing: Any) -> Iterator[str]:
    """The sentence, if it is one of plain words."""
    said = inspect.getdoc(thing)
    if not isinstance(said, str):
        return
    for paragraph in re.split(r"\n\s*\n", said)[:2]:
        text = " ".join(re.sub(r"[`*]|:\w+:", "", paragraph).split())
        text = text.partition(". ")[0].rstrip(".") + "."
        plain = not re.search(r"[(){}<>=\[\]|\\]|--|(i\.e|e\.g)\.$", text)
        if plain and WORDS[0] <= len(words_of(text)) <= WORDS[1]:
            yield text
            return


def words_of(text: str) -> list[str]:
    """Its words, in small letters."""
    return re.findall(r"[a-z]+(?:['-][a-z]+)*", text.lower())
