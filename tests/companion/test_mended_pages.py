"""Pages are mended: text before the list of pages, lists that hold what lists hold."""

from pathlib import Path

from lecore.companion.accessible import mend_pages

PAGE = (
    '<body><div id="pst-primary-sidebar" class="bd"><a>pages</a>'
    '<details><summary><span class="toctree-toggle"></span></summary></details></div>'
    '<main id="main-content"><div role="list"><div role="doc-biblioentry">He</div></div></main>'
    "</body>"
)


def test_the_text_comes_first_and_mending_twice_changes_nothing(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(PAGE, encoding="utf-8")
    mend_pages(tmp_path)
    mended = page.read_text(encoding="utf-8")
    assert mended == (
        '<body><main id="main-content"><div role="list"><div role="listitem">He</div></div></main>'
        '\n<div role="complementary" aria-label="Pages" id="pst-primary-sidebar" class="bd">'
        '<a>pages</a><details><summary aria-label="Pages below"><span class="toctree-toggle">'
        "</span></summary></details></div></body>"
    )
    mend_pages(tmp_path)
    assert page.read_text(encoding="utf-8") == mended


def test_negative_numbers_have_a_minus_sign(tmp_path: Path) -> None:
    page, span = tmp_path / "page.html", '<span class="pasted-text">{}</span>'
    page.write_text(span.format("-0.95 (-1 to 2e-3), 2026-11-21") + "a -1", encoding="utf-8")
    mend_pages(tmp_path)
    mended = span.format("−0.95 (−1 to 2e-3), 2026-11-21") + "a -1"
    assert page.read_text(encoding="utf-8") == mended
