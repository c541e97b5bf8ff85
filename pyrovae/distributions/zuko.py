"""Distributions of zuko, as Pyro programs use them, with all that evaluation asks of a distribution."""

from __future__ import annotations

from typing import Any

import torch
from pyro.contrib.zuko import ZukoToPyro
from torch import Tensor
from torch.distributions import constraints

__all__ = ["ZukoDistribution"]


class ZukoDistribution(ZukoToPyro):
    """A distribution of zuko (or of torch) that Pyro's ``ZukoToPyro`` holds.

    Pyro's class has neither ``sample`` nor ``support`` nor moments, which are those of the distribution within.

    Args:
        dist: the distribution.

    Example:
        >>> within = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(3, 2), 1.0), 1)
        >>> fn = ZukoDistribution(within)
        >>> fn.sample().shape, fn.mean.shape, fn.support is constraints.real_vector
        (torch.Size([3, 2]), torch.Size([3, 2]), True)
    """

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw samples without gradients, ``(*sample_shape, *batch_shape, *event_shape)``."""
        with torch.no_grad():
            return self.dist.sample(torch.Size(sample_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw samples with gradients, ``(*sample_shape, *batch_shape, *event_shape)``."""
        return self.dist.rsample(torch.Size(sample_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> ZukoDistribution:
        """Return the distribution with another batch shape."""
        return ZukoDistribution(self.dist.expand(torch.Size(batch_shape)))

    @property
    def support(self) -> constraints.Constraint:
        """The support of the distribution within; real numbers if it does not say so."""
        try:
            support = self.dist.support
        except NotImplementedError:
            return constraints.real_vector if len(self.event_shape) == 1 else constraints.real
        is_real = isinstance(support, constraints.independent) and support.base_constraint is constraints.real
        return constraints.real_vector if is_real and len(self.event_shape) == 1 else support

    @property
    def mean(self) -> Tensor:
        """The mean of the distribution within; ``NotImplementedError`` if it has none, as flows do."""
        return self.dist.mean

    @property
    def variance(self) -> Tensor:
        """The variance of the distribution within; ``NotImplementedError`` if it has none, as flows do."""
        return self.dist.variance
