"""``python -m lecore``: the same as the command ``lecore``."""

from lecore.companion.cli import main

main(prog_name="lecore")
