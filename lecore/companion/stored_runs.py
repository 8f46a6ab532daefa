"""Results of long runs, kept one by one, so that an interrupted chapter loses only one of them."""

import ast
import datetime
import hashlib
import json
import os
import shutil
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
from lecore.companion.records import write_json
from lecore.images import fingerprint


def compute(
    measure: Callable[..., dict[str, Any]], runs: Iterable[Any], device: str = "cpu"
) -> list[dict[str, Any]]:
    """Results of runs, from files where they were computed before by the same code.

    The files lie in the folder that ``LECORE_RUNS`` names, else in ``_build/runs``. A key holds
    the settings of the run that are not the default, the code behind ``measure`` without
    comments and docstrings, torch's version, the device's kind and the images' fingerprint.

    Args:
        measure: Function of a run and a device in a module of this package.
        runs: Frozen dataclasses with an image set as ``data``.
        device: Where to compute.

    Returns:
        What ``measure`` gives, in the order of the runs.
    """
    results = []
    place_of = _places(measure, device)
    for run in tqdm(list(runs), unit="run"):
        path = place_of(run).with_suffix(".json")
        if not path.exists():
            started = _now()
            result = measure(run, device)
            write_json(path, {"result": result} | _origin(run, device, started))
        results.append(json.loads(path.read_text())["result"])  # the same, stored or not
    return results


def compute_arrays(
    measure: Callable[..., dict[str, NDArray[Any]]], runs: Iterable[Any], device: str = "cpu"
) -> list[dict[str, NDArray[Any]]]:
    """As :func:`compute`, for results that are arrays by name.

    ``measure`` gets a folder as its third argument, in which it may leave what it needs to go on
    after an interruption. The folder is removed when the run is complete.
    """
    results = []
    place_of = _places(measure, device)
    for run in tqdm(list(runs), unit="run"):
        place = place_of(run)
        arrays, scratch = place.with_suffix(".npz"), place.with_suffix(".unfinished")
        if not arrays.exists():
            started = _now()
            scratch.mkdir(parents=True, exist_ok=True)
            result = measure(run, device, scratch)
            with (scratch / "result.npz").open("wb") as stream:
                np.savez_compressed(stream, **result)  # type: ignore[arg-type]
            write_json(place.with_suffix(".json"), _origin(run, device, started))
            (scratch / "result.npz").replace(arrays)
        shutil.rmtree(scratch, ignore_errors=True)
        with np.load(arrays, allow_pickle=False) as stored:
            results.append({name: stored[name] for name in stored.files})
    return results


def runs_folder() -> Path:
    """Where results of runs lie."""
    named = os.environ.get("LECORE_RUNS")
    return Path(named) if named else project.project_root() / "_build" / "runs"


def changed_settings(run: Any) -> dict[str, Any]:
    """Attributes of a run that have no default or another value."""
    return {
        f.name: getattr(run, f.name)
        for f in fields(run)
        if f.default is MISSING or getattr(run, f.name) != f.default
    }


def code_fingerprint(module: str) -> str:
    """SHA-256 of a module and all of this package that it imports, without words for people."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for path in project.dependencies([f"import {module}"], root):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            match getattr(node, "body", None):
                case [ast.Expr(ast.Constant()), *rest]:
                    node.body = rest  # type: ignore[attr-defined]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()


def _places(measure: Callable[..., Any], device: str) -> Callable[[Any], Path]:
    """Function from a run to where its result lies, without the ending."""
    code, images = code_fingerprint(measure.__module__), lru_cache(fingerprint)

    def place(run: Any) -> Path:
        settings, kind = changed_settings(run), device.split(":")[0]
        parts = [settings, code, version("torch"), kind, images(run.data)]
        key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return runs_folder() / run.data / key[:16]

    return place


def _origin(run: Any, device: str, started: str) -> dict[str, Any]:
    return {
        "run": changed_settings(run), "started": started,
        "device": provenance.device_name(device), "versions": provenance.versions(),
        "commit": provenance.commit(project.project_root()),
    }  # fmt: skip


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
