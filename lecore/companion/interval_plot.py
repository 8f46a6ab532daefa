"""A criterion as a picture: what is asked, the interval here, and the paper's number."""

from collections.abc import Callable, Sequence
from html import escape

from lecore.companion.verdicts import Judged, bounds, measured, number

WIDTH, HEIGHT = 320, 48
ROOM = 48
"""Left free on both sides of the numbers."""
MIDDLE, BELOW = 17, 44
"""Height of the interval, and of the numbers of the bounds."""


def interval_plot(judged: Judged, published: float | None = None) -> str:
    """A criterion as inline SVG; empty if nothing was measured.

    What meets the criterion is shaded up to its bounds. The disc is the number here with its
    interval, the diamond is the paper's.

    Args:
        judged: The criterion beside its record.
        published: The paper's number for the same quantity.
    """
    if judged.value is None:
        return ""
    shown = [judged.value, judged.low, judged.high, judged.at_least, judged.at_most, published]
    at = _scale([x for x in shown if x is not None])
    left = 0.0 if judged.at_least is None else at(judged.at_least)
    right = WIDTH if judged.at_most is None else at(judged.at_most)
    parts = [f'<rect class="asked" x="{left:.1f}" y="3" width="{right - left:.1f}" height="28"/>']
    asked = [x for x in (judged.at_least, judged.at_most) if x is not None]
    for x, anchor in zip(asked, ("end", "start") if len(asked) > 1 else ("middle",), strict=True):
        parts.append(_line("bound", at(x), at(x), 3, 31))
        place = f'x="{at(x):.1f}" y="{BELOW}" text-anchor="{anchor}"'
        parts.append(f"<text {place}>{number(x)}</text>")
    if judged.low is not None and judged.high is not None:
        parts.append(_line("interval", at(judged.low), at(judged.high), MIDDLE, MIDDLE))
        ends = (at(judged.low), at(judged.high))
        parts += [_line("interval", x, x, MIDDLE - 5, MIDDLE + 5) for x in ends]
    if published is not None:
        parts.append(f'<path class="paper" d="M{at(published):.1f} {MIDDLE - 7}l7 7l-7 7l-7 -7z"/>')
    parts.append(f'<circle class="here" cx="{at(judged.value):.1f}" cy="{MIDDLE}" r="4"/>')
    words = escape(in_words(judged, published))
    return (
        f'<svg class="interval-plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{words}">{"".join(parts)}</svg>'
    )


def in_words(judged: Judged, published: float | None = None) -> str:
    """What the picture shows, for those who do not see it."""
    met = {True: "met", False: "missed", None: "undecided"}[judged.met]
    paper = "" if published is None else f"; the paper has {number(published)}"
    return f"Here {measured(judged, judged.unit)}; asked {bounds(judged)}, which is {met}{paper}."


def _scale(numbers: Sequence[float]) -> Callable[[float], float]:
    """From numbers to places; those that are all the same stand in the middle."""
    low, high = min(numbers), max(numbers)
    if low == high:
        return lambda x: WIDTH / 2
    return lambda x: ROOM + (WIDTH - 2 * ROOM) * (x - low) / (high - low)


def _line(kind: str, x1: float, x2: float, y1: int, y2: int) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1}" y2="{y2}"/>'
