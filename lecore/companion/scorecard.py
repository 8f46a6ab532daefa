"""The scorecard: a row for each claim that opens to all that is known of it, and claims as dots.

Both are HTML between Markdown headings. Rows are ``<details>``, so that they open without a
script; ``_static/scorecard.js`` adds the filters, ``_static/scorecard.css`` the look.
"""

import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from lecore.companion.claim_rows import N_CLASSES, Row, by_paper, index_entry, slug
from lecore.companion.claims import WHOSE, Result, tally
from lecore.companion.documents import VERDICTS
from lecore.companion.interval_plot import interval_plot
from lecore.companion.provenance import plain
from lecore.companion.verdicts import NOT_RUN, Judged, bounds, measured, number

MARKS = dict(
    zip(
        VERDICTS,
        (
            '<circle cx="8" cy="8" r="6"/>',
            '<circle cx="8" cy="8" r="6" fill="none"/><path d="M8 2a6 6 0 0 0 0 12z"/>',
            '<path d="M3 3l10 10M13 3l-10 10" stroke-width="3"/>',
            '<path d="M4.5 5.5a3.5 3.3 0 1 1 3.5 4v1.5M8 13.2v1" stroke-width="2.2" fill="none"/>',
            '<path d="M2.5 2.5h11v11h-11zM2.5 13.5l11 -11" fill="none"/>',
            '<circle cx="8" cy="8" r="6" fill="none" stroke-dasharray="2.5 2.2"/>',
        ),
        strict=True,
    )
)
"""Shape of each verdict, so that colour never stands alone."""

SOURCES = {"reference": "reference run", "here": "this build"}
"""Runs that a verdict comes from."""


def scorecard(rows: Sequence[Row]) -> str:
    """The scorecard as Markdown with HTML: dots, tallies, filters, and the rows by paper."""
    groups = by_paper(rows)
    lines = [dots(rows, page=""), _filters(groups)]
    for group, members in groups.items():
        head = ("claim", "what it says", "paper", "here", "verdict")
        cells = "".join(f"<span>{word}</span>" for word in head)
        body = "\n".join(_row(row) for row in members)
        lines += [
            f"## {plain(group)}\n",
            *(index_entry(row.here.id, f"claim-{slug(row.here.id)}") for row in members),
            f'<div class="claims">\n<div class="claims-head" aria-hidden="true">{cells}</div>',
            f"{body}\n</div>\n",
        ]
    return "\n".join(lines)


def dots(rows: Sequence[Row], page: str = "scorecard.html") -> str:
    """One dot a claim, by paper, and the two tallies, as a block of HTML.

    Args:
        rows: The claims.
        page: Address of the scorecard from the page that shows the dots.
    """
    parts = ['<div class="claim-dots">']
    for group, members in by_paper(rows).items():
        links = "".join(_dot(row, page) for row in members)
        parts.append(f'<div class="dots-of"><span>{_text(group)}</span><span>{links}</span></div>')
    for whose, counts in zip(WHOSE, tally(row.final for row in rows), strict=True):
        words = " ".join(verdict_mark(v, f"{counts[v]} {v}") for v in VERDICTS if v in counts)
        parts.append(f'<p class="tally">{sum(counts.values())} {whose}: {words}</p>')
    return "\n".join([*parts, "</div>", ""])


def verdict_mark(verdict: str, words: str = "") -> str:
    """A verdict as mark and words in its colour."""
    return f'<span class="verdict is-{slug(verdict)}">{_svg(verdict)}{words or verdict}</span>'


def _dot(row: Row, page: str) -> str:
    verdict = row.final.verdict
    says = _text(f"{row.here.id}, {verdict}: {row.here.claim}")
    return (
        f'<a class="dot is-{slug(verdict)}" {_data(row)} title="{says}" aria-label="{says}" '
        f'href="{page}#claim-{slug(row.here.id)}">{_svg(verdict)}</a>'
    )


def _filters(groups: Mapping[str, list[Row]]) -> str:
    choices = {
        "paper": {slug(group): group for group in groups},
        "verdict": {slug(verdict): verdict for verdict in VERDICTS},
        "source": SOURCES,
        "n": N_CLASSES,
    }
    parts = ['<form class="claim-filters" aria-label="Which claims are shown" hidden>']
    for name, options in choices.items():
        listed = "".join(f'<option value="{k}">{_text(v)}</option>' for k, v in options.items())
        select = f'<select name="{name}"><option value="">all</option>{listed}</select>'
        parts.append(f"<label>{name} {select}</label>")
    parts.append('<button type="reset">Show all</button>')
    parts.append('<button type="button" class="open-all">Open all</button><output></output>')
    return "\n".join([*parts, "</form>", ""])


def _row(row: Row) -> str:
    final = row.final
    firsts = final.criteria[:: len(row.claim["criteria"])]  # one for each image set
    several = len(firsts) > 1
    published = [_on(c, several) + number(row.published(c, final)) for c in firsts]
    here = [_on(c, several) + measured(c, c.unit) for c in firsts if c.value is not None]
    notes = "".join(f"<small>{_text(note)}</small>" for note in _notes(row))
    cells = {
        "id": _text(row.here.id),
        "says": _text(final.claim),
        "paper": _labelled("the paper", published),
        "here": _labelled("here", here or ["—"]),
        "verdict": verdict_mark(final.verdict) + notes,
    }
    summary = "".join(f'<span class="claim-{k}">{text}</span>' for k, text in cells.items())
    return (
        f'<details class="claim" {_data(row)}>\n<summary>{summary}</summary>\n'
        f'<div class="claim-body" id="claim-{slug(row.here.id)}">\n{_body(row)}\n</div>'
        "\n</details>"
    )


def _notes(row: Row) -> list[str]:
    """What stands below a verdict: where it comes from, and what it leaves out."""
    final, met = row.final, [c.met for c in row.final.criteria]
    counts = {"met": met.count(True), "missed": met.count(False), "open": met.count(None)}
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    of_several = [f"{len(met)} criteria: {told}"] if len(met) > 1 and len(set(met)) > 1 else []
    run = sum(c.value is not None for c in final.criteria)
    if final.outcome == NOT_RUN and not run:
        return []
    in_part = [f"{run} of {len(met)} criteria run"] if final.outcome == NOT_RUN else []
    analogue = [f"an analogue is {final.outcome}"] if final.analogue else []
    tried = [f"on {final.tried}"] if final.tried else []
    place = "reference" if final is row.reference else "here"
    smaller = [row.claim["smaller"]] if "smaller" in row.claim and place == "reference" else []
    source = " · ".join((SOURCES[place], final.profile, _data_of(final)))
    return [*analogue, *(in_part or of_several), *tried, source, *smaller]


def _body(row: Row) -> str:
    """What a row opens to."""
    claim, final = row.claim, row.final
    parts = [f"<p>{_text(claim['quantity'])}</p>"]
    if final.outcome == NOT_RUN:
        parts.append(f"<p>Not run: {_sentence(final.reason)}</p>")
    where = f"{claim['paper']}, {claim['place']}"
    if claim["published"] is not None:
        where += f": {number(claim['published'])}"
    parts.append(f"<p>In the paper: {_sentence(where)}</p>" if not final.ours else "")
    if final.analogue:
        parts.append(f"<p>The analogue: {_sentence(final.analogue)}</p>")
    for result in dict.fromkeys([final, row.reference, row.here]):
        if result is final or (result and result.outcome != NOT_RUN):
            parts += [_head(_run_in_words(row, result)), _criteria(row, result)]
    changes = [
        f"<li>{change['date']}{_commit(change)}: {_sentence(change['change'])} "
        f"<em>Why:</em> {_sentence(change['reason'])}</li>"
        for change in claim.get("history", [])
    ]
    told = f"<ul>{''.join(changes)}</ul>" if changes else "<p>As first written.</p>"
    parts += [_head("History of the criteria"), told, _links(row)]
    return "\n".join(part for part in parts if part)


def _criteria(row: Row, result: Result) -> str:
    """Every criterion of a claim: what is asked, whether it is met, and its picture."""
    words = {True: "✓ met", False: "✗ missed", None: "? undecided"}
    items = []
    for judged in result.criteria:
        paper = row.published(judged, result)
        name = f"<strong>{_text(judged.record.replace('-', ' '))}</strong>"
        if judged.value is None:
            items.append(f"<li><span>{name}: asked {_text(bounds(judged))}, not run.</span></li>")
            continue
        text = f"{measured(judged, judged.unit)}; asked {bounds(judged)}: {words[judged.met]}"
        text += f"; the paper has {number(paper)}" if paper is not None else ""
        if judged.settled_by:
            text += f". Would be settled by {judged.settled_by}"
        plot = interval_plot(judged, paper)
        items.append(f"<li><span>{name}: {_text(text)}.</span>{plot}</li>")
    return f'<ul class="criteria">{"".join(items)}</ul>'


def _run_in_words(row: Row, result: Result) -> str:
    if result.outcome == NOT_RUN:
        return "Not run"
    name = SOURCES["reference" if result is row.reference else "here"].capitalize()
    return f"{name}: {result.profile} profile, data: {_data_of(result)}"


def _data_of(result: Result) -> str:
    return result.data or "synthetic"


def _links(row: Row) -> str:
    """To the cell that decides, the notebook, and the record files."""
    chapter = row.here.chapter
    links = []
    if row.written:
        place = f"#{slug(row.here.id)}" if row.here.headline.value is not None else ""
        links.append((f"{chapter}.html{place}", "the cell that decides" if place else "the page"))
        links.append((f"../_sources/book/{chapter}.ipynb", "its notebook"))
    for file in row.files:
        which = f" ({Path(file).stem})" if len(row.files) > 1 else ""
        address = f"../_static/records/reference/{file}"
        links.append((address, f"records of the reference run{which}"))
    if row.here.headline.value is not None:
        links.append((f"../_static/records/this-build/{chapter}.json", "records of this build"))
    shown = " · ".join(f'<a href="{address}">{text}</a>' for address, text in links)
    return f'<p class="claim-links">{shown}</p>' if links else ""


def _data(row: Row) -> str:
    """What the filters look at."""
    verdict = slug(row.final.verdict)
    pairs = {"paper": slug(row.group), "verdict": verdict, "source": row.source, "n": row.n}
    return " ".join(f'data-{key}="{value}"' for key, value in pairs.items())


def _labelled(label: str, lines: list[str]) -> str:
    """Lines behind a label that narrow screens show; an interval or n is not broken."""
    shown = "<br>".join(map(_text, lines))
    shown = re.sub(r"\[[^]]*\]|n = \d+", lambda part: part[0].replace(" ", "&nbsp;"), shown)
    return f'<span class="claim-label">{label}: </span>{shown}'


def _on(judged: Judged, several: bool) -> str:
    return f"{judged.record.split(' ')[0]}: " if several else ""


def _head(words: str) -> str:
    return f'<p class="claim-head">{_text(words)}</p>'


def _commit(change: Mapping[str, str]) -> str:
    return f" ({_text(change['commit'])})" if "commit" in change else ""


def _svg(verdict: str) -> str:
    return (
        f'<svg class="verdict-mark" viewBox="0 0 16 16" aria-hidden="true">{MARKS[verdict]}</svg>'
    )


def _text(words: str) -> str:
    """Words in HTML, on one line, as they stand."""
    return escape(" ".join(words.split()))


def _sentence(words: str) -> str:
    return _text(words.rstrip(". ")) + "."
