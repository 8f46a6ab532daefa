"""Building the book, and the faults that the scan of its pages must find."""

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt

from lecore.companion.meanings import show_meanings
from lecore.companion.provenance import paragraph, plain
from lecore.companion.scan import _Page, scan

from .conftest import MARKUP, Command


def broken_links(page: Path) -> list[str]:
    """Links of a page's text that lead to no file, or to no place in it."""
    article = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").article
    assert article is not None
    broken = []
    for link in article.find_all("a", href=True):
        file, _, place = str(link["href"]).partition("#")
        target = page.parent / file if file else page
        there = target.is_file() and f'id="{place}"' in target.read_text(encoding="utf-8")
        if not (there or (target.is_file() and not place)):
            broken.append(str(link["href"]))
    return broken


@pytest.mark.processes
def test_a_book_says_what_was_computed_and_links_it(built: Path) -> None:
    pages = built / "_build" / "html" / "book"
    html = (pages / "first" / "mean.html").read_text(encoding="utf-8")
    assert 'The mean is <span class="pasted-text">1.0</span>.' in html
    assert "A sentence mended after the execution" in html
    assert "Where these numbers come from" in html
    assert 'href="../scorecard.html#claim-c-1"><span class="std std-ref">C-1</span>' in html
    assert 'href="#c-1"><span class="std std-ref">why</span>' in html
    scorecard = (pages / "scorecard.html").read_text(encoding="utf-8")
    assert '<a href="first/mean.html#c-1">the cell that decides</a>' in scorecard
    assert "Not run: chapter to be written." in scorecard
    for name in ("intro", "scorecard", "first/mean", "first/images"):
        assert broken_links(pages / f"{name}.html") == []
    entries = (pages.parent / "searchindex.js").read_text(encoding="utf-8")
    assert re.search(r'"c-1": \[\[\d+, "c-1", false\], \[\d+, "claim-c-1", false\]\]', entries)


@pytest.mark.thorough
@pytest.mark.processes
def test_a_book_survives_a_failed_build(book: Path, command: Command) -> None:
    index = book / "_build" / "html" / "index.html"
    before = index.read_text(encoding="utf-8")
    (book / "book" / "intro.md").write_text("# Intro\n\n{ref}`nowhere`\n", encoding="utf-8")
    done = command("build")
    assert done.exit_code == 2
    assert "nowhere" in done.output
    assert index.read_text(encoding="utf-8") == before


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
        ('<img src="full.png" srcset="full.png 1x, https://e.org/x.png 2x">', "another host"),
        ('<video src="https://e.org/x.mp4"></video>', "another host"),
        ('<video poster="//e.org/x.png"></video>', "another host"),
        ("<audio src=https://e.org/x.ogg></audio>", "another host"),
        ('<picture><source srcset="//e.org/x.png"></picture>', "another host"),
        ('<object data="https://e.org/x.svg"></object>', "another host"),
        ('<embed src="https://e.org/x.swf">', "another host"),
        ('<iframe src=" HTTPS://e.org"></iframe>', "another host"),
        ('<iframe srcdoc="&lt;img src=//e.org/x&gt;"></iframe>', "another host"),
        ('<track src="https://e.org/x.vtt">', "another host"),
        ('<input type="image" src="https://e.org/x.png">', "another host"),
        ('<body background="https://e.org/x.png">', "another host"),
        ('<link rel="preload" href="https://e.org/x.woff">', "another host"),
        ('<base href="https://e.org/">', "another host"),
        ('<svg><image href="https://e.org/x.png" /></svg>', "another host"),
        ('<svg><use xlink:href="https://e.org/x.svg#a" /></svg>', "another host"),
        ('<meta http-equiv="refresh" content="0; url=https://e.org">', "another host"),
        ('<p style="background: url(https://e.org/x.png)">', "another host"),
        ("<style>@import 'https://e.org/x.css';</style>", "another host"),
        ("<style>@import url(//e.org/x.css);</style>", "another host"),
        ('<style>p { background: url("https://e.org/x.png") }</style>', "another host"),
        ("<script>fetch('https://e.org/x')</script>", "another host"),
        ('<script type="module">import a from "https://e.org/x.js"</script>', "another host"),
        ('<script type="module">import "https://e.org/x.js"</script>', "another host"),
        ("<script>import(`https://e.org/x.js`)</script>", "another host"),
        ("<script>new WebSocket('wss://e.org')</script>", "another host"),
        ("<script>request.open('GET', 'https://e.org/x')</script>", "another host"),
        ("<script>image.src = '//e.org/x.png'</script>", "another host"),
        ("<img src=full.png onload=\"fetch('https://e.org')\">", "another host"),
    ],
)
def test_scan_finds(tmp_path: Path, body: str, fault: str) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "full.png").write_bytes(b"x")
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
        '<img srcset="full.png 1x, full.png 2x" src="full.png">',
        "<script>let url = 'https://example.org'; fetch('page.json')</script>",
        "<style>p { background: url(full.png) } /* https://example.org */</style>",
        '<svg xmlns="http://www.w3.org/2000/svg"><use href="#a" /></svg>',
        "<script>import a from './x.js'</script>",
        '<meta http-equiv="refresh" content="0; url=book/intro.html">',
    ],
)
def test_scan_lets_pass(tmp_path: Path, body: str) -> None:
    (tmp_path / "full.png").write_bytes(b"x")
    (tmp_path / "page.html").write_text(f"<html><body>{body}</body></html>")
    assert scan(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.css", "@import url('https://e.org/x.css')"),
        ("deep/x.js", "importScripts('https://e.org/x.js')"),
    ],
)
def test_scan_looks_into_files_beside_the_pages(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / name).write_text(content, encoding="utf-8")
    (found,) = scan(tmp_path)
    assert found.startswith(f"{name} loads https://e.org/x.")


@pytest.mark.processes
def test_markup_in_data_shows_as_it_stands(built: Path) -> None:
    pages = [built / "_build" / "html" / "book" / f"{n}.html" for n in ("intro", "scorecard")]
    html = "".join(page.read_text(encoding="utf-8") for page in pages)
    for live in ("<script>alert", "<b onclick", 'href="javascript:', "<i>cpu", "<em>b</em>"):
        assert live not in html
    shown = re.sub("[‘’]", "'", html_text(html))  # Sphinx sets quotes
    assert shown.count(MARKUP) >= 4
    assert "<i>cpu</i> (" in html_text(html)


def test_markup_in_a_result_shows_as_it_stands() -> None:
    words = ("profile", "data", "device", "commit")
    result = dict.fromkeys(words, MARKUP) | {"versions": {"python": MARKUP}, "seed": 0}
    result |= {"data_sha256": 64 * "0", "started": "2026-01-01T00", "seconds": 1.0}
    text = html_text(MarkdownIt("commonmark").render(paragraph(result)))
    assert text.count(MARKUP) == 5
    result |= {"data": None, "parameters": {"text": MARKUP}}
    text = html_text(MarkdownIt("commonmark").render(paragraph(result)))
    assert f"data: text {MARKUP}" in text


def html_text(source: str) -> str:
    return "".join(_Page(source).text)


def test_plain_text_is_plain() -> None:
    rendered = MarkdownIt("commonmark").enable("table").render(plain(MARKUP + " _x_ &amp; #1 é"))
    assert html_text(rendered).strip() == MARKUP + " _x_ &amp; #1 é"


def test_links_to_the_glossary_say_what_a_word_means(tmp_path: Path) -> None:
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "glossary.html").write_text(
        '<dl><dt id="term-update-point">update point<a href="#x">#</a></dt>'
        "<dd><p>x, a\n<em>point</em> with &quot;&lt;&quot;.</p></dd></dl>"
    )
    link = '<a class="reference internal" href="../book/glossary.html#term-update-point">it</a>'
    page = tmp_path / "page.html"
    page.write_text(f'{link} <a class="reference internal" href="x.html">x</a>')
    show_meanings(tmp_path)
    meaning = 'data-meaning="x, a point with &quot;&lt;&quot;."'
    assert page.read_text() == (
        f'<a class="reference internal" {meaning} '
        'href="../book/glossary.html#term-update-point">it</a> '
        '<a class="reference internal" href="x.html">x</a>'
    )
