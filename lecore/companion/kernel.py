"""How papermill talks to a chapter's kernel: output is bounded, and a death is told with its cause.

A loop that prints for a day must not fill memory and disk, and what a cell prints may be no text.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import zmq
from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines

from lecore.errors import LecoreError

ENGINE = "lecore"
"""Name of the engine, for papermill."""

MOST_PRINTED = 2**20
"""Characters that a chapter may print; what follows is left out, since progress bars are long."""

MOST_SHOWN = 2**26
"""Characters of figures, tables and records; a chapter that shows more fails."""


SAVED_EVERY = 30.0
"""Seconds after which a notebook that is being executed is written to disk again."""


class _Client(PapermillNotebookClient):
    printed = shown = 0
    exit_code: int | None = None
    sockets: Path

    def create_kernel_manager(self) -> Any:
        """Talk through files: a free port is anyone's until the kernel has bound it."""
        manager = super().create_kernel_manager()
        longest = os.fsencode(self.sockets / "kernel-ipc-5")
        if zmq.has("ipc") and len(longest) <= zmq.IPC_PATH_MAX_LEN:
            manager.transport = "ipc"
            manager.connection_file = str(self.sockets / "kernel.json")
        return manager

    def process_message(self, msg: dict[str, Any], *rest: Any) -> Any:
        kind, content = msg["msg_type"], msg["content"]
        text = json.dumps(content, ensure_ascii=False, default=str)
        clean = text.encode(errors="replace").decode()  # a lone surrogate is no text
        if clean != text:
            msg["content"] = content = json.loads(clean)
        if kind == "stream":
            self.printed += len(text)
            if self.printed > MOST_PRINTED + len(text):
                return None
            if self.printed > MOST_PRINTED:
                content["text"] = f"\n… more than {MOST_PRINTED} characters, left out\n"
        elif kind in ("display_data", "execute_result", "update_display_data", "error"):
            self.shown += len(text)
            if self.shown > MOST_SHOWN:
                return None
        return super().process_message(msg, *rest)

    async def _async_check_alive(self) -> None:
        try:
            await super()._async_check_alive()
        except DeadKernelError:
            self.exit_code = await self.km.provisioner.poll()
            raise


class _Engine(NBClientEngine):
    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: Any,
        kernel_name: str,
        *,
        execution_timeout: int,
        forked: bool = False,
        **settings: Any,
    ) -> Any:
        known = {k: v for k, v in settings.items() if k in ("resources", "extra_arguments")}
        if forked:
            from lecore.companion.forked_kernel import ForkedKernel

            known["kernel_manager_class"] = ForkedKernel
        client = _Client(
            nb_man, kernel_name=kernel_name, timeout=execution_timeout, startup_timeout=60, **known
        )
        nb_man.save = _seldom(nb_man.save)
        try:
            with TemporaryDirectory(ignore_cleanup_errors=True) as sockets:
                client.sockets = Path(sockets)
                client.execute()
        except DeadKernelError as error:
            raise LecoreError(f"its kernel died: {_cause(client.exit_code)}") from error
        finally:
            del nb_man.save  # the whole notebook is saved at the end
        if client.shown > MOST_SHOWN:
            raise LecoreError(f"it shows more than {MOST_SHOWN} characters of figures and tables")
        for cell in nb_man.nb.cells:
            done = cell.metadata.get("papermill", {}).get("status") == "completed"
            if cell.cell_type == "code" and not done:
                if {o.get("ename") for o in cell.outputs} <= {"SystemExit", None}:
                    raise LecoreError(f"cell {cell.execution_count} left the chapter by sys.exit")
                break  # papermill tells of all other errors


def _seldom(save: Callable[..., None]) -> Callable[..., None]:
    """Save now and then: papermill would before and after each cell, for seconds in all."""
    last = time.monotonic()

    def saved(**given: Any) -> None:
        nonlocal last
        if time.monotonic() - last >= SAVED_EVERY:
            save(**given)
            last = time.monotonic()

    return saved


def _cause(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"exit code {exit_code}"
    name = signal.Signals(-exit_code).name
    return name + (", most likely out of memory" if name == "SIGKILL" else "")


papermill_engines.register(ENGINE, _Engine)
