"""What people see who installed less, stand elsewhere, or have another locale."""

import os
import stat
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest

from .conftest import Command

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
WITHOUT = """
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""


def without(missing: set[str], code: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run code where packages are not installed."""
    return subprocess.run(
        [sys.executable, "-P", "-c", WITHOUT.format(missing=missing) + code],
        env=os.environ | settings,
        capture_output=True,
        encoding="utf-8",
    )


@pytest.mark.parametrize("missing", ["click", "yaml"])
def test_the_command_without_its_extra_is_one_line(missing: str) -> None:
    done = without({missing}, "from lecore.__main__ import main; main()")
    assert done.returncode == 2
    cure = 'install it with: pip install "lecore[companion]"'
    assert done.stderr == f"lecore: this needs {missing}, which is not installed; {cure}\n"


@pytest.mark.parametrize("missing", ["papermill", "jupytext", "nbformat", "filelock"])
def test_a_package_missed_later_is_one_line_too(fresh: Path, missing: str) -> None:
    code = "sys.argv = ['lecore', 'run', 'first/mean']; from lecore.__main__ import main; main()"
    done = without({missing}, code)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert 'pip install "lecore[companion]"' in done.stderr


def test_images_have_an_extra_of_their_own() -> None:
    code = "from lecore.data.torchvision_import import import_torchvision; import_torchvision()"
    done = without({"torchvision"}, code)
    assert 'pip install "lecore[images]"' in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("missing", "call"), [("IPython", "record('x', 1.0)"), ("matplotlib", "figure('x', None)")]
)
def test_record_and_figure_without_the_extra_say_so(missing: str, call: str) -> None:
    done = without({missing}, f"from lecore.companion import record, figure; {call}")
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"lecore.errors.LecoreError: this needs {missing}")
    assert 'pip install "lecore[companion]"' in last


def test_the_script_and_the_module_are_one_command() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["project"]["scripts"] == {"lecore": "lecore.__main__:main"}
    assert (ROOT / "lecore" / "py.typed").exists()


OUTSIDE = "from lecore.companion import project; project.__file__ = '/nowhere/a/b/c.py'; "


def test_completion_outside_a_checkout_is_empty(tmp_path: Path) -> None:
    for words, count in (("lecore run fir", "2"), ("lecore run --profile q", "3")):
        asked = {"_LECORE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": count}
        code = "import os; os.chdir('/'); " + OUTSIDE + "from lecore.__main__ import main; main()"
        done = without(set(), code, **asked)
        assert (done.stdout.strip(), done.stderr) == ("", "")


@pytest.mark.parametrize(
    "code",
    [
        "from lecore.companion.published import published; published('HS-1')",
        "sys.argv = ['lecore', 'chapters']; from lecore.__main__ import main; main()",
    ],
)
def test_outside_a_checkout_it_says_what_is_missing(code: str) -> None:
    done = without(set(), "import os; os.chdir('/'); " + OUTSIDE + code)
    last = done.stderr.splitlines()[-1]
    assert "no book (_toc.yml with book/claims.yml) at or above /; go to a checkout" in last


def test_another_locale_changes_nothing(built: Path) -> None:
    intro = (built / "_build/html/book/intro.html").read_text(encoding="utf-8")
    assert "Ō ≤ 1 é" in intro
    assert "Ō ≤ é" in (built / "_build/html/book/first/mean.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("option", ["--json", "--junit"])
def test_reports_go_into_pipes_and_devices(project: Path, command: Command, option: str) -> None:
    os.mkfifo("pipe")
    read: list[str] = []
    thread = threading.Thread(target=lambda: read.append(Path("pipe").read_text(encoding="utf-8")))
    thread.start()
    assert command("check", option, "pipe").exit_code == 0
    thread.join(10)
    assert "C-1" in read[0]
    assert stat.S_ISFIFO(Path("pipe").stat().st_mode)
    assert command("check", option, "/dev/null").exit_code == 0
    assert Path("/dev/null").is_char_device()


def test_a_full_device_is_named_as_such(project: Path, command: Command) -> None:
    done = command("check", "--json", "/dev/full")
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert "No space left on device" in line
    assert Path("/dev/full").is_char_device()
