"""What importance weights say about themselves: errors, effective sample size, Pareto shape."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "annealed_bias",
    "annealed_error",
    "effective_sample_size",
    "jensen_bias",
    "monte_carlo_error",
    "pareto_k",
    "pareto_threshold",
]


def effective_sample_size(log_weights: Tensor) -> Tensor:
    r"""Count the equal weights that would be worth as much: :math:`(\sum_k w_k)^2 / \sum_k w_k^2` (Kong, 1992).

    Args:
        log_weights: nats, ``(K, B)``.

    Returns:
        between 1 and K, float64 of shape ``(B,)``.

    Example:
        >>> effective_sample_size(torch.zeros(10, 2)).round()
        tensor([10., 10.], dtype=torch.float64)
    """
    log_weights = log_weights.double()
    return (2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)).exp()


def monte_carlo_error(log_weights: Tensor) -> Tensor:
    r"""Estimate the standard error of :math:`\log \frac1K \sum_k w_k` from the weights' own spread.

    The delta method: the relative standard error of the mean weight,
    :math:`\sqrt{(K / \mathrm{ESS} - 1) / (K - 1)}`. It holds where the Pareto shape is below its threshold;
    above, it is too small.

    Args:
        log_weights: nats, ``(K, B)``.

    Returns:
        nats, float64 of shape ``(B,)``; NaN for K = 1, which has no spread.

    Example:
        >>> monte_carlo_error(torch.zeros(10, 1))
        tensor([0.], dtype=torch.float64)
    """
    K = len(log_weights)
    if K == 1:
        return torch.full(log_weights.shape[1:], math.nan, dtype=torch.float64, device=log_weights.device)
    return ((K / effective_sample_size(log_weights) - 1).clamp(min=0) / (K - 1)).sqrt()


def jensen_bias(log_weights: Tensor) -> Tensor:
    r"""Estimate by how much :math:`\log \frac1K \sum_k w_k` falls short of the logarithm of the weights' mean.

    To second order, half the relative variance of the mean weight (Burda et al., 2015; Nowozin, 2018):

    .. math:: (K / \mathrm{ESS} - 1) / (2 K)

    It is two to four times too small where the Pareto shape is above its threshold.

    Args:
        log_weights: nats, ``(K, B)``.

    Returns:
        nats, not negative, float64 of shape ``(B,)``.

    Example:
        >>> jensen_bias(torch.tensor([[0.0], [0.0], [-1000.0], [-1000.0]]))
        tensor([0.1250], dtype=torch.float64)
    """
    K = len(log_weights)
    return (K / effective_sample_size(log_weights) - 1).clamp(min=0) / (2 * K)


def annealed_bias(log_weights: Tensor) -> Tensor:
    r"""Estimate the bias of few annealed chains: :func:`jensen_bias`, or that of log-normal weights if it is larger.

    The logarithm of an annealed weight is a sum over temperatures, and nearly normal. With the variance :math:`s^2`
    a chain falls short by :math:`s^2 / 2`, and the mean of C weights by about

    .. math:: \tfrac12 \log \left(1 + (e^{s^2} - 1) / C\right)

    A handful of chains seldom holds the large weights that the other formula needs. Where :math:`s^2` is large beside
    log C, this one tells too much.

    Args:
        log_weights: nats, ``(C, B)``.

    Returns:
        nats, not negative, float64 of shape ``(B,)``; NaN for one chain.

    Example:
        >>> annealed_bias(torch.tensor([[-1.0], [1.0]]))
        tensor([0.7169], dtype=torch.float64)
    """
    C = len(log_weights)
    if C == 1:
        return torch.full(log_weights.shape[1:], math.nan, dtype=torch.float64, device=log_weights.device)
    return torch.maximum(jensen_bias(log_weights), _log_normal_variance(log_weights) / 2)


def annealed_error(log_weights: Tensor) -> Tensor:
    r"""Estimate the standard error of few annealed chains: :func:`monte_carlo_error`, or that of log-normal weights.

    The larger of the two; the other's square is twice the second bias that :func:`annealed_bias` tells of.

    Args:
        log_weights: nats, ``(C, B)``.

    Returns:
        nats, float64 of shape ``(B,)``; NaN for one chain.

    Example:
        >>> annealed_error(torch.tensor([[-1.0], [1.0]]))
        tensor([1.1974], dtype=torch.float64)
    """
    error = monte_carlo_error(log_weights)
    return error if len(log_weights) == 1 else torch.maximum(error, _log_normal_variance(log_weights).sqrt())


def _log_normal_variance(log_weights: Tensor) -> Tensor:
    """Return the variance of the logarithm of the mean of weights that are log-normal, ``(B,)``; 0 if some are zero."""
    C = len(log_weights)
    variance = log_weights.double().var(0).nan_to_num(-math.inf)
    return torch.logaddexp(variance, torch.tensor(math.log(C - 1)).to(variance)).sub(math.log(C)).clamp(min=0)


def pareto_k(log_weights: Tensor) -> Tensor:
    r"""Fit the shape k̂ of a generalised Pareto distribution to the largest weights, with ArviZ.

    Moments of the weights of order above 1/k̂ do not exist: for k̂ >= 1/2 not their variance, for k̂ >= 1 not
    their mean (Vehtari et al., 2015, arXiv:1507.02646).

    Args:
        log_weights: nats, ``(K, B)``.

    Returns:
        float64 of shape ``(B,)``; infinity where a handful of weights is everything; NaN where there is no
        tail to speak of: fewer than 25 weights, or equal ones.

    Example:
        >>> pareto_k(torch.randn(1000, 1))[0] < pareto_threshold(1000)
        tensor(True)
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # ArviZ announces its next version when it is imported
        from arviz import psislw

    weights = log_weights.detach().double().cpu()
    if len(weights) < 25:
        return torch.full(weights.shape[1:], math.nan, dtype=torch.float64, device=log_weights.device)
    with np.errstate(all="ignore"):
        shapes = torch.from_numpy(np.atleast_1d(psislw(weights.T.contiguous().numpy())[1]))
    # Weights that differ by rounding only have no tail, whatever shape is fitted to it.
    flat = weights.amax(0) - weights.amin(0) < 1e-6
    return torch.where(flat, math.nan, shapes.nan_to_num(math.inf, math.inf, -math.inf)).to(log_weights.device)


def pareto_threshold(num_samples: int | Tensor) -> Tensor:
    """Return min(1 - 1 / log10 K, 0.7), above which K samples cannot be trusted (Vehtari et al., 2024).

    Args:
        num_samples: K, of any shape.

    Returns:
        float64 of that shape; zero up to ten samples.

    Example:
        >>> pareto_threshold(100), pareto_threshold(5000)
        (tensor(0.5000, dtype=torch.float64), tensor(0.7000, dtype=torch.float64))
    """
    K = torch.as_tensor(num_samples).double()
    return (1 - 1 / K.log10()).clamp(0.0, 0.7).nan_to_num(0.0)
