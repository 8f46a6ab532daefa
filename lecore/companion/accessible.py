"""Built pages as a keyboard or a screen reader meets them."""

import re
from pathlib import Path

from lecore.companion.documents import read_text, write_text

PAGES_FIRST = re.compile(
    r'<div id="pst-primary-sidebar"(.*?)(<main id="main-content".*?</main>)', re.S
)


def mend_pages(html: Path) -> None:
    """Mend what the theme gets wrong, in each built page.

    The list of pages moves behind the text, to which one then tabs in a few stops, and gets a
    name. The style sheet shows it where it was, on the left. References become items of the list
    that they stand in, and arrows that unfold the list of pages get a name.

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
        if mended != text:
            write_text(path, mended)
