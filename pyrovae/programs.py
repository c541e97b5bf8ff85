"""Pyro programs: their arguments, their modules, and contexts to run them in."""

from __future__ import annotations

import inspect
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any, Literal, TypeAlias, get_args, get_type_hints
from weakref import WeakSet

import pyro
import torch
from pyro import poutine
from pyro.params.param_store import _MODULE_NAMESPACE_DIVIDER, StateDict
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.utils.data import Dataset

from pyrovae import checks, progress
from pyrovae.columns import Schema, is_frame
from pyrovae.construction import record_arguments
from pyrovae.rng import forked_rng
from pyrovae.tensors import as_tensor, is_data, parts_of_dataset

__all__ = [
    "Arguments",
    "Batch",
    "Program",
    "PyroFunction",
    "arguments_of",
    "concise_errors",
    "count_data",
    "data_shape_of",
    "mode",
    "modules_of",
    "parameter_dtype",
    "private_modules",
    "schema_of",
    "uses_labels",
]

PyroFunction: TypeAlias = Callable[..., Any]
"""A model or a guide: called with ``x`` of shape ``(B, *data_shape)``, it makes Pyro sample sites.

One whose second argument is named ``y`` is called with the labels too, int64 of shape ``(B,)``; see
:func:`uses_labels`.
"""

Arguments: TypeAlias = tuple[Tensor, ...]
"""Arguments of a program: ``(x,)`` or ``(x, y)``, with the B data of a batch along the first dimension of each."""

Batch: TypeAlias = Tensor | Arguments
"""Data as users give them: x alone, or the tuple ``(x, y)``."""


class Program(nn.Module, ABC):
    r"""A model :math:`p(x, z)` and a guide :math:`q(z|x)` as methods of one module, base of pyrovae's programs.

    The command line offers its subclasses as ``--program``, made of ``(data_shape, latent_dim, ...)``. In Python,
    :func:`~pyrovae.fit` and the others take any two callables. All sample sites lie in ``pyro.plate("data", len(x))``.

    A ``PyroModule``, whose metaclass differs, is declared a program with ``@Program.register`` above its class instead.

    Example:
        >>> class Factors(Program):
        ...     def __init__(self, data_shape: tuple[int, ...], latent_dim: int) -> None:
        ...         super().__init__()
        ...         self.decoder = torch.nn.Linear(latent_dim, *data_shape)
        ...         self.encoder = torch.nn.Linear(*data_shape, latent_dim)
        ...
        ...     def model(self, x: torch.Tensor) -> torch.Tensor:
        ...         pyro.module("factors", self)
        ...         with pyro.plate("data", len(x)):
        ...             prior = dist.Normal(torch.zeros(self.decoder.in_features), 1.0)
        ...             z = pyro.sample("z", prior.to_event(1))  # (B, D)
        ...             return pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)
        ...
        ...     def guide(self, x: torch.Tensor) -> torch.Tensor:
        ...         pyro.module("factors", self)
        ...         with pyro.plate("data", len(x)):
        ...             return pyro.sample("z", dist.Normal(self.encoder(x), 0.5).to_event(1))  # (B, D)
        >>> factors = Factors((6,), 2)
        >>> log_marginal(factors.model, factors.guide, torch.zeros(3, 6), num_samples=10).log_prob.shape
        torch.Size([3])
    """

    def __init__(self) -> None:
        super().__init__()
        record_arguments(self)

    @abstractmethod
    def model(self, x: Tensor) -> Any:
        """Sample the latents from their prior and observe ``x``, of shape ``(B, *data_shape)``.

        A model of labelled data takes ``y``, int64 of shape ``(B,)``, as its second argument.
        """

    @abstractmethod
    def guide(self, x: Tensor) -> Any:
        """Sample the same latents given ``x``, of shape ``(B, *data_shape)``, and the labels ``y`` if it takes them."""


def arguments_of(batch: Batch, *programs: PyroFunction) -> Arguments:
    """Return the arguments to call programs with, as a tuple of tensors.

    Arrays, data frames, lists of numbers and torch's data sets are converted to tensors, floats to the type of the
    programs' parameters, labels to int64. If the programs know the columns of a table, a data frame's columns are found
    by their names. Integers, except bytes, which are grey levels to be scaled, are converted to
    this type too where the programs cannot be run on integers, which a note says once for each program.

    Args:
        batch: x or (x, y), or a torch ``Dataset``, whose labels are used if the programs always take them.
        programs: the programs to call.

    Raises:
        ValueError: if x and y are not arrays of numbers with the same number of data, or a program takes other
            arguments.
    """
    given: Any = batch if isinstance(batch, tuple) else (batch,)
    if is_frame(given[0]) and (schema := schema_of(*filter(callable, programs))) is not None:
        given = (schema.to_tensor(given[0]), *given[1:])
    if isinstance(batch, Dataset):
        labelled = any(uses_labels(program) == "always" for program in programs if callable(program))
        given = parts_of_dataset("x", batch)[: 2 if labelled else 1]
    dtype = parameter_dtype(*filter(callable, programs))
    arguments = (*(as_tensor(name, part, dtype) for name, part in zip("xy", given, strict=False)), *given[2:])
    if len(arguments) == 2 and not arguments[1].is_floating_point():
        arguments = (arguments[0], arguments[1].long())
    for program in programs:
        if not callable(program):
            raise checks.InputError(f"model and guide must be functions of x, but {program!r} was given")
        uses = uses_labels(program)
        try:
            inspect.signature(_function_of(program)).bind(*arguments)
        except TypeError as error:
            wanted = {
                ("always", 1): "y must be given too, as in (x, y), for the program needs labels, but x alone was given",
                ("no", 2): "y must be left out, for the program takes no labels, but (x, y) was given",
            }.get((uses, len(arguments)))
            raise checks.InputError(
                wanted or f"model and guide must be functions of x, or of x and labels y: {checks.reason(error)}"
            ) from error
        except ValueError:  # a callable without a known signature
            pass
    counts = [len(part) for part in arguments]
    if len(set(counts)) > 1:
        raise checks.InputError(f"x and y must hold as many data each, but hold {counts[0]} and {counts[1]}")
    return arguments if dtype is None else _with_floats(arguments, dtype, programs)


_told: WeakSet[nn.Module] = WeakSet()  # programs of which a note has said that their integers are converted


def _with_floats(arguments: Arguments, dtype: torch.dtype, programs: tuple[PyroFunction, ...]) -> Arguments:
    """Convert integers to the type of the programs' parameters, where the programs cannot be run on integers."""
    x = arguments[0]
    if x.is_floating_point() or x.dtype == torch.uint8 or len(x) == 0:
        return arguments
    few = tuple(part[:2] for part in arguments)
    if all(_can_be_run(program, few) for program in programs):
        return arguments
    modules = modules_of(*programs)
    if x.dtype != torch.bool and not any(module in _told for module in modules):
        before, after = (str(kind).removeprefix("torch.") for kind in (x.dtype, dtype))
        progress.note(f"x holds integers ({before}), and is converted to {after}, the type of the program's parameters")
        _told.update(modules)
    return (x.to(dtype), *arguments[1:])


def _can_be_run(program: PyroFunction, arguments: Arguments) -> bool:
    """Tell whether a program and the densities of its sites can be evaluated."""
    with private_modules(), mode(program, training=False), torch.no_grad(), forked_rng(arguments[0].device):
        try:
            poutine.trace(program).get_trace(*arguments).compute_log_prob()
        except Exception:  # a program may raise anything
            return False
    return True


def count_data(x: Batch | Iterable[Batch]) -> int | None:
    """Return the number of data in a batch or a list of batches; None for a generator, or what is no data.

    Args:
        x: data as users give them.
    """
    batches: Any = [x] if is_data(x) else x
    if not isinstance(batches, list):
        return None
    try:
        return sum(len(batch[0] if isinstance(batch, tuple) else batch) for batch in batches)
    except TypeError:
        return None


@contextmanager
def concise_errors(x: Tensor) -> Iterator[None]:
    """Turn errors that a program raises into one sentence each; Pyro would report the shapes of all sites.

    Args:
        x: data that the program is called with, ``(B, *data_shape)``.

    Raises:
        ValueError: with the sentence.
    """
    try:
        yield
    except (FloatingPointError, MemoryError, NotImplementedError, Warning):
        raise
    except Exception as error:  # a program may raise anything
        sentence = checks.find_input_error(error)
        if sentence is error:
            raise
        what = f"data of shape {tuple(x.shape[1:])}"
        if not x.is_floating_point():
            what = f"{what} and type {str(x.dtype).removeprefix('torch.')}"
        reason = f"{checks.reason(error)}{_place(error)}"
        raise checks.InputError(str(sentence or f"the program cannot be run on {what}: {reason}")) from error


def _place(error: BaseException) -> str:
    """Return the place at which a program fails; nothing for errors of torch and Pyro, whose message says enough."""
    if (str(error) and isinstance(error, ValueError | RuntimeError | IndexError)) or error.__traceback__ is None:
        return ""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f" in {place.name}, line {place.lineno} of {place.filename}"


def uses_labels(program: PyroFunction) -> Literal["no", "where known", "always"]:
    """Tell by the signature whether a program takes labels: no, as an optional argument, or as a required one.

    Labels are the second argument, if it is named ``y`` or annotated as ``Annotated[Tensor, "labels"]``. Another
    argument with a default, such as a weight of the KL, keeps its default.

    Raises:
        ValueError: if the program needs another argument, or the labels are not the second one.

    Example:
        >>> uses_labels(lambda x: None), uses_labels(lambda x, y: None), uses_labels(lambda x, y=None: None)
        ('no', 'always', 'where known')
        >>> uses_labels(lambda x, beta=1.0: None)
        'no'
    """
    function = _function_of(program)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a callable without a known signature
        return "no"
    annotations = _annotations(function)
    named = [part for part in parameters if part.name == "y" or _is_labels(annotations.get(part.name))]
    further = [part for part in parameters if part.kind in (part.POSITIONAL_ONLY, part.POSITIONAL_OR_KEYWORD)][1:]
    others = [part for part in further if part not in named and part.default is part.empty]
    if others:
        raise checks.InputError(
            f"model and guide must be functions of x, or of x and labels y, but {_named(function)} needs "
            f"{others[0].name!r} too: give it a default, name it y if it takes the labels, or bind it with "
            "functools.partial"
        )
    labels = next((part for part in named if part is not parameters[0]), None)
    if labels is None:
        return "no"
    if not further or labels is not further[0]:
        raise checks.InputError(
            f"labels must be the second argument of model and guide, but in {_named(function)} {labels.name!r} is not"
        )
    return "always" if labels.default is labels.empty else "where known"


def _function_of(program: Any) -> Any:
    """Return a function with the signature of a program that may be wrapped in Pyro's handlers or in a module."""
    if isinstance(program, partial) and program.args and isinstance(program.args[0], Messenger):
        return _function_of(program.args[1])  # how Pyro wraps a handler around a program
    if isinstance(program, partial) and isinstance(program.func, nn.Module):
        return partial(program.func.forward, *program.args, **program.keywords)
    return program.forward if isinstance(program, nn.Module) else program


def _annotations(function: Any) -> dict[str, Any]:
    while isinstance(function, partial):
        function = function.func
    if not inspect.isroutine(function):
        function = type(function).__call__
    try:
        return get_type_hints(inspect.unwrap(getattr(function, "__func__", function)), include_extras=True)
    except (TypeError, NameError, AttributeError):  # annotations that exist for type checkers only
        return {}


def _is_labels(annotation: Any) -> bool:
    return "labels" in getattr(annotation, "__metadata__", ()) or any(map(_is_labels, get_args(annotation)))


def _named(function: Any) -> str:
    return getattr(function, "__qualname__", type(function).__name__)


def modules_of(*programs: PyroFunction) -> list[nn.Module]:
    """List the outermost modules that the programs use, each once.

    A program uses a module if it is one of its methods, or refers to it by an attribute, a closure or a global name.
    So do the functions of the same file that it calls.
    """
    found: dict[nn.Module, None] = {}
    seen: set[int] = set()
    waiting: list[Any] = list(reversed(programs))
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, nn.Module):
            found[thing] = None
        elif isinstance(thing, MethodType):
            waiting += [thing.__func__, thing.__self__]
        elif isinstance(thing, partial):
            waiting += [*thing.args, thing.func]  # with the program that a Pyro handler is wrapped around
        elif isinstance(thing, FunctionType):
            names = (thing.__globals__.get(name) for name in thing.__code__.co_names)
            waiting += [value for value in names if isinstance(value, nn.Module) or _is_beside(value, thing)]
            waiting += [cell.cell_contents for cell in thing.__closure__ or () if _is_filled(cell)]
        elif id(thing) in map(id, programs) or (not isinstance(thing, type) and hasattr(thing, "model")):
            waiting += list(getattr(thing, "__dict__", {}).values())
    inner = {id(below) for module in found for below in module.modules() if below is not module}
    return [module for module in found if id(module) not in inner]


def data_shape_of(*programs: PyroFunction) -> tuple[int, ...] | None:
    """Return the shape of a datum that the programs' modules, or their likelihoods, tell; None if none does.

    Example:
        >>> data_shape_of(VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2)).model)
        (4,)
    """
    for module in modules_of(*programs):
        for owner in (module, getattr(module, "likelihood", None)):
            shape = getattr(owner, "data_shape", None)
            if isinstance(shape, tuple):
                return shape
    return None


def schema_of(*programs: PyroFunction) -> Schema | None:
    """Return the columns of tables that a module of the programs was made for; None if it was made for other data.

    Example:
        >>> vae = VAE(StandardNormal(2), TableLikelihood((4,), 2), DiagonalNormal((4,), 2))
        >>> schema_of(vae.model).names
        ['x0', 'x1', 'x2', 'x3']
    """
    found = (getattr(part, "schema", None) for owner in modules_of(*programs) for part in owner.modules())
    return next((schema for schema in found if isinstance(schema, Schema)), None)


def parameter_dtype(*programs: PyroFunction) -> torch.dtype | None:
    """Return the type of the programs' floating-point parameters; None if they have none, or several types.

    Floating-point data for the programs are converted to this type.

    Example:
        >>> parameter_dtype(torch.nn.Linear(2, 3).double())
        torch.float64
    """
    parameters = (part for module in modules_of(*programs) for part in module.parameters())
    found = {part.dtype for part in parameters if part.is_floating_point()}
    return found.pop() if len(found) == 1 else None


def _is_beside(value: Any, function: FunctionType) -> bool:
    return isinstance(value, FunctionType) and value.__globals__ is function.__globals__


def _is_filled(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


@contextmanager
def mode(*programs: PyroFunction, training: bool) -> Iterator[None]:
    """Set the programs' modules to training or evaluation mode, and restore the mode of each afterwards."""
    before = [(module, module.training) for owner in modules_of(*programs) for module in owner.modules()]
    for owner in modules_of(*programs):
        owner.train(training)
    try:
        yield
    finally:
        for module, was_training in before:
            module.training = was_training


@contextmanager
def private_modules() -> Iterator[None]:
    """Hide the modules registered in Pyro's parameter store, and remove those registered inside this context.

    ``pyro.module`` keeps the first module of a name, so a second one of that name would silently not be trained.
    Parameters of modules exist outside of the store. Those made by ``pyro.param`` exist in the store alone: they are
    the program's state and stay.
    """
    store = pyro.get_param_store()
    before = store.get_state()
    store.clear()
    store.set_state(_part(before, registered=False))
    try:
        yield
    finally:
        after = store.get_state()
        store.clear()
        store.set_state(_part(after, registered=False))
        store.set_state(_part(before, registered=True))


def _part(state: StateDict, *, registered: bool) -> StateDict:
    # A PyroModule registers its parameters without the divider, as nn.Parameters.
    kept = [
        name
        for name, param in state["params"].items()
        if (_MODULE_NAMESPACE_DIVIDER in name or isinstance(param, nn.Parameter)) == registered
    ]
    return {
        "params": {name: state["params"][name] for name in kept},
        "constraints": {name: state["constraints"][name] for name in kept},
    }
