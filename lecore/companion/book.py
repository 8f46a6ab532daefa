"""Building the HTML book from the staging folder, and looking it over."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lecore.companion import project
from lecore.companion.claim_rows import claim_rows
from lecore.companion.claims import read_run, stale_chapters
from lecore.companion.documents import COVERAGE, read_json, read_text, write_text
from lecore.companion.downloads import glued_values, standalone
from lecore.companion.executed import executed_path
from lecore.companion.interactive import stage_charts, stage_scripts
from lecore.companion.meanings import show_meanings
from lecore.companion.page_notebooks import for_page, marked, with_anchors, with_prose
from lecore.companion.provenance import plain
from lecore.companion.scan import scan
from lecore.companion.scorecard import dots, scorecard
from lecore.companion.workspace import workspace
from lecore.errors import LecoreError


def build_book(root: Path, build: Path) -> Path:
    """Build the staged book with warnings as errors, scan it, and put it in place.

    An earlier book stays until the new one is complete.

    Args:
        root: The project.
        build: Folder for everything made.

    Returns:
        The landing page.

    Raises:
        LecoreError: If chapters are missing or stale, Sphinx warns, the scan finds a fault, or
            another command is at work in the folder.
    """
    with workspace(build):
        return _build(root, build)


def _build(root: Path, build: Path) -> Path:
    import nbformat

    names = project.chapters(root)
    if missing := [c for c in names if not executed_path(build, c).exists()]:
        raise LecoreError(f"not executed: {', '.join(missing)}", "run `lecore run` first")
    if stale := stale_chapters(root, build):
        raise LecoreError(f"older than the code: {', '.join(stale)}", "run `lecore run` again")
    stage = build / "stage"
    executed = {chapter: with_prose(root, build, chapter) for chapter in names}
    glued = {chapter: glued_values(notebook) for chapter, notebook in executed.items()}
    downloads = {chapter: standalone(executed[chapter], root, glued) for chapter in names}
    _stage_pages(root, build, stage, executed)
    sphinx = build / "sphinx"
    shutil.rmtree(sphinx, ignore_errors=True)
    start = "from jupyter_book.cli.main import main; main()"  # no `python -m jupyter_book` in 1.x
    command = [sys.executable, "-c", start, "build", str(stage), "--path-output", str(sphinx)]
    command += ["-W", "-n", "--keep-going"]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    settings = {"PYTHONPATH": path, "PYTHONUTF8": "1"}
    log = subprocess.run(command, env=os.environ | settings, capture_output=True)
    output = (log.stdout + log.stderr).decode(errors="replace")
    output = re.sub(r"\x1b\[[0-9;]*m", "", output)
    write_text(build / "book.log", output)
    if log.returncode:
        warnings = [line for line in output.splitlines() if re.search("WARNING|ERROR", line)]
        raise LecoreError(
            f"the book has {len(warnings)} warnings, see {build / 'book.log'}: "
            + (warnings[0].strip() if warnings else output.strip().splitlines()[-1])
        )
    html = sphinx / "_build" / "html"
    for chapter, download in downloads.items():
        write_text(html / "_sources" / "book" / f"{chapter}.ipynb", nbformat.writes(download))
    show_meanings(html)
    if faults := scan(html):
        raise LecoreError(f"the built book has {len(faults)} faults; the first: {faults[0]}")
    target = build / "html"
    shutil.rmtree(target, ignore_errors=True)
    html.replace(target)
    return target / "index.html"


def _stage_pages(root: Path, build: Path, stage: Path, executed: Mapping[str, Any]) -> None:
    """Configuration, prose, chapters as pages, and generated tables, in a folder made anew."""
    import nbformat

    shutil.rmtree(stage, ignore_errors=True)
    (stage / "book").mkdir(parents=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(root / name, stage / name)
    for path in sorted((root / "book").rglob("*")):
        within = path.relative_to(root / "book")
        if path.is_file() and str(within.with_suffix("")) not in executed:
            place = stage / within if within.parts[0] == "_static" else stage / "book" / within
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
            if path.suffix == ".md":
                write_text(place, marked(read_text(path)))
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
    return f"{run['data']} {(run['data_sha256'] or '')[:12]}" if run["data"] else "synthetic"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a table in Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
