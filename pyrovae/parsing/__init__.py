"""Options from the words of a command line or a file, with help that fits a screen and one sentence for each error."""

from pyrovae.parsing.classes import known_classes
from pyrovae.parsing.help_formatter import plain
from pyrovae.parsing.parser import Parser
from pyrovae.parsing.suggestions import nearest

__all__ = ["Parser", "known_classes", "nearest", "plain"]
