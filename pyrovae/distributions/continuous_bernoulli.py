"""Continuous Bernoulli distribution, accurate at every logit."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

__all__ = ["ContinuousBernoulli"]


class ContinuousBernoulli(TorchDistribution):
    r"""The continuous Bernoulli distribution on [0, 1] with logit l: :math:`p(x) = e^{l x}\,l / (e^l - 1)`.

    Pyro's ``ContinuousBernoulli`` computes the density from a probability, which in single precision loses digits
    near 1/2 and is clamped near 0 and 1: at a logit of 100 it integrates to 0.16. The formula here,
    :math:`\log p(x) = (x - 1/2)\,l - \log(\sinh(l/2) / (l/2))`, is accurate at every logit
    (Loaiza-Ganem & Cunningham, 2019, arXiv:1907.06845).

    Args:
        logits: l, any real numbers of shape ``(*)``.

    Example:
        >>> from pyrovae.distributions import ContinuousBernoulli
        >>> ContinuousBernoulli(torch.tensor([0.0, 100.0])).log_prob(torch.tensor(1.0))
        tensor([0.0000, 4.6052])
    """

    arg_constraints = {"logits": constraints.real}  # noqa: RUF012 - as torch's are
    support = constraints.unit_interval

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=validate_args)

    def expand(self, batch_shape: tuple[int, ...], _instance: Any = None) -> ContinuousBernoulli:
        """Return the distribution with its parameter expanded to ``batch_shape``."""
        return ContinuousBernoulli(self.logits.expand(batch_shape), validate_args=self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        size, near = self._size()
        y2 = (torch.where(near, self.logits, 0.0) / 2).square()
        series = y2 * (1 / 6 - y2 * (1 / 180 - y2 * (1 / 2835 - y2 / 37800)))
        # The same expression rearranged, so that no digits are lost for x near the likelier end.
        far = (value - (self.logits > 0).to(value.dtype)) * self.logits - (-torch.expm1(-size) / size).log()
        return torch.where(near, (value - 0.5) * self.logits - series, far)

    @property
    def mean(self) -> Tensor:
        r"""The mean, :math:`1/2 + (\coth(l/2) - 2/l) / 2`."""
        size, near = self._size()
        y = torch.where(near, self.logits, 0.0) / 2
        series = y * (1 / 3 - y**2 * (1 / 45 - y**2 * (2 / 945 - y**2 / 4725)))
        langevin = torch.where(near, series, self.logits.sign() * (1 / torch.tanh(size / 2) - 2 / size))
        return (1 + langevin) / 2

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Sample by the inverse of the distribution function."""
        with torch.no_grad():
            shape = self._extended_shape(sample_shape)
            u = torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device)
            size = self.logits.abs().clamp(min=1e-6)  # below, it is uniform up to rounding
            x = -torch.log1p(u * torch.expm1(-size)) / size  # sample at the logit -size
            return torch.where(self.logits > 0, 1 - x, x).clamp(0, 1)

    def _size(self) -> tuple[Tensor, Tensor]:
        # For small logits the closed forms cancel; the series is accurate.
        near = self.logits.abs() < 0.5
        return torch.where(near, 1.0, self.logits.abs()), near
