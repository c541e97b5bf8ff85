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
        observed: which entries of the value count, booleans that broadcast to ``(*)``; all if None.

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
        observed: Tensor | None = None,
    ) -> None:
        self.on_scale = on_scale
        self.min_scale = min_scale
        self.observed = observed
        super().__init__(loc, scale, validate_args=validate_args)

    def expand(self, batch_shape: tuple[int, ...], _instance: Any = None) -> OptimalNormal:
        """Return the distribution with its parameters expanded to ``batch_shape``."""
        loc, scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        return OptimalNormal(loc, scale, self.on_scale, self.min_scale, self._validate_args, self.observed)

    def mask(self, mask: Tensor) -> dist.MaskedDistribution:
        """Return the distribution of the entries that a mask keeps, at the scale that is optimal for these."""
        own = OptimalNormal(self.loc, self.scale, self.on_scale, self.min_scale, self._validate_args, mask)
        return dist.MaskedDistribution(own, mask)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density at the optimal scale, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        squares = (value - self.loc).detach().square()
        if self.observed is None:
            mean = squares.mean()
        else:
            observed = self.observed.expand(squares.shape)
            mean = torch.where(observed, squares, 0.0).sum() / observed.sum().clamp(min=1)
        scale = mean.sqrt().clamp(min=self.min_scale)
        if torch.is_grad_enabled():
            self.on_scale(scale)
        return dist.Normal(self.loc, scale, validate_args=False).log_prob(value)
