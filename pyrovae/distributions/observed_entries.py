"""The density of the observed entries of a value: factorised distributions, masked where values are missing."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.distributions.support_bounds import bounds_of
from pyrovae.missing import is_missing

__all__ = ["observe_entries"]


def observe_entries(fn: Any, value: Tensor) -> tuple[Any, Tensor]:
    r"""Return the distribution of the observed entries of a value, and the value with the missing ones filled.

    The log-density becomes :math:`\sum_{i\ \mathrm{observed}} \log p(x_i)`. Missing entries, which are NaN, are set to
    a number in the support and masked, so that gradients are finite.

    Args:
        fn: a distribution whose entries are independent, of event shape ``(*event_shape)``.
        value: its value, ``(*batch_shape, *event_shape)``, floats.

    Raises:
        ValueError: if some but not all entries are missing of a part whose distribution does not factorise, such as a
            vector with a full covariance.

    Example:
        >>> fn, x = observe_entries(dist.Normal(torch.zeros(2), 1.0).to_event(1), torch.tensor([0.0, float("nan")]))
        >>> fn.log_prob(x), x
        (tensor(-0.9189), tensor([0., 0.]))
    """
    missing = is_missing(value)
    found = _masked(fn, ~missing)
    return found, torch.where(missing, _inside(fn).to(value), value)


def _masked(fn: Any, observed: Tensor) -> Any:
    """Return the distribution masked entry by entry, below the wrappers that make its entries one event."""
    if isinstance(fn, dist.MaskedDistribution):
        return _masked(fn.base_dist, observed).mask(fn._mask)
    if isinstance(fn, torch.distributions.Independent):
        return dist.Independent(_masked(fn.base_dist, observed), fn.reinterpreted_batch_ndims)
    if isinstance(fn, dist.ExpandedDistribution):
        return _masked(fn.base_dist, observed).expand(fn.batch_shape)
    if fn.event_dim == 0:
        return fn.mask(observed)
    if _is_mixture(fn):
        parts = _masked(fn.component_distribution, observed.unsqueeze(-1 - fn.event_dim))
        return dist.MixtureSameFamily(fn.mixture_distribution, parts, validate_args=False)
    flat = observed.flatten(observed.dim() - fn.event_dim)
    whole = flat.all(-1)
    bounds = bounds_of(fn)
    if bool((flat.any(-1) & ~whole).any()) or bounds is None or not bounds.is_unbounded:
        raise checks.InputError(
            f"x must be complete for {type(fn).__name__}, whose entries depend on each other given z, but some are "
            "missing (NaN): take a likelihood that factorises over the entries, such as Gaussian or Bernoulli"
        )
    return fn.mask(whole)


def _is_mixture(fn: Any) -> bool:
    return isinstance(fn, torch.distributions.MixtureSameFamily)


def _inside(fn: Any) -> Tensor:
    """Return a number in the support of each entry, that broadcasts with the value."""
    bounds = bounds_of(fn)
    if bounds is None:  # sets of numbers that contain 0, such as levels and counts
        return torch.zeros(())
    lower, upper = (torch.as_tensor(end, dtype=torch.float64).detach() for end in bounds[:2])
    if bounds.discrete:
        return torch.where(lower.isfinite(), lower, torch.where(upper.isfinite(), upper, 0.0))
    middle = torch.where(upper.isfinite(), (lower + upper) / 2, lower + 1)
    return torch.where(lower.isfinite(), middle, torch.where(upper.isfinite(), upper - 1, 0.0))
