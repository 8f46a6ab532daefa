"""Tables as HTML: on a page in both themes, on a phone, read aloud, and in a bare notebook.

What a notebook needs stands in the cells; ``lecore.css`` makes cards of the rows on a phone.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import NamedTuple

ROWS, SPARE = 12, 2
"""Rows that are seen at once, the others are folded away; so many more are not worth a fold."""

HUE, DARKEST = (106, 81, 163), 0.6
"""The ground of the highest numbers. It lets the page shine through, so that the text of either
theme keeps its contrast, and is the colour of no activation."""

ARROWS: Mapping[str, str] = {
    "↑": "above the range of the reference run",
    "↓": "below the range of the reference run",
}
"""What an arrow behind a number of the paper says."""


class Cell(NamedTuple):
    """A number, what is small below it, how dark its ground is (0 to 1), and its arrow."""

    text: str = "—"
    below: str = ""
    heat: float = 0.0
    arrow: str = ""


class Line(NamedTuple):
    """A line of a table: its row, which may have several, its cells, their source, and their n."""

    row: str
    cells: Sequence[Cell]
    source: str = ""
    below: str = ""


def html_table(
    caption: str, corner: str, columns: Sequence[str], lines: Iterable[Line], note: str = ""
) -> str:
    """A table, with its rows after the twelfth folded away; nothing if it has none.

    Args:
        caption: Its name.
        corner: What the rows are, at the head of their names.
        columns: Names of the columns.
        lines: The lines, those of a row one after the other.
        note: Explains it, below.
    """
    rows = [list(of) for _, of in groupby(lines, key=lambda line: line.row)]
    if not rows:
        return ""
    heads = [corner, "source"] if any(line.source for of in rows for line in of) else [corner]
    seen = len(rows) if len(rows) <= ROWS + SPARE else ROWS
    parts = [_table(caption, heads, columns, rows[:seen])]
    if rest := rows[seen:]:
        more = f"{len(rest)} more rows"
        parts.append(fold(more, _table(f"{caption}: {more}", heads, columns, rest)))
    if note:
        parts.append(f'<p class="lecore-note" style="font-size: 0.85em">{escape(note)}</p>')
    return "\n".join(parts)


def fold(summary: str, inside: str, *, unfolded: bool = False) -> str:
    """HTML behind a line that opens and closes it, without a script."""
    start = f'<details class="lecore-fold"{" open" if unfolded else ""}>'
    return f"{start}<summary>{escape(summary)}</summary>\n{inside}\n</details>"


def _table(
    caption: str, heads: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[Line]]
) -> str:
    names = [_head(name, scope="col") for name in heads]
    names += [_head(name, scope="col", side="right") for name in columns]
    bodies = "\n".join(_body(of, columns, len(heads) == 2) for of in rows)
    return (
        '<table class="dataframe lecore-table" style="font-size: 0.85em">'
        f"<caption>{escape(caption)}</caption>\n"
        f"<thead><tr>{''.join(names)}</tr></thead>\n{bodies}\n</table>"
    )


def _body(lines: Sequence[Line], columns: Sequence[str], sources: bool) -> str:
    """The lines of a row."""
    group = {"scope": "rowgroup", "rowspan": str(len(lines))} if len(lines) > 1 else {}
    found: list[str] = []
    for line in lines:
        heads = _head(line.source if sources else line.row, line.below)
        if sources and not found:
            heads = _head(line.row, **group) + heads
        cells = "".join(_cell(*of) for of in zip(columns, line.cells, strict=True))
        found.append(f"<tr>{heads}{cells}</tr>")
    return f"<tbody>{''.join(found)}</tbody>"


def _head(
    name: str, below: str = "", *, side: str = "left", scope: str = "row", **more: str
) -> str:
    words = "".join(f' {name}="{value}"' for name, value in ({"scope": scope} | more).items())
    return f'<th{words} style="text-align: {side}">{escape(name)}{_small(below)}</th>'


def _cell(column: str, cell: Cell) -> str:
    style, arrow = "text-align: right; white-space: nowrap", ""
    if cell.heat:
        style += f"; background-color: rgba{(*HUE, round(DARKEST * cell.heat, 2))}"
    if cell.arrow:
        arrow = f' <span role="img" aria-label="{ARROWS[cell.arrow]}">{cell.arrow}</span>'
    inside = f"{escape(cell.text)}{arrow}{_small(cell.below)}"
    return f'<td data-label="{escape(column)}" style="{style}">{inside}</td>'


def _small(text: str) -> str:
    return f"<br><small>{escape(text)}</small>" if text else ""
