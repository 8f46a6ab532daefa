"""What the kernels of chapters find in their environment."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def kernel_environment(root: Path, build: Path, jobs: int) -> Iterator[None]:
    """Environment that the kernels inherit: the package, threads, determinism; put back after."""
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    wanted = {"PYTHONPATH": path, "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "PYTHONUTF8": "1"}
    # pages do not show progress bars, and each line of one is a message to us
    wanted |= {"TQDM_DELAY": "10", "TQDM_MININTERVAL": "10"}
    runs = Path(os.environ.get("LECORE_RUNS") or build / "runs")
    wanted["LECORE_RUNS"] = str(runs.absolute())  # the kernels start in other folders
    if jobs > 1 or "OMP_NUM_THREADS" not in os.environ:
        wanted["OMP_NUM_THREADS"] = threads
    if "LECORE_DATA" in os.environ:  # the kernels start in other folders
        wanted["LECORE_DATA"] = str(Path(os.environ["LECORE_DATA"]).resolve())
    before = {name: os.environ.get(name) for name in [*wanted, "TMPDIR"]}
    logging.getLogger("traitlets").setLevel(logging.ERROR)  # "running over TCP without encryption"
    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    try:
        # what chapters leave behind goes with the run, also when a kernel was killed
        with TemporaryDirectory(prefix="lecore-", ignore_cleanup_errors=True) as scratch:
            os.environ.update(wanted | {"TMPDIR": scratch})
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
