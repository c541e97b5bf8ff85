"""Arguments that objects were constructed with, kept by the constructors of base classes, and written as options."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import PurePath
from pydoc import locate
from types import FrameType
from typing import Any

import numpy as np

from pyrovae import checks

__all__ = ["constructor_arguments", "import_path", "options_of", "record_arguments"]

_ATTRIBUTE = "_constructor_arguments"


class _Arguments:
    """Arguments by name, which stay behind where the object is pickled, because they may be unpicklable."""

    def __init__(self, of: type | None = None, by_name: Mapping[str, Any] | None = None) -> None:
        self.of, self.by_name = of, dict(by_name or {})

    def __deepcopy__(self, memo: Any) -> _Arguments:
        return self

    def __reduce__(self) -> tuple[type[_Arguments], tuple[()]]:
        return _Arguments, ()


def record_arguments(made: Any) -> None:
    """Keep the arguments of the constructor that runs, in the object; call it in the constructor of a base class.

    The arguments are those of the object's own class, which has called the base class's constructor. If it has not, but
    something in between, nothing is kept.

    Args:
        made: the object, ``self``.

    Example:
        >>> class Base:
        ...     def __init__(self):
        ...         record_arguments(self)
        >>> class Derived(Base):
        ...     def __init__(self, size, *, name="x"):
        ...         super().__init__()
        >>> constructor_arguments(Derived(3))
        {'size': 3, 'name': 'x'}
    """
    code = getattr(inspect.unwrap(type(made).__init__), "__code__", None)
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name == "__init__" and frame.f_code is not code:
        frame = frame.f_back
    if frame is None or frame.f_code is not code or frame.f_code.co_flags & inspect.CO_VARARGS:
        return
    names = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    by_name = {name: frame.f_locals[name] for name in names}
    if code.co_flags & inspect.CO_VARKEYWORDS:
        by_name |= frame.f_locals[code.co_varnames[len(names) + 1]]
    made.__dict__[_ATTRIBUTE] = _Arguments(type(made), by_name)


def constructor_arguments(made: Any) -> dict[str, Any] | None:
    """Return the arguments that an object was constructed with, by name; None if they are not known.

    Example:
        >>> constructor_arguments(StandardNormal(3)), constructor_arguments(torch.nn.Linear(2, 3))
        ({'latent_dim': 3}, None)
    """
    kept = getattr(made, "__dict__", {}).get(_ATTRIBUTE)
    return dict(kept.by_name) if kept is not None and kept.of is type(made) else None


def import_path(kind: type) -> str:
    """Return the path that a class can be imported by.

    Raises:
        ValueError: if it cannot be imported, as a class of a notebook or a function cannot.

    Example:
        >>> import_path(StandardNormal)
        'pyrovae.priors.normal.StandardNormal'
    """
    path = f"{kind.__module__}.{kind.__qualname__}"
    if kind.__module__ == "__main__":
        raise checks.InputError(
            f"program must be made of classes that can be imported, but {kind.__qualname__} is defined in a script or "
            "a notebook: move it into a module"
        )
    if "<locals>" in path or locate(path) is not kind:
        raise checks.InputError(
            f"program must be made of classes that can be imported, but {kind.__qualname__} cannot be by {path}: move "
            "it into a module"
        )
    return path


def options_of(name: str, value: Any) -> Any:
    """Return a value as options in a configuration: numbers, strings, classes, and partials of classes.

    Args:
        name: what it is, for messages.
        value: the value.

    Raises:
        ValueError: if it is something else.

    Example:
        >>> options_of("network", partial(MLP, hidden_features=(16,)))
        {'class_path': 'pyrovae.networks.mlp.MLP', 'init_args': {'hidden_features': [16]}}
    """
    if isinstance(value, bool | int | float | str | None):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, list | tuple):
        return [options_of(name, part) for part in value]
    if isinstance(value, Mapping):
        return {key: options_of(f"{name}.{key}", part) for key, part in value.items()}
    if isinstance(value, type):
        return import_path(value)
    if isinstance(value, partial) and isinstance(value.func, type) and not value.args:
        options = {key: options_of(f"{name}.{key}", part) for key, part in value.keywords.items()}
        return {"class_path": import_path(value.func), "init_args": options}
    given = getattr(value, "__qualname__", None) or f"an object of class {type(value).__name__}"
    raise checks.InputError(
        f"{name} must be a number, a string, a class or a functools.partial of a class with named arguments to be "
        f"saved, but {given} was given"
    )
