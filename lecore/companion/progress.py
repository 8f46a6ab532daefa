"""The progress of a run: a bar in a terminal, a few lines elsewhere."""

import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Self, TextIO


class Progress:
    """One bar over the cells of all chapters to execute, with the time left.

    Args:
        weights: Expected seconds of each cell, by chapter.
        total: Chapters in all, those up to date included.
        stream: Where to show it.
    """

    def __init__(
        self, weights: Mapping[str, Sequence[float]], total: int, stream: TextIO = sys.stderr
    ) -> None:
        from tqdm import tqdm

        self._lock = threading.Lock()
        self._running: list[str] = []
        self._done, self._total, self._stream = total - len(weights), total, stream
        self._weights = weights
        self._counts = {chapter: [0, len(cells) - 1] for chapter, cells in weights.items()}
        self._bar = tqdm(
            total=sum(sum(cells) for cells in weights.values()),
            file=stream,
            disable=not stream.isatty() or not weights,
            bar_format="{percentage:3.0f}% |{bar:20}| {elapsed} gone, {remaining} left  {desc}",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def start(self, chapter: str) -> None:
        """Say that a chapter began."""
        with self._lock:
            self._running.append(chapter)
            self._say(f"{chapter} …")

    def cell(self, chapter: str, index: int) -> None:
        """Count a cell as done."""
        with self._lock:
            weights, count = self._weights[chapter], self._counts[chapter]
            self._bar.update(weights[min(index, len(weights) - 1)])
            count[0] = min(index + 1, count[1])
            self._describe()

    def finish(self, chapter: str, failure: str | None) -> None:
        """Say that a chapter ended."""
        with self._lock:
            self._done += 1
            self._running.remove(chapter)
            self._say(f"{chapter} {'done' if failure is None else 'FAILED'}")

    def _say(self, text: str) -> None:
        self._describe()
        if self._bar.disable:
            print(f"[{self._done}/{self._total}] {text}", file=self._stream, flush=True)

    def _describe(self) -> None:
        cells = [f"{c} {self._counts[c][0]}/{self._counts[c][1]}" for c in self._running]
        self._bar.set_description_str(f"chapter {self._done}/{self._total} · " + " · ".join(cells))
