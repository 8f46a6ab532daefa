"""Words of the glossary that say what they mean where they are used."""

import re
from html import escape, unescape
from pathlib import Path

from lecore.companion.documents import read_text, write_text

ENTRY = re.compile(r'<dt id="(term-[^"]+)">.*?</dt><dd>(.*?)</dd>', re.S)
LINK = re.compile(r'(<a class="reference internal") (href="[^"]*glossary\.html#(term-[^"]+)")')


def show_meanings(html: Path) -> None:
    """Give each link to the glossary of a built book its meaning, which the style sheet shows.

    Args:
        html: Folder of the built book.
    """
    glossary = html / "book" / "glossary.html"
    if not glossary.exists():
        return
    meanings = {
        term: " ".join(unescape(re.sub("<[^>]+>", "", text)).split())
        for term, text in ENTRY.findall(read_text(glossary))
    }
    for path in html.rglob("*.html"):
        text = read_text(path)
        shown = LINK.sub(
            lambda m: f'{m[1]} data-meaning="{escape(meanings.get(m[3], ""))}" {m[2]}', text
        )
        if shown != text:
            write_text(path, shown)
