"""A study at the weights that training left behind, file by file."""

import copy
import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lecore.engine.network.model_copy import private_copy, unwrapped
from lecore.errors import LecoreError, extra, in_short
from lecore.study.row_model import over_rows

if TYPE_CHECKING:
    from lecore.study.study import Study

Checkpoints = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""A pattern of files, or files in an order of one's own."""

HELD = ("state_dict", "model_state_dict", "model")
"""Names under which training scripts keep the weights beside other things."""


def at_checkpoints(study: "Study", checkpoints: Checkpoints) -> Iterator[tuple[str, "Study"]]:
    """See :meth:`lecore.study.study.Study.follow`."""
    if study.optimizer is not None:
        raise LecoreError(
            "the optimizer's state is that of now, not that of a checkpoint",
            "make the study with learning_rate, the size of a plain step",
        )
    paths = in_order(checkpoints)
    return ((path.name, _at(study, path)) for path in paths)


def in_order(checkpoints: Checkpoints) -> list[Path]:
    """The files, those of a pattern by the numbers in their names: step 9 before step 10.

    Raises:
        LecoreError: If there is none.
    """
    if isinstance(checkpoints, str | os.PathLike):
        pattern = os.fspath(checkpoints)
        files = [pattern]  # even with a [ in its name
        if not Path(pattern).exists():
            files = glob.glob(pattern, recursive=True)  # noqa: PTH207 - takes whole paths, too
        found = sorted(map(Path, files), key=_by_number)
    else:
        pattern, found = "any of those given", [Path(path) for path in checkpoints]
    found = [path for path in found if not path.is_dir()]
    if not found:
        raise LecoreError(f"no file is named {pattern!r}", "check the pattern")
    return found


def _by_number(path: Path) -> list[Any]:
    parts = re.split(r"(\d+)", str(path))
    return [int(part) if part.isdecimal() else part for part in parts]


def weights_in(path: Path) -> dict[str, Tensor]:
    """The ``state_dict`` in a file. Nothing that is not a tensor or a plain value is loaded.

    Raises:
        LecoreError: If the file cannot be read so, or holds no weights.
    """
    if path.suffix == ".safetensors":
        with extra("report"):
            from safetensors.torch import load_file
        try:
            return dict(load_file(path))
        except Exception as error:
            raise LecoreError(
                f"{path} cannot be read ({in_short(error)})", "save it anew"
            ) from error
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise LecoreError(
            f"{path} cannot be read as weights alone ({in_short(error)})",
            "save model.state_dict() by itself",
        ) from error
    for name in HELD:
        if isinstance(held, Mapping) and isinstance(held.get(name), Mapping):
            held = held[name]
            break
    weights = dict(held) if isinstance(held, Mapping) else {}
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise LecoreError(f"{path} holds no state_dict", "save model.state_dict() in it")
    return weights


def _at(study: "Study", path: Path) -> "Study":
    model = private_copy(unwrapped(study.model), Tensor.clone)
    _load(model, weights_in(path), path)
    then = copy.copy(study)
    then.model = model
    then._network, then._rows, then._columns = over_rows(
        model, study.train, study.test, study.output
    )
    return then


def _load(model: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    own = model.state_dict()
    for prefix in ("", "module.", "_orig_mod.", "model."):  # wrappers, compilers, Lightning
        inner = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        if inner.keys() >= own.keys():
            weights = {name: inner[name] for name in own} if prefix else inner
            break
    missing, unknown = own.keys() - weights.keys(), weights.keys() - own.keys()
    shapes = [k for k in own.keys() & weights.keys() if own[k].shape != weights[k].shape]
    if wrong := sorted(missing or unknown or shapes):
        what = "lacks" if missing else "has another" if unknown else "has another shape of"
        raise LecoreError(f"{path} {what} {wrong[0]!r}", "it is the checkpoint of another model")
    for name, value in weights.items():
        if torch.promote_types(value.dtype, own[name].dtype) != own[name].dtype:
            raise LecoreError(
                f"{path} has {name!r} as {value.dtype}, the model as {own[name].dtype}",
                "convert the model first, so that nothing is rounded",
            )
    model.load_state_dict(weights)
