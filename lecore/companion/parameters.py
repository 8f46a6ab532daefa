"""What a chapter's parameters cell declares, and what its parameters may be."""

import ast
import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lecore.errors import LecoreError

TYPES: dict[str, type | tuple[type, ...]] = {
    "int": int,
    "float": (int, float),
    "bool": bool,
    "str": str,
    "list": list,
    "dict": dict,
}


LARGEST = 2**31 - 1
"""Of whole numbers, so that seeds counted up from it still fit every generator."""


@dataclass(frozen=True)
class Parameter:
    """One line of a chapter's parameters cell: ``name: type = default  # help``."""

    name: str
    type: str
    default: str
    help: str


def parameters(notebook: Any) -> dict[str, Parameter]:
    """What a chapter's parameters cell declares, by name.

    Raises:
        LecoreError: If there is no such cell; overrides would be silently lost.
    """
    from papermill.translators import PythonTranslator

    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            found = PythonTranslator.inspect(cell)
            return {
                p.name: Parameter(p.name, p.inferred_type_name, p.default, p.help.strip("# "))
                for p in found
            }
    raise LecoreError("the chapter has no cell tagged 'parameters'")


def check_parameters(
    chapter: str, known: Mapping[str, Parameter], values: Mapping[str, Any]
) -> None:
    """Refuse overrides that a chapter does not declare, of another type, or out of range.

    Whole numbers are sizes and seeds, so they lie between 0 and :data:`LARGEST`; 0 alone is taken
    where the page's own value is 0, or its comment says what 0 means ("0: …"). Numbers are
    finite. What stands in a list or dict is of the types that stand there on the page.

    Raises:
        LecoreError: Naming the chapter, the parameter, and what it may be.
    """
    for name, value in values.items():
        if name not in known:
            raise LecoreError(f"{chapter} has no parameter {name!r}", f"it has {', '.join(known)}")
        parameter = known[name]
        kind = parameter.type
        allowed = TYPES.get(kind.split("[")[0])
        wrong_bool = isinstance(value, bool) and allowed is not bool
        if allowed and (wrong_bool or not isinstance(value, allowed)):
            raise LecoreError(f"{chapter}: {name} must be {kind}, not {value!r}")
        default, least = _default(parameter), 0
        usual = {type(leaf) for leaf in _leaves(default)}
        if kind == "int" and default != 0 and "0:" not in parameter.help:
            least = 1
        elif kind == "float":
            least = -LARGEST
        if usual & {int, float}:
            usual |= {int, float}
        for leaf in _leaves(value):
            if usual and type(leaf) not in usual:
                raise LecoreError(f"{chapter}: {name} cannot hold {leaf!r}")
            if type(leaf) is int and not least <= leaf <= LARGEST:
                raise LecoreError(f"{chapter}: {name} must lie in {least} … {LARGEST}, not {leaf}")
            if isinstance(leaf, float) and not math.isfinite(leaf):
                raise LecoreError(f"{chapter}: {name} must be finite, not {leaf}")


def with_values(notebook: Any, values: Mapping[str, Any]) -> Any:
    """A copy of a chapter whose parameters cell holds these values instead of the page's own.

    So a reader of the executed notebook sees what ran, and papermill changes one parameter of it
    without losing the others.
    """
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            lines = cell.source.splitlines()
            for node in reversed(ast.parse(cell.source).body):
                if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
                    continue
                old, new = node.value, values.get(node.target.id)
                if old is None or new is None or ast.literal_eval(old) == new:
                    continue
                last = lines[(old.end_lineno or 0) - 1].encode()[old.end_col_offset :].decode()
                first = lines[old.lineno - 1].encode()[: old.col_offset].decode()
                lines[old.lineno - 1 : old.end_lineno] = [f"{first}{new!r}{last}"]
            cell.source = "\n".join(lines)
    return notebook


def _default(parameter: Parameter) -> Any:
    try:
        return ast.literal_eval(parameter.default)
    except (ValueError, SyntaxError):
        raise LecoreError(
            f"parameter {parameter.name} has the default {parameter.default}", "write a plain value"
        ) from None


def _leaves(value: Any) -> Iterator[Any]:
    """What is in lists and dicts, and their keys, however deep."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part)
    else:
        yield value


def effective_parameters(
    known: Mapping[str, Parameter], values: Mapping[str, Any]
) -> dict[str, Any]:
    """All parameters of a run: the defaults of the page, overridden by ``values``."""
    return {name: _default(p) for name, p in known.items()} | dict(values)
