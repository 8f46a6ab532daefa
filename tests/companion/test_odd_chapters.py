"""Chapters that do what no chapter should: they fail for their own reason, alone."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from papermill.iorw import papermill_io

from lecore.companion import executed, kernel

from .conftest import Command
from .test_execution import records

pytestmark = pytest.mark.processes


def change(root: Path, body: str) -> None:
    """Let the slow chapter do something else."""
    page = root / "book" / "second" / "slow.md"
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("time.sleep(pause)", body), encoding="utf-8")


RAW = "from IPython.display import display; display({data}, raw=True, metadata={metadata})"
GLUE = "application/papermill.record/"


ODD = [
    ("import sys; sys.exit(0)", "left the chapter by sys.exit"),
    ("raise SystemExit", "left the chapter by sys.exit"),
    ("import sys; sys.exit(3)", "left the chapter by sys.exit"),
    ("import os; os._exit(9)", "its kernel died: exit code 9"),
    ("import os; os._exit(0)", "its kernel died: exit code 0"),
    ("import os; os.kill(os.getpid(), 11)", "its kernel died: SIGSEGV"),
    (
        "import os; os.kill(os.getpid(), 9)",
        "died: SIGKILL, most likely out of memory",
    ),
    (RAW.format(data="{}", metadata="{'record': {'value': 1.0}}"), "claims to be a record"),
    (
        RAW.format(data="{}", metadata="{'record': 3, 'scrapbook': {'name': 4}}"),
        "claims to be a record",
    ),
    (
        RAW.format(
            data="{'application/papermill.record/text/plain': '1.0'}",
            metadata="{'record': {'value': 2.0}, 'scrapbook': {'name': 'x', "
            f"'mime_prefix': '{GLUE}'}}}}",
        ),
        "record 'x' does not hold what it shows",
    ),
    (
        RAW.format(
            data="{'application/papermill.record/text/plain': 'one'}",
            metadata="{'record': {'value': 'one'}, 'scrapbook': {'name': 'x', "
            f"'mime_prefix': '{GLUE}'}}}}",
        ),
        "record 'x': value: 'one' is not of type 'number'",
    ),
    ("record('pause', 1)", "two records are named 'pause'"),
    ("record('x', float('nan'))", "records must be finite"),
    ("record('x', 1.0, of=float('nan'))", "record 'x': the details"),
    ("record('x', 1.0, of={1, 2})", "record 'x': the details"),
    ("raise ValueError('\\ud800')", "ValueError"),
    ("raise OSError(28, 'No space', '/far/away')", "/far/away"),
]


def test_odd_chapters_fail_for_their_own_reason_and_the_others_go_on(
    fresh: Path, command: Command
) -> None:
    page = (fresh / "book" / "second" / "slow.md").read_text(encoding="utf-8")
    names = [f"book/second/odd-{number}" for number in range(len(ODD))]
    for name, (body, _) in zip(names, ODD, strict=True):
        text = page.replace("time.sleep(pause)", body)
        (fresh / f"{name}.md").write_text(text, encoding="utf-8")
    with (fresh / "_toc.yml").open("a", encoding="utf-8") as toc:
        toc.write("".join(f"  - chapters: [{{file: {name}}}]\n" for name in names))
    done = command("run", "second", "first/images", "--jobs", "4")
    assert done.exit_code == 2
    assert f"2 executed, 0 up to date, {len(ODD)} failed" in done.output
    assert "Traceback" not in done.output
    lines = dict(x.removeprefix("lecore: second/odd-").split(": ", 1) for x in
                 done.stderr.splitlines() if x.startswith("lecore: "))  # fmt: skip
    wrong = {body: lines[str(n)] for n, (body, why) in enumerate(ODD) if why not in lines[str(n)]}
    assert wrong == {}
    kept = {path.stem for path in (fresh / "_build" / "records").rglob("*.json")}
    assert kept == {"images", "slow"}
    assert papermill_io.get_handler("local").cwd(None) is None, "the next run would write here"


def test_a_flood_of_output_is_bounded(fresh: Path, command: Command) -> None:
    change(fresh, "for _ in range(20): print(10**6 * 'x')")
    assert command("run", "second").exit_code == 0
    staged = fresh / "_build" / "executed" / "second" / "slow.ipynb"
    assert staged.stat().st_size < 4e6
    assert "left out" in staged.read_text(encoding="utf-8")
    assert records(fresh, "second/slow")["records"]["pause"]["value"] == 0.0


@pytest.mark.thorough
def test_a_flood_of_figures_fails(
    fresh: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "MOST_SHOWN", 2**16)
    change(fresh, "[display(10**4 * 'x') for _ in range(8)]")
    done = command("run", "second")
    assert "second/slow: it shows more than 65536 characters" in done.output


@pytest.mark.thorough
def test_a_lone_surrogate_is_shown_as_a_question_mark(fresh: Path, command: Command) -> None:
    change(fresh, "print('a\\ud800b'); display('c\\udfffd')")
    done = command("run", "second")
    assert done.exit_code == 0, done.output
    staged = nbformat.read(fresh / "_build/executed/second/slow.ipynb", as_version=4)
    assert "?" in json.dumps(staged.cells[-2].outputs)


@pytest.mark.parametrize("file", ["executed/first/mean.ipynb", "records/first/mean.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"{}", b"\xff", b'{"metadata": 3}'])
def test_what_cannot_be_read_counts_as_absent(
    project: Path, capsys: pytest.CaptureFixture[str], file: str, content: bytes
) -> None:
    path = project / "_build" / file
    path.write_bytes(content)
    assert executed.executed_key(project / "_build", "first/mean") is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"lecore: {path}: ")
    assert "first/mean is executed again" in line


@pytest.mark.parametrize("force", [False, True])
def test_what_cannot_be_read_is_computed_again(
    project: Path, command: Command, force: bool
) -> None:
    for place in ("executed/first/mean.ipynb", "records/second/slow.json"):
        path = project / "_build" / place
        path.write_bytes(path.read_bytes()[:200])
    done = command("run", *["--force"] * force)
    assert done.exit_code == 0, done.output
    counts = "3 executed, 0" if force else "2 executed, 1"
    assert f"{counts} up to date, 0 failed" in done.output
    assert records(project, "first/mean")["records"]["mean"]["value"] == 1.0


def test_nothing_stays_in_the_temporary_folder(
    fresh: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before, place = set(tmp_path.iterdir()), os.environ.get("TMPDIR")
    change(fresh, "import os, tempfile; tempfile.mkdtemp(); os._exit(3)")
    assert command("run", "second").exit_code == 2
    assert set(tmp_path.iterdir()) == before
    assert os.environ.get("TMPDIR") == place


def test_a_truncated_notebook_is_named_by_the_build(project: Path, command: Command) -> None:
    path = project / "_build" / "executed" / "first" / "mean.ipynb"
    path.write_bytes(path.read_bytes()[:500])
    done = command("build")
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert str(path) in line


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("settings", "path"),
    [({"HOME": "/dev/null", "JUPYTER_RUNTIME_DIR": "/dev/null/x"}, "/dev/null"),
     ({"TMPDIR": "/dev/null", "IPYTHONDIR": "/dev/null/y"}, "")],
)  # fmt: skip
def test_an_odd_place_is_told_by_its_own_path(
    fresh: Path, settings: dict[str, str], path: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "lecore", "run", "second"],
        env=os.environ | settings,
        capture_output=True,
        encoding="utf-8",
        timeout=100,
    )
    assert "Traceback" not in done.stderr
    assert "make room" not in done.stderr
    if done.returncode:
        assert path in done.stderr


@pytest.mark.thorough
def test_cores_are_shared_by_jobs(
    fresh: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    change(fresh, "import os; record('threads', int(os.environ['OMP_NUM_THREADS']))")
    for jobs, threads in ((1, 6), (2, 3), (9, 1)):
        done = command("run", "second", "--force", "--jobs", str(jobs))
        assert done.exit_code == 0, done.output
        assert records(fresh, "second/slow")["records"]["threads"]["value"] == threads
    assert "OMP_NUM_THREADS" not in os.environ
