"""An installed wheel carries the book, and the page *Re-run it* says what runs."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "book" / "rerun.md"
FENCE = re.compile(
    r"^```(?:\{code-block\} )?(bash|python)\n(?::class: ([\w-]+)\n)?(.*?)^```$", re.M | re.S
)
LEFT_OUT = {
    "takes-minutes": "make test runs the same commands with small chapters",
    "needs-index": "installs packages",
    "needs-network": "downloads images",
    "needs-files": "MNIST and CIFAR-10, and most of an hour",
    "needs-gpu": "a CUDA device",
    "needs-docker": "a container engine",
    "needs-chromium": "tested where there is one, in test_printing.py",
    "needs-a-browser": "waits for somebody to look",
}
"""Why a block of the page is not run here, by its class."""

SHORT = {
    "phenomenon/what-is-local-elasticity": "",
    "clustering/algorithm-one": "from lecore.data.images import load; load(data).x_train[0]",
}
"""What chapters do each day after the cell of their settings: it shows that they have arrived."""
SETTINGS = re.compile(r"^.*?:tags: \[parameters.*?^```$", re.M | re.S)


class Block(NamedTuple):
    """A code block of the page."""

    language: str
    why_not: str
    text: str


BLOCKS = [Block(*found) for found in FENCE.findall(PAGE.read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel of the unpacked source distribution."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "checkout"
    for name in ("lecore", "book"):
        unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, source / name, ignore=unwanted)
    for path in [p for p in ROOT.iterdir() if p.is_file() and not p.name.startswith(".")]:
        shutil.copy(path, source)
    _build("sdist", source, folder)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    _build("wheel", folder / archive.name.removesuffix(".tar.gz"), folder)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    return folder / "site"


def _build(what: str, source: Path, target: Path) -> None:
    code = f"from setuptools.build_meta import build_{what} as build; build({str(target)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def elsewhere(installed: Path, folder: Path, *command: str) -> str:
    """What a command prints in a folder, with the wheel installed and no checkout in sight."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    settings = {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1", "PATH": path}
    kept = {k: v for k, v in os.environ.items() if not k.startswith("LECORE")}
    done = subprocess.run(
        command, cwd=folder, env=kept | settings, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.processes
def test_a_wheel_holds_what_chapters_read(installed: Path, tmp_path: Path) -> None:
    code = """
        from lecore.companion import project, provenance
        from lecore.companion.published import published, published_numbers
        from lecore.companion.stored_runs import runs_folder
        from lecore.companion.reference_runs import reference
        published("HS-1")
        print(len(published_numbers("dan-2021")) > 1, "pairs-won" in reference("clustering/mnist"))
        root = project.project_root()
        print(project.profiles(root), provenance.commit(root))
        print(project.carried() == root, runs_folder())
        code = ["from lecore.companion import record", "import torch"]
        print(*[file.name for file in project.dependencies(code, root)][:1])
    """
    code = "\n".join(line.strip() for line in code.splitlines())
    said = elsewhere(installed, tmp_path, sys.executable, "-c", code).splitlines()[-4:]
    assert said == [
        "True True",
        "['paper', 'quick', 'smoke'] None",
        f"True {tmp_path / '_build' / 'runs'}",
        "__init__.py",
    ]


@pytest.mark.processes
def test_a_wheel_holds_the_whole_package(installed: Path) -> None:
    code = {p.relative_to(ROOT) for p in (ROOT / "lecore").rglob("*.py*") if p.suffix != ".pyc"}
    assert code - {p.relative_to(installed) for p in installed.rglob("*")} == set()


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.thorough)])
def with_chapters(installed: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The unpacked wheel with short chapters, or, as only make thorough runs it, whole ones."""
    if request.param:
        return installed
    site = shutil.copytree(installed, tmp_path / "site")
    for chapter, code in SHORT.items():
        page = site / "lecore" / "companion" / "carried" / "book" / f"{chapter}.md"
        head = SETTINGS.match(page.read_text(encoding="utf-8"))
        assert head
        page.write_text(f"{head[0]}\n\n```{{code-cell}} ipython3\n{code}\n```\n", encoding="utf-8")
    return site


@pytest.mark.longest
@pytest.mark.processes
def test_the_commands_of_the_page_run(with_chapters: Path, tmp_path: Path) -> None:
    for language, why_not, text in BLOCKS:
        if why_not:
            continue
        if "papermill" in text:  # the reader has downloaded it
            (notebook,) = tmp_path.glob("_build/executed/phenomenon/*.ipynb")
            shutil.copy(notebook, tmp_path)
        shell = ("bash", "-ec") if language == "bash" else (sys.executable, "-c")
        elsewhere(with_chapters, tmp_path, *shell, text)
    assert (
        'data": "mine"' in (tmp_path / "_build/records/clustering/algorithm-one.json").read_text()
    )
    assert "width = 512" in (tmp_path / "mine.ipynb").read_text(encoding="utf-8")


def test_blocks_that_do_not_run_say_why() -> None:
    assert {block.why_not for block in BLOCKS} == {"", *LEFT_OUT}
    assert len(BLOCKS) == PAGE.read_text(encoding="utf-8").count("\n```") // 2


def test_times_are_those_of_the_front_page() -> None:
    front = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*?) \| .* \| (.*?) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    assert len(rows) > 5
    for machine, time in rows:
        assert re.search(rf"^\| {re.escape(machine)} \| .* \| {re.escape(time)} \|", front, re.M)
