"""log p(x|z) of the single values of the data, where an observed site has such terms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.evaluation.health.examined import Examined
from pyrovae.execution import is_factor, masks_of, missing_of, observed_of

__all__ = ["Terms", "observed_terms"]


class Terms(NamedTuple):
    """Terms of an observed site.

    Attributes:
        value: the observed values, ``(N, *event_shape)``, NaN where one is missing.
        log_prob: their log p(x|z), of the same shape, in nats; NaN where one is missing.
        discrete: whether these are logarithms of probabilities rather than of densities.
    """

    value: Tensor
    log_prob: Tensor
    discrete: bool


def observed_terms(examined: Examined) -> Iterator[Terms]:
    """Yield the terms of each observed site whose values are independent given z, and not masked.

    Args:
        examined: program and data.
    """
    guided, traced = examined.traces
    for name in observed_of(traced, guided.nodes):
        site = traced.nodes[name]
        missing = missing_of(site)
        if is_factor(site) or not _counts_all(masks_of(site), missing):
            continue
        fn: Any = site["fn"]
        while isinstance(fn, torch.distributions.Independent | dist.ExpandedDistribution | dist.MaskedDistribution):
            fn = fn.base_dist
        value = site["value"]
        if fn.event_shape or value.dim() == 0:  # values depend on each other
            continue
        with torch.no_grad():
            log_prob = fn.log_prob(value)
        if missing is not None:
            value, log_prob = (torch.where(missing, torch.nan, part) for part in (value, log_prob))
        if log_prob.shape == value.shape:
            # Pyro enumerates Bernoulli distributions also where they accept grey values.
            yield Terms(value, log_prob, fn.has_enumerate_support or fn.support.is_discrete)


def _counts_all(mask: Tensor | None, missing: Tensor | None) -> bool:
    """Tell whether a mask counts all entries but the missing ones."""
    return mask is None or (missing is not None and torch.equal(*torch.broadcast_tensors(mask, ~missing)))
