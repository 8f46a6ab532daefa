"""Building the book, and the faults that the scan of its pages must find."""

from pathlib import Path

import pytest

from lecore.companion.scan import scan

from .conftest import Command


def test_book_is_built_and_survives_a_failed_build(project: Path, command: Command) -> None:
    page = project / "book" / "first" / "mean.md"
    page.write_text(page.read_text() + "\nA sentence mended after the execution.\n")
    done = command("build")
    assert done.exit_code == 0, done.output
    index = project / "_build" / "html" / "index.html"
    assert index.as_uri() in done.output
    html = (index.parent / "book" / "first" / "mean.html").read_text()
    assert 'The mean is <span class="pasted-text">1.0</span>.' in html
    assert "A sentence mended after the execution." in html
    assert "Where these numbers come from" in html
    intro = (index.parent / "book" / "intro.html").read_text()
    assert 'href="first/mean.html"><span class="std std-doc">C-1</span>' in intro
    assert "not run: chapter to be written" in intro

    before = index.read_text()
    (project / "book" / "intro.md").write_text("# Intro\n\n{ref}`nowhere`\n")
    done = command("build")
    assert done.exit_code == 2
    assert "nowhere" in done.output
    assert index.read_text() == before


def test_book_of_missing_chapters_is_refused(fresh: Path, command: Command) -> None:
    done = command("build")
    assert done.exit_code == 2
    assert "lecore: not executed: first/mean, first/images, second/slow" in done.output


def test_book_of_stale_chapters_is_refused(project: Path, command: Command) -> None:
    (project / "lecore" / "helper.py").write_text("def total(points):\n    return 3\n")
    done = command("build")
    assert done.exit_code == 2
    assert "older than the code: first/mean; run `lecore run`" in done.output


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("<pre>Traceback (most recent call last)</pre>", "Traceback"),
        ('<span id="papermill-error-cell">here</span>', "failed"),
        ("<td>nan</td>", "nan"),
        ('<div class="cell_output"><pre>[0.1 nan]</pre></div>', "nan"),
        ('<img src="">', "empty image"),
        ('<img src="data:image/png;base64,">', "empty image"),
        ('<img src="gone.png">', "gone.png"),
        ('<img src="empty.png">', "empty.png"),
        ('<script src="https://example.org/x.js"></script>', "another host"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "another host"),
        ('<img src="https://example.org/x.png">', "another host"),
    ],
)
def test_scan_finds(tmp_path: Path, body: str, fault: str) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "page.html").write_text(f"<html><body>{body}</body></html>")
    (found,) = scan(tmp_path)
    assert found.startswith("page.html")
    assert fault in found


@pytest.mark.parametrize(
    "body",
    [
        "<p>finance, banana, NaN</p>",
        '<div class="cell_input docutils"><div><pre>np.nan</pre></div></div><p>fine</p>',
        "<script>let x = 'nan'</script>",
        '<a href="https://example.org">elsewhere</a>',
        '<link rel="canonical" href="https://example.org/page">',
        '<img src="full.png?v=1">',
        '<img src="data:image/png;base64,AAAA">',
    ],
)
def test_scan_lets_pass(tmp_path: Path, body: str) -> None:
    (tmp_path / "full.png").write_bytes(b"x")
    (tmp_path / "page.html").write_text(f"<html><body>{body}</body></html>")
    assert scan(tmp_path) == []
