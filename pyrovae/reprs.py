"""One-line representations of results."""

from __future__ import annotations

from typing import Any

__all__ = ["short_repr"]


def short_repr(thing: object, **figures: Any) -> str:
    """Return an object's class and some values in one line; floats have five digits, and None is left out.

    Example:
        >>> short_repr(object(), nll=93.123456, method="importance", check=None)
        "object(nll=93.123, method='importance')"
    """
    shown = (
        f"{name}={f'{value:.5g}' if isinstance(value, float) else repr(value)}"
        for name, value in figures.items()
        if value is not None
    )
    return f"{type(thing).__name__}({', '.join(shown)})"
