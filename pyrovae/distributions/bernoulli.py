"""Bernoulli distribution of values in [0, 1]."""

from __future__ import annotations

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

__all__ = ["UnitBernoulli"]


class UnitBernoulli(dist.Bernoulli):
    r"""A Bernoulli distribution whose ``log_prob`` accepts values between 0 and 1: the negative cross-entropy.

    :math:`\log p(x) = x l - \mathrm{softplus}(l)` with logit :math:`l`.

    Example:
        >>> UnitBernoulli(logits=torch.zeros(3)).log_prob(torch.tensor([0.0, 0.5, 1.0]))
        tensor([-0.6931, -0.6931, -0.6931])
    """

    support = constraints.unit_interval

    def log_prob(self, value: Tensor) -> Tensor:
        """Return x l - softplus(l), which is defined for x in [0, 1]."""
        if self._validate_args:
            self._validate_sample(value)
        logits, x = torch.broadcast_tensors(self.logits, value)
        return -F.binary_cross_entropy_with_logits(logits, x, reduction="none")
