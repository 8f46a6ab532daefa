"""Looking through built pages for what a reader must never see."""

import re
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path

from lecore.companion.documents import read_text

_REMOTE = r"(?:(?:https?|wss?|ftp):)?//[\w\[]"
REMOTE = re.compile(r"\s*" + _REMOTE, re.IGNORECASE)
"""How an address of another host begins."""

IN_STYLE = re.compile(rf"(?:url\(\s*|@import\s+)[\"']?\s*({_REMOTE}[^\"')\s]*)", re.IGNORECASE)
IN_SCRIPT = re.compile(
    r"(?:\b(?:fetch|import|importScripts|Worker|EventSource|WebSocket|sendBeacon|Request|URL)"
    r"\s*\(\s*|\.open\(\s*[\"'`]\w+[\"'`]\s*,\s*|\b(?:from|import)\s*|\.(?:src|href|data)\s*=\s*)"
    rf"[\"'`]\s*({_REMOTE}[^\"'`\s]*)",
    re.IGNORECASE,
)
"""Addresses of other hosts that a style or script would load."""

QUOTED = re.compile(rf"[\"'`]\s*{_REMOTE}", re.IGNORECASE)
CALL = 60
"""Addresses in quotes, which are found in no time; and characters before one that may load it."""

BARE = re.compile(r'</?span(?: class="[^"<>]*")?>')
"""Tags of highlighted code, most of a page's: they load nothing and hide nothing."""

LOADS = {
    "src", "srcset", "imagesrcset", "data", "poster", "background", "manifest", "codebase",
    "archive", "classid", "code", "profile",
}  # fmt: skip
LINKS = {"link", "use", "image", "feimage", "base", "script"}
"""Attributes that load a file, on any tag; and tags whose ``href`` does."""


class _Page(HTMLParser):
    """What the scan looks at: visible text outside code, images, and files of other hosts."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.images: list[str] = []
        self.remote: list[str] = []
        self._hidden = 0  # depth inside scripts, styles, and the code of cells
        self._raw = ""
        self.feed(BARE.sub("", source))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {k: v or "" for k, v in attrs}
        if tag == "img":
            self.images.append(values.get("src", ""))
        for name, value in values.items():
            self._look(tag, name, value, values.get("rel", ""))
        code = tag == "div" and (self._hidden or "cell_input" in values.get("class", ""))
        if code or tag in ("script", "style"):
            self._hidden += 1
        self._raw = tag if tag in ("script", "style") else ""

    def _look(self, tag: str, name: str, value: str, rel: str) -> None:
        name = name.removeprefix("xlink:")
        if name == "srcdoc":
            self.remote += _Page(value).remote
        elif name in LOADS or (name == "href" and tag in LINKS and rel != "canonical"):
            several = value.split(",") if "srcset" in name else [value]
            self.remote += [address.strip() for address in several if REMOTE.match(address)]
        elif name == "content" and (found := re.match(r"\s*\d+\s*;\s*url=(.*)", value, re.I)):
            self.remote += [found[1]] if REMOTE.match(found[1].strip("\"' ")) else []
        elif name == "style":
            self.remote += IN_STYLE.findall(value)
        elif name.startswith("on"):
            self.remote += IN_SCRIPT.findall(value)

    def handle_endtag(self, tag: str) -> None:
        self._raw = ""
        if tag in ("script", "style") or (self._hidden and tag == "div"):
            self._hidden -= 1

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text.append(data)
        if self._raw:
            self.remote += (IN_STYLE if self._raw == "style" else IN_SCRIPT).findall(data)


def empty_pages(html: Path, pages: Iterable[str]) -> list[str]:
    """Pages that are not there, or have nothing below their title: one line for each."""
    faults = []
    for name in pages:
        path = html / f"{name}.html"
        if not path.is_file():
            faults.append(f"{name}.html is missing")
            continue
        article = re.search(r"<article.*?</article>", read_text(path), re.S)
        page = _Page(re.sub(r"<h1.*?</h1>", "", article[0] if article else "", flags=re.S))
        if not (page.images or "".join(page.text).strip()):
            faults.append(f"{name}.html is empty")
    return faults


def scan(html: Path) -> list[str]:
    """Look through built pages for what a reader must never see.

    Tracebacks, papermill's error cells, ``nan`` standing alone, unresolved glue, images that are
    missing or empty, and files that would be fetched from another host: by tags, styles and
    scripts, in pages and beside them.

    Args:
        html: Folder of the built book.

    Returns:
        One line for each fault, naming the page.
    """
    faults = []
    for path in sorted(html.rglob("*.html")):
        source, name = read_text(path), path.relative_to(html)
        page = _Page(source)
        if "papermill-error-cell" in source:
            faults.append(f"{name} shows a cell that failed")
        text = "" if "_modules" in name.parts else "".join(page.text)
        for pattern in (r"Traceback \(most recent", r"\bnan\b", "Pending glue"):
            if found := re.search(pattern, text):
                around = text[max(0, found.start() - 30) : found.end() + 30]
                faults.append(f"{name} shows {' '.join(around.split())!r}")
        faults += [f"{name} loads {address} from another host" for address in page.remote]
        for image in page.images:
            if REMOTE.match(image):
                continue  # said above
            if image.startswith("data:") and not image.endswith(","):
                continue
            file = path.parent / image.split("?")[0].split("#")[0]
            if not image or not file.is_file() or file.stat().st_size == 0:
                faults.append(f"{name} has a missing or empty image {image!r}")
    for ending, loads in ((".css", IN_STYLE), (".js", IN_SCRIPT)):
        for path in sorted(html.rglob(f"*{ending}")):
            text, name = path.read_text(encoding="utf-8", errors="replace"), path.relative_to(html)
            if ending == ".js":  # megabytes of others
                text = "\n".join(
                    text[max(0, quoted.start() - CALL) : quoted.end() + CALL]
                    for quoted in QUOTED.finditer(text)
                )
            faults += [
                f"{name} loads {a} from another host" for a in sorted({*loads.findall(text)})
            ]
    return faults
