"""Checks of what was read from JSON: which fields a mapping must have, and of which kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["COUNT", "FLAG", "NUMBER", "REAL", "TEXT", "Each", "Fields", "Kind", "check_fields", "optional", "or_null"]


@dataclass(frozen=True)
class Kind:
    """A kind of values: its description, and a function that tells whether a value is one."""

    accepted: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Each:
    """A list of values of one kind, or a mapping to them."""

    container: type
    of: Kind | Each | Fields


@dataclass(frozen=True)
class OrNull:
    """A value that may be null; if it is ``optional``, it may be missing too."""

    of: Kind | Each | Fields
    optional: bool


Fields: TypeAlias = "Mapping[str, Kind | Each | OrNull | Fields]"


def _is_integer(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= 1e100  # also not NaN; figures of larger ones overflow


NUMBER = Kind("a finite number, of at most 1e100 in size", _is_number)
REAL = Kind("a number", lambda value: type(value) is float or _is_number(value))  # it may be NaN or infinite
COUNT = Kind("an integer from 0 to 2^63", _is_integer)
TEXT = Kind("text", lambda value: isinstance(value, str))
FLAG = Kind("true or false", lambda value: isinstance(value, bool))


def or_null(of: Kind) -> OrNull:
    """Return the kind of values that may be null."""
    return OrNull(of, optional=False)


def optional(of: Kind | Each | Fields) -> OrNull:
    """Return the kind of values that may be null, or missing."""
    return OrNull(of, optional=True)


def check_fields(found: Any, fields: Fields, place: str = "") -> None:
    """Raise an error unless a value that was read from JSON has certain fields.

    Args:
        found: the value.
        fields: what it must hold by name.
        place: names of the fields that it is in, for the message.

    Raises:
        ValueError: if a field is missing or of another kind.

    Example:
        >>> check_fields({"elbo": -80.5, "num_data": "many"}, {"elbo": NUMBER, "num_data": COUNT})
        Traceback (most recent call last):
        ...
        ValueError: 'num_data' must be an integer from 0 to 2^63, but is 'many'
    """
    if not isinstance(found, dict):
        raise ValueError(f"{repr(place) if place else 'it'} must hold values by name, but is {_short(found)}")
    for key, kind in fields.items():
        name = f"{place}.{key}" if place else key
        if isinstance(kind, OrNull):
            if (key in found or kind.optional) and found.get(key) is None:
                continue
            kind = kind.of
        if key not in found:
            raise ValueError(f"it lacks {name!r}")
        _check(found[key], kind, name)


def _check(value: Any, kind: Kind | Each | Fields, name: str) -> None:
    if isinstance(kind, Kind):
        if not kind.holds(value):
            raise ValueError(f"{name!r} must be {kind.accepted}, but is {_short(value)}")
    elif isinstance(kind, Each):
        if not isinstance(value, kind.container) or not isinstance(value, dict | list):
            raise ValueError(f"{name!r} must be a {kind.container.__name__}, but is {_short(value)}")
        parts: Any = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            _check(part, kind.of, f"{name}.{key}")
    else:
        check_fields(value, kind, name)


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        text = "a huge integer"
    return text if len(text) <= 60 else f"{text[:60]}..."
