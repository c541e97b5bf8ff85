"""Options of a parser, with those of the classes that they take."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from jsonargparse import ArgumentParser

from pyrovae import checks
from pyrovae.parsing.classes import default_name, is_factory, known_classes, passed_types, takes_class

__all__ = ["options_of"]


def options_of(parser: ArgumentParser, others: bool) -> Iterator[tuple[str, Any]]:
    """Yield the name and type of each option; options of components are preceded by the component's name and a dot.

    Args:
        parser: the parser.
        others: whether to include the options of all classes that can be chosen, or of the default classes only.
    """
    actions = [action for action in parser._actions if not action.dest.endswith(".help")]
    for action in actions:
        if action.option_strings:
            yield action.dest, getattr(action, "_typehint", None)
    for action in actions:
        hint = getattr(action, "_typehint", None)
        for kind in known_classes(hint) if takes_class(hint) else ():
            if others or kind.__name__ == default_name(action.default):
                yield from _options_of_class(kind, hint, action.dest)


def _options_of_class(kind: type, hint: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the names and types of the options of a class and of its default components."""
    try:
        parameters = list(inspect.signature(kind, eval_str=True).parameters.values())
    except (NameError, TypeError, ValueError):  # names for type checkers only, or no signature
        return
    for parameter in parameters[len(passed_types(hint)) :]:
        yield f"{name}.{parameter.name}", parameter.annotation
        default = checks.class_of(parameter.default)
        if default is not None and is_factory(parameter.annotation):
            yield from _options_of_class(default, parameter.annotation, f"{name}.{parameter.name}")
