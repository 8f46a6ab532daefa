"""A Sphinx extension for the one long page that is printed; copied beside the pages."""

from typing import Any


def setup(app: Any) -> dict[str, bool]:
    """Let nodes that are registered for HTML alone be written on the one long page, too.

    One extension that registers something for it, as sphinx-exercise does, hides all of theirs.
    """
    app.connect("builder-inited", _share_handlers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _share_handlers(app: Any) -> None:
    handlers = app.registry.translation_handlers
    handlers["singlehtml"] = handlers.get("html", {}) | handlers.get("singlehtml", {})
