"""Other processes of tests, forked from one that has imported torch: seven seconds less each.

That one is the fork server of ``multiprocessing``. It knows nothing that a test has changed, as a
started Python would not. Whoever needs it takes the fixture ``forks`` of ``conftest.py``.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

IMPORTED = [
    "torch", "torch._dynamo", "zarr", "distributed.nanny", "distributed.cli.dask_worker",
    "lecore.changes", "lecore.tangent_kernel",
]  # fmt: skip
"""What the processes find imported: torch.func imports its compiler when it is first used."""


def fork_server() -> ForkServerContext:
    """The context of ``multiprocessing`` that forks from a server that has torch imported."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(IMPORTED)
    first = forks.Process(target=os.getpid)  # others may name other imports, from now on in vain
    first.start()
    first.join()
    return forks


def forked(
    forks: ForkServerContext, said: Path, function: Callable[..., Any], *arguments: Any
) -> BaseProcess:
    """Call a picklable function in a process of its own, here, with what it prints in a file."""
    process = forks.Process(target=_called, args=(str(Path.cwd()), said, function, arguments))
    process.start()
    return process


def _called(
    folder: str, said: Path, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    os.chdir(folder)
    with said.open("w") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    function(*arguments)
