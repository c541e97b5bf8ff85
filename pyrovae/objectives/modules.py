"""What a step asks of the programs: which weights decay, and which Python values a recording would freeze."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, cycle
from types import CellType, CodeType, FunctionType, GeneratorType, MethodType
from typing import Any

import numpy as np
from torch import Tensor, nn

__all__ = ["decays_of", "state_in_python"]

_MOST = 10_000  # values that are looked at; a program of a thousand layers has fewer
_LIBRARIES = {"torch", "pyro", "numpy", "pyrovae", "builtins", "functools", "contextlib", "collections", "typing"}
_OF_TORCH = {"_parameters", "_buffers", "_modules"}  # what a recording reads anew at each step


def decays_of(modules: Sequence[nn.Module]) -> list[tuple[Tensor, float]]:
    """Pair each weight (biases are none) with the ``weight_decay`` of its network, where that has any."""
    decays: dict[Tensor, float] = {}
    for owner in modules:
        for module in owner.modules():  # the outer ones come first, so that the innermost decides
            decay = getattr(module, "weight_decay", 0.0)
            if isinstance(decay, int | float) and decay > 0:
                decays |= {weight: decay for weight in module.parameters() if weight.dim() > 1}
    return list(decays.items())


def state_in_python(*roots: Any) -> list[Any]:
    """List the numbers, words and tensors that programs reach in Python, which a recording would freeze.

    They are found in attributes of modules and of other objects, in closures, globals, defaults, containers and
    generators; the states of Python's and NumPy's generators of random numbers are among them. Library code is not
    looked into.

    Args:
        roots: programs and modules.

    Example:
        >>> counter = {"step": 0}
        >>> def model(x):
        ...     counter["step"] += 1
        >>> before = state_in_python(model)
        >>> state_in_python(model) == before
        True
        >>> model(None)
        >>> state_in_python(model) == before
        False
    """
    numpys = np.random.get_state(legacy=False)["state"]  # noqa: NPY002 - a program may use NumPy's global generator
    found: list[Any] = [hash(random.getstate()), hash(numpys["key"].tobytes()), numpys["pos"]]
    seen: set[int] = set()
    kept: list[Any] = []  # alive, so that no two things have one id
    waiting: list[Any] = list(reversed(roots))
    while waiting and len(seen) < _MOST:
        thing = waiting.pop()
        if isinstance(thing, bool | int | float | complex | str | bytes | None):
            found.append(repr(thing))
            continue
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        kept.append(thing)
        if isinstance(thing, Tensor):
            found.append(_Version(thing, thing._version))
        elif isinstance(thing, np.ndarray):
            found.append(hash(thing.tobytes()))
        elif isinstance(thing, count | cycle):
            found.append(repr(thing))
        else:
            inner = list(_inner(thing))
            found.append((type(thing).__name__, len(inner)))
            waiting += reversed(inner)
    return found


@dataclass
class _Version:
    """A tensor as it was: the same object, not changed in place since."""

    tensor: Tensor
    version: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Version) and self.tensor is other.tensor and self.version == other.version


def _inner(thing: Any) -> Iterator[Any]:
    """Yield what a thing holds."""
    if isinstance(thing, Mapping):
        yield from thing.keys()
        yield from thing.values()
    elif isinstance(thing, list | tuple | set | frozenset):
        yield from thing
    elif isinstance(thing, MethodType):
        yield from (thing.__func__, thing.__self__)
    elif isinstance(thing, partial):
        yield from (*thing.args, *thing.keywords.values(), thing.func)
    elif isinstance(thing, FunctionType):
        yield from (cell.cell_contents for cell in thing.__closure__ or () if _is_filled(cell))
        yield from thing.__defaults__ or ()
        if not _is_of_a_library(thing):
            yield from (thing.__globals__[name] for name in _names(thing.__code__) if name in thing.__globals__)
    elif isinstance(thing, GeneratorType):
        yield from () if thing.gi_frame is None else (thing.gi_frame.f_lasti, *thing.gi_frame.f_locals.values())
    elif isinstance(thing, nn.Module):
        yield from thing.children()
        yield from (value for name, value in vars(thing).items() if name not in _OF_TORCH)
        yield from _of_class(type(thing))
    elif not isinstance(thing, type) and hasattr(thing, "__dict__") and not _is_of_a_library(type(thing)):
        yield from vars(thing).values()
        yield from _of_class(type(thing))
    elif isinstance(thing, type):
        yield from _of_class(thing)
    elif hasattr(thing, "__wrapped__"):
        yield thing.__wrapped__


def _of_class(kind: type) -> Iterator[Any]:
    """Yield the values of the attributes of classes that are not a library's: a counter may be one."""
    for base in kind.__mro__:
        if not _is_of_a_library(base):
            yield from (value for value in vars(base).values() if not isinstance(value, property | classmethod))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_of_a_library(thing: Any) -> bool:
    return (getattr(thing, "__module__", None) or "builtins").split(".")[0] in _LIBRARIES


def _is_filled(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
