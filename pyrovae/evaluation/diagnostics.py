"""What importance weights say about themselves: errors, effective sample size, Pareto shape."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from torch import Tensor

__all__ = ["effective_sample_size", "monte_carlo_error", "pareto_k", "pareto_threshold"]


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


def pareto_threshold(num_samples: int) -> float:
    """Return min(1 - 1 / log10 K, 0.7), above which K samples cannot be trusted (Vehtari et al., 2024).

    Example:
        >>> round(pareto_threshold(100), 2), round(pareto_threshold(5000), 2)
        (0.5, 0.7)
    """
    return min(1 - 1 / math.log10(num_samples), 0.7) if num_samples > 10 else 0.0
