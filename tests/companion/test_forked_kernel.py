"""Kernels that are forked: they compute, fail and end as those that are started."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lecore.companion import execution, forked_kernel

from .conftest import Command
from .test_execution import records
from .test_odd_chapters import change

pytestmark = pytest.mark.processes

SEEN = """\
import os, pathlib, lecore.science
record('threads', int(os.environ['OMP_NUM_THREADS']))
record('own-package', int(pathlib.Path(lecore.science.__file__).is_relative_to(ROOT)))
record('leads-its-group', int(os.getpgid(0) == os.getpid()))
"""


@pytest.fixture(autouse=True)
def nothing_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """These chapters need nothing."""
    monkeypatch.setattr(forked_kernel, "IMPORTED", [])


def test_they_find_what_started_ones_find(
    fresh: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(fresh, SEEN.replace("ROOT", repr(str(fresh))))
    found = []
    for many in (100, 1):
        monkeypatch.setattr(execution, "MANY", many)
        done = command("run", "first/mean", "second", "--force")
        assert done.exit_code == 0, done.output
        found.append([records(fresh, page)["records"] for page in ("first/mean", "second/slow")])
    assert found[0] == found[1]
    assert {found[0][1][name]["value"] for name in ("own-package", "leads-its-group")} == {1}


def test_they_leave_as_they_should(
    fresh: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "MANY", 1)
    last = f"atexit.register(pathlib.Path({str(fresh)!r}, 'left').touch)"
    change(fresh, f"import atexit, pathlib; {last}")
    assert command("run", "second").exit_code == 0
    assert (fresh / "left").exists()


def test_a_bar_leaves_no_process_for_whose_end_they_would_wait(
    fresh: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "MANY", 1)
    bar = "from tqdm import tqdm; list(tqdm(range(2)))"
    change(fresh, f"import psutil; {bar}; assert not psutil.Process().children()")
    done = command("run", "second")
    assert done.exit_code == 0, done.output


def test_they_do_not_outlive_a_run_that_was_killed(fresh: Path) -> None:
    code = "from lecore.companion import execution, forked_kernel; execution.MANY = 1; "
    code += "forked_kernel.IMPORTED.clear(); import lecore.__main__ as m; m.main()"
    command = [sys.executable, "-P", "-c", code, "run", "second"]
    process = subprocess.Popen([*command, "--set", "pause=60.0"], stderr=subprocess.DEVNULL)
    try:
        while not (fresh / "asleep").exists():
            assert process.poll() is None
            time.sleep(0.1)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2
    finally:
        process.kill()
        process.wait()
    assert not psutil.wait_procs(children, timeout=20)[1]
