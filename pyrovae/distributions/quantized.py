"""Distributions over the levels 0, 1/(L - 1), ..., 1 of quantised data."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions.constraints import Levels

__all__ = ["QuantizedCategorical", "QuantizedLogistic"]


class QuantizedLogistic(TorchDistribution):
    r"""A logistic distribution, rounded to the nearest of L levels; the first and last level include all beyond.

    With :math:`h = 1 / 2(L - 1)`, half a step,
    :math:`P(v) = \mathrm{sigm}\frac{v + h - \mu}{s} - \mathrm{sigm}\frac{v - h - \mu}{s}`,
    where the first term is 1 at the last level and the second 0 at the first, so that the L levels sum to 1
    (Salimans et al., 2017, arXiv:1701.05517).

    Args:
        loc: :math:`\mu`, of shape ``(*)``, in units of x.
        scale: :math:`s`, of shape ``(*)``, in units of x.
        levels: number L of levels.

    Example:
        >>> fn = QuantizedLogistic(torch.tensor(0.5), torch.tensor(0.2), levels=3)
        >>> fn.log_prob(torch.tensor([0.0, 0.5, 1.0])).exp()
        tensor([0.2227, 0.5546, 0.2227])
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012 - as torch's are

    def __init__(self, loc: Tensor, scale: Tensor, levels: int = 256, validate_args: bool | None = None) -> None:
        # Not expanded, so that terms of the scale alone are computed once for all locations.
        self.loc, self.scale = loc, scale
        self.levels = levels
        super().__init__(torch.broadcast_shapes(loc.shape, scale.shape), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Levels:
        """The levels."""
        return Levels(self.levels)

    def expand(self, batch_shape: tuple[int, ...], _instance: Any = None) -> QuantizedLogistic:
        """Return the distribution with its parameters expanded to ``batch_shape``."""
        return QuantizedLogistic(self.loc.expand(batch_shape), self.scale, self.levels, self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of levels, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        # In units of steps, so that neighbouring levels share the same border exactly; and as the product
        # sigm(a) sigm(-b) (1 - e^(b-a)), in which nothing cancels in the tails. Distances are computed in double
        # precision, because a small scale magnifies their rounding.
        steps = self.levels - 1
        index = (value * steps).round()
        loc, scale = self.loc.double() * steps, self.scale * steps
        dtype = torch.result_type(value, scale)
        above = F.logsigmoid((index + 0.5 - loc).to(dtype) / scale)
        below = F.logsigmoid((loc - (index - 0.5)).to(dtype) / scale)
        width = (-torch.expm1(-1 / scale)).log()
        first, last = index <= 0, index >= steps
        return torch.where(last, 0.0, above) + torch.where(first, 0.0, below) + torch.where(first | last, 0.0, width)

    @property
    def mean(self) -> Tensor:
        """The exact mean: the sum of the probabilities of lying above each border."""
        steps = self.levels - 1
        total = torch.zeros(self.batch_shape, dtype=self.loc.dtype, device=self.loc.device)
        for border in range(steps):  # one at a time, to need the memory of one image instead of 255
            total = total + torch.sigmoid((self.loc * steps - border - 0.5) / (self.scale * steps))
        return total / steps

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Sample a logistic variable and round it."""
        with torch.no_grad():
            shape = self._extended_shape(sample_shape)
            noise = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device).logit()
            steps = self.levels - 1
            return ((self.loc + self.scale * noise) * steps).round().clamp(0, steps) / steps


class QuantizedCategorical(dist.Categorical):
    """A categorical distribution over L levels.

    Args:
        logits: any real numbers of shape ``(*, L)``.

    Example:
        >>> QuantizedCategorical(logits=torch.zeros(5)).log_prob(torch.tensor([0.0, 0.25]))
        tensor([-1.6094, -1.6094])
    """

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        # Normalized here, shifted by the largest: torch's Categorical rounds at the size of the largest logit.
        super().__init__(logits=logits.log_softmax(-1), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Levels:
        """The levels."""
        return Levels(self.logits.shape[-1])

    def expand(self, batch_shape: tuple[int, ...], _instance: Any = None) -> QuantizedCategorical:
        """Return the distribution with its parameter expanded to ``batch_shape``."""
        logits = self.logits.expand(*batch_shape, self.logits.shape[-1])
        return QuantizedCategorical(logits, self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of levels, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        index = (value * (self.logits.shape[-1] - 1)).round().long().unsqueeze(-1)  # (*, 1)
        index, logits = torch.broadcast_tensors(index, self.logits)
        return logits.gather(-1, index[..., :1]).squeeze(-1)

    @property
    def mean(self) -> Tensor:
        """The mean of the levels."""
        return self.probs @ self._levels

    @property
    def variance(self) -> Tensor:
        """The variance of the levels."""
        return self.probs @ self._levels.square() - self.mean.square()

    @property
    def _levels(self) -> Tensor:
        return torch.linspace(0, 1, self.logits.shape[-1], dtype=self.probs.dtype, device=self.probs.device)

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Sample levels."""
        return super().sample(sample_shape).to(self.logits.dtype) / (self.logits.shape[-1] - 1)
