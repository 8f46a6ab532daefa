"""One thread for each worker of pytest-xdist: together they have the cores already."""

import os
import signal

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("lecore", deadline=None)  # machines are busy at times
settings.load_profile("lecore")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it in the background,
    signal.signal(signal.SIGINT, signal.default_int_handler)  # for all that tests start, too
