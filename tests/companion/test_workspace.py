"""The build folder: nothing of others is touched, and one command at a time is at work."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lecore.companion.workspace import workspace
from lecore.errors import LecoreError

from .conftest import Command
from .test_execution import slow_run


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("verb", ["run", "build"])
@pytest.mark.parametrize(
    "files",
    [
        ["html/index.html", "running/notes.txt", "sphinx/conf.py"],
        ["html/index.html"],
        ["runs/tensorboard/events"],
        ["records/jazz/miles.json"],
        ["stage/lights.txt"],
        ["thesis.tex"],
        [".git/config"],
    ],
)
def test_a_folder_of_ones_own_is_left_alone(
    project: Path, command: Command, files: list[str], verb: str
) -> None:
    own = project / "own"
    for file in files:
        (own / file).parent.mkdir(parents=True, exist_ok=True)
        (own / file).write_text("precious", encoding="utf-8")
    before = snapshot(own)
    done = command("--build-dir", "own", verb)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert "own: is neither empty nor a build folder of lecore" in line
    assert "--build-dir" in line
    assert snapshot(own) == before


def test_an_empty_or_missing_folder_becomes_ours_and_stays_it(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "new" / "deep"):
        for _ in range(2):
            with workspace(folder):
                (folder / "html").mkdir(exist_ok=True)
        assert {p.name for p in folder.iterdir()} >= {".lecore", "html"}


def test_folders_made_before_there_were_marks_are_ours(project: Path, command: Command) -> None:
    build = project / "_build"
    (build / ".lecore").unlink()
    assert "0 executed, 3 up to date" in command("run").output
    (build / ".lecore").unlink()
    (build / "records").rename(project / "records")
    (build / "executed").rename(project / "executed")
    old = build / "runs" / "digits" / "0123456789abcdef.json"
    old.parent.mkdir(parents=True)
    old.write_text("{}", encoding="utf-8")
    with workspace(build):
        pass


def test_a_folder_that_holds_only_another_build_is_ours(tmp_path: Path) -> None:
    for folder in (tmp_path / "build" / "test", tmp_path / "build"):
        with workspace(folder):
            pass


@pytest.mark.thorough
@pytest.mark.processes
def test_two_at_once_are_told_apart(fresh: Path, command: Command) -> None:
    with slow_run(fresh) as process:
        for verb in ("run", "build"):
            done = command(verb)
            assert done.exit_code == 2
            (line,) = done.stderr.splitlines()
            assert "another lecore is at work here; wait until it is done" in line
        assert (fresh / "_build" / "running" / "second" / "slow.ipynb").exists()
        assert process.poll() is None
    with workspace(fresh / "_build"):  # the first was killed
        pass


def test_the_lock_goes_with_a_killed_process(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from lecore.companion.workspace import workspace\n"
        "with workspace(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(LecoreError, match="another lecore"), workspace(tmp_path):
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with workspace(tmp_path):
            pass


def test_a_check_needs_no_lock(project: Path, command: Command) -> None:
    with workspace(project / "_build"):
        assert command("check", "--json", "out.json").exit_code == 0
    assert len(json.loads((project / "out.json").read_text(encoding="utf-8"))) == 4
