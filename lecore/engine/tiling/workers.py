"""Where tiles are computed: in turn, in threads, in processes, or on a Dask cluster."""

import contextlib
import contextvars
import functools
import os
import platform
import re
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
import torch
from joblib import Parallel, cpu_count, delayed

from lecore.errors import LecoreError
from lecore.identity.finished_work import modes

Task = Callable[[Any], Any]

AGAIN = "repeat the call; with a store it goes on with the tiles that are missing"
DEATH = "workers died computing tiles, most likely for lack of memory"
LOST = "the scheduler of the cluster is gone or does not answer", f"start a new one and {AGAIN}"

ANSWER = 20.0
"""Seconds for a scheduler to answer."""

PATIENCE = 30.0
"""Seconds for a cluster without workers to get new ones."""

HOST = re.sub(r"\W", "_", platform.node())


def unordered(
    task: Task, items: Sequence[Any], *, jobs: int, backend: str, client: Any
) -> Generator[Any, None, None]:
    """The task's result for each item, as they come.

    Args:
        task: Picklable (by cloudpickle) for processes and clusters.
        items: What to call it with, in order.
        jobs: Calls at a time on this machine.
        backend: ``threads`` or ``processes``.
        client: A ``dask.distributed.Client`` to run them on instead.

    Raises:
        LecoreError: If workers die, the scheduler of a cluster is gone or has no workers, or
            there is no room for temporary files.
    """
    if client is not None:
        yield from _on_cluster(task, items, client)
    elif jobs == 1:
        yield from map(task, items)
    elif backend == "threads":
        yield from _in_threads(task, items, jobs)
    else:
        yield from _in_processes(task, items, jobs)


def _in_threads(task: Task, items: Sequence[Any], jobs: int) -> Iterator[Any]:
    # leaving the pool waits for what still runs, so that nothing goes on behind an exception
    with ThreadPoolExecutor(jobs, initializer=_as_here, initargs=modes()) as pool:
        waiting = {pool.submit(contextvars.copy_context().run, task, item) for item in items}
        try:
            for future in as_completed(waiting):
                waiting.discard(future)  # with its result
                yield future.result()
        finally:
            for future in waiting:
                future.cancel()


def _as_here(functions: list[Any], dispatched: list[Any]) -> None:
    """Let a new thread compute under the modes of torch that its caller is in."""
    for mode in functions:
        torch.overrides._push_mode(mode)
    for mode in dispatched:
        torch.utils._python_dispatch._push_mode(mode)


def _in_processes(task: Task, items: Sequence[Any], jobs: int) -> Iterator[Any]:
    # the task travels once, in a file of our own, and not with every item
    with task_folder() as folder:
        path = Path(folder, "task")
        try:
            path.write_bytes(cloudpickle.dumps(task))
        except OSError as error:
            raise _no_room(error) from error
        threads = max(1, cpu_count() // jobs)
        try:
            # one item at a time: joblib's batches would hold back finished tiles
            parallel = Parallel(jobs, "loky", return_as="generator_unordered", batch_size=1)
            yield from parallel(delayed(_in_process)(str(path), threads, item) for item in items)
        except BrokenProcessPool as error:
            raise LecoreError(DEATH, "give tiles less memory, or take fewer jobs") from error


@contextlib.contextmanager
def task_folder() -> Iterator[str]:
    """A temporary folder of this process, after removing those of processes that were killed."""
    try:
        here = tempfile.gettempdir()
        for folder in Path(here).glob("lecore-*-*-*-*"):
            host, process, started = folder.name.split("-")[1:4]
            if host == HOST and not _lives(process, started):
                shutil.rmtree(folder, ignore_errors=True)
        prefix = f"lecore-{HOST}-{os.getpid()}-{_started(os.getpid())}-"
        made = tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
    except OSError as error:
        raise _no_room(error) from error
    with made as name:
        yield name


def _lives(process: str, started: str) -> bool:
    """Whether a process with this number is the one that began then."""
    if not (process.isdigit() and started.isdigit()):
        return True  # not ours
    with contextlib.suppress(psutil.Error, OverflowError):
        return abs(_started(int(process)) - int(started)) < 60  # clocks are set
    return False


def _started(process: int) -> int:
    return int(psutil.Process(process).create_time())


def _no_room(error: OSError) -> LecoreError:
    return LecoreError(
        f"the folder for temporary files, which TMPDIR names, is of no use ({error})",
        "make room in it, or let TMPDIR name another",
    )


def _in_process(path: str, threads: int, item: Any) -> Any:
    return _task(path, threads)(item)


@functools.lru_cache(maxsize=1)
def _task(path: str, threads: int) -> Task:
    torch.set_num_threads(threads)
    task: Task = cloudpickle.loads(Path(path).read_bytes())
    return task


def threads_of(client: Any) -> int:
    """Number of threads that all workers of a cluster have together.

    Raises:
        LecoreError: If its scheduler does not answer.
    """
    try:
        threads = client.sync(client.scheduler.ncores, callback_timeout=ANSWER)
    except Exception as error:  # of many kinds, which depend on how it was lost
        raise LecoreError(*LOST) from error
    return sum(threads.values())


def _on_cluster(task: Task, items: Sequence[Any], client: Any) -> Iterator[Any]:
    from dask.distributed import KilledWorker
    from distributed.comm.core import CommClosedError

    threads_of(client)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        # submitted, not scattered: what was scattered is lost with the last worker that holds it
        shared = client.submit(_itself, task, pure=False, retries=3)
    futures: list[Any] = []
    try:
        for _ in _results([shared], client, release=False):
            client.replicate([shared])  # else a few tiles would all go to the worker that has it
        futures += [client.submit(_call, shared, item, pure=False, retries=3) for item in items]
        yield from _results(futures, client, release=True)
    except KilledWorker as error:
        raise LecoreError(DEATH, "give tiles less memory, or workers more") from error
    except CommClosedError as error:
        raise LecoreError(*LOST) from error
    finally:
        with contextlib.suppress(Exception):  # the scheduler may be gone
            client.cancel(futures)


def _results(futures: list[Any], client: Any, *, release: bool) -> Iterator[Any]:
    """Results as they come, as long as somebody works on them."""
    from dask.distributed import as_completed

    coming, seen = as_completed(futures, loop=client.loop), time.monotonic()
    while coming.count():
        for future in coming.next_batch(block=False):
            try:
                result = _result(future)
            except _LostAgain:  # its worker died with it
                coming.add(future)
                time.sleep(0.1)
                continue
            yield result
            if release:
                future.release()  # the workers' memory, not only ours
            seen = time.monotonic()
        waited = time.monotonic() - seen
        if waited > PATIENCE / 3:
            if threads_of(client):
                seen = time.monotonic()
            elif waited > PATIENCE:
                raise LecoreError(
                    f"the cluster has had no workers for {PATIENCE:g} seconds",
                    f"start some, and {AGAIN}",
                )
        time.sleep(0.01)


class _LostAgain(Exception):
    """A result was there, and is no more."""


def _result(future: Any) -> Any:
    if future.status == "error":
        return future.result()  # raises what went wrong
    if future.status == "cancelled":
        raise LecoreError(*LOST)
    if future.status == "lost":
        raise _LostAgain
    try:
        return future.result(timeout=PATIENCE / 3)
    except (TimeoutError, RuntimeError) as error:
        raise _LostAgain from error


def _itself(task: Task) -> Task:
    return task


def _call(task: Task, item: Any) -> Any:
    return task(item)
