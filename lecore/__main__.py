"""The command ``lecore``, also ``python -m lecore``."""

import signal
import sys
import threading


def main() -> None:
    """Run the command line, or say in one line what it lacks."""
    _end_in_order()
    from lecore.errors import LecoreError, extra

    try:
        if sys.argv[1:2] == ["measure"]:  # needs nothing of the book
            from lecore.study.command import measure

            measure(sys.argv[2:])
            return
        with extra("companion"):
            from lecore.companion.cli import main as command
    except (LecoreError, OSError) as error:
        print("lecore:", *str(error).splitlines(), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)  # before there was any work to tell of
    command(prog_name="lecore")


def _end_in_order() -> None:
    """Whoever stops us, a scheduler say, finds all as after Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        return  # which alone may say so
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, signal.SIGTERM)  # Windows has one of them
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


if __name__ == "__main__":
    main()
