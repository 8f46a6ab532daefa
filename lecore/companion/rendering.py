"""Calls jupyter-book."""

import os
import re
import subprocess
import sys
from pathlib import Path

from lecore.companion.documents import write_text
from lecore.errors import LecoreError

START = "from jupyter_book.cli.main import main; main()"  # no `python -m jupyter_book` in 1.x


def render(root: Path, stage: Path, out: Path, log: Path, *options: str) -> None:
    """Let jupyter-book make something of staged pages, below ``out / "_build"``.

    Args:
        root: The project, whose package the pages document.
        stage: The pages.
        out: Folder of the result.
        log: File for all that it says.
        options: Of ``jupyter-book build``.

    Raises:
        LecoreError: If it fails, with the first warning.
    """
    command = [sys.executable, "-c", START, "build", str(stage), "--path-output", str(out)]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    settings = {"PYTHONPATH": path, "PYTHONUTF8": "1"}
    done = subprocess.run([*command, *options], env=os.environ | settings, capture_output=True)
    output = re.sub(r"\x1b\[[0-9;]*m", "", (done.stdout + done.stderr).decode(errors="replace"))
    write_text(log, output)
    if done.returncode:
        warnings = [line for line in output.splitlines() if re.search("WARNING|ERROR", line)]
        raise LecoreError(
            f"the book has {len(warnings)} warnings, see {log}: "
            + (warnings[0].strip() if warnings else output.strip().splitlines()[-1])
        )
