"""The lines that make a report, which stand at its end."""

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lecore.losses import LOSSES
from lecore.study.language import NEXT_TOKEN, next_token_loss

if TYPE_CHECKING:
    from lecore.study.study import Study

USUAL = {"top": 5, "shown": 12}
"""Arguments of :meth:`lecore.study.study.Study.report` that are not told as long as they are so."""


def code_of(study: "Study", path: str | os.PathLike[str], given: Mapping[str, Any]) -> str:
    """The lines that make a page.

    Args:
        study: The study.
        path: Its file.
        given: Other arguments of the report; what has no short form is called by its name.
    """
    sides = "model, train" if study.test is study.train else "model, train, test"
    start = ", ".join([f"study = Study({sides}", *_settings(study)]) + ")"
    imports = ("import torch\n" if study.dtype is not None else "") + "from lecore import Study"
    if study.train.numbers is not None or study.test.numbers is not None:
        imports += "\nfrom lecore.study.sample import sampled"
        start += f"\nstudy = sampled(study, {max(len(study.train), len(study.test))})"
    more = [
        f"{name}={_in_short(name, value)}"
        for name, value in given.items()
        if value is not None and not (name in USUAL and value == USUAL[name])
    ]
    end = f"study.report({', '.join([_quoted(path), *more])})"
    return f"{imports}\n\n{start}\n{end}"


def _settings(study: "Study") -> list[str]:
    """Arguments of the study, as they were given."""
    given, known = [], {next_token_loss: NEXT_TOKEN} | {one: name for name, one in LOSSES.items()}
    if study.target is not None:
        given.append(f"target={study.target!r}")
    if study.loss is not None:
        names = [f'"{name}"' for one, name in known.items() if one is study.loss]
        own = getattr(study.loss, "__name__", "")
        given.append(f"loss={(*names, own if own.isidentifier() else 'loss')[0]}")
    if study.output is not None and study.loss is not next_token_loss:
        given.append(f"output={_in_short('output', study.output)}")
    if study.optimizer is not None:
        given.append("optimizer=optimizer")
    settings = {
        "learning_rate": study.learning_rate, "outputs": study.outputs,
        "parameters": study.patterns, "dtype": study.dtype,
    }  # fmt: skip
    return given + [f"{name}={value!r}" for name, value in settings.items() if value is not None]


def _in_short(name: str, value: Any) -> str:
    if isinstance(value, str | os.PathLike) and name in ("output", "checkpoints", "store"):
        return _quoted(value)
    return repr(value) if name in USUAL else name


def _quoted(place: str | os.PathLike[str]) -> str:
    return json.dumps(os.fspath(place), ensure_ascii=False)
