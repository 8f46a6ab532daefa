"""Records: one call feeds the text, the tables, the scorecard and the tests."""

import base64
import io
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, SupportsFloat
from uuid import uuid4

from lecore.errors import LecoreError, extra
from lecore.files import whole_file

GLUE = "application/papermill.record/"
VEGA_LITE = "application/vnd.vegalite.v6+json"
FIGURE = "lecore_figure"
"""Key of an output's metadata that says which figure it is."""
SECONDS = "seconds_of_earlier_runs"


_recorded: dict[str, dict[str, Any]] = {}


class Record(dict[str, Any]):
    """A published number with all that belongs to it; a cell that ends with it shows nothing."""

    def _ipython_display_(self) -> None:
        """The text shows it."""


def glue(name: str, data: Mapping[str, str], record: Mapping[str, Any] | None = None) -> None:
    """Emit the display data that MyST-NB's glue roles look for; needs no MyST-NB in the kernel."""
    with extra("companion"):
        from IPython.display import display

    metadata: dict[str, Any] = {"scrapbook": {"name": name, "mime_prefix": GLUE}}
    if record is not None:
        metadata["record"] = dict(record)
    display({GLUE + kind: text for kind, text in data.items()}, raw=True, metadata=metadata)


def record(
    name: str,
    value: SupportsFloat,
    *,
    low: SupportsFloat | None = None,
    high: SupportsFloat | None = None,
    n: int | None = None,
    digits: int = 2,
    **details: Any,
) -> dict[str, Any]:
    """Publish one number of a chapter.

    The text shows it by the glue role under its name, and its interval under the name with
    ``-interval`` added; the claims and the tests read it from the chapter's record file.

    Args:
        name: Key, unique in the chapter, in words joined by hyphens.
        value: The number; NumPy and torch scalars are cast.
        low: Lower end of its interval, if it has one; NaN says that there are too few runs.
        high: Upper end.
        n: Runs or points that it is from.
        digits: Decimals in the interval's text.
        details: Anything JSON can hold that belongs beside it, such as ``unit``.

    Returns:
        What is recorded, which is ``value``, ``low``, ``high`` and ``n`` if given, and the details.

    Raises:
        LecoreError: If the number is not finite, or only one end of the interval is given.
    """
    entry: dict[str, Any] = {"value": float(value)}
    if (low is None) != (high is None):
        raise LecoreError(f"record {name!r}: give both low and high, or neither")
    too_few = low is not None and high is not None and math.isnan(low) and math.isnan(high)
    if low is not None and high is not None and not too_few:
        entry |= {"low": float(low), "high": float(high)}
    for key, number in entry.items():
        if not math.isfinite(number):
            raise LecoreError(f"record {name!r}: {key} is {number}; records must be finite")
    if "low" in entry:
        entry["digits"] = digits
    if n is not None:
        entry["n"] = int(n)
    try:
        json.dumps(details, allow_nan=False, default=float)
    except (TypeError, ValueError, RuntimeError) as error:
        what = f"record {name!r}: the details are nothing that JSON can hold ({error})"
        raise LecoreError(what) from error
    glue_record(name, entry, entry | details)
    _recorded[name] = entry
    return Record(entry | details)


def recorded() -> dict[str, dict[str, Any]]:
    """What this process has recorded so far, by name, without the details."""
    return dict(_recorded)


def record_all(
    entries: Mapping[str | tuple[str, ...], Any], **details: Any
) -> dict[str, dict[str, Any]]:
    """Publish several numbers of a chapter, as :func:`record` does each.

    Args:
        entries: By name, or by words for :func:`key`: a number, an interval, or all arguments of
            :func:`record` by name.
        details: Further arguments of :func:`record`, the same for all.

    Returns:
        What is recorded, by name.
    """
    found = Record()
    for words, entry in entries.items():
        name = words if isinstance(words, str) else key(*words)
        if hasattr(entry, "_asdict"):
            entry = entry._asdict()
        elif not isinstance(entry, Mapping):
            entry = {"value": entry}
        found[name] = record(name, **(entry | details))
    return found


def glue_record(
    name: str, entry: Mapping[str, Any], record: Mapping[str, Any] | None = None
) -> None:
    """Let the text show a number and its interval with n, or n alone if there is none."""
    glue(name, {"text/plain": repr(entry["value"])}, record)
    parts = []
    if "low" in entry:
        digits = entry.get("digits", 2)
        parts.append(f"{entry['low']:.{digits}f} to {entry['high']:.{digits}f}")
    if "n" in entry:
        parts.append(f"n = {entry['n']}")
    if parts:
        glue(f"{name}-interval", {"text/plain": f"'{', '.join(parts)}'"})


def add_seconds(seconds: float) -> None:
    """Let a chapter's time count what it read of earlier runs; nothing happens outside a kernel."""
    with extra("companion"):
        from IPython import get_ipython
        from IPython.display import display

    if seconds and get_ipython() is not None:
        metadata = {"scrapbook": {"name": uuid4().hex, "mime_prefix": GLUE}, SECONDS: seconds}
        display({f"{GLUE}text/plain": f"{seconds:.1f}"}, raw=True, metadata=metadata)


def read_seconds(notebook: Mapping[str, Any]) -> float:
    """Seconds that :func:`add_seconds` counted in an executed notebook."""
    found = [
        output.get("metadata", {}).get(SECONDS, 0.0)
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
    ]
    return sum(s for s in found if isinstance(s, int | float) and 0 <= s < math.inf)


def figure(name: str, fig: Any, chart: Mapping[str, Any] | None = None) -> None:
    """Publish one figure of a chapter; ``glue:figure`` places it, with caption and alt text.

    A notebook shows it below the cell, a page where it is placed alone.

    Args:
        name: Key, unique in the chapter.
        fig: The matplotlib figure; it is closed afterwards.
        chart: The same to play with, a Vega-Lite specification.

    Raises:
        LecoreError: If the figure is wider than a page, on which its text would shrink.
    """
    with extra("companion"):
        import matplotlib.pyplot as plt
        from IPython.display import display
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        from lecore.companion.figures import WIDTH  # imports this module

    if (width := fig.get_figwidth()) > WIDTH:
        what = f"figure {name!r} is {width:g} inches wide, and a page {WIDTH:g}"
        raise LecoreError(what, "make it with lecore.companion.figures.panels()")
    svg, png = io.StringIO(), io.BytesIO()
    # by canvases, which draw once where savefig draws twice; SVG comes last, for it sets the dpi
    FigureCanvasAgg(fig).print_png(png, metadata={"Title": name})
    fig.set_layout_engine("none")  # as laid out for the first
    with plt.rc_context({"svg.hashsalt": name}):  # the same picture is the same file
        FigureCanvasSVG(fig).print_svg(svg, metadata={"Title": name, "Date": None})
    plt.close(fig)
    bundle: dict[str, Any] = {} if chart is None else {VEGA_LITE: dict(chart)}
    bundle["image/svg+xml"] = svg.getvalue()
    bundle["image/png"] = base64.b64encode(png.getvalue()).decode()
    bundle["text/plain"] = f"<figure {name}>"
    display(bundle, raw=True, metadata={FIGURE: name})


def read_records(notebook: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Collect the records of an executed notebook.

    Args:
        notebook: A notebook as ``nbformat.read`` returns it.

    Returns:
        Record by name, in the order of the page.

    Raises:
        LecoreError: If two records share a name, or one was not made by :func:`record`.
    """
    from lecore.companion.documents import RECORD, checked  # not needed where records are made

    found: dict[str, dict[str, Any]] = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            metadata = output.get("metadata") or {}
            if "record" not in metadata:
                continue
            match metadata:
                case {"scrapbook": {"name": str(name), "mime_prefix": str(prefix)}}:
                    entry = checked(metadata["record"], RECORD, f"record {name!r}")
                case _:
                    raise LecoreError("something displayed claims to be a record", "call record()")
            shown = output.get("data", {}).get(f"{prefix}text/plain")
            if prefix != GLUE or shown != repr(entry["value"]):
                raise LecoreError(f"record {name!r} does not hold what it shows", "call record()")
            if name in found:
                raise LecoreError(f"two records are named {name!r}")
            found[name] = dict(entry)
    return found


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with whole_file(path, "w") as stream:
        stream.write(text)


def key(*words: str) -> str:
    """Name of a record from words of any kind: lower case, joined by hyphens."""
    return re.sub(r"[^a-z0-9.]+", "-", " ".join(words).lower()).strip("-")
