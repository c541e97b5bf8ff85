"""State of programs outside of tensors: weight decay of networks, and Python values that a recording would freeze."""

from __future__ import annotations

import random
import sys
from argparse import Namespace
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import count
from types import CellType, CodeType, FunctionType, GeneratorType, MethodType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["python_state", "weight_decays"]

_MAX_OBJECTS = 200_000  # objects that are visited, which takes a second
_LARGE = 2**20  # bytes of an array above which its values are not compared
_NAMESPACES = (SimpleNamespace, Namespace)
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_CONTAINERS = (list, tuple, set, frozenset, deque)
_OF_TORCH = {"_parameters", "_buffers", "_modules"}  # a recording reads these at each step


def weight_decays(modules: Sequence[nn.Module]) -> list[tuple[Tensor, float]]:
    """Return pairs of a weight (not a bias) and the ``weight_decay`` of its network, where that is positive."""
    decays: dict[Tensor, float] = {}
    for owner in modules:
        for module in owner.modules():  # from the outside inwards, so that the innermost module decides
            decay = getattr(module, "weight_decay", 0.0)
            if isinstance(decay, int | float) and decay > 0:
                decays |= {weight: decay for weight in module.parameters() if weight.dim() > 1}
    return list(decays.items())


def python_state(*roots: Any) -> list[Any] | None:
    """List the numbers, strings and tensors that programs use in Python, whose values a recording would freeze.

    They are found in attributes of modules and other objects, closures, globals, imported modules, defaults,
    containers, iterators and generators; states of random number generators are included. Of objects of installed
    libraries, such as distributions, only namespaces are searched; of the others the identity counts.

    Of parameters and buffers, only the identity counts, since a recording reads their values at each step.

    Args:
        roots: programs and modules.

    Returns:
        a list to compare with a later one, or None if there are too many objects.

    Example:
        >>> def counting(counter):
        ...     def model(x):
        ...         counter["step"] += 1
        ...     return model
        >>> model = counting({"step": 0})
        >>> before = python_state(model)
        >>> python_state(model) == before
        True
        >>> model(None)
        >>> python_state(model) == before
        False
    """
    numpys = np.random.get_state(legacy=False)["state"]  # noqa: NPY002 - a program may use NumPy's global generator
    found: list[Any] = [hash(random.getstate()), hash(numpys["key"].tobytes()), numpys["pos"]]
    seen: set[int] = set()
    kept: list[Any] = []  # kept alive, so that ids are unique
    waiting: list[Any] = list(reversed(roots))
    while waiting:
        if len(seen) > _MAX_OBJECTS:
            return None
        thing = waiting.pop()
        if isinstance(thing, _PLAIN):
            found.append(repr(thing))
            continue
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        kept.append(thing)
        if isinstance(thing, Tensor):
            found.append(_Version(thing, -1 if thing.is_inference() else thing._version))
        elif isinstance(thing, np.ndarray):
            found.append(hash(thing.tobytes()) if thing.nbytes <= _LARGE else id(thing))
        elif (state := _random_state(thing)) is not None:
            found.append(state)
        else:
            if isinstance(thing, nn.Module):
                found += [_Version(held, 0) for held in (*thing._parameters.values(), *thing._buffers.values())]
            inner = list(_inner(thing))
            found.append((type(thing).__name__, len(inner)) if inner else _Version(thing, 0))
            waiting += reversed(inner)
    return found


@dataclass
class _Version:
    """Identity of an object, and version of a tensor, which tells of changes in place."""

    thing: Any
    version: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Version) and self.thing is other.thing and self.version == other.version


def _random_state(thing: Any) -> int | str | None:
    """Return the state of a random number generator or an iterator; None for other objects."""
    if isinstance(thing, random.Random):
        return hash(thing.getstate())
    if isinstance(thing, np.random.Generator):
        return str(thing.bit_generator.state)
    if isinstance(thing, torch.Generator):
        return hash(bytes(thing.get_state().tolist()))
    if isinstance(thing, count):
        return repr(thing)
    if type(thing).__module__ == "builtins" and isinstance(thing, Iterator) and not isinstance(thing, GeneratorType):
        return _position(*thing.__reduce__()[1:])
    return None


def _position(arguments: tuple[Any, ...], *state: Any) -> str:
    """Describe where an iterator is, by what it reduces to; of a range, that is the rest from Python 3.12 on."""
    sizes = [
        len(each) if isinstance(each, list) else each for each in arguments if isinstance(each, int | list | range)
    ]
    return str((sizes, state))


def _inner(thing: Any) -> Iterator[Any]:
    """Yield the objects that an object refers to."""
    if isinstance(thing, Mapping):
        yield from thing.keys()
        yield from thing.values()
    elif isinstance(thing, _CONTAINERS):
        yield from thing
    elif isinstance(thing, MethodType):
        yield from (thing.__func__, thing.__self__)
    elif isinstance(thing, partial):
        yield from (*thing.args, *thing.keywords.values(), thing.func)
    elif isinstance(thing, FunctionType):
        yield from _of_function(thing)
    elif isinstance(thing, GeneratorType):
        yield from () if thing.gi_frame is None else (thing.gi_frame.f_lasti, *thing.gi_frame.f_locals.values())
    elif isinstance(thing, ModuleType):
        yield from () if _is_of_a_library(thing.__name__) else vars(thing).values()
    elif isinstance(thing, nn.Module):
        yield from thing.children()
        yield from (value for name, value in vars(thing).items() if name not in _OF_TORCH)
        yield from _of_class(type(thing))
    elif isinstance(thing, type):
        yield from _of_class(thing)
    elif isinstance(thing, _NAMESPACES):
        yield from vars(thing).values()
    elif not _is_of_a_library(type(thing).__module__):
        yield from getattr(thing, "__dict__", {}).values()
        yield from (getattr(thing, name, None) for kind in type(thing).__mro__ for name in _slots(kind))
        yield from _of_class(type(thing))
    elif hasattr(thing, "__wrapped__"):
        yield thing.__wrapped__


def _of_function(function: FunctionType) -> Iterator[Any]:
    """Yield the objects that a function uses: closure, defaults, attributes, and the globals that it names."""
    yield from (cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell))
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    yield from vars(function).values()
    if not _is_of_a_library(function.__module__):
        for name in _names(function.__code__):
            if name in function.__globals__:
                yield function.__globals__[name]
            elif name in sys.modules:  # imported within the function
                yield sys.modules[name]


def _of_class(kind: type) -> Iterator[Any]:
    """Yield the attributes of classes outside of libraries, which may be counters, or methods that change some."""
    for base in kind.__mro__:
        if not _is_of_a_library(base.__module__):
            for value in vars(base).values():
                yield value.fget if isinstance(value, property) else getattr(value, "__func__", value)


def _slots(kind: type) -> Sequence[str]:
    slots = vars(kind).get("__slots__", ())
    return [slots] if isinstance(slots, str) else list(slots)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


@cache
def _is_of_a_library(module: str | None) -> bool:
    """Tell whether a module is Python's own, pyrovae's, or installed."""
    root = (module or "builtins").split(".")[0]
    if root in sys.stdlib_module_names or root == "pyrovae":
        return root != "__main__"
    found = sys.modules.get(root)
    places = [getattr(found, "__file__", None) or "", *getattr(found, "__path__", [])]
    return any("site-packages" in place or "dist-packages" in place for place in places)


def _is_filled(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
