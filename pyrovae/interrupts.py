"""One line instead of a traceback on Ctrl-C while a command imports its packages, which takes seconds."""

from __future__ import annotations

import sys
from os.path import basename
from types import TracebackType

__all__ = ["is_command", "print_interruption"]


def is_command() -> bool:
    """Tell whether this process is the ``pyrovae`` command, rather than a program that imports the package."""
    name = basename(sys.argv[0]) if getattr(sys, "argv", None) else ""  # "-m" until Python has found pyrovae.__main__
    return name == "-m" or name.partition(".")[0] == "pyrovae"


def print_interruption(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an interruption as one line, and any other error as Python does."""
    if issubclass(kind, KeyboardInterrupt):
        print("pyrovae: interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if is_command():
    sys.excepthook = print_interruption
