"""Distributions of zuko in Pyro programs, with the methods that evaluation needs."""

from __future__ import annotations

from typing import Any

import torch
from pyro.contrib.zuko import ZukoToPyro
from torch import Tensor
from torch.distributions import constraints

__all__ = ["ZukoDistribution"]


class ZukoDistribution(ZukoToPyro):
    """A distribution of zuko (or of torch) as one of Pyro, with ``sample``, ``support`` and moments.

    Pyro's ``ZukoToPyro`` lacks these; here they are those of the wrapped distribution.

    Args:
        dist: the wrapped distribution.

    Example:
        >>> within = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(3, 2), 1.0), 1)
        >>> fn = ZukoDistribution(within)
        >>> fn.sample().shape, fn.mean.shape, fn.support is constraints.real_vector
        (torch.Size([3, 2]), torch.Size([3, 2]), True)
    """

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Sample without gradients, ``(*sample_shape, *batch_shape, *event_shape)``."""
        with torch.no_grad():
            return self.dist.sample(torch.Size(sample_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Sample with gradients, ``(*sample_shape, *batch_shape, *event_shape)``."""
        return self.dist.rsample(torch.Size(sample_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> ZukoDistribution:
        """Return the distribution with another batch shape."""
        return ZukoDistribution(self.dist.expand(torch.Size(batch_shape)))

    @property
    def support(self) -> constraints.Constraint:
        """The support of the wrapped distribution; real numbers if it has none."""
        try:
            support = self.dist.support
        except NotImplementedError:
            return constraints.real_vector if len(self.event_shape) == 1 else constraints.real
        is_real = isinstance(support, constraints.independent) and support.base_constraint is constraints.real
        return constraints.real_vector if is_real and len(self.event_shape) == 1 else support

    @property
    def mean(self) -> Tensor:
        """The mean of the wrapped distribution; raises ``NotImplementedError`` if it has none, as for flows."""
        return self.dist.mean

    @property
    def variance(self) -> Tensor:
        """The variance of the wrapped distribution; raises ``NotImplementedError`` if it has none, as for flows."""
        return self.dist.variance
