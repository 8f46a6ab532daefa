"""The book's own files: read as UTF-8, parsed strictly, and held against a schema.

The schemas are JSON Schema, since nbformat brings ``jsonschema`` with it. Each says once what a
file may hold; whatever else it holds is one line with the file and the key.
"""

import json
import math
from pathlib import Path
from typing import Any, NoReturn

import yaml

from lecore.errors import LecoreError, extra
from lecore.files import whole_file

TEXT = {"type": "string"}
WORDS = {"type": "string", "minLength": 1}
NUMBER = {"type": "number"}
MAYBE_TEXT = {"type": ["string", "null"]}
MONTHS = 10**7  # seconds

PAGE = {"type": "string", "pattern": r"^book/(?!.*\.\.)[\w./-]+$"}
PAGES: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "file": PAGE, "title": WORDS, "caption": WORDS, "numbered": {},
            "chapters": {"$ref": "#/$defs/pages"}, "sections": {"$ref": "#/$defs/pages"},
        },
        "additionalProperties": False,
    },
}  # fmt: skip
TOC = {
    "type": "object",
    "properties": {
        "format": {"const": "jb-book"}, "root": PAGE, "parts": PAGES, "chapters": PAGES,
        "options": {"type": "object"}, "defaults": {"type": "object"},
    },
    "required": ["format", "root"],
    "additionalProperties": False,
    "$defs": {"pages": PAGES},
}  # fmt: skip
"""``_toc.yml``, as far as this book needs jupyter-book's format."""

PROFILE = {
    "type": "object",
    "properties": {
        "timeout": {"type": "integer", "minimum": 1, "maximum": MONTHS},
        "chapters": {"type": "object", "additionalProperties": {"type": "object"}},
    },
    "required": ["timeout", "chapters"],
    "additionalProperties": False,
}
"""A file of ``book/profiles``."""

VERDICTS = (
    "reproduced", "partly", "not reproduced", "undecided", "not testable", "not run"
)  # fmt: skip
CRITERION = {
    "type": "object",
    "properties": {
        "record": WORDS, "at_least": NUMBER, "at_most": NUMBER, "unit": WORDS,
        "published": {"type": ["number", "object"], "additionalProperties": NUMBER},
        "of_these_runs": {"type": "boolean"},
    },
    "required": ["record"],
    "anyOf": [{"required": ["at_least"]}, {"required": ["at_most"]}],
    "additionalProperties": False,
}  # fmt: skip
CHANGE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "date": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"}, "commit": WORDS,
        "change": WORDS, "reason": WORDS,
    },
    "required": ["date", "change", "reason"],
    "additionalProperties": False,
}  # fmt: skip
CLAIM = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": r"^[A-Za-z0-9][\w.-]*$"},
        "ours": {"type": "boolean"}, "paper": WORDS, "place": WORDS, "claim": WORDS,
        "quantity": WORDS, "published": {"type": ["number", "string", "null"]},
        "chapter": {"type": "string", "pattern": r"^[\w-]+(/[\w-]+)*$"},
        "criteria": {"type": "array", "minItems": 1, "items": CRITERION},
        "expected": {"type": "object", "additionalProperties": {"enum": list(VERDICTS)}},
        "reason": WORDS, "analogue": WORDS, "smaller": WORDS,
        "sets": {"type": "array", "items": WORDS},
        "history": {"type": "array", "items": CHANGE},
    },
    "required": ["id", "paper", "place", "claim", "quantity", "published", "chapter", "criteria"],
    "additionalProperties": False,
}  # fmt: skip
"""An entry of ``book/claims.yml``."""

RECORD = {
    "type": "object",
    "properties": {
        "value": NUMBER, "low": NUMBER, "high": NUMBER,
        "digits": {"type": "integer", "minimum": 0, "maximum": 20},
        "n": {"type": "integer", "minimum": 1},
    },
    "required": ["value"],
    "dependentRequired": {"low": ["high"], "high": ["low"]},
}  # fmt: skip
RUN = {
    "type": "object",
    "properties": {
        "chapter": WORDS, "profile": WORDS, "parameters": {"type": "object"}, "key": WORDS,
        "device": WORDS, "data": MAYBE_TEXT, "data_sha256": MAYBE_TEXT,
        "seed": {"type": ["integer", "null"]},
        "versions": {"type": "object", "additionalProperties": TEXT}, "commit": MAYBE_TEXT,
        "started": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT"},
        "seconds": {"type": "number", "minimum": 0},
        "records": {"type": "object", "additionalProperties": RECORD},
    },
    "additionalProperties": False,
}  # fmt: skip
RUN["required"] = list(RUN["properties"])  # type: ignore[call-overload]
"""A chapter's record file, of this build or of a reference run."""

COVERAGE = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "interval": WORDS, "covers": WORDS, "data": WORDS, "n": {"type": "integer"},
            "held": {"type": "number", "minimum": 0, "maximum": 1}, "repeats": {"type": "integer"},
        },
        "required": ["interval", "covers", "data", "n", "held", "repeats"],
        "additionalProperties": False,
    },
}  # fmt: skip
"""``book/coverage.json``."""

EXECUTED = {
    "type": "object",
    "properties": {
        "metadata": {
            "type": "object",
            "properties": {
                "lecore": {
                    "type": "object",
                    "properties": {
                        "key": WORDS,
                        "cell_seconds": {"type": "array", "items": NUMBER, "minItems": 1},
                    },
                    "required": ["key", "cell_seconds"],
                },
            },
            "required": ["lecore"],
        },
    },
    "required": ["metadata", "cells"],
}  # fmt: skip
"""An executed notebook, as far as it is no ordinary one."""

PUBLISHED = {"type": "object", "required": ["source"]}
TABLES = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "additionalProperties": {"type": "array", "items": {"type": ["number", "string"]}},
    },
}
"""The tables of ``book/published/he-su-2020.json``: rows of numbers by name."""


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        LecoreError: If it is not UTF-8.
        OSError: If it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise LecoreError(
            f"is not UTF-8 ({error.reason} at byte {error.start})", "", str(path)
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all; see :func:`lecore.files.whole_file`."""
    with whole_file(path, "w") as stream:
        stream.write(text)


def read_yaml(path: Path, schema: dict[str, Any] | None = None) -> Any:
    """A YAML file without aliases or repeated keys, held against a schema.

    Raises:
        LecoreError: With the file and the key.
        OSError: If it cannot be read.
    """
    return yaml_value(read_text(path), path, schema)


def yaml_value(text: str, path: Path, schema: dict[str, Any] | None = None) -> Any:
    """As :func:`read_yaml`, of a file's text.

    Raises:
        LecoreError: With the file and the key.
    """
    try:
        for event in yaml.parse(text, _Loader):
            if isinstance(event, yaml.AliasEvent):
                raise yaml.YAMLError(f"aliases are not taken here {event.start_mark}")
        value = yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, LecoreError):
            raise
        raise LecoreError(f"is not valid YAML: {_one_line(error)}", "", str(path)) from error
    return value if schema is None else checked(value, schema, str(path))


def read_json(path: Path, schema: dict[str, Any] | None = None) -> Any:
    """A JSON file of finite numbers, held against a schema.

    Raises:
        LecoreError: With the file and the key.
        OSError: If it cannot be read.
    """
    try:
        value = json.loads(read_text(path), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        if isinstance(error, LecoreError):
            raise
        raise LecoreError(f"is not valid JSON: {_one_line(error)}", "", str(path)) from error
    return value if schema is None else checked(value, schema, str(path))


def checked(value: Any, schema: dict[str, Any], where: str) -> Any:
    """A value that follows a schema, in which numbers are finite and ``true`` is no number.

    Raises:
        LecoreError: Naming the key that does not follow, behind ``where``.
    """
    with extra("companion"):
        import jsonschema

    types = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "number": lambda _, x: _is_number(x, (int, float)),
            "integer": lambda _, x: _is_number(x, int),
        }
    )
    kind = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=types)
    try:
        errors = list(kind(schema).iter_errors(value))
        odd = [error for error in errors if error.validator == "additionalProperties"]
        error = jsonschema.exceptions.best_match(odd or errors)  # a misspelt key first
    except (RecursionError, TypeError) as error:  # keys of several types cannot be told in order
        raise LecoreError(f"cannot be understood: {_one_line(error)}", "", where) from error
    if error is None:
        return value
    key = error.json_path.removeprefix("$").lstrip(".")
    raise LecoreError(_one_line(error.message), "", f"{where}: {key}" if key else where)


def _is_number(value: object, kind: Any) -> bool:
    try:
        return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def _one_line(error: object) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:120]} … {text[-60:]}"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML's safe loader, which refuses what a reader of the file would not see."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) < len(node.value):
            keys = [key.value for key, _ in node.value]
            twice = max(keys, key=keys.count)
            raise yaml.constructor.ConstructorError(
                None, None, f"{twice!r} stands twice", node.start_mark
            )
        return mapping
