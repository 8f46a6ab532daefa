"""Books of some chapters, pages that are missing or empty, and the repository's address."""

from pathlib import Path

import nbformat
import pytest
import yaml

from lecore.companion.address import configuration, repository, self_installing
from lecore.companion.partial import absent_page, bridge
from lecore.companion.scan import empty_pages
from lecore.errors import LecoreError

from .conftest import Command

URL = "https://github.com/somebody/lecore"


@pytest.mark.thorough
@pytest.mark.processes
def test_a_book_of_one_part_is_built(fresh: Path, command: Command) -> None:
    front = fresh / "book" / "intro.md"
    links = "{doc}`second/slow`, {glue:text}`second/slow.md::pause:.1f`, {ref}`wait <waiting>`.\n"
    links += "\n```{include} generated/borrowed.txt\n```\n"
    front.write_text(front.read_text(encoding="utf-8") + links, encoding="utf-8")
    config = fresh / "_config.yml"
    config.write_text(config.read_text(encoding="utf-8") + f"repository: {{url: {URL}}}\n")
    page = fresh / "book" / "second" / "slow.md"
    text = page.read_text(encoding="utf-8").replace("# Slow", "(waiting)=\n# Slow")
    page.write_text(text, encoding="utf-8")
    assert command("run", "first/mean").exit_code == 0
    done = command("build")
    assert done.exit_code == 0, done.output
    assert "Not executed, as their pages say: first/images, second/slow" in done.output
    html = fresh / "_build" / "html" / "book"
    executed = (html / "first" / "mean.html").read_text(encoding="utf-8")
    assert f'href="{URL}"' in executed
    notebook = "github/somebody/lecore/blob/gh-pages/_sources/book/first/mean.ipynb"
    assert f'href="https://colab.research.google.com/{notebook}"' in executed
    absent = (html / "second" / "slow.html").read_text(encoding="utf-8")
    assert "second/slow</span>" in absent
    intro = (html / "intro.html").read_text(encoding="utf-8")
    assert 'href="second/slow.html"' in intro
    assert "from a chapter that was not executed" in intro
    assert not (fresh / "_build" / "html" / "_sources" / "book" / "second" / "slow.md").exists()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "book" / "far"
    folder.mkdir(parents=True)
    (folder / "gone.md").write_text(
        "# Far *away*\n\n(part)=\n## Part\n\n```{prf:definition} D\n:label: def-d\n```\n\n"
        "$$\nx\n$$ (formula)\n\n```{glue:figure} f\n:name: fig-f\n```\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("{glue:text}`../far/gone.md::x:.1f` %", "… %"),
        ("{glue:text}`x:.1f`, {glue:text}`other.md::x`", None),
        ("{doc}`../far/gone`", None),
        ("{numref}`fig-f`, {numref}`fig-g`", "*Far *away**, {numref}`fig-g`"),
        ("{prf:ref}`def-d` and {eq}`formula`", "*Far *away** and *Far *away**"),
        ("{ref}`there <part>`, {ref}`here <mine>`", "*Far *away**, {ref}`here <mine>`"),
    ],
)
def test_what_points_to_an_absent_chapter_is_said_in_words(
    root: Path, said: str, text: str | None
) -> None:
    assert bridge(root, ["far/gone"])(said, "near/page") == (text or said)


def test_an_absent_page_says_how_to_add_it(root: Path) -> None:
    (cell,) = absent_page(root, "far/gone").cells
    assert cell.source.startswith("# Far *away*\n")
    assert "`lecore run far/gone`" in cell.source


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        (None, ["page.html is missing"]),
        ("", ["page.html is empty"]),
        ("<p>menu</p><article><h1>Title<a>#</a></h1> </article>", ["page.html is empty"]),
        ("<article><h1>Title</h1><p>Text</p></article>", []),
        ('<article><h1>Title</h1><img src="x.svg"></article>', []),
    ],
)
def test_missing_and_empty_pages_are_faults(
    tmp_path: Path, page: str | None, fault: list[str]
) -> None:
    if page is not None:
        (tmp_path / "page.html").write_text(page)
    assert empty_pages(tmp_path, ["page"]) == fault


def with_address(root: Path, url: str) -> Path:
    (root / "_config.yml").write_text(f'title: T\nexecute: "off"\nrepository: {{url: "{url}"}}\n')
    return root


def test_without_an_address_there_are_no_buttons(tmp_path: Path) -> None:
    config = yaml.safe_load(configuration(with_address(tmp_path, "")))
    assert config == {"title": "T", "execute": "off", "repository": {"url": ""}}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# T")])
    assert len(self_installing(notebook, tmp_path).cells) == 1


def test_an_address_brings_buttons_and_downloads_that_install(tmp_path: Path) -> None:
    config = yaml.safe_load(configuration(with_address(tmp_path, URL)))
    assert config["html"] == {"use_repository_button": True}
    assert config["launch_buttons"] == {"colab_url": "https://colab.research.google.com"}
    assert config["repository"]["url"] == URL
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# T")])
    cell = self_installing(notebook, tmp_path).cells[1]
    assert f'%pip install --quiet "lecore[companion] @ git+{URL}"' in cell.source
    nbformat.validate(notebook)


def test_colab_opens_nothing_of_another_host(tmp_path: Path) -> None:
    text = configuration(with_address(tmp_path, "https://gitlab.example/a/b"))
    assert "colab" not in text


@pytest.mark.parametrize("url", ["github.com/a/b", "https://github.com/a", 'https://x/a/b"; y'])
def test_what_is_no_address_is_refused(tmp_path: Path, url: str) -> None:
    (tmp_path / "_config.yml").write_text(yaml.safe_dump({"repository": {"url": url}}))
    with pytest.raises(LecoreError, match="is no address of a repository"):
        repository(tmp_path)
