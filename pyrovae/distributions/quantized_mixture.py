"""Mixture of quantised logistic distributions, with channels that depend on each other."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import Categorical, TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions.constraints import Levels
from pyrovae.distributions.quantized import QuantizedLogistic

__all__ = ["QuantizedLogisticMixture"]


class QuantizedLogisticMixture(TorchDistribution):
    r"""A mixture of K quantised logistic distributions at each pixel, autoregressive over the channels.

    All channels of a pixel come from one component k. The location of channel c depends on the channels before it,
    :math:`\mu_{kc} + \sum_{j<c} a_{kcj} (x_j - \tfrac12)`, so that the joint probability of the channels sums to 1:
    :math:`P(x) = \prod_p \sum_k \pi_{kp} \prod_c P(x_{cp} \mid x_{<c,p}, k)`
    (Salimans et al., 2017, arXiv:1701.05517).

    Args:
        logits: logits of the components, ``(*, K, P)`` for P pixels.
        loc: :math:`\mu`, ``(*, K, C, P)`` for C channels.
        scale: scales, of the same shape.
        slopes: :math:`a`, ``(*, K, C (C - 1) / 2, P)``, ordered by channel, then by the channel before.
        data_shape: shape of x, of C P components with the channels first.
        levels: number L of levels.

    Example:
        >>> loc = torch.rand(5, 3, 16)
        >>> fn = QuantizedLogisticMixture(torch.zeros(5, 16), loc, torch.ones(5, 3, 16), loc, (3, 4, 4))
        >>> fn.log_prob(fn.sample()).shape
        torch.Size([])
    """

    arg_constraints = {  # noqa: RUF012 - as torch's are
        "logits": constraints.independent(constraints.real, 2),
        "loc": constraints.independent(constraints.real, 3),
        "scale": constraints.independent(constraints.positive, 3),
        "slopes": constraints.independent(constraints.real, 3),
    }

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        scale: Tensor,
        slopes: Tensor,
        data_shape: tuple[int, ...],
        levels: int = 256,
        validate_args: bool | None = None,
    ) -> None:
        self.logits = logits
        self.loc = loc
        self.scale = scale
        self.slopes = slopes
        self.levels = levels
        super().__init__(logits.shape[:-2], torch.Size(data_shape), validate_args)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> constraints.Constraint:
        """The levels, at each component of x."""
        return constraints.independent(Levels(self.levels), len(self.event_shape))

    def expand(self, batch_shape: tuple[int, ...], _instance: Any = None) -> QuantizedLogisticMixture:
        """Return the distribution with its parameters expanded to ``batch_shape``."""
        logits = self.logits.expand(*batch_shape, *self.logits.shape[-2:])
        loc, scale, slopes = (
            parameter.expand(*batch_shape, *parameter.shape[-3:]) for parameter in (self.loc, self.scale, self.slopes)
        )
        return QuantizedLogisticMixture(logits, loc, scale, slopes, self.event_shape, self.levels, self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of x of shape ``(*, *data_shape)``, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        *_, C, P = self.loc.shape
        x = value.reshape(*value.shape[: value.dim() - len(self.event_shape)], 1, C, P)
        steps = self.levels - 1
        level = (x * steps).round().double() / steps  # exact levels, because a small scale magnifies rounding
        locs = torch.broadcast_tensors(*(self._loc_of(c, self.loc, self.slopes, level) for c in range(C)))
        loc = torch.stack(locs, -2)  # (*, K, C, P)
        parts = QuantizedLogistic(loc, self.scale, self.levels, validate_args=False).log_prob(x).sum(-2)  # (*, K, P)
        return (self.logits.log_softmax(-2) + parts).logsumexp(-2).sum(-1)

    @property
    def mean(self) -> Tensor:
        """The mean over components; a channel's location is computed at the means of the channels before it.

        It is exact except for the truncation at 0 and 1 in later channels.
        """
        moved = self._one_by_one(self.loc, self.scale, self.slopes, mean=True)  # (*, K, C, P)
        mixed = (self.logits.softmax(-2).unsqueeze(-2) * moved).sum(-3)
        return mixed.reshape(*self.batch_shape, *self.event_shape)

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Sample a component for each pixel, then its channels one by one."""
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            every = self.expand(shape[: len(shape) - len(self.event_shape)])
            k = Categorical(logits=every.logits.movedim(-2, -1)).sample()[..., None, None, :]  # (*, 1, 1, P)
            chosen = (torch.take_along_dim(part, k, -3).squeeze(-3) for part in (every.loc, every.scale, every.slopes))
            return self._one_by_one(*chosen, mean=False).reshape(shape)

    def _one_by_one(self, loc: Tensor, scale: Tensor, slopes: Tensor, *, mean: bool) -> Tensor:
        """Return means or samples of the channels of ``loc``, of shape ``(*, C, P)``, in their order."""
        x: list[Tensor] = []
        for c in range(loc.shape[-2]):
            at = self._loc_of(c, loc, slopes, torch.stack(x, -2) if x else loc)
            fn = QuantizedLogistic(at, scale[..., c, :], self.levels, validate_args=False)
            x.append(fn.mean if mean else fn.sample())
        return torch.stack(x, -2)

    @staticmethod
    def _loc_of(c: int, loc: Tensor, slopes: Tensor, x: Tensor) -> Tensor:
        """Return the location of channel ``c``, given the channels of ``x`` before it: ``(*, P)``."""
        if c == 0:  # ONNX has no empty sums
            return loc[..., 0, :].to(x.dtype)
        first = c * (c - 1) // 2
        return loc[..., c, :] + (slopes[..., first : first + c, :] * (x[..., :c, :] - 0.5)).sum(-2)
