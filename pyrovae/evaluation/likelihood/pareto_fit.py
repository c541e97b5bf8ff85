"""Fit of generalised Pareto distributions to the tails of many sets of weights at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["pareto_shape", "tail_size"]

_MIN_TAIL = 5  # weights in the tail, with fewer of which nothing is fitted
_PRIOR_SHAPE, _PRIOR_SIZE = 0.5, 10  # mean of the prior of the shape, and the number of weights that it counts as
_TERMS_AT_A_TIME = 2**17  # so that they fit the cache of a CPU


def tail_size(num_samples: Tensor) -> Tensor:
    """Return the number of largest weights, of K, to which the Pareto shape is fitted (Vehtari et al., 2015).

    Args:
        num_samples: numbers K of weights, of any shape.

    Example:
        >>> tail_size(torch.tensor([100, 5000]))
        tensor([ 20., 213.], dtype=torch.float64)
    """
    K = num_samples.double()
    return torch.minimum(K / 5, 3 * K.sqrt()).ceil()


def pareto_shape(log_weights: Tensor) -> Tensor:
    r"""Fit the shape k̂ of a generalised Pareto distribution to the largest weights of each datum.

    The estimate is that of Zhang & Stephens (2009, doi:10.1198/tech.2009.08017), with the prior of Vehtari et al.
    (2015, arXiv:1507.02646). ArviZ's ``psislw`` computes the same for one datum after the other, with equal numbers up
    to rounding (in its version 1, where its tail has as many weights).

    Args:
        log_weights: log weights in nats, ``(K, B)``, float64.

    Returns:
        ``(B,)``: infinity where fewer than five weights lie above the next largest one; NaN where the fit failed.

    Example:
        >>> log_weights = torch.empty(100_000, 2, dtype=torch.float64).exponential_(1 / 0.3)  # a tail of shape 0.3
        >>> pareto_shape(log_weights).round(decimals=1)
        tensor([0.3000, 0.3000], dtype=torch.float64)
    """
    size = int(tail_size(torch.tensor(len(log_weights))))
    largest = (log_weights - log_weights.amax(0)).T.topk(min(size + 1, len(log_weights))).values  # (B, M + 1)
    border = largest[:, -1:].clamp(min=math.log(torch.finfo(torch.float64).tiny))
    lengths = (largest[:, :-1] > border).sum(1)  # less than M where weights are tied with the border, or are zero
    shapes = torch.full_like(border[:, 0], math.inf)
    for length in lengths.unique().tolist():
        if length < _MIN_TAIL:
            continue
        rows = (lengths == length).nonzero()[:, 0]
        tails = largest[rows, :length].flip(1).exp() - border[rows].exp()
        at_a_time = max(1, _TERMS_AT_A_TIME // (length * _num_candidates(length)))
        shapes[rows] = torch.cat([_fit(some) for some in tails.split(at_a_time)])
    return shapes


def _num_candidates(length: int) -> int:
    return 30 + math.isqrt(length)


def _fit(excess: Tensor) -> Tensor:
    r"""Fit the shape to tails of n weights each, in ascending order and less their border, ``(R, n)``.

    With the reparametrisation :math:`b = -k / \sigma`, the shape is the mean of :math:`\log(1 - b\,w)`. b is the mean
    of candidates, weighted by their profile likelihoods.
    """
    n, m = excess.shape[1], _num_candidates(excess.shape[1])
    quartile, largest = excess[:, int(n / 4 + 0.5) - 1, None], excess[:, -1:]
    order = torch.arange(1, m + 1, dtype=excess.dtype, device=excess.device) - 0.5
    b = (1 - (m / order).sqrt()) / (3 * quartile) + 1 / largest  # (R, m)
    k = (-b[:, :, None] * excess[:, None]).log1p_().mean(-1)
    posterior = (n * ((-b / k).log() - k - 1)).softmax(1)
    posterior = torch.where(posterior >= 10 * torch.finfo(excess.dtype).eps, posterior, 0.0)  # also where it is NaN
    b = torch.where(posterior > 0, b * posterior, 0.0).sum(1) / posterior.sum(1).clamp(min=0.5)
    k = torch.log1p(-b[:, None] * excess).mean(-1)
    return (n * k + _PRIOR_SIZE * _PRIOR_SHAPE) / (n + _PRIOR_SIZE)
