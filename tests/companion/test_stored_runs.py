"""Results of runs, one file each."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lecore.companion import stored_runs
from lecore.identity.code_identity import source_digest


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


measure.__module__ = "lecore.studies.he_su.measure"


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
    about = {"run", "result", "started", "device", "versions", "commit", "checksum", "seconds"}
    assert about == set(stored)


def test_the_seconds_of_what_was_computed_before_are_counted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[float] = []
    monkeypatch.setattr(stored_runs, "add_seconds", counted.append)

    def slow(run: Run, device: str) -> dict[str, Any]:
        time.sleep(0.05)
        return {}

    slow.__module__ = measure.__module__
    stored_runs.compute(slow, [Run("digits")])
    stored_runs.compute(slow, [Run("digits"), Run("digits", 2)])
    stored_runs.compute(slow, [Run("digits"), Run("digits", 2)])
    assert counted[0] == 0
    assert 0.05 <= counted[1] < counted[2]


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

    arrays.__module__ = "lecore.studies.he_su.measure"
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
    monkeypatch.setattr(stored_runs, "source_digest", lambda module: "changed")
    stored_runs.compute(measure, [Run("digits")])
    assert len(CALLS) == 2


def test_settings_that_are_the_default_do_not_count() -> None:
    assert stored_runs.changed_settings(Run("digits", 1)) == {"data": "digits"}
    assert stored_runs.changed_settings(Run("digits", 2)) == {"data": "digits", "size": 2}


def test_the_code_counts_and_words_for_people_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.read_bytes

    def fingerprint_with(old: str, new: str) -> str:
        def read(self: Path) -> bytes:
            text = real(self)
            return text.replace(old.encode(), new.encode()) if self.name == "losses.py" else text

        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", read)
            source_digest.cache_clear()
            return source_digest("lecore.training")  # which imports it

    now = fingerprint_with("as", "as")
    assert fingerprint_with("what He & Su's code calls MSE", "as they call it") == now
    assert fingerprint_with("# sums already", "# sums") == now
    assert fingerprint_with("0.5 *", "0.25 *") != now
    source_digest.cache_clear()


def other_measure(run: Run, device: str) -> dict[str, Any]:
    """Three times the size."""
    return {"double": 3 * run.size}


other_measure.__module__ = measure.__module__


def test_another_measure_of_the_same_module_computes_again() -> None:
    assert stored_runs.compute(measure, [Run("digits")])[0]["double"] == 2
    assert stored_runs.compute(other_measure, [Run("digits")])[0]["double"] == 3


def test_other_images_under_the_same_name_compute_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stored_runs.compute(measure, [Run("digits")])
    monkeypatch.setattr(stored_runs, "fingerprint", lambda name: "other images")
    stored_runs.compute(measure, [Run("digits")])
    assert len(CALLS) == 2


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[:-20],
    "edited": lambda content: content.replace(b'"double": 2', b'"double": 3'),
    "another kind": lambda content: b"[1]",
    "not text": lambda content: b"\xff" + content,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_result_is_computed_again_and_named_once(folder: Path, damage: str) -> None:
    first = stored_runs.compute(measure, [Run("digits")])
    path = next((folder / "digits").glob("*.json"))
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.warns(UserWarning, match="is damaged or was edited") as said:
        assert stored_runs.compute(measure, [Run("digits")]) == first
    assert [str(path) in str(warning.message) for warning in said] == [True]
    assert stored_runs.compute(measure, [Run("digits")]) == first
    assert len(CALLS) == 2


def arrays(run: Run, device: str, scratch: Path) -> dict[str, Any]:
    """Numbers."""
    CALLS.append(run)
    return {"numbers": np.arange(run.size)}


arrays.__module__ = measure.__module__


@pytest.mark.parametrize("harm", ["empty", "truncated", "lost", "other arrays", "no origin"])
def test_damaged_arrays_are_computed_again_and_named_once(folder: Path, harm: str) -> None:
    stored_runs.compute_arrays(arrays, [Run("digits", 3)])
    path, about = (next((folder / "digits").glob(f"*.{end}")) for end in ("npz", "json"))
    if harm == "lost":
        path.unlink()
    elif harm == "no origin":
        about.unlink()
    elif harm == "other arrays":
        np.savez_compressed(path, numbers=np.arange(4))
    else:
        path.write_bytes(b"" if harm == "empty" else path.read_bytes()[:-9])
    with pytest.warns(UserWarning, match="is damaged or was edited") as said:
        again = stored_runs.compute_arrays(arrays, [Run("digits", 3)])
    assert [str(path) in str(warning.message) for warning in said] == [True]
    assert again[0]["numbers"].tolist() == [0, 1, 2]
    stored_runs.compute_arrays(arrays, [Run("digits", 3)])
    assert len(CALLS) == 2


def test_results_with_numbers_as_keys_are_whole(folder: Path) -> None:
    def counts(run: Run, device: str) -> dict[str, Any]:
        CALLS.append(run)
        return {"counts": {2: 1, 10: 1}}

    counts.__module__ = measure.__module__
    for _ in range(2):
        assert stored_runs.compute(counts, [Run("digits")]) == [{"counts": {"2": 1, "10": 1}}]
    assert len(CALLS) == 1


def test_the_folder_is_found_from_where_the_caller_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LECORE_RUNS", "myruns")
    assert stored_runs.runs_folder() == tmp_path / "myruns"
