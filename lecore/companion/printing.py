"""The book as a PDF: jupyter-book makes one long page, which headless Chromium prints."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lecore.companion import one_page
from lecore.companion.documents import TOC, read_text, read_yaml, write_text
from lecore.companion.rendering import render
from lecore.errors import LecoreError

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LONGEST = 600
"""Seconds that printing may take."""


def browser() -> str:
    """Chromium's command.

    Raises:
        LecoreError: If it is not installed.
    """
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    raise LecoreError(
        "a PDF is printed by Chromium, which is not installed",
        "install it, or print the pages from your browser",
    )


def print_book(root: Path, build: Path) -> tuple[Path, int]:
    """Print the pages that were staged last; folded code and the API stay on the screen.

    Args:
        root: The project.
        build: Folder for everything made.

    Returns:
        The PDF, and its number of pages.

    Raises:
        LecoreError: If Chromium is not installed, or fails.
    """
    command = browser()
    stage, out = build / "print", build / "sphinx-print"
    for folder in (stage, out):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(build / "stage", stage)
    _extend(stage)
    toc = _without_api(read_yaml(stage / "_toc.yml", TOC), stage)
    write_text(stage / "_toc.yml", yaml.safe_dump(toc, sort_keys=False))
    render(root, stage, out, build / "print.log", "--builder", "singlehtml")
    html = out / "_build" / "singlehtml"
    page = html / "printed.html"  # at the top, to which its styles and pictures are relative
    (html / f"{toc['root']}.html").replace(page)
    made, target = html / "book.pdf", build / "book.pdf"
    _chromium(command, page, made)
    made.replace(target)
    for folder in (stage, out):
        shutil.rmtree(folder)
    return target, len(re.findall(rb"/Type /Page\b", target.read_bytes()))


def _extend(stage: Path) -> None:
    """Add the extension :mod:`lecore.companion.one_page` to the configuration of the pages."""
    name = Path(one_page.__file__).stem
    shutil.copy(one_page.__file__, stage)
    config = read_yaml(stage / "_config.yml")
    sphinx = config.setdefault("sphinx", {})
    sphinx["local_extensions"] = {name: "."}
    if "extensions" in sphinx.get("config", {}):  # which replaces the list that this went into
        sphinx["config"]["extensions"].append(name)
    write_text(stage / "_config.yml", yaml.safe_dump(config, sort_keys=False))


def _chromium(command: str, page: Path, made: Path) -> None:
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    options += ["--virtual-time-budget=120000"]  # until formulas are set
    options += [f"--print-to-pdf={made}", page.as_uri()]
    try:
        done = subprocess.run([command, *options], capture_output=True, timeout=LONGEST)
    except subprocess.TimeoutExpired as error:
        raise LecoreError(f"Chromium printed nothing in {LONGEST} s", "", command) from error
    if done.returncode or not made.is_file():
        said = done.stderr.decode(errors="replace").strip()[-200:]
        raise LecoreError(f"Chromium printed nothing: {said}", "", command)


def _without_api(toc: Mapping[str, Any], stage: Path) -> dict[str, Any]:
    """A table of contents without pages made of docstrings."""

    def kept(entry: Mapping[str, Any]) -> dict[str, Any]:
        below = {
            key: [kept(child) for child in entry[key] if not _is_api(child, stage)]
            for key in ("parts", "chapters", "sections")
            if key in entry
        }
        return {**entry, **below}

    return kept(toc)


def _is_api(entry: Mapping[str, Any], stage: Path) -> bool:
    path = stage / f"{entry.get('file')}.md"
    return path.is_file() and "automodule::" in read_text(path)
