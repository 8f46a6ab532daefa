"""Each worker of pytest-xdist has one thread, for they have the cores already; each test a seed."""

import os
import signal
import sys
from collections import Counter

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("lecore", deadline=None)  # machines are busy at times
settings.load_profile("lecore")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it in the background,
    signal.signal(signal.SIGINT, signal.default_int_handler)  # for all that tests start, too


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="all cases of all tables")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest test begins first, so that nobody waits for it at the end.

    Of the cases of a test marked ``every(k)`` one in k is run, of one marked ``thorough`` none; and
    all of them with ``--thorough``.
    """
    items.sort(key=lambda item: "longest" not in item.keywords)
    if config.getoption("thorough") or any("::" in argument for argument in config.args):
        return  # who names a test wants it
    seen: Counter[str] = Counter()
    left_out = {item for item in items if item.get_closest_marker("thorough")}
    for item in items:
        if marker := item.get_closest_marker("every"):
            test = item.nodeid.split("[")[0]
            seen[test] += 1
            if (seen[test] + len(test)) % marker.args[0]:  # not the same ones in each test
                left_out.add(item)
    if left_out:
        config.hook.pytest_deselected(items=[*left_out])
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same numbers, alone and among others."""
    if "torch" in sys.modules:  # else nothing draws
        from lecore.seeding import seed_all

        seed_all(0)
