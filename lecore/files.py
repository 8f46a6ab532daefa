"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4


@contextmanager
def whole_file(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[Any]:
    """Open a file that takes its name only when it is complete and on the disk.

    Whatever happens inside, what lay there before stays until then, and nothing half-written is
    left. A device or pipe is written to directly: only regular files are ever replaced.

    Args:
        path: The file; folders above it are made, and a link is followed.
        mode: ``wb`` or ``w`` (UTF-8).

    Yields:
        A stream.
    """
    path = Path(path).resolve()
    text: dict[str, str] = {} if "b" in mode else {"encoding": "utf-8"}
    if path.exists() and not path.is_file():
        with path.open(mode, **text) as stream:  # type: ignore[call-overload]
            yield stream
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with temporary.open(mode, **text) as stream:  # type: ignore[call-overload]
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
