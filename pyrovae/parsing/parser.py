"""The parser: jsonargparse's, with shorter help and one sentence for what is wrong."""

from __future__ import annotations

import os
import re
import typing
from pathlib import Path
from pydoc import locate
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from pyrovae.checks import InputError
from pyrovae.parsing.classes import is_factory
from pyrovae.parsing.help_formatter import HelpFormatter
from pyrovae.parsing.sentences import sentence_of

__all__ = ["Parser"]

set_parsing_settings(import_path_denylist=[])  # as jsonargparse 5 will: os.system is refused before it is imported

_YAML_BOOLS = {"on": True, "off": False, "yes": True, "no": False}  # of version 1.1, in which files are read


class Parser(ArgumentParser):
    """Say what is wrong in one sentence: the option, what was given, what would be accepted.

    jsonargparse makes the parsers of components' own options of this class too, so that each level of nesting
    words its own part, and puts the names of the options in front.

    Raises:
        ValueError: instead of exiting, for arguments that cannot be parsed.

    Example:
        >>> parser = Parser()
        >>> action = parser.add_argument("--epochs", type=int)
        >>> parser.parse_args(["--epochs", "many"])
        Traceback (most recent call last):
        ...
        pyrovae.checks.InputError: --epochs: expected an integer, but many was given
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # jsonargparse's own
        super().__init__(*args, **{"formatter_class": HelpFormatter, **kwargs})

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Namespace:
        """Read a configuration as UTF-8, in which pyrovae writes it, whatever the locale."""
        try:
            content = Path(path).read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(
                f"--config: the file must be UTF-8, but {path} is not (byte {error.start}): save it as UTF-8"
            ) from error
        return self.parse_string(content, os.path.basename(path), *args, **kwargs)

    def _check_value_key(self, action: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        """Take ``off`` and the like for the word that is offered, where YAML reads false."""
        if isinstance(value, bool):
            words = [word for word in _words(getattr(action, "_typehint", None)) if _YAML_BOOLS.get(word) is value]
            value = words[0] if words else value
        return super()._check_value_key(action, value, *args, **kwargs)

    def validate(self, cfg: Any, *args: Any, **kwargs: Any) -> None:
        """Refuse a function where a class is asked for: nothing but the classes that are named is ever called."""
        super().validate(cfg, *args, **kwargs)
        for action in self._actions:
            value, hint = cfg.get(action.dest), getattr(action, "_typehint", None)
            if isinstance(value, Namespace) and "class_path" in value:
                name, given = value.class_path, locate(value.class_path)
            elif callable(value) and value is not action.default and is_factory(hint):
                name, given = f"{value.__module__}.{value.__qualname__}", value
            else:
                continue
            if not isinstance(given, type):
                self.error(f"Parser key \"{action.dest}\": Expected '{name}' to be a subclass of {hint}")

    def instantiate(self, *args: Any, **kwargs: Any) -> Any:
        """Make what was chosen; what an optional component says of its own options is the sentence."""
        try:
            return super().instantiate(*args, **kwargs)
        except ValueError as error:
            refusal = re.search(r"Errors:\s+- (.*?)\s+- Expected a <class 'NoneType'>", str(error), re.DOTALL)
            if refusal is None:
                raise
            raise InputError(refusal[1]) from error

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the sentence, where jsonargparse would print its message and exit."""
        raise InputError(sentence_of(self, message)) from ex


def _words(hint: Any) -> list[str]:
    """Return the words that an option offers; a type of truth values offers none."""
    parts = typing.get_args(hint)
    if bool in parts:
        return []
    if typing.get_origin(hint) is typing.Literal:
        return [part for part in parts if isinstance(part, str)]
    return [word for part in parts for word in _words(part)]
