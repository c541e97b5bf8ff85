"""Coins that may be grey."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

__all__ = ["UnitBernoulli"]


class UnitBernoulli(dist.Bernoulli):
    r"""Define a Bernoulli's log_prob between 0 and 1 too, as the negative cross-entropy.

    :math:`\log p(x) = x l - \mathrm{softplus}(l)` with logit :math:`l`.

    Example:
        >>> UnitBernoulli(logits=torch.zeros(3)).log_prob(torch.tensor([0.0, 0.5, 1.0]))
        tensor([-0.6931, -0.6931, -0.6931])
    """

    support = constraints.unit_interval

    def log_prob(self, value: Tensor) -> Tensor:
        """Return x l - softplus(l), which is defined for x in [0, 1]."""
        # In vectorised operations: torch's log1p, and so its cross-entropy, takes ten times as
        # long, and what it adds, digits of log p where p is 1 to within rounding, is lost in the sum over pixels.
        if self._validate_args:
            self._validate_sample(value)
        size = self.logits.abs()
        return (value - 0.5) * self.logits - 0.5 * size - (1 + (-size).exp()).log()
