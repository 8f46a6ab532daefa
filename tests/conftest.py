"""One thread for each worker of pytest-xdist: together they have the cores already."""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("lecore", deadline=None)  # machines are busy at times
settings.load_profile("lecore")
