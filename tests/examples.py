"""How many examples Hypothesis draws: as many as are named with ``--thorough``, else a third."""

import os

THOROUGH = "LECORE_THOROUGH"
"""Set by ``--thorough``, for workers too."""


def examples(number: int) -> int:
    return number if THOROUGH in os.environ else -(-number // 3)
