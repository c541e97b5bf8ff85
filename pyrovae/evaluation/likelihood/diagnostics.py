"""Diagnostics of importance weights: Monte Carlo error, effective sample size, Pareto shape, rounding."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyrovae.evaluation.likelihood.pareto_fit import pareto_shape
from pyrovae.tensors import as_tensor

__all__ = [
    "annealed_error",
    "effective_sample_size",
    "monte_carlo_error",
    "pareto_k",
    "pareto_threshold",
    "rounding_error",
]

_REPEATED = 5  # the tail is taken to be bounded if so many weights equal the largest one; set by hand


def effective_sample_size(log_weights: Tensor) -> Tensor:
    r"""Return the effective sample size, :math:`(\sum_k w_k)^2 / \sum_k w_k^2` (Kong, 1992).

    Args:
        log_weights: log weights in nats, ``(K, B)``.

    Returns:
        between 1 and K, float64 of shape ``(B,)``.

    Example:
        >>> effective_sample_size(torch.zeros(10, 2)).round()
        tensor([10., 10.], dtype=torch.float64)
    """
    log_weights = as_tensor("log_weights", log_weights).double()
    return (2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)).exp()


def monte_carlo_error(log_weights: Tensor) -> Tensor:
    r"""Estimate the standard error of :math:`\log \frac1K \sum_k w_k` from the spread of the weights.

    By the delta method, it is the relative standard error of the mean weight,
    :math:`\sqrt{(K / \mathrm{ESS} - 1) / (K - 1)}`. If the Pareto shape is above its threshold, it is too small.

    Args:
        log_weights: log weights in nats, ``(K, B)``.

    Returns:
        nats, float64 of shape ``(B,)``; NaN for K = 1.

    Example:
        >>> monte_carlo_error(torch.zeros(10, 1))
        tensor([0.], dtype=torch.float64)
    """
    log_weights, K = as_tensor("log_weights", log_weights), len(log_weights)
    if K == 1:
        return torch.full(log_weights.shape[1:], math.nan, dtype=torch.float64, device=log_weights.device)
    return ((K / effective_sample_size(log_weights) - 1).clamp(min=0) / (K - 1)).sqrt()


def annealed_error(log_weights: Tensor) -> Tensor:
    r"""Estimate the standard error of few annealed chains: the maximum of the delta method and log-normal weights.

    The logarithm of an annealed weight is a sum over temperatures, and nearly normal. With the variance :math:`s^2`
    the logarithm of the mean of C weights has the variance

    .. math:: \log \left(1 + (e^{s^2} - 1) / C\right) .

    Few chains seldom include the large weights that :func:`monte_carlo_error` needs, so the result is the larger of the
    two. The variance is estimated from the chains above the median, because a single chain with a very small weight
    does no harm.

    Args:
        log_weights: log weights in nats, ``(C, B)``.

    Returns:
        nats, float64 of shape ``(B,)``; NaN for one chain.

    Example:
        >>> annealed_error(torch.tensor([[-1.0], [1.0]]))
        tensor([1.1974], dtype=torch.float64)
        >>> annealed_error(torch.tensor([[-1.0, -1.0, 1.0, 1.0], [-99.0, -1.0, 1.0, 1.0]]).T).round(decimals=1)
        tensor([0.7000, 0.7000], dtype=torch.float64)
    """
    error = monte_carlo_error(log_weights)
    C = len(log_weights)
    if C == 1:
        return error
    log_weights = log_weights.double()
    middle = log_weights.quantile(0.5, 0)
    above = (log_weights - middle).clamp(min=0).square().sum(0) * 2 / (C - 1)
    variance = torch.minimum(above, log_weights.var(0).nan_to_num(math.inf)).nan_to_num(0.0)
    log_normal = torch.logaddexp(variance, torch.tensor(math.log(C - 1)).to(variance)).sub(math.log(C)).clamp(min=0)
    return torch.maximum(error, log_normal.sqrt())


def pareto_k(log_weights: Tensor, resolution: Tensor | float = 0.0) -> Tensor:
    r"""Fit the shape k̂ of a generalised Pareto distribution to the largest weights, as ArviZ does.

    Moments of the weights of order above 1/k̂ do not exist: for k̂ >= 1/2 not their variance, for k̂ >= 1 not
    their mean (Vehtari et al., 2015, arXiv:1507.02646).

    Args:
        log_weights: log weights in nats, ``(K, B)``.
        resolution: largest difference of log weights by rounding, in nats, ``(B,)``.

    Returns:
        float64 of shape ``(B,)``: infinity where a few weights dominate the sum; NaN without a tail, for fewer than 25
        weights or equal weights; -1, the shape of a uniform distribution, where the tail is bounded because five or
        more weights equal the largest one, as with discrete latents.

    Example:
        >>> pareto_k(torch.randn(1000, 1))[0] < pareto_threshold(1000)
        tensor(True)
        >>> pareto_k(torch.tensor([0.0, 1.0]).repeat(500)[:, None])
        tensor([-1.], dtype=torch.float64)
    """
    log_weights = as_tensor("log_weights", log_weights)
    weights = log_weights.detach().double()
    if len(weights) < 25:
        return torch.full_like(weights[0], math.nan)
    shapes = pareto_shape(weights).nan_to_num(math.inf, math.inf, -math.inf)
    # Weights that differ by rounding only have no tail, whatever the fitted shape.
    step = torch.as_tensor(resolution, dtype=torch.float64, device=weights.device) + 1e-6
    largest = weights.amax(0)
    shapes = torch.where((weights >= largest - step).sum(0) >= _REPEATED, -1.0, shapes)
    return torch.where(largest - weights.amin(0) <= step, math.nan, shapes)


def rounding_error(log_weights: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the largest effect of rounding of the densities on log weights.

    Args:
        log_weights: log weights in nats, ``(K, B)``.
        dtype: type in which the densities were computed.

    Returns:
        nats, float64 of shape ``(B,)``: four units in the last place of the largest weight.

    Example:
        >>> rounding_error(torch.tensor([[1e10]]), torch.float32).round()
        tensor([4768.], dtype=torch.float64)
    """
    largest = log_weights.amax(0).double()
    return 4 * torch.finfo(dtype).eps * largest.abs().nan_to_num(0.0, 0.0, 0.0)


def pareto_threshold(num_samples: int | Tensor) -> Tensor:
    """Return min(1 - 1 / log10 K, 0.7), the largest k̂ at which K samples are reliable (Vehtari et al., 2024).

    Args:
        num_samples: number K of samples, of any shape.

    Returns:
        float64 of that shape; zero up to ten samples.

    Example:
        >>> pareto_threshold(100), pareto_threshold(5000)
        (tensor(0.5000, dtype=torch.float64), tensor(0.7000, dtype=torch.float64))
    """
    K = torch.as_tensor(num_samples).double()
    return (1 - 1 / K.log10()).clamp(0.0, 0.7).nan_to_num(0.0)
