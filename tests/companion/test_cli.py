"""The command line: what users get wrong is one line and exit status 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "no-such"], "no chapter or part 'no-such'; there are first/mean, first/images"),
        (["run", "--profile", "huge"], "no profile 'huge'; choose from hasty, large, quick, wrong"),
        (["run", "--set", "points"], "--set wants NAME=VALUE, not 'points'"),
        (["run", "--set", "points=["], "not valid YAML"),
        (["run", "--set", "pionts=3"], "has a parameter 'pionts'; they have ['data', 'device'"),
        (["run", "--set", "points=many"], "first/mean: points must be int, not 'many'"),
        (["run", "--profile", "wrong"], "first/mean: points must be int, not 'many'"),
        (["run", "--device", "abacus"], "no device 'abacus'; choose cpu"),
        (["run", "--device", "cuda:99"], "device 'cuda:99' is not on this machine"),
        (["run", "--device", "cuda:x"], "no device 'cuda:x'; choose cpu"),
        (["check", "--profile", "huge"], "no profile 'huge'"),
        (["chapters", "no-such"], "no chapter or part 'no-such'"),
    ],
)
def test_bad_input(fresh: Path, command: Command, arguments: list[str], message: str) -> None:
    done = command(*arguments)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("lecore: ")
    assert message in line
    assert not (fresh / "_build").exists()


def test_missing_images(
    fresh: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LECORE_DATA", str(tmp_path / "nowhere"))
    done = command("run", "--set", "data=mnist")
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert "lecore data fetch mnist" in line


def test_file_in_place_of_the_build_folder(fresh: Path, command: Command) -> None:
    (fresh / "taken").write_text("precious")
    done = command("--build-dir", "taken", "run", "first/mean")
    assert done.exit_code == 2
    assert "--build-dir" in done.stderr.splitlines()[-1]
    assert (fresh / "taken").read_text() == "precious"


def test_chapters_shows_parameters(fresh: Path, command: Command) -> None:
    done = command("chapters", "first/mean")
    assert done.output.splitlines()[0] == "first/mean"
    assert "    points: int = 3  how many" in done.output.splitlines()


def test_data_list_and_verify(
    fresh: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LECORE_DATA", str(tmp_path))
    listed = command("data", "list").output
    assert "digits" in listed
    assert "not here" in listed
    assert command("data", "verify", "digits").output.startswith("digits: 1500 training")
    (tmp_path / "mine.npz").write_bytes(b"PK truncated")
    done = command("data", "verify", "mine")
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert "mine" in line


def test_help_has_examples(command: Command) -> None:
    assert "lecore run phenomenon --set seeds=2\n" in command("--help").output
    assert "lecore run clustering/mnist --profile paper\n" in command("run", "--help").output


def test_version_and_completion_script(command: Command) -> None:
    assert "version" in command("--version").output
    assert "_LECORE_COMPLETE=zsh_complete" in command("completion", "zsh").output


def test_module_completes_chapters_and_parts(fresh: Path) -> None:
    asked = {
        "_LECORE_COMPLETE": "bash_complete",
        "COMP_WORDS": "lecore run fir",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [sys.executable, "-P", "-m", "lecore"],
        env=os.environ | asked,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == ["plain,first/mean", "plain,first/images", "plain,first"]
