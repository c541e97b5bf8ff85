"""Coins whose logits are a linear map of features, weighed without a pass over them for each datum."""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import Any

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions.bernoulli import UnitBernoulli

__all__ = ["LinearBernoulli"]

_TOGETHER = 4  # probabilities that are multiplied before the logarithm of them is taken
_IN_CACHE = 2**19  # logits at a time, on a CPU


class LinearBernoulli(dist.Independent):
    r"""Take the logits :math:`l = W h + b` of coins :math:`x` by the features h, and compute them when asked.

    .. math:: \log p(x) = x^\top l - \sum_i \mathrm{softplus}(l_i)
        = h^\top (W^\top x) + b^\top x + \sum_i \log \sigma(-l_i)

    Where many h are weighed for one x, its products are taken once for all of them, and the sum is one over logarithms
    of products of four, or of single ones where such a product is too small for its type, as that of logits above 21 is
    in float32. Where something is not finite, and for as many x as there are h, it is computed as
    :class:`UnitBernoulli` does. Of values nothing is validated.

    Args:
        features: h, ``(*, H)``.
        weight: W, ``(P, H)``.
        bias: b, ``(P,)``, or None.
        event_shape: shape of x, of P components.

    Example:
        >>> h, W, b = torch.randn(500, 1, 3), torch.randn(4, 3), torch.zeros(4)
        >>> LinearBernoulli(h, W, b, (2, 2)).log_prob(torch.ones(7, 2, 2)).shape
        torch.Size([500, 7])
    """

    has_rsample = False
    has_enumerate_support = False
    _validate_args = False

    def __init__(self, features: Tensor, weight: Tensor, bias: Tensor | None, event_shape: tuple[int, ...]) -> None:
        self.features = features
        self.weight = weight
        self.bias = bias
        self.reinterpreted_batch_ndims = len(event_shape)
        # Past Independent's, which would ask for the logits.
        dist.TorchDistribution.__init__(self, features.shape[:-1], torch.Size(event_shape), validate_args=False)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """Images of values in [0, 1]."""
        return constraints.independent(constraints.unit_interval, self.reinterpreted_batch_ndims)

    @cached_property
    def base_dist(self) -> UnitBernoulli:
        """The coins, whose logits are computed when they are first asked for."""
        logits = F.linear(self.features, self.weight, self.bias)
        return UnitBernoulli(logits=logits.reshape(self.batch_shape + self.event_shape), validate_args=False)

    def expand(self, batch_shape: tuple[int, ...], _instance: Any = None) -> LinearBernoulli:
        """Return the distribution with its features expanded to ``batch_shape``."""
        features = self.features.expand(*batch_shape, self.features.shape[-1])
        return LinearBernoulli(features, self.weight, self.bias, self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of ``value``, ``(*, *event_shape)``, in nats."""
        if not self._is_hoisted(value):
            return super().log_prob(value)
        x = value.flatten(-self.reinterpreted_batch_ndims)  # (*, P)
        # Of the negative weights, so that no pass over the logits is needed to turn their sign.
        log_off = _LogOff.apply(self.features, -self.weight, None if self.bias is None else -self.bias)
        # Sums in double precision: where pixels are sure, they are large and cancel.
        log_prob = (self.features * (x.double() @ self.weight.double())).sum(-1) + log_off
        if self.bias is not None:
            log_prob = log_prob + x.double() @ self.bias.double()
        log_prob = log_prob.to(value.dtype)
        return log_prob if bool(log_prob.isfinite().all()) else super().log_prob(value)

    def _is_hoisted(self, value: Tensor) -> bool:
        count = self.reinterpreted_batch_ndims
        of_parameters = torch.is_grad_enabled() and (
            self.weight.requires_grad or (self.bias is not None and self.bias.requires_grad)
        )
        return (
            value.shape[-count:] == self.event_shape
            and value.dtype == self.features.dtype == self.weight.dtype
            and 2 * value.numel() <= prod(self.batch_shape) * prod(self.event_shape)
            and not of_parameters
        )


class _LogOff(torch.autograd.Function):
    r"""Compute :math:`\sum_i \log \sigma(l_i)` for :math:`l = W h + b`.

    The logits are made of some rows at a time, that fit the cache, and are not kept: the gradient in h is computed with
    them. There is none in W and b.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        log_off, gradients = [], []
        rows = features.reshape(-1, features.shape[-1])  # (N, H)
        size = max(1, _IN_CACHE // len(weight)) if rows.device.type == "cpu" else len(rows)
        for h in rows.split(max(1, size)):
            on = F.linear(h, weight, bias).sigmoid_()  # (n, P)
            if ctx.needs_input_grad[0]:
                gradients.append(F.linear(1 - on, weight.t()))
            product = _multiplied(on)
            if bool(product.amin() > torch.finfo(product.dtype).tiny):
                log_off.append(product.log_().sum(-1, dtype=torch.float64))
            else:
                log_off.append(F.logsigmoid(F.linear(h, weight, bias)).sum(-1, dtype=torch.float64))
        lead = features.shape[:-1]
        gradient = torch.cat(gradients).reshape(features.shape) if gradients else torch.empty(0)
        ctx.save_for_backward(features, weight, bias, gradient)
        return torch.cat(log_off).reshape(lead)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        features, weight, bias, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # it is differentiated itself
            slope = F.linear(1 - F.linear(features, weight, bias).sigmoid(), weight.t())
        return gradient.unsqueeze(-1).to(slope.dtype) * slope, None, None


def _multiplied(factors: Tensor) -> Tensor:
    """Multiply four of the last dimension at a time, ``(n, P)``; what is left over of P stays as it is."""
    together = factors.shape[-1] // _TOGETHER * _TOGETHER
    if together == 0:
        return factors
    product = factors[:, :together].unflatten(-1, (_TOGETHER, -1)).prod(1)
    return product if together == factors.shape[-1] else torch.cat((product, factors[:, together:]), -1)
