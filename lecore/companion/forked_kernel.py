"""Kernels forked from one process that has imported what chapters import: four seconds less each.

That process is the fork server of ``multiprocessing``, which has one thread and does nothing else.
"""

import atexit
import gc
import multiprocessing
import os
import sys
import threading
import uuid
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

IMPORTED = [
    "ipykernel.kernelapp", "torch", "torch.func", "torch._dynamo", "pandas", "altair",
    "torch._decomp.decompositions_for_jvp", "scipy.optimize", "scipy.spatial", "scipy.stats",
    "sklearn.cluster", "sklearn.datasets", "sklearn.metrics", "seaborn", "tqdm",
]  # fmt: skip
"""What the kernels find imported; torch.func imports its compiler when it is first used, for two
seconds. Nothing of ``lecore``: a chapter's project may have its own."""

LAUNCHER = ["-m", "ipykernel_launcher"]


class _Forked:
    """A process of ``multiprocessing`` with the face of one of ``subprocess``."""

    stdin = stdout = stderr = None

    def __init__(self, process: Any) -> None:
        self.pid, self.poll, self.wait = process.pid, lambda: process.exitcode, process.join
        self.terminate, self.kill = process.terminate, process.kill

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


class _Provisioner(LocalProvisioner):
    async def launch_kernel(self, cmd: list[str], **settings: Any) -> Any:
        if cmd[1:3] != LAUNCHER or not Path(cmd[0]).samefile(sys.executable):
            return await super().launch_kernel(cmd, **settings)  # a kernel of another installation
        forks = multiprocessing.get_context("forkserver")
        forks.set_forkserver_preload(IMPORTED)
        where = str(settings.get("cwd") or Path.cwd())
        process = forks.Process(target=_kernel, args=(cmd[3:], dict(settings["env"]), where))
        process.start()
        self.process = _Forked(process)
        self.pid = self.pgid = process.pid  # it leads a group of its own
        self.cwd = where
        return self.connection_info


class ForkedKernel(AsyncKernelManager):
    """Manager of a kernel that is forked instead of started."""

    kernel_id: str
    provisioner: LocalProvisioner | None

    async def _async_pre_start_kernel(self, **settings: Any) -> Any:
        self.kernel_id = self.kernel_id or str(uuid.uuid4())
        self.provisioner = self.provisioner or _Provisioner(
            kernel_id=self.kernel_id, kernel_spec=self.kernel_spec, parent=self
        )
        return await super()._async_pre_start_kernel(**settings)


def _end_with_parent() -> None:
    """End when the process that asked for this one does: the fork server would go on."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _kernel(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Become a kernel, as ``python -m ipykernel_launcher`` would be."""
    gc.freeze()  # what was imported stays; half a million objects need no look at every collection
    os.setsid()
    tracker: Any = resource_tracker._resource_tracker
    tracker._fd = None  # what a killed kernel leaves is not ours to tell
    os.environ.clear()
    os.environ.update({name: v for name, v in environment.items() if name != "JPY_PARENT_PID"})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.chdir(folder)
    for name in [name for name in sys.modules if name.split(".")[0] == "lecore"]:
        del sys.modules[name]
    inherited = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [*inherited, *(place for place in sys.path if place not in inherited)]
    sys.argv = ["ipykernel_launcher", *arguments]

    from ipykernel.kernelapp import launch_new_instance
    from tqdm import tqdm

    if (torch := sys.modules.get("torch")) and (threads := environment.get("OMP_NUM_THREADS")):
        torch.set_num_threads(int(threads))  # of its import, which may have found others
    tqdm.set_lock(threading.RLock())  # its own starts a process, for whose end ipykernel waits
    try:
        launch_new_instance()
    finally:
        atexit._run_exitfuncs()  # a process of multiprocessing does not, by itself
