"""The PDF, where there is a browser to print it."""

import shutil
from pathlib import Path

import pytest

from lecore.companion import book as companion_book
from lecore.companion import printing
from lecore.errors import LecoreError

from .conftest import Command

CHROMIUM = any(map(shutil.which, printing.BROWSERS))


@pytest.mark.processes
@pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
def test_the_book_is_printed_without_its_api(
    book: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = book / "_build"
    monkeypatch.setattr(companion_book, "_build", lambda root, build: build / "html/index.html")
    stage = build / "stage"  # of the book that is built
    api = "# API\n\nOn screens.\n\n```{eval-rst}\n.. automodule:: lecore.helper\n```\n"
    (stage / "book" / "api.md").write_text(api, encoding="utf-8")
    card = "\n::::{grid} 1\n\n:::{grid-item-card} A title\nA card.\n:::\n::::\n"
    front = stage / "book" / "intro.md"
    front.write_text(front.read_text(encoding="utf-8") + card, encoding="utf-8")
    toc = stage / "_toc.yml"
    text = toc.read_text(encoding="utf-8")
    toc.write_text(
        text.replace("{file: book/first/mean}", "{file: book/first/mean}, {file: book/api}")
    )
    config = stage / "_config.yml"
    extra = (
        "sphinx: {extra_extensions: [sphinx.ext.autodoc, sphinx.ext.napoleon, sphinx_exercise]}\n"
    )
    config.write_text(config.read_text(encoding="utf-8") + extra, encoding="utf-8")
    done = command("build", "--pdf")
    assert done.exit_code == 0, done.output
    made = build / "book.pdf"
    assert made.read_bytes().startswith(b"%PDF")
    assert f"pages: {made}" in done.output
    log = (build / "print.log").read_text(encoding="utf-8")
    assert "book/first/mean" in log
    assert "book/api" not in log


def test_without_chromium_it_says_so_at_once(
    project: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(printing, "BROWSERS", ("no-such-browser",))
    with pytest.raises(LecoreError, match="Chromium, which is not installed; install it"):
        printing.browser()
    done = command("build", "--pdf")
    assert done.exit_code == 2
    assert not (project / "_build" / "html").exists()
