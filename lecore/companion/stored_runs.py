"""Results of long runs, kept one by one, so that an interrupted chapter loses only one of them."""

import datetime
import hashlib
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lecore.companion import project, provenance
from lecore.companion.records import add_seconds, write_json
from lecore.data.images import fingerprint
from lecore.files import whole_file
from lecore.identity.code_identity import source_digest


def compute(
    measure: Callable[..., dict[str, Any]], runs: Iterable[Any], device: str = "cpu"
) -> list[dict[str, Any]]:
    """Results of runs, from files where they were computed before by the same code.

    The files lie in the folder that ``LECORE_RUNS`` names, else in ``_build/runs``. A key holds
    the settings of the run that are not the default, the measure and the code behind it without
    comments and docstrings, torch's version, the device's kind and the images' fingerprint. A
    file that is damaged or was edited counts as absent, with a warning.

    Args:
        measure: Function of a run and a device in a module of this package.
        runs: Frozen dataclasses, with an image set as ``data`` if they need one.
        device: Where to compute.

    Returns:
        What ``measure`` gives, in the order of the runs.
    """
    results, earlier = [], 0.0
    place_of = _places(measure, device)
    for run in tqdm(list(runs), unit="run"):
        path = place_of(run).with_suffix(".json")
        known = _stored(path)
        if known is None:
            clock = _Clock()
            result = measure(run, device)
            write_json(path, _sealed({"result": result} | _origin(run, device, clock)))
        else:
            earlier += known["seconds"]
        results.append(_known(path)["result"])  # the same, stored or not
    add_seconds(earlier)
    return results


def compute_arrays(
    measure: Callable[..., dict[str, NDArray[Any]]], runs: Iterable[Any], device: str = "cpu"
) -> list[dict[str, NDArray[Any]]]:
    """As :func:`compute`, for results that are arrays by name.

    ``measure`` gets a folder as its third argument, in which it may leave what it needs to go on
    after an interruption. The folder is removed when the run is complete.
    """
    results, earlier = [], 0.0
    place_of = _places(measure, device)
    for run in tqdm(list(runs), unit="run"):
        place = place_of(run)
        arrays, scratch = place.with_suffix(".npz"), place.with_suffix(".unfinished")
        about = place.with_suffix(".json")
        known = _stored(about, arrays)
        if known is None:
            clock = _Clock()
            scratch.mkdir(parents=True, exist_ok=True)
            result = measure(run, device, scratch)
            with whole_file(arrays) as stream:
                np.savez_compressed(stream, **result)  # type: ignore[arg-type]
            origin = _origin(run, device, clock) | {"arrays": _digest(arrays.read_bytes())}
            write_json(about, _sealed(origin))
        else:
            earlier += known["seconds"]
        shutil.rmtree(scratch, ignore_errors=True)
        with np.load(arrays, allow_pickle=False) as stored:
            results.append({name: stored[name] for name in stored.files})
    add_seconds(earlier)
    return results


def runs_folder() -> Path:
    """Where results of runs lie: ``LECORE_RUNS``, or ``_build/runs`` of the project.

    Relative to the caller's folder are a relative ``LECORE_RUNS``, and an installed package.
    """
    if named := os.environ.get("LECORE_RUNS"):
        return Path(named).absolute()
    root = project.project_root()
    return (Path.cwd() if root == project.carried() else root) / "_build" / "runs"


def changed_settings(run: Any) -> dict[str, Any]:
    """Attributes of a run that have no default or another value."""
    return {
        f.name: getattr(run, f.name)
        for f in fields(run)
        if f.default is MISSING or getattr(run, f.name) != f.default
    }


def _places(measure: Callable[..., Any], device: str) -> Callable[[Any], Path]:
    """Function from a run to where its result lies, without the ending."""
    images = lru_cache(fingerprint)
    code = [measure.__module__, measure.__qualname__, source_digest(measure.__module__)]

    def place(run: Any) -> Path:
        settings, kind = changed_settings(run), device.split(":")[0]
        data = getattr(run, "data", None)
        parts = [settings, code, version("torch"), kind, images(data) if data else None]
        key = _digest(json.dumps(parts, sort_keys=True).encode())
        return runs_folder() / (data or "synthetic") / key[:16]

    return place


def _stored(path: Path, arrays: Path | None = None) -> dict[str, Any] | None:
    """What a file holds, with the arrays that belong to it; nothing if they are not as written."""
    if not path.exists() and not (arrays and arrays.exists()):
        return None
    try:
        known = _known(path)
        float(known["seconds"])
        if arrays is None or known["arrays"] == _digest(arrays.read_bytes()):
            return known
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    warnings.warn(f"{arrays or path} is damaged or was edited; computing it again", stacklevel=3)
    return None


def _known(path: Path) -> dict[str, Any]:
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if known != _sealed(known):
        raise ValueError("its checksum is another")
    return known


def _sealed(content: dict[str, Any]) -> dict[str, Any]:
    content = json.loads(json.dumps(content | {"checksum": None}))  # as it will be read
    text = json.dumps(content, sort_keys=True)
    return content | {"checksum": _digest(text.encode())}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class _Clock:
    def __init__(self) -> None:
        self.started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self._start, 2)


def _origin(run: Any, device: str, clock: _Clock) -> dict[str, Any]:
    times = {"started": clock.started, "seconds": clock.seconds}
    return {"run": changed_settings(run)} | times | _made_by(device)


@lru_cache
def _made_by(device: str) -> dict[str, Any]:
    """What makes all runs of this process, whose code was read when it began."""
    return {
        "device": provenance.device_name(device), "versions": provenance.versions(),
        "commit": provenance.commit(project.project_root()),
    }  # fmt: skip
