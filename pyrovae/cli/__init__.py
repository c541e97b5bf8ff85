"""The command line: ``pyrovae COMMAND --help`` explains each command."""

from pyrovae.cli.main import main

__all__ = ["main"]
