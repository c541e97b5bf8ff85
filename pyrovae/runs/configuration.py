"""Configuration of a run: the classes and options of its components, and making them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias

from jsonargparse import Namespace
from torch import nn

from pyrovae import checks
from pyrovae.columns import Schema
from pyrovae.data import DataSet, Digits
from pyrovae.likelihoods import Bernoulli, Likelihood, LikelihoodFactory
from pyrovae.networks import TableEncoder
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
    "components_of",
    "fill_defaults",
    "make_program",
    "options_replaced_by_program",
    "program_for",
    "with_schema",
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
    """Make the data set and an untrained program for it.

    Args:
        data: function that makes the data set.
        prior: function that makes p(z) from the number of latents.
        likelihood: function that makes p(x|z) from the shape of the data and the number of latents.
        posterior: function that makes q(z|x) from the same arguments.
        latent_dim: number of latents.
        program: function that makes a whole program from the same arguments, a module with ``model`` and ``guide``, in
            place of the :class:`~pyrovae.VAE` of these three.

    Raises:
        ValueError: if the likelihood does not suit the data.

    Example:
        >>> data, vae = assemble(latent_dim=2)
        >>> vae.prior
        StandardNormal(latent_dim=2)
    """
    checks.integer("latent_dim", latent_dim)
    dataset = checks.make("data", data, DataSet, like="Digits")
    dataset.check_trainable()
    return dataset, program_for(dataset, prior, likelihood, posterior, latent_dim, program)


def program_for(
    dataset: DataSet,
    prior: PriorFactory = StandardNormal,
    likelihood: LikelihoodFactory = Bernoulli,
    posterior: PosteriorFactory = DiagonalNormal,
    latent_dim: int = 20,
    program: ModuleFactory | None = None,
) -> Any:
    """Make an untrained program for a data set; the other arguments are as in :func:`assemble`.

    Raises:
        ValueError: if the likelihood does not suit the data.
    """
    return make_program(
        dataset.data_shape,
        prior,
        likelihood,
        posterior,
        latent_dim,
        program,
        levels=dataset.observed_levels,
        schema=getattr(dataset, "schema", None),
        check=lambda part: _check(part, dataset),
    )


def make_program(
    data_shape: tuple[int, ...],
    prior: PriorFactory = StandardNormal,
    likelihood: LikelihoodFactory = Bernoulli,
    posterior: PosteriorFactory = DiagonalNormal,
    latent_dim: int = 20,
    program: ModuleFactory | None = None,
    *,
    levels: int | None = None,
    schema: Schema | None = None,
    check: Callable[[Likelihood], None] = lambda likelihood: None,
) -> Any:
    """Make an untrained program for data of a given shape; other arguments are as in :func:`assemble`.

    Args:
        data_shape: shape of one datum.
        prior: function that makes p(z).
        likelihood: function that makes p(x|z).
        posterior: function that makes q(z|x).
        latent_dim: number of latents.
        program: function that makes a whole program.
        levels: number of grey levels of the data, for a likelihood whose own option is not given.
        schema: columns of the data if they are a table, for parts that have such an option. The encoder of a posterior
            gets a :class:`~pyrovae.TableEncoder` before it.
        check: function that raises an error for a likelihood that does not suit the data.
    """
    sizes = data_shape, latent_dim
    if program is not None:
        made = _program(with_schema(_with_levels(program, levels), schema), *sizes)
        if isinstance(getattr(made, "likelihood", None), Likelihood):
            check(made.likelihood)
        return made
    if schema is not None:
        likelihood, posterior = with_schema(likelihood, schema), _with_table_encoder(posterior, schema)
    explained = checks.make("likelihood", _with_levels(likelihood, levels), Likelihood, *sizes, like="Bernoulli")
    check(explained)
    return VAE(
        checks.make("prior", prior, Prior, latent_dim, like="StandardNormal"),
        explained,
        checks.make("posterior", posterior, Posterior, *sizes, like="DiagonalNormal"),
    )


def _with_levels(factory: Any, levels: int | None) -> Any:
    """Return a factory of a likelihood, or of a program with one as an option, with the levels of the data.

    Levels that are given as an option are not changed.
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


def with_schema(factory: Any, schema: Schema | None) -> Any:
    """Return a factory of a component, and of those that are its options, with the columns of the data as ``schema``.

    Args:
        factory: a class, or a ``functools.partial`` of one; others are not changed.
        schema: the columns; None if the data are no table.
    """
    kind = checks.class_of(factory)
    if schema is None or kind is None:
        return factory
    options = factory.keywords if isinstance(factory, partial) else {}
    changed = {name: with_schema(option, schema) for name, option in options.items() if checks.class_of(option)}
    if _takes(kind, "schema") and options.get("schema") is None:
        changed["schema"] = schema
    return partial(factory, **changed) if changed else factory


def _with_table_encoder(posterior: Any, schema: Schema) -> Any:
    """Return a factory of a posterior whose network, if it has such an option, is within a table's encoder."""
    kind = checks.class_of(posterior)
    if kind is None or not _takes(kind, "network"):
        return posterior
    options = posterior.keywords if isinstance(posterior, partial) else {}
    network = options.get("network", inspect.signature(kind).parameters["network"].default)
    own = checks.class_of(network)
    if own is None or not _takes(own, "schema"):
        posterior = partial(posterior, network=partial(TableEncoder, network=network))
    return with_schema(posterior, schema)


def _takes(kind: type, option: str) -> bool:
    return option in inspect.signature(kind).parameters


def _program(program: ModuleFactory, data_shape: tuple[int, ...], latent_dim: int) -> Any:
    kind = checks.class_of(program)
    try:
        made = checks.make("program", program, nn.Module, data_shape, latent_dim, like="HierarchicalVAE")
    except TypeError as error:  # expected for a class that is not a program
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
        for part in filter(len, (dataset.train, dataset.validation, dataset.test)):
            # Stored values can be anything; all others lie in [0, 1] by construction, so that some of them suffice.
            for x in part.batches(4096) if dataset.kind in ("real", "counts", "discrete", "table") else [part[:1024]]:
                likelihood.check(x)
    except checks.InputError as error:
        further = {
            "scaled": f", their {dataset.levels} levels scaled to [0, 1]",
            "table": "; TableLikelihood has a likelihood for each column of a table",
        }
        raise checks.InputError(f"{error}{further.get(dataset.kind, '')}") from error


def components_of(config: dict[str, Any], skip: set[str | int]) -> dict[str, Any]:
    """Return the components of a run's configuration, by the names of the arguments of :func:`assemble`.

    Args:
        config: the configuration.
        skip: arguments to leave out.

    Raises:
        ValueError: if the configuration is invalid.
    """
    reader = Parser()
    names = [name for name in reader.add_function_arguments(assemble, skip=skip) if name in config]
    given = reader.parse_object({name: config[name] for name in names}, defaults=False)
    chosen: dict[str, Any] = reader.instantiate(given).as_dict()
    return chosen


def options_replaced_by_program(given: Namespace, on_command_line: Iterable[str]) -> set[str]:
    """Return the names of the options that ``--program`` replaces: its conditionals are its own options.

    Args:
        given: all given options, including the configuration of a resumed run.
        on_command_line: names of the options given on the command line.

    Raises:
        ValueError: if a replaced option is given on the command line.
    """
    if given.get("program") is None:
        return set()
    options = {"prior", "likelihood", "posterior"}
    for name in sorted(options & set(on_command_line)):
        raise checks.InputError(
            f"--{name} must be left out where --program is given, whose own option it is: --program.{name}"
        )
    return options


def fill_defaults(
    function: Callable[..., Any], given: Namespace, skip: set[str | int] | None = None
) -> tuple[Parser, Namespace]:
    """Fill in the defaults of a function's options; those of a component are the defaults of its chosen class.

    By itself, jsonargparse copies options of the default class to a chosen class with options of the same names, so
    that MNIST would get the default data set's ``validation_size``.

    Args:
        function: function with the options as parameters.
        given: given options, without defaults.
        skip: parameters that are not options.

    Returns:
        a parser to dump and instantiate the options with, and all options.
    """
    parser = Parser()
    parser.add_function_arguments(function, skip=skip or set())
    parser.set_defaults(
        {name: value.as_dict() if isinstance(value, Namespace) else value for name, value in vars(given).items()}
    )
    return parser, parser.parse_defaults()
