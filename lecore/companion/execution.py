"""Executing chapters with papermill, into the staging folder and the records."""

import datetime
import errno
import os
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lecore.companion import project, provenance
from lecore.companion.documents import write_text
from lecore.companion.executed import executed_key, executed_path, read_executed, records_path
from lecore.companion.kernel_environment import kernel_environment
from lecore.companion.parameters import (
    check_parameters,
    effective_parameters,
    parameters,
    with_values,
)
from lecore.companion.progress import Progress
from lecore.companion.records import read_records, read_seconds, write_json
from lecore.companion.workspace import workspace
from lecore.errors import LecoreError

MANY = 4
"""Chapters from which on it is worth while to import for all of them at once."""


@dataclass(frozen=True)
class Task:
    """One chapter to execute.

    Attributes:
        chapter: Its name.
        notebook: The notebook without outputs.
        parameters: Every parameter, defaults included.
        profile: Name of the profile.
        timeout: Seconds that one cell may take.
        key: What the result depends on, see :func:`lecore.companion.project.chapter_key`.
    """

    chapter: str
    notebook: Any
    parameters: Mapping[str, Any]
    profile: str
    timeout: float
    key: str


@dataclass
class Outcome:
    """What became of a run: chapters executed, skipped, and failed with one line each."""

    executed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def plan(
    root: Path,
    names: list[str],
    profile: project.Profile,
    settings: Mapping[str, Any],
    *,
    device: str = "cpu",
    seed: int | None = None,
) -> list[Task]:
    """Turn chapter names into tasks, with every override checked before anything runs.

    Args:
        root: The project.
        names: Chapters.
        profile: Their sizes.
        settings: Overrides from the command line; each must fit at least one chapter.
        device: Device of all chapters.
        seed: Seed of all chapters, if not the one on the page.

    Raises:
        LecoreError: If an override fits no chapter or has the wrong type.
        FileNotFoundError: If a chapter's images are missing.
    """
    tasks, used = [], set()
    for chapter in names:
        notebook = project.read_notebook(root, chapter)
        known = parameters(notebook)
        values = dict(profile.chapters.get(chapter, {})) | {"device": device}
        values |= {"seed": seed} if seed is not None else {}
        values |= {k: v for k, v in settings.items() if k in known}
        used |= set(settings) & set(known)
        check_parameters(chapter, known, values)
        values = effective_parameters(known, values)
        try:
            key = project.chapter_key(root, notebook, values)
        except SyntaxError as error:
            line = (error.text or "").strip()
            raise LecoreError(f"{chapter} is not valid Python: {error.msg}: {line}") from error
        tasks.append(Task(chapter, notebook, values, profile.name, profile.timeout, key))
    if unused := set(settings) - used:
        names_known = sorted({k for task in tasks for k in task.parameters})
        raise LecoreError(
            f"no chosen chapter has a parameter {sorted(unused)[0]!r}", f"they have {names_known}"
        )
    return tasks


def run(
    root: Path, build: Path, tasks: list[Task], *, jobs: int = 1, force: bool = False
) -> Outcome:
    """Execute what is not up to date; collect failures instead of stopping at the first.

    Args:
        root: The project.
        build: Folder for everything made.
        tasks: From :func:`plan`.
        jobs: Chapters side by side, each with its share of the cores.
        force: Execute up-to-date chapters too.

    Raises:
        LecoreError: If the folder is not ours, or another command is at work in it.
    """
    with workspace(build):
        return _run(root, build, tasks, jobs, force)


def _run(root: Path, build: Path, tasks: list[Task], jobs: int, force: bool) -> Outcome:
    from joblib import Parallel, delayed
    from papermill.iorw import local_file_io_cwd

    from lecore.companion.kernel import ENGINE  # here: threads that import at once see halves

    def current(task: Task) -> bool:
        return executed_key(build, task.chapter) == task.key and not force

    outcome = Outcome(skipped=[task.chapter for task in tasks if current(task)])
    todo = [task for task in tasks if task.chapter not in outcome.skipped]
    forked = sys.platform == "linux" and len(todo) >= MANY
    shutil.rmtree(build / "running", ignore_errors=True)  # left by a run that was killed
    with (
        kernel_environment(root, build, jobs),
        local_file_io_cwd(),  # each thread would keep and put back what another had set
        Progress({t.chapter: _cell_weights(build, t) for t in todo}, len(tasks)) as progress,
    ):
        # every chapter has a kernel process of its own, so threads are enough here
        results = Parallel(n_jobs=jobs, backend="threading", return_as="generator_unordered")(
            delayed(_execute)(root, build, task, progress, ENGINE, forked) for task in todo
        )
        for chapter, failure in results:
            if failure is None:
                outcome.executed.append(chapter)
            else:
                outcome.failed[chapter] = failure
    return outcome


def told(error: OSError, build: Path) -> str:
    """What the system refused, in one line: the path that it concerns, and a cure if any."""
    reason, name = error.strerror or str(error), error.filename
    path = f"{name}: " if name else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"cannot write: {path}{reason}; make room in {build}, TMPDIR or where it says, " + (
            "or choose --build-dir"
        )
    inside = name is not None and Path(os.fsdecode(name)).is_relative_to(build)
    return f"{path}{reason}" + ("; choose another folder with --build-dir" if inside else "")


def current_key(root: Path, chapter: str, values: Mapping[str, Any]) -> str:
    """Key that a chapter would have if it ran now with these parameters."""
    return project.chapter_key(root, project.read_notebook(root, chapter), values)


def _execute(
    root: Path, build: Path, task: Task, progress: Progress, engine: str, forked: bool
) -> tuple[str, str | None]:
    """Execute one chapter; returns its name and, if it failed, the reason in one line."""
    import nbformat
    import papermill
    from nbclient.exceptions import CellTimeoutError

    running = build / "running" / f"{task.chapter}.ipynb"
    failed = build / "failed" / f"{task.chapter}.ipynb"
    begun = {  # of the files that are read now, whatever is committed meanwhile
        "commit": provenance.commit(root),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    clock = time.monotonic()
    progress.start(task.chapter)
    failure: str | None = None
    try:
        running.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(with_values(task.notebook, task.parameters), running)
        papermill.execute_notebook(
            running,
            running,
            kernel_name="python3",
            engine_name=engine,
            forked=forked,
            # the kernel's folder alone: `cwd` would move this process, which all threads share
            resources={"metadata": {"path": str(project.source(root, task.chapter).parent)}},
            progress_bar=False,
            execution_timeout=int(task.timeout),
            # no notice about TCP, no echo of an interrupt
            extra_arguments=["--log-level=50", "--Session.packer=lecore.companion.packing.pack"],
            on_cell_executed=lambda cell, cell_index, execute_reply: progress.cell(
                task.chapter, cell_index
            ),
        )
        notebook = nbformat.read(running, as_version=4)
        _publish(root, build, task, notebook, begun, time.monotonic() - clock)
        running.unlink()
        failed.unlink(missing_ok=True)
    except papermill.PapermillExecutionError as error:
        reason = str(error.evalue).strip().split("\n")[0]
        failure = f"cell {error.exec_count} raised {error.ename}: {reason}"
    except CellTimeoutError:
        failure = f"a cell took longer than {task.timeout:g} s; raise `timeout` in the profile"
    except OSError as error:
        failure = told(error, build)
    except Exception as error:  # records, a kernel that hangs, whatever: the others go on
        kind = "" if isinstance(error, LecoreError) else f"{type(error).__name__}: "
        failure = kind + " ".join(str(error).split())
    finally:
        if running.exists():
            failed.parent.mkdir(parents=True, exist_ok=True)
            running.replace(failed)
            failure = f"{failure or 'interrupted'} (see {failed})"
        progress.finish(task.chapter, failure)
    return task.chapter, failure


def _publish(
    root: Path,
    build: Path,
    task: Task,
    notebook: Any,
    begun: Mapping[str, Any],
    seconds: float,
) -> None:
    """Write the executed notebook and its records; the notebook last, since its key says done."""
    import nbformat

    result = {
        "chapter": task.chapter,
        "profile": task.profile,
        "parameters": dict(task.parameters),
        "key": task.key,
        "device": provenance.device_name(task.parameters.get("device", "cpu")),
        "data": task.parameters.get("data"),
        "data_sha256": project.data_fingerprint(task.parameters) or None,
        "seed": task.parameters.get("seed"),
        "versions": provenance.versions(),
        **begun,
        "seconds": round(seconds + read_seconds(notebook), 1),
    }
    durations = [c.metadata.get("papermill", {}).get("duration") or 0.0 for c in notebook.cells]
    notebook.cells.append(nbformat.v4.new_markdown_cell(provenance.paragraph(result)))
    notebook.metadata["lecore"] = result | {"cell_seconds": durations}
    write_json(records_path(build, task.chapter), result | {"records": read_records(notebook)})
    write_text(executed_path(build, task.chapter), nbformat.writes(notebook))


def _cell_weights(build: Path, task: Task) -> list[float]:
    """Expected seconds of each cell: those of the last run, or a second each."""
    path = executed_path(build, task.chapter)
    with suppress(LecoreError, FileNotFoundError):
        return [max(s, 0.01) for s in read_executed(path).metadata["lecore"]["cell_seconds"]]
    return [1.0] * (len(task.notebook.cells) + 1)
