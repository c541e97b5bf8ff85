"""One clear sentence for every bad input: the argument, what was given, what would be accepted."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from torch.distributions import constraints

__all__ = ["InputError", "choice", "class_of", "integer", "number", "reason", "seed", "set_name", "shape"]


class InputError(ValueError):
    """Say in one sentence what was given, for which argument, and what would be accepted.

    The command line prints the sentence and exits with status 2; everything else that is
    raised is a defect of the program and keeps its traceback.
    """


def integer(name: str, value: Any, minimum: int = 1) -> int:
    """Return ``value`` if it is an integer of at least ``minimum``.

    Raises:
        InputError: otherwise.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise InputError(f"{name} must be an integer of at least {minimum}, but {value!r} was given")
    return value


def number(
    name: str, value: Any, minimum: float = 0.0, maximum: float = math.inf, *, open_below: bool = False
) -> float:
    """Return ``value`` as a float if it is finite and within ``[minimum, maximum]``.

    Args:
        open_below: exclude ``minimum`` itself.

    Raises:
        InputError: otherwise.
    """
    valid = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not valid or not (minimum < value if open_below else minimum <= value) or value > maximum:
        relation = "above" if open_below else "of at least"
        bound = "" if maximum == math.inf else f" and at most {maximum:g}"
        raise InputError(f"{name} must be a finite number {relation} {minimum:g}{bound}, but {value!r} was given")
    return float(value)


def choice(name: str, value: Any, options: Iterable[str]) -> str:
    """Return ``value`` if it is one of ``options``.

    Raises:
        InputError: otherwise.
    """
    options = list(options)
    if value not in options:
        raise InputError(f"{name} must be one of {', '.join(options)}, but {value!r} was given")
    return str(value)


def shape(name: str, value: Any, *, dims: int | None = None) -> tuple[int, ...]:
    """Return a shape, given as one positive integer or a non-empty sequence of them, as a tuple.

    Args:
        dims: how many dimensions it must have, if that is known.

    Raises:
        InputError: otherwise.
    """
    sizes: Sequence[Any] = (value,) if isinstance(value, int) else value
    valid = isinstance(sizes, Sequence) and not isinstance(sizes, str) and len(sizes) > 0
    if not valid or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in sizes):
        raise InputError(
            f"{name} must be a shape of positive integers, such as (1, 28, 28) or (64,), but {value!r} was given"
        )
    if dims is not None and len(sizes) != dims:
        raise InputError(f"{name} must have {dims} dimensions, but {tuple(sizes)} was given")
    return tuple(sizes)


def seed(value: Any, name: str = "seed") -> int:
    """Return ``value`` if every generator in use, NumPy's being the narrowest, takes it as its seed.

    Raises:
        InputError: otherwise.
    """
    if isinstance(value, int) and value >= 2**32:
        raise InputError(f"{name} must be an integer from 0 to {2**32 - 1}, but {value!r} was given")
    return integer(name, value, minimum=0)


def reason(error: BaseException) -> str:
    """Return an error's message as the end of a sentence: one line, its first sentence, without a full stop.

    Example:
        >>> reason(OSError("cannot be read. Try again."))
        'cannot be read'
    """
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if problem and mark:  # YAML's, whose message quotes the file over several lines
        return f"{problem} (line {mark.line + 1})"
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyError):
        return f"it lacks {text}"
    return re.split(r"\.\s+(?=[A-Z])", text)[0].rstrip(".: ")[:300]


def set_name(constraint: constraints.Constraint) -> str:
    """Name the set that a constraint describes, for a sentence.

    Example:
        >>> from torch.distributions import constraints
        >>> set_name(constraints.unit_interval), set_name(constraints.real_vector)
        ('[0, 1]', 'Real vectors')
    """
    if isinstance(constraint, constraints.independent):
        return f"{set_name(constraint.base_constraint)} vectors"
    if isinstance(constraint, constraints.interval):
        return f"[{constraint.lower_bound:g}, {constraint.upper_bound:g}]"
    return str(constraint).removesuffix("()")


def class_of(factory: Any) -> type | None:
    """Return the class that a factory makes: itself, or what a ``functools.partial`` of any depth is made of.

    Example:
        >>> from functools import partial
        >>> class_of(partial(dict, a=1)).__name__
        'dict'
    """
    if isinstance(factory, type):
        return factory
    if not isinstance(factory, partial):
        return None
    # jsonargparse's partials have the class as their first argument.
    return class_of(factory.func) or next((part for part in factory.args if isinstance(part, type)), None)
