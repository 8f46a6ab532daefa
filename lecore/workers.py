"""Where tiles are computed: in turn, in threads, in processes, or on a Dask cluster."""

import functools
import tempfile
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import cloudpickle
import torch
from joblib import Parallel, cpu_count, delayed

Task = Callable[[Any], Any]

DEATH = "workers died computing tiles, most likely for lack of memory; give tiles less memory"


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
        RuntimeError: If workers die.
    """
    if client is not None:
        yield from _on_cluster(task, items, client)
    elif jobs == 1:
        yield from map(task, items)
    elif backend == "threads":
        yield from _parallel(jobs, "threading")(delayed(task)(item) for item in items)
    else:
        yield from _in_processes(task, items, jobs)


def _parallel(jobs: int, backend: str) -> Any:
    # one item at a time: joblib's batches would hold back finished tiles
    return Parallel(n_jobs=jobs, backend=backend, return_as="generator_unordered", batch_size=1)


def _in_processes(task: Task, items: Sequence[Any], jobs: int) -> Iterator[Any]:
    # the task travels once, in a file of our own, and not with every item
    with tempfile.TemporaryDirectory(prefix="lecore-") as folder:
        path = Path(folder, "task")
        path.write_bytes(cloudpickle.dumps(task))
        threads = max(1, cpu_count() // jobs)
        try:
            yield from _parallel(jobs, "loky")(
                delayed(_in_process)(str(path), threads, item) for item in items
            )
        except BrokenProcessPool as error:
            raise RuntimeError(f"{DEATH}, or take fewer jobs") from error


def _in_process(path: str, threads: int, item: Any) -> Any:
    return _task(path, threads)(item)


@functools.lru_cache(maxsize=1)
def _task(path: str, threads: int) -> Task:
    torch.set_num_threads(threads)
    task: Task = cloudpickle.loads(Path(path).read_bytes())
    return task


def _on_cluster(task: Task, items: Sequence[Any], client: Any) -> Iterator[Any]:
    from dask.distributed import KilledWorker, as_completed, wait

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        # submitted, not scattered: what was scattered is lost with the last worker that holds it
        shared = client.submit(_itself, task, pure=False, retries=3)
    wait(shared)
    if shared.status == "error":
        shared.result()  # raises what went wrong
    client.replicate([shared])  # else a few tiles would all go to the one worker that has it
    futures = [client.submit(_call, shared, item, pure=False, retries=3) for item in items]
    try:
        for future in as_completed(futures):
            yield future.result()
            future.release()  # the workers' memory, not only ours
    except KilledWorker as error:
        raise RuntimeError(f"{DEATH}, or workers more") from error
    finally:
        client.cancel(futures)


def _itself(task: Task) -> Task:
    return task


def _call(task: Task, item: Any) -> Any:
    return task(item)
