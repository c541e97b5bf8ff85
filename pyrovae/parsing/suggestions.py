"""The name that was meant by one that does not exist."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from jsonargparse import ArgumentParser

from pyrovae import checks
from pyrovae.parsing.classes import default_name, given_to, is_factory, known_classes

__all__ = ["nearest", "nearest_options"]

_CUTOFF = 0.6  # difflib's own: similar in more than half of the letters


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the name that is most similar, whatever its case, if one is similar.

    Example:
        >>> nearest("vampPrio", ["StandardNormal", "VampPrior"])
        'VampPrior'
    """
    lower = {known.lower(): known for known in names}
    found = difflib.get_close_matches(name.lower(), lower, 1, _CUTOFF)
    return lower[found[0]] if found else None


def nearest_options(parser: ArgumentParser, name: str) -> list[str]:
    """Return the parser's options of that name, be they a component's, or the one that is most similar.

    Options of the classes that are taken by default come before those of others.

    Args:
        parser: whose options are searched, with those of the classes that they can be given.
        name: without dashes.

    Returns:
        up to three, without dashes.
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
    """Name all options, those of components by the component's name and a dot.

    Args:
        others: whether options are named of all classes that a component can be given, or of the default class alone.
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
    """Name the options of a class that a component can be given, with those of what it takes by default."""
    try:
        parameters = list(inspect.signature(kind, eval_str=True).parameters.values())
    except (NameError, TypeError, ValueError):  # names that only a type checker knows, or no signature
        return
    for parameter in parameters[len(given_to(hint)) :]:
        yield f"{name}.{parameter.name}"
        default = checks.class_of(parameter.default)
        if default is not None and is_factory(parameter.annotation):
            yield from _options_of(default, parameter.annotation, f"{name}.{parameter.name}")
