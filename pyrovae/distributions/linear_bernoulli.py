"""Bernoulli distribution with logits linear in features: fast log-probabilities of one x under many features."""

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

_FACTORS = 4  # probabilities per product, of which one logarithm is taken
_LOGITS_AT_A_TIME = 2**19  # on a CPU, so that they fit the cache


class LinearBernoulli(dist.Independent):
    r"""A Bernoulli distribution with logits :math:`l = W h + b`, which are computed only when needed.

    .. math:: \log p(x) = x^\top l - \sum_i \mathrm{softplus}(l_i)
        = h^\top (W^\top x) + b^\top x + \sum_i \log \sigma(-l_i)

    For one x and many h, the products with x are computed once. The last sum takes one logarithm for each product of
    four probabilities; of single probabilities if such a product underflows, as at logits above 21 in float32. It is
    computed as in :class:`UnitBernoulli` if a result is not finite, or if there are as many x as h. Values are not
    validated.

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
        # Not Independent's own constructor, which needs the logits.
        dist.TorchDistribution.__init__(self, features.shape[:-1], torch.Size(event_shape), validate_args=False)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """Images of values in [0, 1]."""
        return constraints.independent(constraints.unit_interval, self.reinterpreted_batch_ndims)

    @cached_property
    def base_dist(self) -> UnitBernoulli:
        """The Bernoulli distribution of each pixel, whose logits are computed at the first access."""
        logits = F.linear(self.features, self.weight, self.bias)
        return UnitBernoulli(logits=logits.reshape(self.batch_shape + self.event_shape), validate_args=False)

    def expand(self, batch_shape: tuple[int, ...], _instance: Any = None) -> LinearBernoulli:
        """Return the distribution with its features expanded to ``batch_shape``."""
        features = self.features.expand(*batch_shape, self.features.shape[-1])
        return LinearBernoulli(features, self.weight, self.bias, self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of ``value``, ``(*, *event_shape)``, in nats."""
        if not self._is_fast(value):
            return super().log_prob(value)
        x = value.flatten(-self.reinterpreted_batch_ndims)  # (*, P)
        # With negated weights, which saves a pass over the logits to negate them.
        log_off = _SumLogSigmoid.apply(self.features, -self.weight, None if self.bias is None else -self.bias)
        # In double precision: at confident pixels the terms are large and cancel.
        log_prob = _inner_products(self.features, x.double() @ self.weight.double()) + log_off
        if self.bias is not None:
            log_prob = log_prob + x.double() @ self.bias.double()
        log_prob = log_prob.to(value.dtype)
        return log_prob if bool(log_prob.isfinite().all()) else super().log_prob(value)

    def _is_fast(self, value: Tensor) -> bool:
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


def _inner_products(features: Tensor, directions: Tensor) -> Tensor:
    """Return the inner products of ``(*, H)`` and float64 ``(*, H)``, a few at a time on a CPU, to fit its cache."""
    if features.device.type != "cpu" or features.dim() <= directions.dim():
        return (features * directions).sum(-1)
    size = max(1, _LOGITS_AT_A_TIME // 2 * len(features) // max(1, features.numel()))
    return torch.cat([(part.double() * directions).sum(-1) for part in features.split(size)])


class _SumLogSigmoid(torch.autograd.Function):
    r"""The function :math:`\sum_i \log \sigma(l_i)` of :math:`l = W h + b`.

    Logits are computed for as many rows at a time as fit the cache, and not kept: the gradient in h is computed at the
    same time. There are no gradients in W and b.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        log_off, gradients = [], []
        rows = features.reshape(-1, features.shape[-1])  # (N, H)
        size = max(1, _LOGITS_AT_A_TIME // len(weight)) if rows.device.type == "cpu" else len(rows)
        for h in rows.split(max(1, size)):
            on = F.linear(h, weight, bias).sigmoid_()  # (n, P)
            if ctx.needs_input_grad[0]:
                gradients.append(F.linear(1 - on, weight.t()))
            product = _products(on)
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
        if torch.is_grad_enabled():  # for second derivatives
            slope = F.linear(1 - F.linear(features, weight, bias).sigmoid(), weight.t())
        return gradient.unsqueeze(-1).to(slope.dtype) * slope, None, None


def _products(factors: Tensor) -> Tensor:
    """Multiply each four entries of the last dimension, ``(n, P)``; a remainder of P is kept as it is."""
    together = factors.shape[-1] // _FACTORS * _FACTORS
    if together == 0:
        return factors
    product = factors[:, :together].unflatten(-1, (_FACTORS, -1)).prod(1)
    return product if together == factors.shape[-1] else torch.cat((product, factors[:, together:]), -1)
