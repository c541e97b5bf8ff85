"""Ctrl-C while a command's packages are imported, which takes seconds, ends it in one line, as it does later on."""

from __future__ import annotations

import sys
from os.path import basename
from types import TracebackType

__all__ = ["is_command", "print_interruption"]


def is_command() -> bool:
    """Tell whether this process is a command of pyrovae's, and no program that imports it."""
    name = basename(sys.argv[0]) if getattr(sys, "argv", None) else ""  # -m while Python looks for pyrovae.__main__
    return name == "-m" or name.partition(".")[0] == "pyrovae"


def print_interruption(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say an interruption in one line, and everything else as Python does."""
    if issubclass(kind, KeyboardInterrupt):
        print("pyrovae: interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if is_command():
    sys.excepthook = print_interruption
