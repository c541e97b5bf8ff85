"""Representations of results: in one line, and as numbers for JSON."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["json_number", "short_repr"]


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


def json_number(value: float | None) -> float | None:
    """Return a finite number, or None for an unknown or infinite one, which JSON cannot represent.

    Example:
        >>> json_number(1.5), json_number(float("nan")), json_number(None)
        (1.5, None, None)
    """
    return value if value is not None and math.isfinite(value) else None
