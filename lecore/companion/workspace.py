"""The build folder: ours alone, and at work for one command at a time."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lecore.errors import LecoreError
from lecore.files import whole_file

MARKER = ".lecore"
LAYOUT = {
    ".lock", "book.log", "claims.json", "claims.xml", "failed", "html", "records", "running",
    "executed", "runs", "sphinx", "stage",
}  # fmt: skip


@contextmanager
def workspace(build: Path) -> Iterator[None]:
    """Hold the build folder while something is made in it.

    The folder is made if it is missing, and marked as ours. Nothing in a folder that holds
    anything else is ever touched. The lock goes with the process, however that ends.

    Args:
        build: Folder for everything made.

    Raises:
        LecoreError: If the folder holds other things, or another command is at work in it.
    """
    from filelock import FileLock, Timeout

    choose = "choose another folder with --build-dir"
    if build.exists() and not build.is_dir():
        raise LecoreError("is a file, not a folder", choose, str(build))
    if not _ours(build):
        raise LecoreError("is neither empty nor a build folder of lecore", choose, str(build))
    build.mkdir(parents=True, exist_ok=True)
    if not (build / MARKER).exists():
        with whole_file(build / MARKER, "w") as stream:
            stream.write("Made by lecore, with all that lies beside it.\n")
    lock = FileLock(build / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise LecoreError(
            "another lecore is at work here", f"wait until it is done, or {choose}", str(build)
        ) from None
    try:
        yield
    finally:
        lock.release()


def _ours(build: Path) -> bool:
    """Whether a folder is marked, empty, or made before there were marks."""
    if not build.is_dir() or (build / MARKER).is_file():
        return True
    entries = list(build.iterdir())
    if not all(e.name in LAYOUT or (e.is_dir() and _marked(e)) for e in entries):
        return False
    return not entries or _marked(build) or any(_marked(e) for e in entries if e.is_dir())


def _marked(folder: Path) -> bool:
    """Whether a folder has the mark, or files that nobody else would write."""
    results = (p for p in folder.glob("runs/*/*") if re.fullmatch("[0-9a-f]{16}", p.stem))
    ours = (p for p in folder.glob("records/*/*.json") if b'"data_sha256"' in p.read_bytes())
    book = (folder / "stage" / "_toc.yml", folder / MARKER)
    return any(p.is_file() for p in book) or any(True for _ in results) or any(ours)
