"""Suggestions of similar names for names that do not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from jsonargparse import ArgumentParser

from pyrovae.parsing.options import options_of

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
    by_default, all_options = (
        list(dict.fromkeys(option for option, _ in options_of(parser, others))) for others in (False, True)
    )
    for options in (by_default, all_options):
        same = [option for option in options if option.rpartition(".")[2] == name]
        if same:
            depth = min(option.count(".") for option in same)
            return [option for option in same if option.count(".") == depth][:3]
    similar = nearest(name, by_default) or nearest(name, all_options)
    return [similar] if similar else []
