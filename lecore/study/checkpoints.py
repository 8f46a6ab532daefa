"""A study at the weights that training left behind, file by file."""

import copy
import glob
import os
import pickle
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lecore.arguments.finite import all_finite
from lecore.engine.network.model_copy import private_copy, unwrapped
from lecore.engine.opening import opened
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
    with study._trained(), opened(study._network, study._rows[:2], study.dtype):
        pass  # what a copy would not show, such as a hook or a layer out of reach, is refused here
    return ((path.name, _at(study, path)) for path in paths)


def in_order(checkpoints: Checkpoints) -> list[Path]:
    """The files, those of a pattern by the numbers in their names: step 9 before step 10.

    Raises:
        LecoreError: If there is none, or a folder.
    """
    if isinstance(checkpoints, str | os.PathLike):
        pattern = os.fspath(checkpoints)
        if Path(pattern).is_dir():
            raise LecoreError(
                f"{pattern!r} is a folder", f"give a pattern such as {str(Path(pattern, '*.pt'))!r}"
            )
        files = [pattern]  # even with a [ in its name
        if not Path(pattern).exists():
            files = glob.glob(pattern, recursive=True)  # noqa: PTH207 - takes whole paths, too
        found = sorted(map(Path, files), key=_by_number)
    else:
        pattern = "any of those given"
        try:
            found = [Path(path) for path in checkpoints]
        except TypeError as error:
            raise LecoreError(f"{checkpoints!r} names no files", "give a pattern") from error
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
        with warnings.catch_warnings(action="ignore"):
            held = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise LecoreError(f"{path} cannot be read ({error.strerror})", "check the path") from error
    except Exception as error:
        # from None, as torch advises to run what such a file holds
        raise _unfit(path, error) from None
    for name in HELD:
        if isinstance(held, Mapping) and isinstance(held.get(name), Mapping):
            held = held[name]
            break
    weights = dict(held) if isinstance(held, Mapping) else {}
    extra_states = [k for k in weights if str(k).endswith("_extra_state")]
    if not weights or not all(
        isinstance(k, str) and (isinstance(v, Tensor) or k in extra_states)
        for k, v in weights.items()
    ):
        raise LecoreError(f"{path} holds no state_dict", "save model.state_dict() in it")
    if odd := [k for k, v in weights.items() if k not in extra_states and not _is_plain(v)]:
        raise LecoreError(f"{path} has {odd[0]!r} in a form of its own", "save plain tensors")
    return weights


def _unfit(path: Path, error: Exception) -> LecoreError:
    """What is wrong with a file that torch does not take for weights."""
    with path.open("rb") as stream:
        saved = stream.read(2) in (b"PK", b"\x80\x02")  # as torch saves, now and long ago
    if (saved and isinstance(error, pickle.UnpicklingError)) or "TorchScript" in str(error):
        return LecoreError(
            f"{path} holds more than weights", "save model.state_dict(), or use safetensors"
        )
    return LecoreError(
        f"{path} cannot be read as weights, as it is cut short or no file of torch.save",
        "save model.state_dict() anew",
    )


def _is_plain(value: Tensor) -> bool:
    return value.layout == torch.strided and not value.is_quantized and not value.is_meta


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
    for prefix in _prefixes(weights, own):
        inner = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        _under_all_names(inner, own, path)
        if inner.keys() >= own.keys():
            weights = inner
            break
    missing, unknown = own.keys() - weights.keys(), weights.keys() - own.keys()
    both = [k for k in own.keys() & weights.keys() if isinstance(own[k], Tensor)]
    shapes = [k for k in both if getattr(weights[k], "shape", None) != own[k].shape]
    if wrong := sorted(missing or unknown or shapes):
        what = "lacks" if missing else "has another" if unknown else "has another shape of"
        raise LecoreError(f"{path} {what} {wrong[0]!r}", "it is the checkpoint of another model")
    learned = dict(model.named_parameters(remove_duplicate=False))  # a mask may be infinite
    for name in both:
        if name in learned and not all_finite(weights[name]):
            raise LecoreError(
                f"{path} has {name!r} with numbers that are not finite",
                "leave it out: the training had diverged",
            )
        value, kinds = weights[name], (weights[name].dtype, own[name].dtype)
        same = value.is_floating_point() == own[name].is_floating_point()
        if not same or torch.promote_types(*kinds) != own[name].dtype:
            raise LecoreError(
                f"{path} has {name!r} as {value.dtype}, the model as {own[name].dtype}",
                "convert the model first, so that nothing is rounded",
            )
    try:
        model.load_state_dict(weights)
    except Exception as error:
        raise LecoreError(f"{path} cannot be loaded ({in_short(error)})", "save it anew") from error


def _prefixes(weights: Mapping[str, Tensor], own: Mapping[str, Any]) -> list[str]:
    """What may stand before the model's names: nothing, or what holds the model in a file.

    Wrappers, compilers and modules of Lightning do; of several such parts none is taken.
    """
    last = f".{next(iter(own), '')}"
    held = {name.removesuffix(last) + "." for name in weights if name.endswith(last)}
    whole = [p for p in held if all(f"{p}{name}" in weights for name in own)]
    usual = ["", "module.", "_orig_mod.", "model."]
    return usual + (whole if len(whole) == 1 else [])


def _under_all_names(weights: dict[str, Tensor], own: Mapping[str, Any], path: Path) -> None:
    """Give tied weights, of which one name is enough, under all of their names."""
    groups: dict[Any, list[str]] = {}
    for name, value in own.items():
        if isinstance(value, Tensor) and value.numel():
            place = value.device, value.data_ptr(), value.shape, value.stride()
            groups.setdefault(place, []).append(name)
    for names in groups.values():
        known = [name for name in names if name in weights]
        for name in known[1:]:
            if not torch.equal(weights[name], weights[known[0]]):
                raise LecoreError(
                    f"{path} has two values of {known[0]!r} and {name!r}, which are one weight",
                    "it is the checkpoint of another model",
                )
        if known:
            weights.update(dict.fromkeys(names, weights[known[0]]))
