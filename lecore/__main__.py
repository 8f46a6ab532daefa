"""The command ``lecore``, also ``python -m lecore``."""

import sys


def main() -> None:
    """Run the command line, or say in one line what it lacks."""
    from lecore.errors import LecoreError, extra

    try:
        if sys.argv[1:2] == ["measure"]:  # needs nothing of the book
            from lecore.study.command import measure

            measure(sys.argv[2:])
            return
        with extra("companion"):
            from lecore.companion.cli import main as command
    except (LecoreError, OSError) as error:
        sys.exit(_told(error))
    command(prog_name="lecore")


def _told(error: Exception) -> int:
    print("lecore:", " ".join(str(error).splitlines()), file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
