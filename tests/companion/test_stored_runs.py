"""Results of runs, one file each."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lecore.companion import stored_runs


@dataclass(frozen=True)
class Run:
    """A run of nothing."""

    data: str
    size: int = 1


CALLS: list[Run] = []


def measure(run: Run, device: str) -> dict[str, Any]:
    """Twice the size."""
    CALLS.append(run)
    if run.size < 0:
        raise KeyboardInterrupt
    return {"double": 2 * run.size, "pair": (1, 2)}


measure.__module__ = "lecore.clustering_runs"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LECORE_RUNS", str(tmp_path))
    CALLS.clear()
    return tmp_path


def test_a_run_is_computed_once_and_reads_the_same_ever_after(folder: Path) -> None:
    runs = [Run("digits"), Run("digits", 3)]
    first = stored_runs.compute(measure, runs)
    assert first == [{"double": 2, "pair": [1, 2]}, {"double": 6, "pair": [1, 2]}]
    assert stored_runs.compute(measure, runs[::-1]) == first[::-1]
    assert len(CALLS) == 2
    stored = json.loads(next((folder / "digits").glob("*.json")).read_text())
    assert {"run", "result", "started", "device", "versions", "commit"} == set(stored)


def test_an_interruption_loses_the_run_in_hand_alone(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        stored_runs.compute(measure, [Run("digits", 2), Run("digits", -1)])
    assert len(list((folder / "digits").iterdir())) == 1
    stored_runs.compute(measure, [Run("digits", 2)])
    assert len(CALLS) == 2


def test_arrays_come_back_and_an_interrupted_run_goes_on(folder: Path) -> None:
    def arrays(run: Run, device: str, scratch: Path) -> dict[str, Any]:
        CALLS.append(run)
        if not (scratch / "half").exists():
            (scratch / "half").touch()
            raise KeyboardInterrupt
        return {"pair": np.arange(2 * run.size).reshape(2, -1), "name": np.array("a")}

    arrays.__module__ = "lecore.clustering_runs"
    with pytest.raises(KeyboardInterrupt):
        stored_runs.compute_arrays(arrays, [Run("digits", 3)])
    first = stored_runs.compute_arrays(arrays, [Run("digits", 3)])
    again = stored_runs.compute_arrays(arrays, [Run("digits", 3)])
    assert len(CALLS) == 2
    assert first[0]["pair"].tolist() == again[0]["pair"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert str(again[0]["name"]) == "a"
    assert {path.suffix for path in (folder / "digits").iterdir()} == {".npz", ".json"}


def test_other_code_or_device_computes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stored_runs.compute(measure, [Run("digits")])
    monkeypatch.setattr(stored_runs, "code_fingerprint", lambda module: "changed")
    stored_runs.compute(measure, [Run("digits")])
    assert len(CALLS) == 2


def test_settings_that_are_the_default_do_not_count() -> None:
    assert stored_runs.changed_settings(Run("digits", 1)) == {"data": "digits"}
    assert stored_runs.changed_settings(Run("digits", 2)) == {"data": "digits", "size": 2}


def test_the_code_counts_and_words_for_people_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.read_text

    def fingerprint_with(old: str, new: str) -> str:
        def read(self: Path, *rest: Any, **more: Any) -> str:
            text = real(self, *rest, **more)
            return text.replace(old, new) if self.name == "losses.py" else text

        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_text", read)
            return stored_runs.code_fingerprint("lecore.losses")

    now = fingerprint_with("", "")
    assert fingerprint_with("what He & Su's code calls MSE", "as they call it") == now
    assert fingerprint_with("# sums already", "# sums") == now
    assert fingerprint_with("0.5 *", "0.25 *") != now
