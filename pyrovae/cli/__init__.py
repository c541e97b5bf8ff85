"""The command line: ``pyrovae COMMAND --help`` explains each command."""

from pyrovae.cli.main import main
from pyrovae.cli.script import script

__all__ = ["main", "script"]
