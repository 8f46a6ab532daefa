"""Executing chapters: results, skipping, failures, interruption."""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from jupyter_client.connect import LocalPortCache

from lecore.companion import execution
from lecore.companion.kernel_environment import kernel_environment

from .conftest import Command

pytestmark = pytest.mark.processes


def records(root: Path, chapter: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((root / f"_build/records/{chapter}.json").read_text())
    return result


def executed(root: Path, chapter: str) -> Any:
    return nbformat.read(root / f"_build/executed/{chapter}.ipynb", as_version=4)


def test_result_says_where_it_comes_from(project: Path) -> None:
    run = records(project, "first/images")
    assert run["records"] == {"letters": {"value": 6.0}}
    assert (run["profile"], run["seed"], run["data"]) == ("quick", 0, "digits")
    assert re.fullmatch("[0-9a-f]{64}", run["data_sha256"])
    assert {"python", "lecore", "torch", "numpy"} <= set(run["versions"])
    assert run["commit"] is None, "the miniature is no git repository"
    assert run["seconds"] > 0
    notebook = executed(project, "first/images")
    assert notebook.metadata["lecore"]["key"] == run["key"]
    assert run["data_sha256"][:12] in notebook.cells[-1].source


def test_unchanged_chapters_are_not_executed(project: Path, command: Command) -> None:
    before = records(project, "first/mean")["started"]
    assert "0 executed, 3 up to date, 0 failed" in command("run").output
    assert records(project, "first/mean")["started"] == before


@pytest.mark.thorough
def test_a_port_that_others_took_ends_no_kernel(
    fresh: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the choice of a free port and its use it is anyone's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        monkeypatch.setattr(LocalPortCache, "find_available_port", lambda *_: taken)
        done = command("run", "second")
    assert done.exit_code == 0, done.output


def test_progress_bars_of_seconds_print_nothing(tmp_path: Path) -> None:
    bars = "from tqdm import tqdm\nfor _ in tqdm(range(3)): list(tqdm(range(3), leave=False))"
    with kernel_environment(tmp_path, tmp_path, jobs=1):
        done = subprocess.run([sys.executable, "-c", bars], capture_output=True, check=True)
    assert done.stderr == b""


@pytest.mark.thorough
def test_a_folder_too_long_for_sockets_is_no_hindrance(
    fresh: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("long" * 30)))
    Path(tempfile.gettempdir()).mkdir()
    done = command("run", "second")
    assert done.exit_code == 0, done.output


def test_editing_a_docstring_executes_what_depends_on_it(project: Path, command: Command) -> None:
    helper = project / "lecore" / "helper.py"
    helper.write_text('"""Sums."""\n' + helper.read_text())
    assert "1 executed, 2 up to date" in command("run").output


@pytest.mark.thorough
def test_the_time_counts_the_runs_that_a_chapter_reads(project: Path, command: Command) -> None:
    page = project / "book" / "first" / "mean.md"
    call = "from lecore.companion.records import add_seconds; add_seconds(1000.0)"
    page.write_text(page.read_text().replace('record("mean"', f'{call}\nrecord("mean"'))
    assert command("run", "first/mean").exit_code == 0
    assert 1000 < records(project, "first/mean")["seconds"] < 1100


def test_profile_and_settings_reach_the_page(fresh: Path, command: Command) -> None:
    done = command("run", "first/mean", "--profile", "large", "--set", "rate=1e-3", "--seed", "7")
    assert done.exit_code == 0, done.output
    run = records(fresh, "first/mean")
    assert run["records"]["mean"] == {
        "value": 2.0, "low": 0.5, "high": 5.0, "digits": 2, "n": 5,
    }  # fmt: skip
    assert run["parameters"] == {"seed": 7, "device": "cpu", "points": 5, "rate": 0.001}
    assert run["profile"] == "large"
    (cell,) = [c for c in executed(fresh, "first/mean").cells if "parameters" in str(c.metadata)]
    assert cell.source.splitlines() == [
        "seed: int = 7        # unused",
        'device: str = "cpu"',
        "points: int = 5      # how many",
        "rate: float = 0.001    # as in 1e-3",
    ]


def test_failure_is_told_and_the_others_are_kept(fresh: Path, command: Command) -> None:
    done = command("run", "first/mean", "second", "--set", "pause=-1")
    assert done.exit_code == 2
    assert "1 executed, 0 up to date, 1 failed" in done.output
    (line,) = [x for x in done.output.splitlines() if x.startswith("lecore: second/slow")]
    assert "ValueError: sleep length must be non-negative" in line
    failed = fresh / "_build" / "failed" / "second" / "slow.ipynb"
    assert str(failed) in line
    assert failed.exists()
    assert not (fresh / "_build" / "executed" / "second" / "slow.ipynb").exists()
    assert records(fresh, "first/mean")["records"]["mean"]["value"] == 1.0


def test_failure_keeps_the_earlier_result(project: Path, command: Command) -> None:
    before = records(project, "second/slow")
    assert command("run", "second", "--set", "pause=-1").exit_code == 2
    assert records(project, "second/slow") == before


def test_timeout_names_the_profile_as_cure(fresh: Path, command: Command) -> None:
    done = command("run", "second", "--profile", "hasty")
    assert done.exit_code == 2
    assert "longer than 1 s; raise `timeout` in the profile" in done.output


def test_dead_kernel(fresh: Path, command: Command) -> None:
    page = fresh / "book" / "second" / "slow.md"
    page.write_text(page.read_text().replace("time.sleep(pause)", "import os; os._exit(9)"))
    done = command("run", "second")
    assert done.exit_code == 2
    assert "lecore: second/slow: its kernel died: exit code 9" in done.output


def test_full_disk(fresh: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    write = execution.write_text

    def full(path: Path, text: str) -> None:
        if path.name == "slow.ipynb":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, text)

    monkeypatch.setattr(execution, "write_text", full)
    done = command("run", "second", "first/images")
    assert done.exit_code == 2
    assert "lecore: second/slow: cannot write: No space left on device" in done.output
    assert "--build-dir" in done.output
    assert records(fresh, "first/images")["records"]
    assert not list((fresh / "_build" / "stage").rglob("*slow*"))


def test_broken_page_is_told_before_anything_runs(fresh: Path, command: Command) -> None:
    page = fresh / "book" / "second" / "slow.md"
    page.write_text(page.read_text().replace("import time", "import time from"))
    done = command("run")
    assert done.exit_code == 2
    assert "lecore: second/slow is not valid Python" in done.output
    assert not (fresh / "_build" / "records").exists()


@contextmanager
def slow_run(root: Path) -> Iterator[subprocess.Popen[str]]:
    """``lecore run`` in a process of its own, once the last chapter sleeps in its kernel."""
    # -P: the miniature's own package must not stand in for the real one
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "lecore", "run", "--set", "pause=60.0"],
        cwd=root,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    try:
        while not (root / "asleep").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_killed_run_resumes_with_what_is_missing(fresh: Path, command: Command) -> None:
    with slow_run(fresh) as process:
        kernels = psutil.Process(process.pid).children()
        process.kill()
        process.wait()
    before = records(fresh, "first/mean")
    assert not (fresh / "_build" / "records" / "second").exists()
    done = command("run")  # with another pause, or the test would sleep
    assert "1 executed, 2 up to date, 0 failed" in done.output
    assert records(fresh, "first/mean") == before
    assert not list((fresh / "_build" / "running").rglob("*.ipynb"))
    assert not psutil.wait_procs(kernels, timeout=10)[1], "a kernel outlived its runner"


@pytest.mark.parametrize(
    "sent", [pytest.param(signal.SIGINT, marks=pytest.mark.thorough), signal.SIGTERM]
)
def test_interrupt_stops_the_kernels(
    fresh: Path, sent: signal.Signals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with slow_run(fresh) as process:
        kernels = psutil.Process(process.pid).children()
        process.send_signal(sent)
        errors = process.communicate(timeout=20)[1]
    assert process.returncode == 130
    assert "lecore: interrupted; the same command goes on from here" in errors
    assert "Traceback" not in errors
    assert not psutil.wait_procs(kernels, timeout=10)[1]
    assert not [*tmp_path.glob("lecore-*")], "what chapters left behind"
