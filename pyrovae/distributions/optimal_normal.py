"""Normal distribution with the optimal scale of the observed value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["OptimalNormal"]


class OptimalNormal(dist.Normal):
    r"""A normal distribution whose log-probability uses the scale under which the observed value is most probable.

    :math:`\sigma^2 = \frac1{Bn} \sum_{b,i} (x_{bi} - \mu_{bi})^2`, over all of the value's dimensions at once
    (Rybkin et al., 2021, arXiv:2006.13202). At the optimum the derivative of the log-density with
    respect to :math:`\sigma` is zero, so the gradient with respect to :math:`\mu` is the same whether :math:`\sigma` is
    treated as a constant or differentiated through; it is treated as a constant. Samples and moments, for which no
    value is known, use the given scale.

    Args:
        loc: :math:`\mu`, of shape ``(*)``.
        scale: scale of samples and moments, of shape ``(*)``.
        on_scale: called with the optimal scale, a scalar, whenever a value is observed with gradients enabled.
        min_scale: smallest scale.

    Example:
        >>> fn = OptimalNormal(torch.zeros(2), torch.ones(2), print)
        >>> log_prob = fn.log_prob(torch.tensor([-3.0, 3.0]))
        tensor(3.)
    """

    def __init__(
        self,
        loc: Tensor,
        scale: Tensor,
        on_scale: Callable[[Tensor], None],
        min_scale: float = 0.0,
        validate_args: bool | None = None,
    ) -> None:
        self.on_scale = on_scale
        self.min_scale = min_scale
        super().__init__(loc, scale, validate_args=validate_args)

    def expand(self, batch_shape: tuple[int, ...], _instance: Any = None) -> OptimalNormal:
        """Return the distribution with its parameters expanded to ``batch_shape``."""
        loc, scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        return OptimalNormal(loc, scale, self.on_scale, self.min_scale, self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density at the optimal scale, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        scale = (value - self.loc).detach().square().mean().sqrt().clamp(min=self.min_scale)
        if torch.is_grad_enabled():
            self.on_scale(scale)
        return dist.Normal(self.loc, scale, validate_args=False).log_prob(value)
