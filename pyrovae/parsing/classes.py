"""Classes that can be chosen for an option."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

from jsonargparse import Namespace

__all__ = [
    "base_of",
    "class_names",
    "default_name",
    "is_factory",
    "is_of_family",
    "known_classes",
    "passed_types",
    "takes_class",
]


def known_classes(hint: Any) -> list[type]:
    """List the imported classes that can be chosen by name for an option, in the order of their definition.

    Args:
        hint: type of the option, such as ``Callable[[int], Prior]``, which asks for a subclass of ``Prior``.

    Example:
        >>> from collections.abc import Callable
        >>> found = known_classes(Callable[[int], Prior])
        >>> StandardNormal in found, Bernoulli in found
        (True, False)
    """
    base, accepted = _asked_for(hint)
    if base is None or accepted is None:
        return []  # an activation: torch.nn has too many to list
    found = (kind for kind in _subclasses(base) if not inspect.isabstract(kind) and _is_public(kind))
    if base.__module__.startswith("torch.nn"):  # pyrovae's own modules, except those of another family
        found = (kind for kind in found if kind.__module__.startswith("pyrovae.") and is_of_family(base, kind))
        found = (kind for kind in found if _takes_no_more(kind, accepted))
    return list({kind.__name__: kind for kind in found if _takes(kind, accepted)}.values())


def class_names(hint: Any) -> list[str]:
    """Return the names of :func:`known_classes`, sorted."""
    return sorted(kind.__name__ for kind in known_classes(hint))


def base_of(hint: Any) -> type | None:
    """Return the class whose subclasses are accepted by a type, or None."""
    return _asked_for(hint)[0]


def passed_types(hint: Any) -> list[Any]:
    """Return the types of the arguments that a chosen class is called with, which are not options."""
    return _asked_for(hint)[1] or []


def takes_class(hint: Any) -> bool:
    """Return whether a type accepts a class, an object of a class that is named, or a function that makes one."""
    return typing.get_origin(_without_none(hint)) is type or _is_abstract(_without_none(hint)) or is_factory(hint)


def default_name(default: Any) -> str | None:
    """Return the name of the default class of an option, or None."""
    if isinstance(default, dict | Namespace):  # as stored by jsonargparse
        default = default["class_path"]
    return None if default is None else getattr(default, "__name__", str(default)).rpartition(".")[2]


def is_factory(hint: Any) -> bool:
    """Return whether a type accepts a function that makes a component, not a function of numbers."""
    hint = _without_none(hint)
    made = typing.get_args(hint)[-1] if typing.get_origin(hint) is Callable and typing.get_args(hint) else None
    return _is_class(made) and made.__module__ not in ("builtins", "torch")


def _is_class(hint: Any) -> TypeGuard[type]:
    return isinstance(hint, type) and typing.get_origin(hint) is None  # in Python 3.10, list[int] is an object of type


def _is_abstract(hint: Any) -> bool:
    return _is_class(hint) and inspect.isabstract(hint)


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint
    return next(part for part in typing.get_args(hint) if part is not type(None))


def _asked_for(hint: Any) -> tuple[type | None, list[Any] | None]:
    """Return the class that a type accepts and the types of its arguments, None for the arguments of ``type[...]``."""
    hint = _without_none(hint)
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is type:
        return arguments[0], None
    if _is_abstract(hint):  # an object of a subclass, made of its options alone
        return hint, []
    if not arguments or not _is_class(arguments[-1]):
        return None, None
    return arguments[-1], arguments[0] if isinstance(arguments[0], list) else list(arguments[:-1])


def _subclasses(base: type) -> Iterator[type]:
    children: list[type] = type.__subclasses__(base)
    for kind in children:
        yield kind
        yield from _subclasses(kind)


def _is_public(kind: type) -> bool:
    return not kind.__name__.startswith("_") and "<locals>" not in kind.__qualname__


def is_of_family(base: Any, kind: Any) -> bool:
    """Return whether a class of pyrovae is meant where a base class is asked for: a flow is no network."""
    family = any(map(inspect.isabstract, getattr(kind, "__mro__", ())))
    return not family or not getattr(base, "__module__", "").startswith("torch.nn")


def _takes(kind: type, accepted: list[Any]) -> bool:
    """Return whether the constructor of a class of pyrovae accepts these types; other classes are not checked."""
    if not accepted or not kind.__module__.startswith("pyrovae."):
        return True
    return [parameter.annotation for parameter in _parameters(kind)[: len(accepted)]] == accepted


def _takes_no_more(kind: type, accepted: list[Any]) -> bool:
    required = [parameter for parameter in _parameters(kind) if parameter.default is parameter.empty]
    return len(required) == len(accepted)


def _parameters(kind: type) -> list[inspect.Parameter]:
    return list(inspect.signature(kind, eval_str=True).parameters.values())
