"""Distributions of torch in Pyro programs, and distributions of a flattened batch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions.counts import NegativeBinomialCounts, PoissonCounts
from pyrovae.distributions.full_covariance import MultivariateNormal
from pyrovae.distributions.zuko import ZukoDistribution

__all__ = ["FlattenedBatch", "to_pyro"]


def to_pyro(fn: torch.distributions.Distribution) -> TorchDistributionMixin:
    """Convert a distribution of torch to the same one of Pyro; one of Pyro is returned as it is.

    Poisson and negative binomial distributions and multivariate normals become those of pyrovae, whose
    densities do not lose digits in single precision.

    Args:
        fn: the distribution. One of a class that Pyro does not know, such as a user's own, is wrapped.

    Example:
        >>> to_pyro(torch.distributions.Normal(torch.zeros(3), 1.0)).to_event(1).event_shape
        torch.Size([3])
    """
    if isinstance(fn, TorchDistributionMixin):
        return fn
    if type(fn) is torch.distributions.Independent:
        return to_pyro(fn.base_dist).to_event(fn.reinterpreted_batch_ndims)
    if type(fn) is torch.distributions.TransformedDistribution:
        return dist.TransformedDistribution(to_pyro(fn.base_dist), fn.transforms)
    if type(fn) is torch.distributions.MixtureSameFamily:
        return dist.MixtureSameFamily(to_pyro(fn.mixture_distribution), to_pyro(fn.component_distribution))
    if type(fn) in _REBUILT:
        return _REBUILT[type(fn)](fn)
    known = getattr(dist, type(fn).__name__, None)
    if isinstance(known, type) and issubclass(known, type(fn)) and type(fn).__module__.startswith("torch."):
        same = copy.copy(fn)
        same.__class__ = known  # a subclass that adds methods only
        return same
    return ZukoDistribution(fn)


# Distributions whose class in Pyro has further attributes, and those that pyrovae computes more accurately.
_REBUILT: dict[type, Callable[[Any], TorchDistributionMixin]] = {
    torch.distributions.LogNormal: lambda fn: dist.LogNormal(fn.loc, fn.scale),
    torch.distributions.MultivariateNormal: lambda fn: MultivariateNormal(fn.loc, scale_tril=fn.scale_tril),
    torch.distributions.NegativeBinomial: lambda fn: NegativeBinomialCounts(
        fn.total_count.log() + fn.logits, fn.total_count
    ),
    torch.distributions.Poisson: lambda fn: PoissonCounts(fn.rate.log()),
    torch.distributions.Uniform: lambda fn: dist.Uniform(fn.low, fn.high),
}


class FlattenedBatch(TorchDistribution):
    """A distribution whose one batch dimension is shown as several: ``(K * B,)`` as ``(K, B)``.

    A network that takes ``(N, D)`` and nothing else can so be used with K samples of each of B data.

    Args:
        base: the distribution, of batch shape ``(K * B,)``.
        shape: the batch shape to show, such as ``(K, B)``.

    Example:
        >>> fn = FlattenedBatch(dist.Normal(torch.zeros(6, 4), 1.0).to_event(1), (2, 3))
        >>> fn.batch_shape, fn.log_prob(torch.zeros(3, 4)).shape
        (torch.Size([2, 3]), torch.Size([2, 3]))
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 - as torch's are

    def __init__(self, base: TorchDistributionMixin, shape: tuple[int, ...], validate_args: bool | None = None) -> None:
        self.base = base
        self.shown = torch.Size(shape)
        super().__init__(self.shown, base.event_shape, validate_args)

    @property
    def has_rsample(self) -> bool:
        """True if samples have gradients."""
        return bool(self.base.has_rsample)

    @property
    def support(self) -> constraints.Constraint:
        """The support of the wrapped distribution."""
        return self.base.support

    @property
    def mean(self) -> Tensor:
        """The mean, ``(*shape, *event_shape)``."""
        return self.base.mean.unflatten(0, self.shown)

    @property
    def variance(self) -> Tensor:
        """The variance, ``(*shape, *event_shape)``."""
        return self.base.variance.unflatten(0, self.shown)

    def expand(self, batch_shape: Any, _instance: Any = None) -> TorchDistribution:
        """Return the distribution with further batch dimensions on the left."""
        batch_shape = torch.Size(batch_shape)
        return self if batch_shape == self.batch_shape else dist.ExpandedDistribution(self, batch_shape)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Sample without gradients, ``(*sample_shape, *shape, *event_shape)``."""
        with torch.no_grad():
            return self.rsample(sample_shape) if self.has_rsample else self._shown(self.base.sample(sample_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Sample with gradients, ``(*sample_shape, *shape, *event_shape)``."""
        return self._shown(self.base.rsample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``(*sample_shape, *shape, *event_shape)``, in nats."""
        events, batch = len(self.event_shape), len(self.shown)
        lead = torch.broadcast_shapes(value.shape[: value.dim() - events], self.shown)
        value = value.expand(lead + self.event_shape).flatten(len(lead) - batch, len(lead) - 1)
        return self.base.log_prob(value).unflatten(-1, self.shown)

    def _shown(self, value: Tensor) -> Tensor:
        return value.unflatten(value.dim() - len(self.event_shape) - 1, self.shown)
