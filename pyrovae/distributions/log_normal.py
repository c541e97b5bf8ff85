"""Log-normal distribution, accurate at any scale."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["LogNormal"]


class LogNormal(dist.LogNormal):
    r"""Log-normal distribution: :math:`\log x \sim \mathcal{N}(\mu, s^2)`.

    :math:`\log p(x) = -\tfrac12 y^2 - \log x - \log s - \tfrac12 \log 2 \pi` with :math:`y = (\log x - \mu) / s`. In
    single precision :math:`\log x` is rounded, which at a small scale changes y: it is computed in double precision
    here. Pyro's distribution is 0.04 nats off at a scale of 1e-6 and a mean of 0.7.

    Args:
        loc: :math:`\mu`, of shape ``(*)``.
        scale: s, of a shape that broadcasts with it.

    Example:
        >>> from pyrovae.distributions import LogNormal
        >>> LogNormal(torch.tensor(0.0), torch.tensor(1.0)).log_prob(torch.tensor(1.0))
        tensor(-0.9189)
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        log_value, scale = value.double().log(), self.scale.double()
        square = ((log_value - self.loc.double()) / scale).square()
        log_prob = -0.5 * square - log_value - scale.log() - 0.5 * math.log(2 * math.pi)
        return log_prob.to(torch.result_type(self.loc, value))
