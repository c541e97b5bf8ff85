"""Poisson, negative binomial and zero-inflated counts, with log-probabilities in double precision."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions.log_gamma import log_factorial, log_gamma_difference

__all__ = ["InflatedCounts", "NegativeBinomialCounts", "PoissonCounts"]

_LARGE_LOGIT = 40.0  # above which log(1 + e^l) rounds to l in double precision


class PoissonCounts(dist.Poisson):
    r"""A Poisson distribution with given log rate: :math:`\log p(x) = x \eta - e^\eta - \log x!`.

    The terms are as large as x log x, but their sum is not: in single precision, the result for a count of a million is
    wrong by a tenth of a nat. They are computed in double precision.

    Args:
        log_rate: :math:`\eta`, of shape ``(*)``.

    Example:
        >>> PoissonCounts(torch.tensor(1e6).log()).log_prob(torch.tensor(1e6))
        tensor(-7.8267)
    """

    arg_constraints = {"log_rate": constraints.real}  # noqa: RUF012 - as torch's are

    def __init__(self, log_rate: Tensor, validate_args: bool | None = None) -> None:
        self.log_rate = log_rate
        # Not Poisson's own constructor, which needs the rate.
        dist.TorchDistribution.__init__(self, log_rate.shape, validate_args=validate_args)

    @cached_property
    def rate(self) -> Tensor:
        """The rate, which is the mean and the variance."""
        return self.log_rate.exp()

    def expand(self, batch_shape: tuple[int, ...], _instance: Any = None) -> PoissonCounts:
        """Return the distribution with its parameter expanded to ``batch_shape``."""
        return PoissonCounts(self.log_rate.expand(batch_shape), self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        x, eta = value.double(), self.log_rate.double()
        known = torch.where(x == 0, 0.0, eta)  # also at a rate of zero, whose logarithm is infinite
        log_prob = torch.addcmul(-log_factorial(x), x, known).sub_(eta.exp())
        return log_prob.to(torch.result_type(value, self.log_rate))


class NegativeBinomialCounts(dist.NegativeBinomial):
    r"""A negative binomial distribution with given log mean and inverse dispersion.

    With mean :math:`e^\eta`, inverse dispersion :math:`\theta` and :math:`l = \eta - \log \theta`,
    :math:`\log p(x) = \log \frac{\Gamma(\theta + x)}{\Gamma(\theta)\,x!} + x l - (\theta + x) \log(1 + e^l)`, computed
    in double precision by a difference of log-gamma functions that is accurate at any :math:`\theta`. At large
    :math:`\theta` it is a Poisson distribution.

    Args:
        log_mean: :math:`\eta`, of shape ``(*)``.
        dispersion: :math:`\theta`, positive, of a shape that broadcasts with it.

    Example:
        >>> NegativeBinomialCounts(torch.tensor(1e6).log(), torch.tensor(1e12)).log_prob(torch.tensor(1e6))
        tensor(-7.8267)
    """

    arg_constraints = {"log_mean": constraints.real, "dispersion": constraints.positive}  # noqa: RUF012 - as torch's are

    def __init__(self, log_mean: Tensor, dispersion: Tensor, validate_args: bool | None = None) -> None:
        # Not expanded, so that terms of the dispersion alone are computed once for all data.
        self.log_mean, self.dispersion = log_mean, dispersion
        batch_shape = torch.broadcast_shapes(log_mean.shape, dispersion.shape)
        # Not NegativeBinomial's own constructor, which needs the logits.
        dist.TorchDistribution.__init__(self, batch_shape, validate_args=validate_args)

    @cached_property
    def total_count(self) -> Tensor:
        """The inverse dispersion, ``(*)``."""
        return self.dispersion.expand(self.batch_shape)

    @cached_property
    def logits(self) -> Tensor:
        """The logarithm of the mean over the inverse dispersion, ``(*)``."""
        return self.log_mean - self.dispersion.log()

    @property
    def mean(self) -> Tensor:
        """The mean, ``(*)``."""
        return self.log_mean.exp().expand(self.batch_shape)

    def expand(self, batch_shape: tuple[int, ...], _instance: Any = None) -> NegativeBinomialCounts:
        """Return the distribution with its parameters expanded to ``batch_shape``."""
        return NegativeBinomialCounts(self.log_mean.expand(batch_shape), self.dispersion, self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        x, theta, eta = value.double(), self.dispersion.double(), self.log_mean.double()
        logits = eta - theta.log()
        ways = log_gamma_difference(theta, x) - log_factorial(x)  # once for all samples of the logits
        log_prob = torch.addcmul(ways, x, logits)
        # Above the threshold, softplus is the logit to the last digit.
        log_prob = torch.addcmul(log_prob, theta + x, F.softplus(logits, threshold=_LARGE_LOGIT), value=-1)
        return log_prob.to(torch.result_type(value, self.log_mean))


class InflatedCounts(dist.ZeroInflatedDistribution):
    r"""A zero-inflated distribution: a count is 0 with probability :math:`\pi`, else from a given distribution.

    :math:`\log p(x) = \log((1 - \pi)\, p_0(x) + \pi [x = 0])`. Pyro's distribution adds and subtracts the logit of
    :math:`\pi`; here :math:`\log \pi` and :math:`\log(1 - \pi)` are each computed from the logit.

    Args:
        counts: :math:`p_0`, of batch shape ``(*)``.
        gate_logits: logit of :math:`\pi`, of a shape that broadcasts with :math:`p_0`.

    Example:
        >>> fn = InflatedCounts(PoissonCounts(torch.tensor(0.0)), torch.tensor(-100.0))
        >>> fn.log_prob(torch.tensor([0.0, 1.0]))
        tensor([-1., -1.])
    """

    def __init__(self, counts: dist.TorchDistribution, gate_logits: Tensor, validate_args: bool | None = None) -> None:
        super().__init__(counts, gate_logits=gate_logits, validate_args=validate_args)

    def expand(self, batch_shape: tuple[int, ...], _instance: Any = None) -> InflatedCounts:
        """Return the distribution with its parameters expanded to ``batch_shape``."""
        return InflatedCounts(
            self.base_dist.expand(batch_shape), self.gate_logits.expand(batch_shape), self._validate_args
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        counted = self.base_dist.log_prob(value) + F.logsigmoid(-self.gate_logits)
        return torch.where(value == 0, torch.logaddexp(counted, F.logsigmoid(self.gate_logits)), counted)
