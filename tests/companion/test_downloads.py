"""Notebooks that stand alone: numbers and references in words, figures inside."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import nbformat
import pytest

from lecore.companion.downloads import glued_values, standalone
from lecore.companion.page_notebooks import for_page
from lecore.companion.records import FIGURE, GLUE, record
from lecore.companion.run_again import to_run_again
from lecore.errors import LecoreError

new = nbformat.v4


def page() -> Any:
    given = new.new_code_cell("width: int = 8\nrate = 0.1", metadata={"tags": ["parameters"]})
    return new.new_notebook(cells=[new.new_markdown_cell("# Title"), given])


def test_a_download_ends_with_the_numbers_of_a_new_run(capsys: pytest.CaptureFixture[str]) -> None:
    found = to_run_again(page())
    record("mean-of-it", 0.25, low=0.2, high=0.3, n=4)
    capsys.readouterr()
    exec(found.cells[-1].source, {})
    assert "mean-of-it   0.25" in (text := capsys.readouterr().out)
    assert text.split()[:4] == ["value", "low", "high", "n"]


@pytest.mark.parametrize(("name", "fits"), [("width", True), ("widht", False)])
def test_a_download_refuses_settings_that_it_does_not_have(name: str, fits: bool) -> None:
    check = to_run_again(page()).cells[3].source
    cells = ["", "width = 8", f"# Parameters\n{name} = 512\n"]
    with nullcontext() if fits else pytest.raises(LecoreError, match=r"'widht'.*rate, width"):
        exec(check, {"In": cells})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    book = tmp_path / "book"
    (book / "first").mkdir(parents=True)
    (book / "first" / "other.md").write_text("# The other page\n\n:label: def-far\n\n$$ (far)\n")
    (book / "card.md").write_text("# Scores\n")
    (book / "references.bib").write_text(
        "@article{a1, author = {Ba, C. and De, F.}, title = {T}, journal = {J}, year = {2001}}\n"
        "@article{a2, author = {Ba, C. and De, F. and Go, H.}, title = {T}, journal = {J},"
        " year = {2002}}\n"
    )
    return tmp_path


def glued(name: str, shown: str) -> Any:
    metadata = {"scrapbook": {"name": name, "mime_prefix": GLUE}}
    data = {f"{GLUE}text/plain": shown}
    return new.new_output("display_data", data=data, metadata=metadata)


def picture(name: str) -> Any:
    data = {"image/svg+xml": "<svg/>", "image/png": "AAAA", "text/plain": "<figure>"}
    return new.new_output("display_data", data=data, metadata={FIGURE: name})


def notebook(text: str, *outputs: Any) -> Any:
    cells = [new.new_code_cell("1", outputs=list(outputs)), new.new_markdown_cell(text)]
    metadata = {"lecore": {"chapter": "first/page"}}
    return new.new_notebook(cells=cells, metadata=metadata)


def alone(executed: Any, root: Path) -> Any:
    far = {"second/far": {"y": 3.0}}
    return standalone(executed, root, {"first/page": glued_values(executed)} | far)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("{glue:text}`x:.2f` and {glue:text}`x-interval`", "0.12 and 0.1 to 0.2, n = 3"),
        ("{glue:text}`../second/far.md::y:.1f`", "3.0"),
        ("see {doc}`../card` and {doc}`this <other>`", "see *Scores* and this"),
        ("{cite}`a1`, {cite}`a1,a2`", "(Ba and De, 2001), (Ba and De, 2001; Ba et al., 2002)"),
        ("{func}`~lecore.similarity.own_change`", "`own_change`"),
        ("{mod}`lecore.losses`", "`lecore.losses`"),
        ("{ref}`the fold <fig-fold>`", "the fold"),
        ("(anchor)=\n## Title", "## Title"),
        ("$$\nx = 1\n$$ (one)\n\nas {eq}`one`", "$$\nx = 1\n\\tag{1}\n$$\n\nas (1)"),
        ("{prf:ref}`def-far`", "a definition of *The other page*"),
        ("{eq}`far`", "a formula of *The other page*"),
    ],
)
def test_roles_become_words(root: Path, said: str, text: str) -> None:
    outputs = [glued("x", "0.1234"), glued("x-interval", "'0.1 to 0.2, n = 3'")]
    assert alone(notebook(said, *outputs), root).cells[1].source == text


def test_directives_become_markdown(root: Path) -> None:
    text = (
        "```{prf:definition} Change\n:label: def-change\n\nIt is {glue:text}`x:.1f`.\n```\n\n"
        "```{glue:figure} f\n:name: fig-f\n:alt: Falls.\n\nA curve\nthat falls.\n```\n\n"
        ":::{note} Mind\nThis.\n:::\n\n{prf:ref}`def-change`, {numref}`fig-f`"
    )
    found = alone(notebook(text, glued("x", "0.1")), root).cells[1].source
    assert found == (
        "> **Definition 1 (Change)**\n>\n> It is 0.1.\n\n\n*Figure 1. A curve that falls.*\n\n\n"
        "> **Mind**\n>\n> This.\n\n\ndefinition 1, figure 1"
    )


def test_exercises_are_counted_and_solutions_stand_open(root: Path) -> None:
    text = (
        "```{exercise} Wider\n:label: ex-wide\n\nTry it, {term}`gently <kernel>`.\n```\n\n"
        "```{solution-start} ex-wide\n:label: sol-wide\n:class: dropdown\n```\n\nSo.\n\n"
        "```{solution-end}\n```\n"
    )
    assert alone(notebook(text), root).cells[1].source == (
        "> **Exercise 1 (Wider)**\n>\n> Try it, gently.\n\n\n"
        "**Solution of exercise 1**\n\n\nSo.\n\n\n"
    )


@pytest.mark.parametrize("text", ["{glue:text}`gone:.1f`", "{doc}`gone`", "{odd}`x`", "{eq}`no`"])
def test_what_cannot_be_said_is_refused(root: Path, text: str) -> None:
    with pytest.raises(LecoreError, match="cannot be said outside the book"):
        alone(notebook(text), root)


def test_figures_stay_and_what_feeds_the_text_goes(root: Path) -> None:
    shown = alone(notebook("", glued("x", "1"), picture("f")), root)
    assert [o.metadata for o in shown.cells[0].outputs] == [{FIGURE: "f"}]


def test_a_page_shows_figures_where_they_are_placed() -> None:
    executed = notebook("", picture("f"))
    (output,) = for_page(executed).cells[0].outputs
    assert output.data == {f"{GLUE}image/svg+xml": "<svg/>"}
    assert output.metadata["scrapbook"] == {"name": "f", "mime_prefix": GLUE}
    assert executed.cells[0].outputs == [picture("f")], "the executed one is left alone"
