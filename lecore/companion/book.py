"""Building the HTML book from the staging folder, and looking it over."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lecore.companion import project
from lecore.companion.accessible import mend_pages
from lecore.companion.address import configuration, self_installing
from lecore.companion.claim_rows import claim_rows
from lecore.companion.claims import read_run, stale_chapters
from lecore.companion.documents import COVERAGE, read_json, read_text, write_text
from lecore.companion.downloads import glued_values, standalone
from lecore.companion.executed import executed_path
from lecore.companion.interactive import stage_charts, stage_scripts
from lecore.companion.meanings import show_meanings
from lecore.companion.page_notebooks import for_page, marked, with_anchors, with_prose
from lecore.companion.partial import absent_page, bridge, drop_absent_includes
from lecore.companion.printing import browser, print_book
from lecore.companion.provenance import plain, text_of
from lecore.companion.rendering import render
from lecore.companion.run_again import to_run_again
from lecore.companion.scan import empty_pages, scan
from lecore.companion.scorecard import dots, scorecard
from lecore.companion.workspace import workspace
from lecore.errors import LecoreError


def build_book(root: Path, build: Path, *, pdf: bool = False) -> list[str]:
    """Build the staged book with warnings as errors, scan it, and put it in place.

    An earlier book stays until the new one is complete. Chapters that were not executed have a
    page that says so.

    Args:
        root: The project.
        build: Folder for everything made.
        pdf: Print it, too.

    Returns:
        A line to say for each thing that was made, and for what it lacks.

    Raises:
        LecoreError: If no chapter was executed or one is stale, Sphinx warns, a page is missing
            or empty, the scan finds a fault, another command is at work in the folder, or Chromium
            is wanted and not there.
    """
    if pdf:
        browser()  # rather now than after the minutes that a book takes
    with workspace(build):
        said = [f"The book is ready: open {_build(root, build).as_uri()}"]
        if pdf:
            file, pages = print_book(root, build)
            said.append(f"The PDF is ready, {pages} pages: {file}")
    if absent := not_executed(root, build):
        said.append(f"Not executed, as their pages say: {', '.join(absent)}")
    return said


def _build(root: Path, build: Path) -> Path:
    import nbformat

    absent = not_executed(root, build)
    names = [chapter for chapter in project.chapters(root) if chapter not in absent]
    if not names:
        raise LecoreError(f"not executed: {', '.join(absent)}", "run `lecore run` first")
    if stale := stale_chapters(root, build):
        raise LecoreError(f"older than the code: {', '.join(stale)}", "run `lecore run` again")
    stage = build / "stage"
    bridged = bridge(root, absent)
    executed = {chapter: with_prose(root, build, chapter) for chapter in names}
    for chapter, notebook in executed.items():
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = bridged(cell.source, chapter)
    glued = {chapter: glued_values(notebook) for chapter, notebook in executed.items()}
    downloads = {
        chapter: self_installing(to_run_again(standalone(notebook, root, glued)), root)
        for chapter, notebook in executed.items()
    }
    _stage_pages(root, build, stage, executed, absent)
    sphinx = build / "sphinx"
    shutil.rmtree(sphinx, ignore_errors=True)
    render(root, stage, sphinx, build / "book.log", "-W", "-n", "--keep-going")
    html = sphinx / "_build" / "html"
    for chapter, download in downloads.items():
        write_text(html / "_sources" / "book" / f"{chapter}.ipynb", nbformat.writes(download))
    show_meanings(html)
    mend_pages(html)
    if faults := scan(html) + empty_pages(html, project.book_pages(root)):
        raise LecoreError(f"the built book has {len(faults)} faults; the first: {faults[0]}")
    target = build / "html"
    shutil.rmtree(target, ignore_errors=True)
    html.replace(target)
    return target / "index.html"


def not_executed(root: Path, build: Path) -> list[str]:
    """Chapters without a result."""
    return [c for c in project.chapters(root) if not executed_path(build, c).exists()]


def _stage_pages(
    root: Path, build: Path, stage: Path, executed: Mapping[str, Any], absent: list[str]
) -> None:
    """Configuration, prose, chapters as pages, and generated tables, in a folder made anew."""
    import nbformat

    shutil.rmtree(stage, ignore_errors=True)
    (stage / "book").mkdir(parents=True)
    shutil.copy(root / "_toc.yml", stage)
    write_text(stage / "_config.yml", configuration(root))
    bridged = bridge(root, absent)
    for path in sorted((root / "book").rglob("*")):
        within = path.relative_to(root / "book")
        name = str(within.with_suffix(""))
        if path.is_file() and name not in (*executed, *absent):
            place = stage / within if within.parts[0] == "_static" else stage / "book" / within
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
            if path.suffix == ".md":
                write_text(place, marked(bridged(read_text(path), name)))
    for chapter in absent:
        page = absent_page(root, chapter)
        write_text(stage / "book" / f"{chapter}.ipynb", nbformat.writes(page))
    claims = project.load_claims(root)
    stage_scripts(stage / "_static")
    for chapter, notebook in executed.items():
        stage_charts(notebook, stage)
        page = with_anchors(for_page(notebook), chapter, claims)
        write_text(stage / "book" / f"{chapter}.ipynb", nbformat.writes(page))
    rows, generated = claim_rows(root, build), stage / "book" / "generated"
    write_text(generated / "scorecard.txt", scorecard(rows))
    write_text(generated / "dots.txt", dots(rows))
    write_text(generated / "status.txt", status(root, build))
    write_text(generated / "coverage.txt", coverage(root))
    _stage_records(root, build, stage / "_static" / "records")
    if absent:
        drop_absent_includes(stage)


def _stage_records(root: Path, build: Path, target: Path) -> None:
    """The record files of both runs, to which the scorecard links."""
    for name, folder in (("this-build", build / "records"), ("reference", root / "book/results")):
        for path in sorted(folder.rglob("*.json")):
            write_text(target / name / path.relative_to(folder), read_text(path))


def coverage(root: Path) -> str:
    """How often intervals hold what they say, as ``python -m benchmarks.coverage`` found."""
    path = root / "book" / "coverage.json"
    rows = []
    for row in read_json(path, COVERAGE) if path.exists() else []:
        held = f"{100 * row['held']:.1f} %"
        cells = (row["interval"], row["covers"], row["data"], row["n"], held, row["repeats"])
        rows.append([plain(str(cell)) for cell in cells])
    return "\n".join(_table(["interval", "covers", "data", "n", "held", "draws"], rows)) + "\n"


def status(root: Path, build: Path) -> str:
    """The status page as Markdown: how every chapter was executed, and with which versions.

    What is the same for all chapters is said once, and is no column.
    """
    runs = [run for c in project.chapters(root) if (run := read_run(build, c))]
    columns = {
        "profile": [run["profile"] for run in runs],
        "data": [_data(run) for run in runs],
        "device": [run["device"] for run in runs],
        "seed": [str(run["seed"]) for run in runs],
        "executed": [run["started"][:10] for run in runs],
        "commit": [run["commit"] or "unknown" for run in runs],
        "seconds": [f"{run['seconds']:.0f}" for run in runs],
    }
    same = {name: cells[0] for name, cells in columns.items() if len(set(cells)) == 1}
    said = "; ".join(f"{name} {plain(cell)}" for name, cell in same.items())
    lines = [f"All chapters: {said}.", ""] if same else []
    differ = [name for name in columns if name not in same]
    lines += _table(
        ["chapter", *differ],
        [
            [f"{{doc}}`{run['chapter']}`", *(plain(columns[name][i]) for name in differ)]
            for i, run in enumerate(runs)
        ],
    )
    versions = {name: v for run in runs for name, v in run["versions"].items()}
    lines += ["", *_table(["package", "version"], [list(map(plain, v)) for v in versions.items()])]
    return "\n".join(lines) + "\n"


def _data(run: Mapping[str, Any]) -> str:
    if run["data"]:
        return f"{run['data']} {(run['data_sha256'] or '')[:12]}"
    return f"text {text}" if (text := text_of(run)) else "synthetic"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a table in Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
