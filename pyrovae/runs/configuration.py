"""What a run's configuration says: the classes of its components, their options, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import isabstract
from typing import Any, TypeAlias

from jsonargparse import Namespace

from pyrovae import checks
from pyrovae.data import DataSet, Digits
from pyrovae.likelihoods import Bernoulli, LikelihoodFactory
from pyrovae.parsing import Parser
from pyrovae.posteriors import DiagonalNormal, PosteriorFactory
from pyrovae.priors import PriorFactory, StandardNormal
from pyrovae.vae import VAE

__all__ = ["DataFactory", "LikelihoodFactory", "PosteriorFactory", "PriorFactory", "assemble", "complete"]

DataFactory: TypeAlias = Callable[[], DataSet]


def assemble(
    data: DataFactory = Digits,
    prior: PriorFactory = StandardNormal,
    likelihood: LikelihoodFactory = Bernoulli,
    posterior: PosteriorFactory = DiagonalNormal,
    latent_dim: int = 20,
) -> tuple[DataSet, VAE]:
    """Make the data set and a fresh program for it.

    Args:
        data: makes the data set.
        prior: makes p(z) of the number of latents.
        likelihood: makes p(x|z) of the data's shape and the number of latents.
        posterior: makes q(z|x) likewise.
        latent_dim: number of latents.

    Raises:
        ValueError: if the likelihood cannot explain the data.

    Example:
        >>> data, vae = assemble(latent_dim=2)
        >>> vae.prior
        StandardNormal(latent_dim=2)
    """
    checks.integer("latent_dim", latent_dim)
    for name, factory in (("data", data), ("prior", prior), ("likelihood", likelihood), ("posterior", posterior)):
        if not isinstance(factory, partial | type):
            raise checks.InputError(f"{name} must be a class, but {factory!r} was given")
        kind = checks.class_of(factory)
        if kind is not None and isabstract(kind):
            raise checks.InputError(f"{name} must be a class with a forward, but {kind.__name__} is abstract")
    dataset = data()
    explained = likelihood(dataset.data_shape, latent_dim)
    for part in (dataset.train, dataset.validation, dataset.test):
        # Values as stored can be anything; all others lie in [0, 1] by construction, and a look at some will do.
        for x in part.batches(4096) if dataset.kind == "real" else [part[:1024]]:
            explained.check(x)
    return dataset, VAE(prior(latent_dim), explained, posterior(dataset.data_shape, latent_dim))


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
