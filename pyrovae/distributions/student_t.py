"""Student's t distribution, accurate at any number of degrees of freedom."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.distributions.log_gamma import log_gamma_half_step

__all__ = ["StudentT"]


class StudentT(dist.StudentT):
    r"""Student's t distribution with :math:`\nu` degrees of freedom.

    :math:`\log p(x) = r(\nu / 2) - \tfrac12 \log 2 \pi - \log s - \tfrac{\nu + 1}2 \log(1 + y^2 / \nu)` with
    :math:`y = (x - \mu) / s` and :math:`r(z) = \log \Gamma(z + \tfrac12) - \log \Gamma(z) - \tfrac12 \log z`, which
    here is computed without cancellation. Pyro's distribution computes it as written, with an error of 0.3 nats at a
    million degrees of freedom in single precision.

    Args:
        df: :math:`\nu`, a positive number.
        loc: :math:`\mu`, of shape ``(*)``.
        scale: s, of a shape that broadcasts with it.

    Example:
        >>> from pyrovae.distributions import StudentT
        >>> StudentT(1e6, torch.tensor(0.0), torch.tensor(1.0)).log_prob(torch.tensor(0.0))
        tensor(-0.9189)
    """

    def __init__(self, df: float, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        self.degrees = df
        super().__init__(df, loc, scale, validate_args=validate_args)

    def expand(self, batch_shape: tuple[int, ...], _instance: Any = None) -> StudentT:
        """Return the distribution with its parameters expanded to ``batch_shape``."""
        return StudentT(self.degrees, self.loc.expand(batch_shape), self.scale.expand(batch_shape), self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        constant = log_gamma_half_step(self.degrees / 2) - 0.5 * math.log(2 * math.pi)
        square = ((value - self.loc) / self.scale).square()
        return constant - self.scale.log() - 0.5 * (self.degrees + 1) * torch.log1p(square / self.degrees)
