"""Results of long runs, kept one by one, so that an interrupted chapter loses only one of them."""

import ast
import datetime
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

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
    runs, code = list(runs), code_fingerprint(measure.__module__)
    results = []
    for run in tqdm(runs, unit="run"):
        settings = changed_settings(run)
        parts = [settings, code, version("torch"), device.split(":")[0], fingerprint(run.data)]
        key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        path = runs_folder() / run.data / f"{key[:16]}.json"
        if path.exists():
            results.append(json.loads(path.read_text())["result"])
            continue
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        result = measure(run, device)
        write_json(path, {
            "run": settings, "result": result, "started": started,
            "device": provenance.device_name(device), "versions": provenance.versions(),
            "commit": provenance.commit(project.project_root()),
        })  # fmt: skip
        results.append(json.loads(path.read_text())["result"])  # the same, stored or not
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
