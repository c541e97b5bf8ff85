"""Suggestions of similar names for names that do not exist."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from jsonargparse import ArgumentParser

from pyrovae import checks
from pyrovae.parsing.classes import default_name, is_factory, known_classes, passed_types

__all__ = ["nearest", "nearest_options"]

_CUTOFF = 0.6  # default of difflib: similar in more than half of the letters


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the most similar name, ignoring case, or None if no name is similar.

    Example:
        >>> nearest("vampPrio", ["StandardNormal", "VampPrior"])
        'VampPrior'
    """
    lower = {known.lower(): known for known in names}
    found = difflib.get_close_matches(name.lower(), lower, 1, _CUTOFF)
    return lower[found[0]] if found else None


def nearest_options(parser: ArgumentParser, name: str) -> list[str]:
    """Return the parser's options of a name, also those of components, or else the most similar option.

    Options of default classes are preferred.

    Args:
        parser: parser whose options are searched, with those of the classes that can be chosen.
        name: name without dashes.

    Returns:
        up to three names without dashes.
    """
    name = name.replace("-", "_")
    by_default, all_options = (list(dict.fromkeys(_options(parser, others))) for others in (False, True))
    for options in (by_default, all_options):
        same = [option for option in options if option.rpartition(".")[2] == name]
        if same:
            depth = min(option.count(".") for option in same)
            return [option for option in same if option.count(".") == depth][:3]
    similar = nearest(name, by_default) or nearest(name, all_options)
    return [similar] if similar else []


def _options(parser: ArgumentParser, others: bool) -> Iterator[str]:
    """Yield the names of all options; those of components are preceded by the component's name and a dot.

    Args:
        parser: the parser.
        others: True to include the options of all classes that can be chosen, False for the default class only.
    """
    for action in parser._actions:
        if action.option_strings and not action.dest.endswith(".help"):
            yield action.dest
    for action in parser._actions:
        hint = getattr(action, "_typehint", None)
        for kind in known_classes(hint):
            if others or kind.__name__ == default_name(action.default):
                yield from _options_of(kind, hint, action.dest)


def _options_of(kind: type, hint: Any, name: str) -> Iterator[str]:
    """Yield the names of the options of a class and of its default components."""
    try:
        parameters = list(inspect.signature(kind, eval_str=True).parameters.values())
    except (NameError, TypeError, ValueError):  # names for type checkers only, or no signature
        return
    for parameter in parameters[len(passed_types(hint)) :]:
        yield f"{name}.{parameter.name}"
        default = checks.class_of(parameter.default)
        if default is not None and is_factory(parameter.annotation):
            yield from _options_of(default, parameter.annotation, f"{name}.{parameter.name}")
