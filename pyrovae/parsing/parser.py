"""Parser of options: that of jsonargparse with shorter help and error messages of one sentence."""

from __future__ import annotations

import os
import re
import typing
import warnings
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from pydoc import locate
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace, _typehints
from jsonargparse._common import lenient_check, validating_defaults

from pyrovae.checks import InputError
from pyrovae.parsing.classes import is_factory, is_of_family
from pyrovae.parsing.help_formatter import HelpFormatter
from pyrovae.parsing.sentences import error_sentence

__all__ = ["Parser"]

_parsed: ContextVar[dict[Any, Namespace] | None] = ContextVar("parsed", default=None)

_YAML_BOOLS = {"on": True, "off": False, "yes": True, "no": False}  # booleans of YAML 1.1, the version of files


class Parser(ArgumentParser):
    """A parser whose errors are one sentence: the option, the given value, and the accepted values.

    jsonargparse also uses this class for the options of components, so that each level of nesting makes its own
    sentence, and prepends the name of the option.

    Raises:
        ValueError: for invalid arguments, instead of exiting.

    Example:
        >>> parser = Parser()
        >>> action = parser.add_argument("--epochs", type=int)
        >>> parser.parse_args(["--epochs", "many"])
        Traceback (most recent call last):
        ...
        pyrovae.checks.InputError: --epochs: expected an integer, but many was given
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # those of jsonargparse
        super().__init__(*args, **{"formatter_class": HelpFormatter, **kwargs})

    def parse_args(self, *args: Any, **kwargs: Any) -> Namespace:  # type: ignore[override] # as in jsonargparse
        """Parse arguments; a name is that of pyrovae's class where another package has one of the same name."""
        with _names_of_classes():
            return super().parse_args(*args, **kwargs)

    def parse_defaults(self) -> Namespace:
        """Return all options with their defaults, also those of the classes that are chosen by default.

        jsonargparse parses the options of a class several times for each time that it parses the class, and so the
        innermost options of nested classes hundreds of times. Here, the same options of a class are parsed once.

        Example:
            >>> parser = Parser()
            >>> action = parser.add_argument("--epochs", type=int, default=20)
            >>> parser.parse_defaults()
            Namespace(epochs=20)
        """
        before = _parsed.set({})
        try:
            with _names_of_classes():
                return self.parse_object({})
        finally:
            _parsed.reset(before)

    def parse_object(
        self,
        obj: Any,
        namespace: Namespace | None = None,
        env: bool | None = None,
        defaults: bool = True,
        **kwargs: Any,
    ) -> Namespace:
        """Parse options given as an object; within :meth:`parse_defaults`, each object once."""
        known = _parsed.get()
        if known is None:
            return super().parse_object(obj, namespace, env, defaults, **kwargs)
        state = lenient_check.get(), validating_defaults.get()
        key = (self, *map(_frozen, (obj, namespace, env, defaults, kwargs, state)))
        if key not in known:
            known[key] = super().parse_object(obj, namespace, env, defaults, **kwargs)
        return known[key].clone()  # the caller may change it

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Namespace:
        """Read a configuration as UTF-8, as pyrovae writes it, independent of the locale."""
        try:
            content = Path(path).read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(
                f"--config: the file must be UTF-8, but {path} is not (byte {error.start}): save it as UTF-8"
            ) from error
        return self.parse_string(content, os.path.basename(path), *args, **kwargs)

    def _check_value_key(self, action: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        """Restore words such as ``off``, which YAML reads as booleans, where they are accepted values."""
        if isinstance(value, bool):
            words = [
                word for word in _offered_words(getattr(action, "_typehint", None)) if _YAML_BOOLS.get(word) is value
            ]
            value = words[0] if words else value
        return super()._check_value_key(action, value, *args, **kwargs)

    def validate(self, cfg: Any, *args: Any, **kwargs: Any) -> None:
        """Refuse a function where a class is required, so that only the named classes are ever called."""
        with _names_of_classes():
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
        """Make the chosen components; raise the error of an optional component's own options."""
        try:
            with _names_of_classes():
                return super().instantiate(*args, **kwargs)
        except ValueError as error:
            refusal = re.search(r"Errors:\s+- (.*?)\s+- Expected a <class 'NoneType'>", str(error), re.DOTALL)
            if refusal is None:
                raise
            raise InputError(" ".join(refusal[1].split())) from error

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise an error of one sentence, where jsonargparse would print its message and exit."""
        raise InputError(error_sentence(self, message)) from ex


@contextmanager
def _names_of_classes() -> Iterator[None]:
    """Look classes up by name without regard to what else is in memory.

    A name is that of pyrovae's class, also after a package with a class of the same name was imported, as torchvision
    has an ``MLP``. A class whose module cannot be imported again is passed over without a warning.
    """
    find = _typehints.get_all_subclass_paths
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*Hit failing import")
        _typehints.get_all_subclass_paths = lambda base, **options: _prefer_own(base, find(base, **options))
        try:
            yield
        finally:
            _typehints.get_all_subclass_paths = find


def _prefer_own(base: Any, paths: list[str]) -> list[str]:
    own = [path for path in paths if path.startswith("pyrovae.") and is_of_family(base, locate(path))]
    names = {path.rpartition(".")[2] for path in own}
    return [path for path in paths if path in own or path.rpartition(".")[2] not in names]


def _frozen(value: Any) -> Any:
    """Return a hashable object that is equal for options that are parsed alike."""
    if isinstance(value, Namespace | dict):
        items = vars(value) if isinstance(value, Namespace) else value
        return type(value), tuple((name, _frozen(part)) for name, part in items.items())
    if isinstance(value, list | tuple):
        return type(value), tuple(map(_frozen, value))
    if isinstance(value, bool | int | float | complex):
        return type(value), repr(value)  # 0.0 and -0.0 differ
    return (type(value), value) if isinstance(value, Hashable) else (type(value), id(value))


def _offered_words(hint: Any) -> list[str]:
    """Return the words that an option accepts; none if it accepts booleans."""
    parts = typing.get_args(hint)
    if bool in parts:
        return []
    if typing.get_origin(hint) is typing.Literal:
        return [part for part in parts if isinstance(part, str)]
    return [word for part in parts for word in _offered_words(part)]
