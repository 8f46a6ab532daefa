"""Built pages as a keyboard or a screen reader meets them."""

import re
from pathlib import Path

from lecore.companion.documents import read_text, write_text

PAGES_FIRST = re.compile(
    r'<div id="pst-primary-sidebar"(.*?)(<main id="main-content".*?</main>)', re.S
)
NUMBERS = re.compile(r'(?<=<span class="pasted-text">)[^<]+')
MINUS = re.compile(r"(?<![\w.])-(?=\d)")  # no part of a date or of an exponent


def mend_pages(html: Path) -> None:
    """Mend what the theme gets wrong, in each built page.

    The list of pages moves behind the text, to which one then tabs in a few stops, and gets a
    name. The style sheet shows it where it was, on the left. References become items of the list
    that they stand in, arrows that unfold the list of pages get a name, and negative numbers of
    records a minus sign.

    Args:
        html: Folder of the built book.
    """
    for path in html.rglob("*.html"):
        text = read_text(path)
        moved = PAGES_FIRST.sub(
            r'\2\n<div role="complementary" aria-label="Pages" id="pst-primary-sidebar"\1', text
        )
        mended = moved.replace('role="doc-biblioentry"', 'role="listitem"')
        mended = mended.replace(
            '<summary><span class="toctree-toggle"',
            '<summary aria-label="Pages below"><span class="toctree-toggle"',
        )
        mended = NUMBERS.sub(lambda number: MINUS.sub("−", number[0]), mended)
        if mended != text:
            write_text(path, mended)
