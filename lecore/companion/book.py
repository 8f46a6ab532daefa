"""Building the HTML book from the staging folder, and looking it over."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat

from lecore.companion import project
from lecore.companion.claims import (
    NOT_RUN,
    VERDICTS,
    check,
    measured,
    number,
    read_run,
    reference_results,
    settled,
    stale_chapters,
)
from lecore.companion.execution import staged_path
from lecore.companion.records import write_atomically


def build_book(root: Path, build: Path) -> Path:
    """Build the staged book with warnings as errors, scan it, and put it in place.

    An earlier book stays until the new one is complete.

    Args:
        root: The project.
        build: Folder for everything made.

    Returns:
        The landing page.

    Raises:
        ValueError: If chapters are missing or stale, Sphinx warns, or the scan finds a fault.
    """
    names = project.chapters(root)
    if missing := [c for c in names if not staged_path(build, c).exists()]:
        raise ValueError(f"not executed: {', '.join(missing)}; run `lecore run` first")
    if stale := stale_chapters(root, build):
        raise ValueError(f"older than the code: {', '.join(stale)}; run `lecore run` again")
    stage = build / "stage"
    _stage_pages(root, build, stage)
    sphinx = build / "sphinx"
    shutil.rmtree(sphinx, ignore_errors=True)
    start = "from jupyter_book.cli.main import main; main()"  # no `python -m jupyter_book` in 1.x
    command = [sys.executable, "-c", start, "build", str(stage), "--path-output", str(sphinx)]
    command += ["-W", "-n", "--keep-going"]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    log = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    output = re.sub(r"\x1b\[[0-9;]*m", "", log.stdout + log.stderr)
    write_atomically(build / "book.log", output)
    if log.returncode:
        warnings = [line for line in output.splitlines() if re.search("WARNING|ERROR", line)]
        raise ValueError(
            f"the book has {len(warnings)} warnings, see {build / 'book.log'}: "
            + (warnings[0].strip() if warnings else output.strip().splitlines()[-1])
        )
    html = sphinx / "_build" / "html"
    if faults := scan(html):
        raise ValueError(f"the built book has {len(faults)} faults; the first: {faults[0]}")
    target = build / "html"
    shutil.rmtree(target, ignore_errors=True)
    html.replace(target)
    return target / "index.html"


class _Page(HTMLParser):
    """What the scan looks at: visible text outside code, images, and files of other hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.images: list[str] = []
        self.remote: list[str] = []
        self._hidden = 0  # depth inside scripts, styles, and the code of cells

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {k: v or "" for k, v in attrs}
        if tag == "img":
            self.images.append(values.get("src", ""))
        loads = {"script": "src", "link": "href", "img": "src", "iframe": "src"}.get(tag)
        address = values.get(loads, "") if loads else ""
        if address.startswith(("http:", "https:", "//")) and values.get("rel") != "canonical":
            self.remote.append(address)
        code = tag == "div" and (self._hidden or "cell_input" in values.get("class", ""))
        if code or tag in ("script", "style"):
            self._hidden += 1

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style") or (self._hidden and tag == "div"):
            self._hidden -= 1

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text.append(data)


def scan(html: Path) -> list[str]:
    """Look through built pages for what a reader must never see.

    Tracebacks, papermill's error cells, ``nan`` standing alone, unresolved glue, images that are
    missing or empty, and files that would be fetched from another host.

    Args:
        html: Folder of the built book.

    Returns:
        One line for each fault, naming the page.
    """
    faults = []
    for path in sorted(html.rglob("*.html")):
        page, name = _Page(), path.relative_to(html)
        source = path.read_text()
        page.feed(source)
        if "papermill-error-cell" in source:
            faults.append(f"{name} shows a cell that failed")
        text = "" if "_modules" in name.parts else "".join(page.text)
        for pattern in (r"Traceback \(most recent", r"\bnan\b", "Pending glue"):
            if found := re.search(pattern, text):
                around = text[max(0, found.start() - 30) : found.end() + 30]
                faults.append(f"{name} shows {' '.join(around.split())!r}")
        faults += [f"{name} loads {address} from another host" for address in page.remote]
        for image in page.images:
            if image.startswith(("http:", "https:", "//")):
                continue  # said above
            if image.startswith("data:") and not image.endswith(","):
                continue
            file = path.parent / image.split("?")[0].split("#")[0]
            if not image or not file.is_file() or file.stat().st_size == 0:
                faults.append(f"{name} has a missing or empty image {image!r}")
    return faults


def _stage_pages(root: Path, build: Path, stage: Path) -> None:
    """Copy configuration and prose beside the executed notebooks; generate the tables."""
    executed = set(project.chapters(root))
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(root / name, stage / name)
    for path in sorted((root / "book").rglob("*")):
        within = path.relative_to(root / "book")
        if path.is_file() and str(within.with_suffix("")) not in executed:
            (stage / "book" / within).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, stage / "book" / within)
    for chapter in executed:
        _refresh_prose(root, build, chapter)
        (stage / "book" / f"{chapter}.md").unlink(missing_ok=True)  # it would win over .ipynb
    for old in (stage / "book").rglob("*.ipynb"):  # of chapters renamed or removed since
        if str(old.relative_to(stage / "book").with_suffix("")) not in executed:
            old.unlink()
    write_atomically(stage / "book" / "generated" / "scorecard.txt", scorecard(root, build))
    write_atomically(stage / "book" / "generated" / "status.txt", status(root, build))


def _refresh_prose(root: Path, build: Path, chapter: str) -> None:
    """Give an executed chapter the prose and tags of its source as they are now.

    Prose is no part of a chapter's key, so that mending a sentence costs no execution; an equal
    key says that the code cells are still the executed ones, in the same order.
    """
    path = staged_path(build, chapter)
    notebook = nbformat.read(path, as_version=4)
    executed = [cell for cell in notebook.cells if cell.cell_type == "code"]
    cells = []
    for cell in project.read_notebook(root, chapter).cells:
        if cell.cell_type != "code":
            cells.append(cell)
            continue
        result = executed.pop(0)
        result.metadata["tags"] = cell.metadata.get("tags", [])
        cells.append(result)
        if executed and "injected-parameters" in executed[0].metadata.get("tags", []):
            cells.append(executed.pop(0))
    notebook.cells = [*cells, notebook.cells[-1]]  # the last says where the numbers come from
    write_atomically(path, nbformat.writes(notebook))


def scorecard(root: Path, build: Path) -> str:
    """The scorecard as Markdown: a count, then a table of all claims."""
    results, reference = check(root, build), reference_results(root)
    final = {r.id: settled(r, reference.get(r.id)) for r in results}
    counts = Counter(r.verdict for r in final.values())
    lines = [" · ".join(f"**{counts[v]}** {v}" for v in VERDICTS), ""]
    lines += ["| claim | what it says | paper | reference run | this build | verdict |"]
    lines += ["|---|---|---|---|---|---|"]
    written = project.chapters(root)
    for r in results:
        name = f"[{r.id}]({r.chapter}.ipynb)" if r.chapter in written else r.id
        run, last = reference.get(r.id), final[r.id]
        state = last.verdict
        state += f": {last.reason}" if last.verdict == NOT_RUN else f" ({last.profile} profile)"
        if last.verdict != NOT_RUN and last.analogue:
            state += f", on an analogue: {last.analogue}"
        other = f"{measured(run)}, {run.verdict}" if run else "—"
        live = "—" if r.verdict == NOT_RUN else f"{measured(r)}, {r.verdict} ({r.profile})"
        cells = (name, f"{r.claim} ({r.place})", number(r.paper), other, live, state)
        lines.append("| " + " | ".join(c.replace("|", r"\|") for c in cells) + " |")
    return "\n".join(lines) + "\n"


def status(root: Path, build: Path) -> str:
    """The status page as Markdown: how every chapter was executed, and with which versions."""
    runs: list[dict[str, Any]] = [read_run(build, c) for c in project.chapters(root)]
    lines = [
        "| chapter | profile | data | device | seed | seconds | executed | commit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        data = f"{run['data']} `{run['data_sha256'][:12]}`" if run["data"] else "synthetic"
        cells = [f"[{run['chapter']}]({run['chapter']}.ipynb)", run["profile"], data, run["device"]]
        cells += [run["seed"], run["seconds"], run["started"][:10], run["commit"] or "unknown"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    versions = {name: v for run in runs for name, v in run["versions"].items()}
    lines += ["", "| package | version |", "|---|---|"]
    lines += [f"| {name} | {v} |" for name, v in versions.items()]
    return "\n".join(lines) + "\n"
