"""Committed reference runs beside the build at hand."""

from collections.abc import Mapping
from typing import Any

from lecore.arguments.names import check_name
from lecore.companion.documents import RUN, read_json
from lecore.companion.project import chapters, project_root, reference_paths
from lecore.companion.records import glue_record


def reference(
    chapter: str, data: str | None = None, **parameters: Any
) -> dict[str, dict[str, Any]]:
    """Records of a committed reference run of a chapter; none if there is no such run yet.

    Args:
        chapter: Its name.
        data: Image set of the run; that of the main one if left out.
        parameters: What tells the run from the main one, such as ``width=4096``.

    Raises:
        LecoreError: If there is no such chapter, or a file is damaged.
    """
    records: dict[str, dict[str, Any]] = _reference_run(chapter, data, **parameters).get(
        "records", {}
    )
    return records


def glue_reference(records: Mapping[str, Mapping[str, Any]], prefix: str = "reference") -> None:
    """Let the text show records of a reference run, under their names behind a prefix."""
    for name, entry in records.items():
        glue_record(f"{prefix}-{name}", entry)


def this_build(chapter: str, data: str, **settings: Any) -> str:
    """What a fold with numbers of this build says of them before it is opened.

    Args:
        chapter: The chapter, whose reference run they stand below.
        data: Image set of this build.
        settings: Parameters to name, such as ``width``.
    """
    words = [data, *(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())]
    text = f"This build: {', '.join(words)}"
    if not (run := _reference_run(chapter)):
        return text
    if run["data"] == data:
        return f"{text} (the data of the reference run)"
    return f"{text} (other data: the reference run is on {run['data']})"


def run_to_show(
    reference: Mapping[str, Any], here: Mapping[str, Any], images: str, data: str
) -> tuple[Mapping[str, Any], str]:
    """The records that a figure shows, the reference run's if there is one, and their title.

    Args:
        reference: Records of the reference run.
        here: Records of this build.
        images: Image set of the reference run, as the title says it.
        data: Image set of this build.
    """
    if reference:
        return reference, f"reference run on {images}"
    return here, f"this build on {data}"


def _reference_run(chapter: str, data: str | None = None, **parameters: Any) -> dict[str, Any]:
    root = project_root()
    check_name("chapter", chapter, chapters(root))
    runs = (read_json(path, RUN) for path in reference_paths(root, chapter))
    for run in runs:
        if data in (None, run["data"]) and parameters.items() <= run["parameters"].items():
            return run
    return {}
