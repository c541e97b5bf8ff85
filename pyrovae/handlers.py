"""Pyro effect handlers, one effect each, and what surrounds every run of a program."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any, Literal, TypeAlias

import pyro
import pyro.distributions as dist
import torch
from pyro.params.param_store import _MODULE_NAMESPACE_DIVIDER, StateDict
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from pyrovae import checks
from pyrovae.tensors import as_tensor

__all__ = [
    "Arguments",
    "Batch",
    "InDataPlate",
    "Program",
    "Temper",
    "arguments_of",
    "forked_rng",
    "in_data_plate",
    "in_one_sentence",
    "is_point",
    "mode",
    "modules_of",
    "private_modules",
    "uses_labels",
]

Program: TypeAlias = Callable[..., Any]
"""A model or a guide: called with ``x`` of shape ``(B, *data_shape)``, it makes Pyro sample sites.

One that has a second argument is called with the labels too, int64 of shape ``(B,)``.
"""

Arguments: TypeAlias = tuple[Tensor, ...]
"""What a program is called with: ``(x,)`` or ``(x, y)``, the B data of a batch along the first dimension of each."""

Batch: TypeAlias = Tensor | Arguments
"""Data as users give them: x alone, or the tuple ``(x, y)``."""


class InDataPlate(Messenger):
    """Refuse a sample site that is not in the one data plate, whose log-probability would not be per datum.

    Args:
        size: number B of data in the batch.

    Raises:
        ValueError: at the site, naming it.

    Example:
        >>> def model(x):
        ...     return pyro.sample("z", pyro.distributions.Normal(0.0, 1.0))
        >>> InDataPlate(3)(model)(torch.zeros(3, 2))
        Traceback (most recent call last):
        ...
        pyrovae.checks.InputError: sample site 'z' must lie in pyro.plate("data", len(x), dim=-1) ...
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def _pyro_sample(self, msg: Message) -> None:
        if site_is_subsample(msg):
            return
        frames = [frame for frame in msg["cond_indep_stack"] if frame.dim == -1 and frame.vectorized]
        if not any(frame.size == self.size for frame in frames):
            found = ", ".join(f"plate({f.name!r}, {f.size}, dim={f.dim})" for f in msg["cond_indep_stack"])
            raise checks.InputError(
                f'sample site {msg["name"]!r} must lie in pyro.plate("data", len(x), dim=-1) of size {self.size}, '
                f"but lies in {found or 'no plate'}"
            )


class Temper(Messenger):
    r"""Scale the log-probability of latent sites by :math:`\beta`, in model and guide alike.

    Their difference is the KL term, so that the ELBO becomes
    :math:`\mathrm{E}[\log p(x|z)] - \beta\,\mathrm{KL}` (Bowman et al., 2016, arXiv:1511.06349;
    Higgins et al., 2017).

    Args:
        beta: scalar tensor; its value may be changed in place between steps.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> model = Temper(torch.tensor(0.5))(vae.model)
    """

    def __init__(self, beta: Tensor) -> None:
        super().__init__()
        self.beta = beta

    def _pyro_sample(self, msg: Message) -> None:
        if not msg["is_observed"] and not site_is_subsample(msg):
            msg["scale"] = msg["scale"] * self.beta


def in_data_plate(program: Program) -> Program:
    """Check every run of ``program`` with :class:`InDataPlate`."""

    def checked(x: Tensor, *others: Tensor) -> Any:
        with InDataPlate(len(x)):
            return program(x, *others)

    return checked


def arguments_of(batch: Batch, *programs: Program) -> Arguments:
    """Return what programs are called with, as a tuple.

    Arrays and data frames become tensors, floats of another type those of the programs' own parameters, labels int64.

    Args:
        batch: x or (x, y).
        programs: that are to be called with it.

    Raises:
        ValueError: if the parts are no tensors, do not hold as many data each, or a program takes more or fewer.
    """
    given, of = batch if isinstance(batch, tuple) else (batch,), modules_of(*filter(callable, programs))
    arguments = (*(as_tensor(name, part, of) for name, part in zip("xy", given, strict=False)), *given[2:])
    if len(arguments) == 2 and not arguments[1].is_floating_point():
        arguments = (arguments[0], arguments[1].long())
    for program in programs:
        if not callable(program):
            raise checks.InputError(f"model and guide must be functions of x, but {program!r} was given")
        try:
            inspect.signature(program).bind(*arguments)
        except TypeError as error:
            wanted = {
                ("always", 1): "y must be given too, as in (x, y), for the program needs labels, but x alone was given",
                ("no", 2): "y must be left out, for the program takes no labels, but (x, y) was given",
            }.get((uses_labels(program), len(arguments)))
            raise checks.InputError(
                wanted or f"model and guide must be functions of x, or of x and labels y: {checks.reason(error)}"
            ) from error
        except ValueError:  # something callable that Python knows nothing about
            pass
    counts = [len(part) for part in arguments]
    if len(set(counts)) > 1:
        raise checks.InputError(f"x and y must hold as many data each, but hold {counts[0]} and {counts[1]}")
    return arguments


@contextmanager
def in_one_sentence(x: Tensor) -> Iterator[None]:
    """Say in one sentence what the run of a program stumbles over, where Pyro would report every shape.

    Args:
        x: what the program is called with, ``(B, *data_shape)``.

    Raises:
        ValueError: with the sentence.
    """
    try:
        yield
    except (ValueError, RuntimeError, IndexError) as error:
        sentence = checks.said(error)
        if sentence is error:
            raise
        what = f"data of shape {tuple(x.shape[1:])}"
        if not x.is_floating_point():
            what = f"{what} and type {str(x.dtype).removeprefix('torch.')}"
        raise checks.InputError(
            str(sentence or f"the program cannot be run on {what}: {checks.reason(error)}")
        ) from error


def is_point(fn: Any) -> bool:
    """Tell whether a distribution is a point, which has no density.

    Example:
        >>> is_point(pyro.distributions.Delta(torch.zeros(3)).to_event(1))
        True
    """
    while isinstance(fn, dist.Independent | dist.ExpandedDistribution | dist.MaskedDistribution):
        fn = fn.base_dist
    return isinstance(fn, dist.Delta)


def uses_labels(program: Program) -> Literal["no", "where known", "always"]:
    """Tell by its signature whether a program takes labels: not, as an argument with a default, or as one without.

    Example:
        >>> uses_labels(lambda x: None), uses_labels(lambda x, y: None), uses_labels(lambda x, y=None: None)
        ('no', 'always', 'where known')
    """
    try:
        parameters = list(inspect.signature(program).parameters.values())
    except (TypeError, ValueError):  # something callable that Python knows nothing about
        return "no"
    parameters = [part for part in parameters if part.kind in (part.POSITIONAL_ONLY, part.POSITIONAL_OR_KEYWORD)]
    if len(parameters) < 2:
        return "no"
    return "always" if parameters[1].default is inspect.Parameter.empty else "where known"


def modules_of(*programs: Program) -> list[nn.Module]:
    """List the modules that the programs reach, each once, the outermost of each only.

    Those whose methods they are, or that they hold as attributes, close over, or name among their globals.
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
            waiting += [*thing.args, thing.func]  # among these, what a Pyro handler is wrapped around
        elif isinstance(thing, FunctionType):
            names = (thing.__globals__.get(name) for name in thing.__code__.co_names)
            waiting += [value for value in names if isinstance(value, nn.Module)]
            waiting += [cell.cell_contents for cell in thing.__closure__ or () if _is_filled(cell)]
        elif id(thing) in map(id, programs) or (not isinstance(thing, type) and hasattr(thing, "model")):
            waiting += list(getattr(thing, "__dict__", {}).values())
    inner = {id(below) for module in found for below in module.modules() if below is not module}
    return [module for module in found if id(module) not in inner]


def _is_filled(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


@contextmanager
def mode(*programs: Program, training: bool) -> Iterator[None]:
    """Put the programs' modules in training or evaluation mode, and each back as it was."""
    before = [(module, module.training) for owner in modules_of(*programs) for module in owner.modules()]
    for owner in modules_of(*programs):
        owner.train(training)
    try:
        yield
    finally:
        for module, was_training in before:
            module.training = was_training


@contextmanager
def forked_rng(device: torch.device) -> Iterator[None]:
    """Give torch's generators back as they were, the CPU's and that of ``device``."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


@contextmanager
def private_modules() -> Iterator[None]:
    """Hide the modules that are registered in Pyro's parameter store, and forget those registered meanwhile.

    ``pyro.module`` keeps the first module under a name, so that a second one of that name would silently
    not train. What modules hold they hold themselves; a parameter made by ``pyro.param`` lives in the store
    alone, is the program's state, and stays.
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
    # A PyroModule registers its parameters without the divider, but as what they are.
    kept = [
        name
        for name, param in state["params"].items()
        if (_MODULE_NAMESPACE_DIVIDER in name or isinstance(param, nn.Parameter)) == registered
    ]
    return {
        "params": {name: state["params"][name] for name in kept},
        "constraints": {name: state["constraints"][name] for name in kept},
    }
