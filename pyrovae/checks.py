"""Checks of arguments: one sentence for bad input, with the argument, the value given, and what is accepted."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch.distributions import constraints

__all__ = [
    "InputError",
    "choice",
    "class_of",
    "constraint_name",
    "find_input_error",
    "instance",
    "integer",
    "integers",
    "make",
    "number",
    "reason",
    "same_constraint",
    "seed",
    "shape",
]

T = TypeVar("T")


# Messages of torch and Pyro that quote whole tensors, and shorter forms of them.
_SHORTER_MESSAGES = [
    (r"^Error while computing \w+ at site ('.*?'): ?", r"at site \1, "),
    (
        r"Expected value argument \(.*?\) to be within the support \((.*?)\) of the distribution (\w+)\(.*",
        r"values must lie in \1, the support of \2",
    ),
    (
        r"Expected parameter (\w+) \(.*?\) of distribution (\w+)\(.*?\) to satisfy the constraint (.*?), but found .*",
        r"parameter \1 of \2 must satisfy \3",
    ),
]


class InputError(ValueError):
    """Bad input: one sentence with the argument, the value given, and what would be accepted.

    The command line prints the sentence and exits with status 2. Any other exception is a
    defect of the program and keeps its traceback.
    """


def integer(name: str, value: Any, minimum: int = 1) -> int:
    """Return ``value`` if it is an integer of at least ``minimum``.

    Raises:
        InputError: otherwise.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise InputError(f"{name} must be an integer of at least {minimum}, but {value!r} was given")
    return value


def integers(name: str, values: Any, minimum: int = 1) -> tuple[int, ...]:
    """Return ``values`` as a tuple if they are a sequence of integers of at least ``minimum``; it may be empty.

    Raises:
        InputError: otherwise.
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InputError(f"{name} must be a sequence of integers, such as (200, 200), but {values!r} was given")
    return tuple(integer(name, value, minimum) for value in values)


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
        bounds = [] if minimum == -math.inf else [f"{'above' if open_below else 'of at least'} {minimum:g}"]
        bounds += [] if maximum == math.inf else [f"at most {maximum:g}"]
        accepted = " ".join(("a finite number", " and ".join(bounds))).rstrip()
        raise InputError(f"{name} must be {accepted}, but {value!r} was given")
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
        dims: required number of dimensions; any number if None.

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
    """Return ``value`` if all generators in use accept it as a seed; NumPy's has the smallest range.

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
    if problem and mark:  # a YAML error, whose message quotes the file over several lines
        return f"{problem} (line {mark.line + 1})"
    text = (
        " ".join(str(error).partition("Trace Shapes:")[0].split()) or type(error).__name__
    )  # without what Pyro appends
    for pattern, shorter in _SHORTER_MESSAGES:
        text = re.sub(pattern, shorter, text)
    if isinstance(error, KeyError):
        return f"it lacks {text}"
    return re.split(r"\.\s+(?=[A-Z])", text)[0].rstrip(".: ")[:300]


def find_input_error(error: BaseException) -> InputError | None:
    """Return the first :class:`InputError` with an unchanged message, of an error, its cause, the cause of that, ...

    While Pyro traces a program, it wraps errors in others and appends shapes to their messages.
    """
    while not isinstance(error, InputError) or "Trace Shapes:" in str(error):
        if error.__cause__ is None:
            return None
        error = error.__cause__
    return error


def constraint_name(constraint: constraints.Constraint) -> str:
    """Describe a constraint's set in words, for messages.

    Example:
        >>> from torch.distributions import constraints
        >>> constraint_name(constraints.unit_interval), constraint_name(constraints.real_vector)
        ('[0, 1]', 'Real vectors')
    """
    from torch.distributions import constraints  # here, as PyTorch takes seconds to import

    if isinstance(constraint, constraints.independent):
        return f"{constraint_name(constraint.base_constraint)} vectors"
    if isinstance(constraint, constraints.interval):
        return f"[{constraint.lower_bound:g}, {constraint.upper_bound:g}]"
    return str(constraint).removesuffix("()")


def instance(name: str, value: T, base: type) -> T:
    """Return ``value`` if it is a ``base``.

    Raises:
        InputError: otherwise; also if the class ``base`` itself was given instead of an object.
    """
    if not isinstance(value, base):
        given = f"the class {value.__name__}" if isinstance(value, type) else _with_article(type(value))
        raise InputError(f"{name} must be {_with_article(base)}, but {given} was given")
    return value


def _with_article(kind: type) -> str:
    return f"{'an' if kind.__name__[0].lower() in 'aeio' else 'a'} {kind.__name__}"


def make(name: str, factory: Callable[..., T], base: type, *arguments: Any, like: str) -> T:
    """Make a component by calling its factory (usually a class), or raise if it does not make one.

    Args:
        name: name of the argument that holds the factory.
        factory: called with ``arguments``.
        base: class that the result must be an instance of.
        arguments: arguments of the factory.
        like: name of a factory that would be accepted, for the message.

    Raises:
        InputError: if the factory does not accept the arguments, or makes something else.

    Example:
        >>> make("network", torch.nn.Linear, torch.nn.Module, 3, 4, like="MLP")
        Linear(in_features=3, out_features=4, bias=True)
        >>> make("network", torch.nn.Linear(3, 4), torch.nn.Module, 3, 4, like="MLP")
        Traceback (most recent call last):
        ...
        pyrovae.checks.InputError: network must be a class that makes a Module of 3 and 4, such as MLP, but ...
    """
    kind = class_of(factory)
    given = _with_article(type(factory)) if kind is None else kind.__name__
    of = " of " + " and ".join(map(str, arguments)) if arguments else ""
    refusal = f"{name} must be a class that makes {_with_article(base)}{of}, such as {like}, but {given} was given"
    if kind is not None and inspect.isabstract(kind):
        raise InputError(f"{refusal}, which is abstract")
    if not callable(factory) or isinstance(factory, base):
        raise InputError(refusal)
    called: Any = factory
    given_ahead: tuple[Any, ...] = ()
    options: dict[str, Any] = {}
    if isinstance(factory, partial):
        called, options = kind or factory.func, factory.keywords
        given_ahead = (
            () if kind in factory.args else factory.args
        )  # the partials of jsonargparse have the class as first argument
    try:
        inspect.signature(called).bind(*given_ahead, *arguments, **options)
    except TypeError as error:
        raise InputError(f"{refusal} ({reason(error)})") from error
    except ValueError:  # a callable without a known signature
        pass
    try:
        made = factory(*arguments)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{name} {given} cannot be made: {reason(error)}") from error
    if not isinstance(made, base):
        raise InputError(f"{refusal}, which makes {_with_article(type(made))}")
    return made


def same_constraint(first: constraints.Constraint, second: constraints.Constraint) -> bool:
    """Tell whether two constraints describe the same set; they may be different objects.

    Example:
        >>> from torch.distributions import constraints
        >>> same_constraint(constraints.real_vector, constraints.independent(constraints.real, 1))
        True
    """
    return first is second or (type(first) is type(second) and constraint_name(first) == constraint_name(second))


def class_of(factory: Any) -> type | None:
    """Return the class that a factory makes: the factory itself, or the class inside nested ``functools.partial``.

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
