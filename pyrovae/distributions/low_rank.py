"""Normal distribution of low-rank covariance, in double precision."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Size, Tensor
from torch.distributions import constraints

__all__ = ["LowRankMultivariateNormal"]


class LowRankMultivariateNormal(dist.LowRankMultivariateNormal):
    r"""A normal :math:`p(z) = \mathcal{N}(z; \mu, W W^\top + \mathrm{diag}\,\sigma^2)`, computed in double precision.

    Pyro's distribution subtracts terms that are larger than the result by :math:`\|W\|^2 / \sigma^2`. In single
    precision, at a small scale, the result would have no correct digits and the Cholesky factor would not exist.

    Args:
        loc: mean, ``(*, D)``.
        factor: W, of rank R, ``(*, D, R)``.
        scale: standard deviations :math:`\sigma` of the independent part, ``(*, D)``.

    Example:
        >>> p = LowRankMultivariateNormal(torch.zeros(3), torch.ones(3, 1), torch.full((3,), 1e-3))
        >>> p.log_prob(torch.full((3,), 2.0))
        tensor(8.5094)
    """

    support = constraints.real_vector

    def __init__(self, loc: Tensor, factor: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        self.dtype = loc.dtype
        super().__init__(loc.double(), factor.double(), scale.double().square(), validate_args=validate_args)

    def expand(
        self, batch_shape: Size, _instance: LowRankMultivariateNormal | None = None
    ) -> LowRankMultivariateNormal:
        """Return the same distribution with more batch dimensions."""
        new = type(self).__new__(type(self)) if _instance is None else _instance
        new.dtype = self.dtype
        return super().expand(batch_shape, new)

    @property
    def mean(self) -> Tensor:
        """The mean, ``(*, D)``."""
        return super().mean.to(self.dtype)

    @property
    def variance(self) -> Tensor:
        """The variance of each component of z, ``(*, D)``."""
        return (self.cov_factor.square().sum(-1) + self.cov_diag).to(self.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value``, ``(*, D)``, in nats."""
        return super().log_prob(value.double()).to(self.dtype)

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008 - as torch's is
        """Sample z, differentiable with respect to all parameters."""
        return super().rsample(sample_shape).to(self.dtype)
