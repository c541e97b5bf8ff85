"""The integers that the values of a program's sites are coded as."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import numpy as np
from torch import Tensor

from pyrovae import checks
from pyrovae.codec.decisions import Visit
from pyrovae.codec.distribution_functions import Bins, bins_of, integers_of, normal_bins, visit_bins
from pyrovae.codec.exact_programs import ExactPrograms
from pyrovae.distributions.support_bounds import bounds_of, unwrap

__all__ = ["Site", "data_site", "latent_site", "num_bits", "refuse_latent"]

_WIDER = 2.0  # scale of the bins below the top over that of the model's samples: codes of data are spread more widely


@dataclass(frozen=True)
class Site:
    """The integers that values of a site are coded as: levels of data, a discrete latent, or bins.

    Attributes:
        event_shape: shape of the values of a datum.
        num_bits: number of bits of an integer.
        visit: makes of a distribution, and the shape of a batch, what asks for the decisions of its integers; None if
            it cannot be coded.
        value: maps integers of this shape to values.
        levels: number of integers; None for counts.
        scaled: True if integer i is the value i / (levels - 1), False if it is the value or a bin.
    """

    event_shape: tuple[int, ...]
    num_bits: int
    visit: Callable[[Any, tuple[int, ...]], Visit | None]
    value: Callable[[np.ndarray], np.ndarray]
    levels: int | None = None
    scaled: bool = False

    @property
    def size(self) -> int:
        """Number of integers of one datum."""
        return math.prod(self.event_shape)


def latent_site(
    programs: ExactPrograms, name: str, some: Mapping[str, Tensor], samples: Tensor, latent_bits: int
) -> Site:
    """Return how a latent is coded: a discrete one as it is, a real one as bins.

    Args:
        programs: the model and the guide.
        name: name of the site.
        some: one sample of the prior, by site.
        samples: samples of the site, ``(S, *event_shape)``.
        latent_bits: binary logarithm of the number of bins.

    Raises:
        ValueError: if it cannot be coded.
    """
    fn = programs.model_at(name, some, 1)
    shape = tuple(fn.event_shape)
    discrete = integers_of(fn)
    if discrete is not None and discrete.levels is not None and not discrete.scaled:
        bits, levels = num_bits(discrete.levels), discrete.levels
        return Site(shape, bits, partial(_visit_integers, bits), lambda i: i.astype(np.float64), levels)
    if programs.parents[name]:
        location, spread = (getattr(samples, moment)(0).double().numpy() for moment in ("mean", "std"))
        bounds = bounds_of(fn)
        unbounded = bounds is not None and bounds.is_unbounded
        bins = normal_bins(latent_bits, location, _WIDER * spread) if unbounded else None
    else:
        bins = bins_of(fn, latent_bits)
    if bins is None:
        refuse_latent(name, fn)
    return Site(shape, latent_bits, partial(visit_bins, bins), lambda i: _centers(bins, i))


def data_site(programs: ExactPrograms, name: str, some: Mapping[str, Tensor], count_bits: int) -> Site:
    """Return how the data of a site are coded.

    Args:
        programs: the model and the guide.
        name: name of the site.
        some: one sample of the prior, by site.
        count_bits: for counts, number of bits of the largest one.

    Raises:
        ValueError: if the likelihood has no cumulative distribution for each component.
    """
    fn = programs.model_at(name, some, 1)
    found = integers_of(fn)
    if found is None:
        raise checks.InputError(
            "likelihood must be a probability with a cumulative distribution for each component to compress, as "
            f"Bernoulli, DiscretizedLogistic, Categorical, Poisson and NegativeBinomial are, but it is {_named(fn)}"
        )
    bits = count_bits if found.levels is None else num_bits(found.levels)
    visit = partial(_visit_integers, bits)
    return Site(tuple(fn.event_shape), bits, visit, lambda i: i.astype(np.float64), found.levels, found.scaled)


def num_bits(count: int) -> int:
    """Return the number of bits of the integers below ``count``.

    Example:
        >>> num_bits(2), num_bits(5), num_bits(256)
        (1, 3, 8)
    """
    return (count - 1).bit_length()


def refuse_latent(name: str, fn: Any) -> NoReturn:
    """Raise an error that says that a latent cannot be coded.

    Args:
        name: name of the site.
        fn: its distribution.
    """
    raise checks.InputError(
        "latents must have a cumulative distribution and quantiles for each coordinate to compress, as normals and "
        f"mixtures of normals have, but {name!r} has {_named(fn)}"
    )


def _visit_integers(bits: int, fn: Any, shape: tuple[int, ...]) -> Visit | None:
    found = integers_of(fn)
    return None if found is None else found.visit(shape, bits)


def _centers(bins: Bins, index: np.ndarray) -> np.ndarray:
    return np.array(np.broadcast_to(bins.center(index), index.shape))


def _named(fn: Any) -> str:
    return f"a {type(unwrap(fn)).__name__}"
