"""One thread for each worker of pytest-xdist: together they have the cores already."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
