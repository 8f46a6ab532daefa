"""Building the HTML book from the staging folder, and looking it over."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lecore.companion import project
from lecore.companion.address import configuration, self_installing
from lecore.companion.claims import (
    WHOSE,
    Result,
    check,
    read_run,
    reference_results,
    settled,
    stale_chapters,
    tally,
)
from lecore.companion.documents import (
    CHANGE,
    COVERAGE,
    VERDICTS,
    read_json,
    read_text,
    write_text,
)
from lecore.companion.downloads import glued_values, standalone
from lecore.companion.executed import executed_path
from lecore.companion.interactive import stage_charts, stage_scripts
from lecore.companion.meanings import show_meanings
from lecore.companion.page_notebooks import for_page, with_prose
from lecore.companion.partial import absent_page, bridge, drop_absent_includes
from lecore.companion.printing import browser, print_book
from lecore.companion.provenance import plain
from lecore.companion.rendering import render
from lecore.companion.scan import empty_pages, scan
from lecore.companion.verdicts import NOT_RUN, UNDECIDED, bounds, measured, number
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
        chapter: self_installing(standalone(notebook, root, glued), root)
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
                write_text(place, bridged(read_text(path), name))
    for chapter in absent:
        page = absent_page(root, chapter)
        write_text(stage / "book" / f"{chapter}.ipynb", nbformat.writes(page))
    stage_scripts(stage / "_static")
    for chapter, notebook in executed.items():
        stage_charts(notebook, stage)
        page = for_page(notebook)
        write_text(stage / "book" / f"{chapter}.ipynb", nbformat.writes(page))
    write_text(stage / "book" / "generated" / "scorecard.txt", scorecard(root, build))
    write_text(stage / "book" / "generated" / "status.txt", status(root, build))
    write_text(stage / "book" / "generated" / "coverage.txt", coverage(root))
    if absent:
        drop_absent_includes(stage)


def scorecard(root: Path, build: Path) -> str:
    """The scorecard as Markdown: two tallies, a table of all claims, and what was changed."""
    results, reference = check(root, build), reference_results(root)
    final = {r.id: settled(r, reference.get(r.id)) for r in results}
    lines = []
    for whose, counts in zip(WHOSE, tally(final.values()), strict=True):
        words = " · ".join(f"**{counts.get(v, 0)}** {v}" for v in VERDICTS)
        lines += [f"{sum(counts.values())} {whose}: {words}.", ""]
    lines += ["| claim | what it says | paper | reference run | this build | verdict |"]
    lines += ["|---|---|---|---|---|---|"]
    written = project.chapters(root)
    for r in results:
        name = f"[{r.id}]({r.chapter}.ipynb)" if r.chapter in written else r.id
        run, last = reference.get(r.id), final[r.id]
        says = plain(f"{r.claim} ({r.place})") + (" *Our own question.*" if r.ours else "")
        cells = (
            name,
            says,
            plain(number(r.paper)),
            _criteria(run),
            _criteria(r),
            _verdict(last, last is run),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, *_history(root)]) + "\n"


def _criteria(result: Result | None) -> str:
    """All criteria of a claim in a cell: the number, what it should be, and whether it is."""
    if result is None or result.outcome == NOT_RUN:
        return "—"
    signs = {True: "✓", False: "✗", None: "?"}
    parts = []
    for judged in result.criteria:
        name = judged.record.replace("-", " ")
        unit = f" {judged.unit}" if judged.unit else ""
        text = f"{name}: {measured(judged)}{unit}, asked {bounds(judged)} {signs[judged.met]}"
        parts.append(plain(text))
    return "<br>".join(parts)


def _verdict(result: Result, by_reference: bool) -> str:
    """The verdict, where it comes from, and what would settle it."""
    state = f"**{result.verdict}**"
    if result.outcome == NOT_RUN:
        return f"{state}: {plain(result.reason)}"
    source = "reference run" if by_reference else "this build"
    if result.analogue:
        state += f"; an analogue is {result.outcome}: {plain(result.analogue)}"
    if result.tried:
        state += f" on {result.tried}"
    state += f" ({source}, {plain(result.profile)} profile)"
    if result.outcome == UNDECIDED:
        open_ones = [judged.settled_by for judged in result.criteria if judged.met is None]
        state += f"; would be settled by {plain('; '.join(dict.fromkeys(open_ones)))}"
    return state


def _history(root: Path) -> list[str]:
    """Every change of a criterion, as ``claims.yml`` tells it."""
    lines = ["", "| claim | date | commit | change | reason |", "|---|---|---|---|---|"]
    for claim in project.load_claims(root):
        for change in claim.get("history", []):
            told = (claim["id"], *(change.get(key, "") for key in CHANGE["properties"]))
            lines.append("| " + " | ".join(map(plain, told)) + " |")
    return lines if len(lines) > 3 else []


def coverage(root: Path) -> str:
    """How often intervals hold what they say, as ``python -m benchmarks.coverage`` found."""
    lines = ["| interval | covers | data | n | held | draws |", "|---|---|---|---|---|---|"]
    path = root / "book" / "coverage.json"
    for row in read_json(path, COVERAGE) if path.exists() else []:
        held = f"{100 * row['held']:.1f} %"
        cells = (row["interval"], row["covers"], row["data"], row["n"], held, row["repeats"])
        lines.append("| " + " | ".join(plain(str(cell)) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def status(root: Path, build: Path) -> str:
    """The status page as Markdown: how every chapter was executed, and with which versions."""
    runs = [run for c in project.chapters(root) if (run := read_run(build, c))]
    lines = [
        "| chapter | profile | data | device | seed | seconds | executed | commit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        data = f"{run['data']} {(run['data_sha256'] or '')[:12]}" if run["data"] else "synthetic"
        cells = [run["profile"], data, run["device"], run["seed"], run["seconds"]]
        cells += [run["started"][:10], run["commit"] or "unknown"]
        name = f"[{run['chapter']}]({run['chapter']}.ipynb)"
        lines.append(" | ".join(["", name, *(plain(str(c)) for c in cells), ""]).strip())
    versions = {name: v for run in runs for name, v in run["versions"].items()}
    lines += ["", "| package | version |", "|---|---|"]
    lines += [f"| {plain(name)} | {plain(v)} |" for name, v in versions.items()]
    return "\n".join(lines) + "\n"
