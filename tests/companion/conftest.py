"""A miniature project: its own small ``lecore``, three chapters of a second each, four claims."""

import gc
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lecore import errors, files
from lecore.companion import packing, records
from lecore.companion.cli import main
from lecore.companion.printing import BROWSERS

Command = Callable[..., Result]
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)

HEAD = """\
---
jupytext: {text_representation: {extension: .md, format_name: myst}}
kernelspec: {display_name: Python 3, language: python, name: python3}
---
"""

FILES = {
    "_toc.yml": """\
        format: jb-book
        root: book/intro
        parts:
          - caption: First
            chapters: [{file: book/first/mean}, {file: book/first/images}]
          - caption: Second
            chapters: [{file: book/second/slow}, {file: book/scorecard}]
        """,
    "_config.yml": """\
        title: Miniature
        only_build_toc_files: true
        execute: {execute_notebooks: "off"}
        parse: {myst_enable_extensions: [colon_fence, dollarmath]}
        """,
    "book/intro.md": """\
        # Intro

        ```{include} generated/dots.txt
        ```

        ```{include} generated/status.txt
        ```
        """,
    "book/scorecard.md": """\
        # Scorecard

        ```{include} generated/scorecard.txt
        ```
        """,
    "book/first/mean.md": """\
        # Mean

        The mean is {glue:text}`mean:.1f`.

        ```{code-cell} ipython3
        :tags: [parameters]
        seed: int = 0        # unused
        device: str = "cpu"
        points: int = 3      # how many
        rate: float = 0.5    # as in 1e-3
        ```

        ```{code-cell} ipython3
        from pathlib import Path
        from lecore.companion import record
        from lecore.science import mean
        assert Path.cwd().name == "first"
        record("mean", mean(points), low=0.5, high=points, n=points)
        ```
        """,
    "book/first/images.md": """\
        # Images

        ```{code-cell} ipython3
        :tags: [parameters]
        seed: int = 0
        device: str = "cpu"
        data: str = "digits"
        ```

        ```{code-cell} ipython3
        from lecore.companion import record
        record("letters", len(data))
        ```
        """,
    "book/second/slow.md": """\
        # Slow

        ```{code-cell} ipython3
        :tags: [parameters]
        seed: int = 0
        device: str = "cpu"
        pause: float = 0.0   # seconds
        ```

        ```{code-cell} ipython3
        import time
        from pathlib import Path
        from lecore.companion import record
        assert Path.cwd().name == "second"
        Path("../../asleep").touch()
        time.sleep(pause)
        record("pause", pause)
        ```
        """,
    "book/profiles/quick.yml": "{timeout: 60, chapters: {}}",
    "book/profiles/large.yml": "{timeout: 60, chapters: {first/mean: {points: 5}}}",
    "book/profiles/hasty.yml": "{timeout: 1, chapters: {second/slow: {pause: 30.0}}}",
    "book/profiles/wrong.yml": "{timeout: 60, chapters: {first/mean: {points: many}}}",
    "book/claims.yml": """\
        - {id: C-1, paper: A, place: p. 1, claim: The mean is one., quantity: mean, published: 1.0,
           chapter: first/mean, criteria: [{record: mean, at_least: 0.5, at_most: 3}],
           expected: {quick: reproduced}}
        - {id: C-2, paper: A, place: p. 2, claim: It is large., quantity: mean, published: 9,
           chapter: first/mean, criteria: [{record: mean, at_least: 0.9}],
           expected: {quick: undecided}}
        - {id: C-3, ours: true, paper: B, place: p. 3, claim: Six letters., quantity: n,
           published: null, chapter: first/images, criteria: [{record: letters, at_most: 5}]}
        - {id: C-4, paper: B, place: p. 4, claim: Later., quantity: n, published: much,
           chapter: third/later, criteria: [{record: x, at_most: 5}]}
        """,
    "lecore/__init__.py": "",
    "lecore/companion/__init__.py": "from lecore.companion.records import record",
    "lecore/science.py": """\
        from lecore import helper


        def mean(points):
            return helper.total(points) / points
        """,
    "lecore/helper.py": "def total(points):\n    return sum(range(points))\n",
    "lecore/other.py": "# nothing that a chapter imports",
}


def pytest_configure(config: pytest.Config) -> None:
    # jupyter_core opens one event loop a thread and leaves it to the garbage collector
    unclosed = "ignore:unclosed (event loop|<socket):ResourceWarning"
    config.addinivalue_line("filterwarnings", unclosed)


def pytest_sessionfinish() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # these loops
        gc.collect()


def write_project(root: Path) -> None:
    """Write the miniature to a folder."""
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        head = HEAD if "{code-cell}" in text else ""
        path.write_text(head + dedent(text), encoding="utf-8")
    for module in (records, packing):
        shutil.copy(str(module.__file__), root / "lecore" / "companion")
    for module in (errors, files):
        shutil.copy(str(module.__file__), root / "lecore")


def lecore(*arguments: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The installed Chromium; tests that use it are skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as driver:
        opened = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature whose chapters were executed once; to be copied, not changed."""
    root = tmp_path_factory.mktemp("executed")
    write_project(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        done = lecore("run", "--jobs", "2")
        assert done.exit_code == 0, done.output
        assert Path.cwd() == root, "executing in threads moved the whole process"
    gc.collect()  # jupyter_core's loops, while the warning about them is ignored
    return root


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A miniature in which nothing was executed; the current folder."""
    root = tmp_path / "fresh"
    write_project(root)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def project(executed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private copy of the executed miniature; the current folder."""
    root = tmp_path / "project"
    shutil.copytree(executed, root)
    monkeypatch.chdir(root)
    return root


MARKUP = (
    "Ō ≤ 1 é <script>alert(1)</script> <b onclick='x'>*b* `c` [d](javascript:e) {eq}`f` $g$ | ~"
)
MENDED = "A sentence mended after the execution: {ref}`C-1 <claim-c-1>`, see {ref}`why <c-1>`."
LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}


@pytest.fixture(scope="session")
def built(executed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature as a book, with markup in its data, made in the locale C; not to be changed."""
    root = tmp_path_factory.mktemp("built") / "project"
    shutil.copytree(executed, root)
    claims, page = root / "book" / "claims.yml", root / "book" / "first" / "mean.md"
    text = claims.read_text(encoding="utf-8")
    for old in ("The mean is one.", "p. 2", "published: much", "Six letters."):
        new = "published: " * old.startswith("published") + json.dumps(MARKUP)
        text = text.replace(old, new)
    claims.write_text(text, encoding="utf-8")
    text = page.read_text(encoding="utf-8").replace("from pathlib", "print('Ō ≤ é')\nfrom pathlib")
    page.write_text(text, encoding="utf-8")
    _in_another_locale(root, "run")
    page.write_text(f"{text}\n{MENDED}\n", encoding="utf-8")
    record = root / "_build" / "records" / "first" / "mean.json"
    text = record.read_text(encoding="utf-8").replace("cpu (", "<i>cpu</i> (")
    record.write_text(text, encoding="utf-8")
    for verb in ("check", "chapters"):
        _in_another_locale(root, verb)
    said = _in_another_locale(root, "build")
    assert (root / "_build" / "html" / "index.html").as_uri() in said
    return root


def _in_another_locale(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "lecore", *arguments],
        cwd=root,
        env=os.environ | LOCALE,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def book(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private copy of the miniature with its book; the current folder."""
    monkeypatch.chdir(shutil.copytree(built, tmp_path / "book-of-it"))
    return Path.cwd()


@pytest.fixture
def command() -> Command:
    """The command line, run in this process."""
    return lecore
