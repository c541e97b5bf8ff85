"""What a run's configuration says: the classes of its components, their options, and what is made of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias

from jsonargparse import Namespace
from torch import nn

from pyrovae import checks
from pyrovae.data import DataSet, Digits
from pyrovae.likelihoods import Bernoulli, Likelihood, LikelihoodFactory
from pyrovae.parsing import Parser
from pyrovae.posteriors import DiagonalNormal, Posterior, PosteriorFactory
from pyrovae.priors import Prior, PriorFactory, StandardNormal
from pyrovae.programs import Program
from pyrovae.vae import VAE

__all__ = [
    "DataFactory",
    "ModuleFactory",
    "ProgramFactory",
    "assemble",
    "complete",
    "components_of",
    "make_program",
    "options_replaced_by_program",
]

DataFactory: TypeAlias = Callable[[], DataSet]
ProgramFactory: TypeAlias = Callable[[tuple[int, ...], int], Program]
ModuleFactory: TypeAlias = Callable[[tuple[int, ...], int], nn.Module]


def assemble(
    data: DataFactory = Digits,
    prior: PriorFactory = StandardNormal,
    likelihood: LikelihoodFactory = Bernoulli,
    posterior: PosteriorFactory = DiagonalNormal,
    latent_dim: int = 20,
    program: ModuleFactory | None = None,
) -> tuple[DataSet, Any]:
    """Make the data set and a fresh program for it.

    Args:
        data: makes the data set.
        prior: makes p(z) of the number of latents.
        likelihood: makes p(x|z) of the data's shape and the number of latents.
        posterior: makes q(z|x) likewise.
        latent_dim: number of latents.
        program: makes a whole program likewise, a module with ``model`` and ``guide``, in place of the
            :class:`~pyrovae.VAE` of these three.

    Raises:
        ValueError: if the likelihood cannot explain the data.

    Example:
        >>> data, vae = assemble(latent_dim=2)
        >>> vae.prior
        StandardNormal(latent_dim=2)
    """
    checks.integer("latent_dim", latent_dim)
    dataset = checks.make("data", data, DataSet, like="Digits")
    made = make_program(
        dataset.data_shape,
        prior,
        likelihood,
        posterior,
        latent_dim,
        program,
        levels=dataset.observed_levels,
        check=lambda part: _check(part, dataset),
    )
    return dataset, made


def make_program(
    data_shape: tuple[int, ...],
    prior: PriorFactory = StandardNormal,
    likelihood: LikelihoodFactory = Bernoulli,
    posterior: PosteriorFactory = DiagonalNormal,
    latent_dim: int = 20,
    program: ModuleFactory | None = None,
    *,
    levels: int | None = None,
    check: Callable[[Likelihood], None] = lambda likelihood: None,
) -> Any:
    """Make a fresh program for data of a shape; the arguments are those of :func:`assemble`.

    Args:
        data_shape: of one datum.
        prior: makes p(z).
        likelihood: makes p(x|z).
        posterior: makes q(z|x).
        latent_dim: number of latents.
        program: makes a whole program.
        levels: number of grey levels of the data, which a likelihood takes where its own are not given.
        check: refuses a likelihood that cannot explain the data.
    """
    sizes = data_shape, latent_dim
    if program is not None:
        made = _program(_with_levels(program, levels), *sizes)
        if isinstance(getattr(made, "likelihood", None), Likelihood):
            check(made.likelihood)
        return made
    explained = checks.make("likelihood", _with_levels(likelihood, levels), Likelihood, *sizes, like="Bernoulli")
    check(explained)
    return VAE(
        checks.make("prior", prior, Prior, latent_dim, like="StandardNormal"),
        explained,
        checks.make("posterior", posterior, Posterior, *sizes, like="DiagonalNormal"),
    )


def _with_levels(factory: Any, levels: int | None) -> Any:
    """Return a factory of a likelihood, or of a program with one as an option, that has the data's levels.

    Levels that were given stay.
    """
    kind = checks.class_of(factory)
    options = factory.keywords if isinstance(factory, partial) else {}
    if levels is None or kind is None:
        return factory
    if issubclass(kind, Likelihood):
        takes = "levels" in inspect.signature(kind).parameters
        return partial(factory, levels=levels) if takes and options.get("levels") is None else factory
    parts = {name: _with_levels(option, levels) for name, option in options.items()}
    changed = {name: part for name, part in parts.items() if part is not options[name]}
    return partial(factory, **changed) if changed else factory


def _program(program: ModuleFactory, data_shape: tuple[int, ...], latent_dim: int) -> Any:
    kind = checks.class_of(program)
    try:
        made = checks.make("program", program, nn.Module, data_shape, latent_dim, like="HierarchicalVAE")
    except TypeError as error:  # of a class that is no program, it was to be expected
        if kind is None or _is_program(kind):
            raise
        raise _no_program(kind) from error
    if not _is_program(made):
        raise _no_program(type(made))
    return made


def _is_program(thing: Any) -> bool:
    return callable(getattr(thing, "model", None)) and callable(getattr(thing, "guide", None))


def _no_program(kind: type) -> checks.InputError:
    return checks.InputError(f"program must have the methods model and guide, but {kind.__name__} has not")


def _check(likelihood: Likelihood, dataset: DataSet) -> None:
    likelihood.check_levels(dataset.observed_levels)
    try:
        for part in (dataset.train, dataset.validation, dataset.test):
            # Values as stored can be anything; all others lie in [0, 1] by construction, and a look at some will do.
            for x in part.batches(4096) if dataset.kind in ("real", "counts", "discrete") else [part[:1024]]:
                likelihood.check(x)
    except checks.InputError as error:
        scaled = f", their {dataset.levels} levels scaled to [0, 1]" if dataset.kind == "scaled" else ""
        raise checks.InputError(f"{error}{scaled}") from error


def components_of(config: dict[str, Any], but: set[str | int]) -> dict[str, Any]:
    """Return what a run's configuration chooses, by the names of the arguments of :func:`assemble`.

    Args:
        config: the configuration.
        but: arguments that are left out.

    Raises:
        ValueError: if it cannot be used.
    """
    reader = Parser()
    names = [name for name in reader.add_function_arguments(assemble, skip=but) if name in config]
    given = reader.parse_object({name: config[name] for name in names}, defaults=False)
    parser, options = complete(assemble, given, skip=but)
    chosen: dict[str, Any] = parser.instantiate(options).as_dict()
    return chosen


def options_replaced_by_program(given: Namespace, words: Iterable[str]) -> set[str]:
    """Name the options that say nothing where a whole program is given: its conditionals are its own options.

    Args:
        given: all that was given, a resumed run's configuration included.
        words: names of the options that were given on the command line alone.

    Raises:
        ValueError: if one of them is given there too.
    """
    if given.get("program") is None:
        return set()
    options = {"prior", "likelihood", "posterior"}
    for name in sorted(options & set(words)):
        raise checks.InputError(
            f"--{name} must be left out where --program is given, whose own option it is: --program.{name}"
        )
    return options


def complete(
    function: Callable[..., Any], given: Namespace, skip: set[str | int] | None = None
) -> tuple[Parser, Namespace]:
    """Fill in a function's options with their defaults, those of a component being its chosen class's own.

    jsonargparse by itself carries the options of the default class over to another class that has
    options of the same names, so that MNIST would get the default data set's ``validation_size``.

    Args:
        function: whose options they are.
        given: what was given, without defaults.
        skip: parameters that are no options.

    Returns:
        the parser, to dump and instantiate with, and all options.
    """
    parser = Parser()
    parser.add_function_arguments(function, skip=skip or set())
    parser.set_defaults(
        {name: value.as_dict() if isinstance(value, Namespace) else value for name, value in vars(given).items()}
    )
    return parser, parser.parse_object({})
