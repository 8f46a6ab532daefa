"""Each worker of pytest-xdist has one thread, for they have the cores already; each test a seed."""

import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.examples import THOROUGH

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("lecore", deadline=None)  # machines are busy at times
settings.load_profile("lecore")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it in the background,
    signal.signal(signal.SIGINT, signal.default_int_handler)  # for all that tests start, too


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="all cases of all tables")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("thorough"):
        os.environ[THOROUGH] = "1"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of files without a test of processes, make processes need not import what they import."""
    if config.getoption("markexpr") != "processes" or collection_path.suffix != ".py":
        return None
    return "mark.processes" not in collection_path.read_text(encoding="utf-8") or None


TOGETHER = {
    "test_browser": "a browser", "test_scorecard_filters": "a browser",
    "test_book": "a book", "test_printing": "a book", "test_installation": "a book",
    "test_rerun": "a wheel",
}  # fmt: skip
"""Files of ``companion/`` whose tests of processes share what is dear to make; all files of this
folder share processes to fork from."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of processes that share something are run by one worker.

    For that there is ``--dist loadgroup``, but pytest-xdist 3.8 finds no groups with pytest 9.2.
    """
    if config.getoption("markexpr") != "processes" or config.getoption("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = Path(nodeid.split("::")[0])
            own = TOGETHER.get(file.stem, nodeid)
            return own if file.parent.name == "companion" else "processes to fork from"

    return Together(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest test begins first, so that nobody waits for it at the end.

    Of the cases of a test marked ``every(k)`` one in k is run, of one marked ``thorough`` none; and
    all of them with ``--thorough``.
    """
    items.sort(key=lambda item: "longest" not in item.keywords)
    if config.getoption("thorough") or any("::" in argument for argument in config.args):
        return  # who names a test wants it
    left_out = {item for item in items if item.get_closest_marker("thorough")}
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("every"):
            cases.setdefault(item.nodeid.split("[")[0], []).append(item)
    for test, of_test in cases.items():
        marker = of_test[0].get_closest_marker("every")
        assert marker
        step = min(marker.args[0], len(of_test))
        left_out |= {*of_test} - {*of_test[len(test) % step :: step]}  # not the same in each test
    if left_out:
        config.hook.pytest_deselected(items=[*left_out])
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same numbers, alone and among others."""
    if "torch" in sys.modules:  # else nothing draws
        from lecore.seeding import seed_all

        seed_all(0)


@pytest.fixture(scope="session")
def forks() -> Iterator[ForkServerContext]:
    """Processes are forked from one that has imported torch, those of loky and Dask too."""
    from joblib.externals.loky.backend.context import set_start_method

    from tests.forked import fork_server

    server = fork_server()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD", "forkserver")
        set_start_method("forkserver", force=True)
        yield server
        set_start_method(None, force=True)
