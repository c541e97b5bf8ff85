"""Parsing of command lines and configuration files, with short help and error messages of one sentence."""

from pyrovae.parsing.classes import known_classes
from pyrovae.parsing.completion import SHELLS, completion_script
from pyrovae.parsing.help_formatter import plain
from pyrovae.parsing.imports import imports_from
from pyrovae.parsing.parser import Parser
from pyrovae.parsing.suggestions import nearest

__all__ = ["SHELLS", "Parser", "completion_script", "imports_from", "known_classes", "nearest", "plain"]
