"""``lecore measure``: the report of a study that a module makes."""

import argparse
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from lecore.arguments.settings import file_of
from lecore.errors import LecoreError, in_short
from lecore.study.sample import sampled
from lecore.study.study import Study

HELP = """Write the report of a study as one HTML file.

PLACE names a lecore.Study in a module of this folder or of an installed package, as in
my_project:study; it may be a function that makes one. Other options with a PLACE name
what else is shown."""

NAMED = {
    "class_names": "a list with the name of each class",
    "texts": "texts of all training and all test examples, as two lists",
    "thumbnails": "pictures of all training and all test examples, as two arrays",
    "tokenizer": "what reads the tokens of a language model",
}
"""Arguments of :meth:`lecore.study.study.Study.report` that options name by their place."""


def measure(arguments: Sequence[str]) -> None:
    """Run the command.

    Args:
        arguments: What follows ``lecore measure``.

    Raises:
        LecoreError: If there is no such study, or it cannot be measured.
        SystemExit: After ``--help``; with status 2 if the arguments are none, 130 if it is stopped.
    """
    parser = argparse.ArgumentParser(
        "lecore measure", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("place", metavar="PLACE", help="module:object")
    parser.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE")
    parser.add_argument("--top", type=int, default=5, help="helpers and harmers of each example")
    parser.add_argument("--shown", type=int, default=12, help="test examples that are shown")
    parser.add_argument("--points", type=int, help="examples of each side, evenly spread; all")
    parser.add_argument("--checkpoints", metavar="PATTERN", help="files with earlier weights")
    parser.add_argument(
        "--store", type=Path, metavar="FOLDER", help="keep influences here, to go on if stopped"
    )
    for name, what in NAMED.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="PLACE", help=what)
    given = parser.parse_args(arguments)
    try:
        file_of("--out", given.out)  # before the module runs, which may take hours
        for named in filter(None, map(vars(given).get, ("place", *NAMED))):
            _parts(named)
        study = found(given.place)
        if given.points is not None:
            study = sampled(study, given.points)
        study.report(
            given.out, top=given.top, shown=given.shown, checkpoints=given.checkpoints,
            store=given.store, **_shown_too(vars(given)),
        )  # fmt: skip
    except KeyboardInterrupt:
        print("lecore: stopped; with --store the same command goes on", file=sys.stderr)
        sys.exit(130)
    print(f"The report is ready: open {given.out.resolve().as_uri()}")


def _shown_too(given: Mapping[str, Any]) -> dict[str, Any]:
    """What options name, by the names of the report's arguments."""
    objects = {}
    for name in NAMED:
        if (place := given[name]) is not None:
            objects[name] = _named(place)
            if objects[name] is None:
                raise LecoreError(f"{place} is nothing", "give the name of an object there")
    return objects


def found(place: str) -> Study:
    """The study that a place names.

    Raises:
        LecoreError: If there is none.
    """
    study = _named(place, made=True)
    if not isinstance(study, Study):
        kind = "nothing" if study is None else f"of type {type(study).__name__}"
        raise LecoreError(f"{place} is {kind}", "give the name of a lecore.Study")
    return study


def _named(place: str, made: bool = False) -> Any:
    """The object of a name in a module, or what a function of that name made, or ``None``."""
    module, name = _parts(place)
    try:
        with _at_home():
            it = getattr(importlib.import_module(module), name, None)
            if made and callable(it) and not isinstance(it, type | nn.Module):
                it = it()
    except LecoreError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            raise LecoreError(
                f"there is no module {module!r}",
                "run this in the folder that holds it, or install it",
            ) from error
        raise LecoreError(f"{place} does not run ({in_short(error)})", "mend it first") from error
    return it


def _parts(place: str) -> tuple[str, str]:
    """Module and name of an object.

    Raises:
        LecoreError: If that is not what was given.
    """
    module, colon, name = place.partition(":")
    if not (module and colon and name):
        raise LecoreError(
            f"{place!r} names no object", "give module:object, as in my_project:study"
        )
    if "/" in module or module.startswith(".") or Path(module).is_file():
        inside = Path(module).name.removesuffix(".py").lstrip(".")
        raise LecoreError(
            f"{module!r} names a file, no module", f"run this in its folder, as {inside}:{name}"
        )
    return module, name


@contextmanager
def _at_home() -> Iterator[None]:
    """Modules are found in this folder, and what they do to it and to arguments ends with them."""
    arguments, here = sys.argv, str(Path.cwd())
    sys.argv = arguments[:1]  # those of the command are none of a script's own
    sys.path.insert(0, here)
    try:
        with chdir(here):
            yield
    finally:
        sys.argv = arguments
        if here in sys.path:
            sys.path.remove(here)
