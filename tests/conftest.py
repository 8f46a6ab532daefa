"""Each worker of pytest-xdist has one thread, for they have the cores already; each test a seed."""

import os
import signal
import sys

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("lecore", deadline=None)  # machines are busy at times
settings.load_profile("lecore")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it in the background,
    signal.signal(signal.SIGINT, signal.default_int_handler)  # for all that tests start, too


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest test begins first, so that nobody waits for it at the end."""
    items.sort(key=lambda item: "longest" not in item.keywords)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same numbers, alone and among others."""
    if "torch" in sys.modules:  # else nothing draws
        from lecore.seeding import seed_all

        seed_all(0)
