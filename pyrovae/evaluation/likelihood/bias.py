"""The bias of a bound on log p(x), estimated from the weights that it is made of."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyrovae.evaluation.likelihood.diagnostics import effective_sample_size, tail_size

__all__ = ["chain_excess", "estimated_bias", "extrapolated_bias", "halved_bounds", "jensen_bias", "unseen_tail"]

_SPLIT = 2048  # weights that the random splits of a datum's hold together, at least
_LEAST_RATIO = 1.1  # below it the extrapolation is ten times the last growth or more, and mostly noise
_USUAL_RATIO = 1.5  # between light tails and heavy ones, where there are too few weights to see it
_EXCESS = 0.05  # empirical; docs/likelihood.md shows how often the intervals that it is part of cover
_HEAVIEST = 0.8  # on trained VAEs with K = 256 samples, 0.9 told half as much bias again, or more


def jensen_bias(log_weights: Tensor) -> Tensor:
    r"""Estimate by how much :math:`\log \frac1K \sum_k w_k` falls short of the logarithm of the weights' mean.

    To second order, half the relative variance of the mean weight (Burda et al., 2015; Nowozin, 2018):

    .. math:: (K / \mathrm{ESS} - 1) / (2 K)

    It is too small where the weights have a heavy tail; :func:`extrapolated_bias` is not.

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


def halved_bounds(log_weights: Tensor) -> Tensor:
    r"""Return :math:`L_K, L_{K/2}, L_{K/4}, L_{K/8}`, the last three averaged over random splits of the K weights.

    Each split is a partition, so the four decrease from the first to the last. Their differences are unbiased
    estimates of how :math:`\mathrm{E} L_K` grows with K, whatever the tail of the weights.

    Args:
        log_weights: nats, ``(K, B)``.

    Returns:
        nats, float64 of shape ``(4, B)``; NaN where there are too few weights for a split.

    Example:
        >>> halved_bounds(torch.zeros(16, 1)).flatten()
        tensor([0., 0., 0., 0.], dtype=torch.float64)
    """
    log_weights = log_weights.double()
    K, count = log_weights.shape
    halved = log_weights.new_full((4, count), math.nan)
    halved[0] = log_weights.logsumexp(0) - math.log(K)
    generator = torch.Generator().manual_seed(0)  # of its own: the caller's noise stays as it is
    num_splits = max(1, _SPLIT // K)
    orders = [torch.randperm(K, generator=generator) for _ in range(num_splits)]
    for level in range(1, min(3, K.bit_length() - 1) + 1):
        size = K >> level
        bounds = [_blocks(log_weights[order.to(log_weights.device)], size).mean(0) for order in orders]
        halved[level] = torch.stack(bounds).mean(0)
    return halved


def _blocks(log_weights: Tensor, size: int) -> Tensor:
    """Return the bounds of consecutive blocks of so many weights, ``(M, B)``."""
    whole = len(log_weights) // size * size
    return log_weights[:whole].unflatten(0, (-1, size)).logsumexp(1) - math.log(size)


def estimated_bias(halved: Tensor, unseen: Tensor, ess: Tensor, num_samples: Tensor, annealed: Tensor) -> Tensor:
    """Estimate by how much the bounds of some data fall short: importance samples and chains apart.

    Args:
        halved: what :func:`halved_bounds` returned, ``(4, B)``.
        unseen: what :func:`unseen_tail` returned for importance samples, ``(B,)``.
        ess: effective sample size, ``(B,)``.
        num_samples: number K of weights, ``(B,)``.
        annealed: whether the weights are those of annealed chains, ``(B,)``.

    Returns:
        nats, float64 of shape ``(B,)``; NaN for one weight.
    """
    bias = torch.full_like(halved[0], math.nan)
    if bool(annealed.any()):
        growth = extrapolated_bias(halved[:, annealed])
        bias[annealed] = growth + chain_excess((num_samples / ess)[annealed].log())
    if not bool(annealed.all()):
        bias[~annealed] = extrapolated_bias(halved[:, ~annealed], unseen[~annealed])
    return bias


def chain_excess(variance: Tensor) -> Tensor:
    r"""Return the empirical extra bias of annealed chains, :math:`0.05\, v (2 + \min(v, 2))`, in nats.

    Chains fall short even where their weights agree, for what they did not reach is in none of them.

    Args:
        variance: the variance v of their log weights, of any shape.
    """
    return _EXCESS * variance * (2 + variance.clamp(max=2))


def extrapolated_bias(halved: Tensor, beyond: Tensor | None = None) -> Tensor:
    r"""Estimate by how much :math:`L_K` falls short, from how it grew over the last three doublings of K.

    With :math:`\Delta_1 = L_K - L_{K/2}` and :math:`\Delta_2 = L_{K/2} - L_{K/4}`, a bias that falls as a power of K
    leaves

    .. math:: \frac{\Delta_1}{\rho - 1}, \qquad \rho = \frac{\sum_i \Delta_{2,i}}{\sum_i \Delta_{1,i}} ,

    which is Aitken's extrapolation of the sequence. Light tails have :math:`\rho = 2`, the second-order formula of
    :func:`jensen_bias`; tails of the shape k have :math:`2^{1/k - 1}` (from 1/2 to 1). The ratio is that of all data
    together: one datum says little of it. Where large weights happen to be missing in the whole set,
    :func:`unseen_tail` says more on average over the data, and the biases are raised to it.

    Args:
        halved: what :func:`halved_bounds` returned, ``(4, B)``, of data with the same number of weights.
        beyond: what :func:`unseen_tail` returned, ``(B,)``.

    Returns:
        nats, not negative, float64 of shape ``(B,)``; NaN for one weight.

    References:
        Nowozin (2018), "Debiasing evidence approximations", ICLR, for the expansion in 1/K.

    Example:
        >>> extrapolated_bias(torch.tensor([[0.0], [-1.0], [-3.0], [-7.0]]).double())  # 1 + 1/2 + 1/4 + ...
        tensor([1.], dtype=torch.float64)
    """
    last, before, first = (halved[:-1] - halved[1:]).clamp(min=0)  # (B,) each
    known = last.isfinite() & before.isfinite() & first.isfinite()
    ratio = torch.tensor(_USUAL_RATIO, dtype=halved.dtype, device=halved.device)
    if bool(known.any()):
        ratio = (before[known].sum() / last[known].sum()).nan_to_num(2.0, 2.0)
    bias = last / (ratio.clamp(_LEAST_RATIO, 2.0) - 1)
    if beyond is None:
        return bias
    lacking = beyond.nan_to_num(0.0).sum() - bias.nan_to_num(0.0).sum()
    share = beyond.nan_to_num(0.0).clamp(min=0)
    return bias + torch.where(lacking > 0, lacking * share / share.sum(), 0.0)


def unseen_tail(largest: Tensor, log_sum: Tensor, num_samples: Tensor, pareto_k: Tensor) -> Tensor:
    r"""Estimate by how much the mean of the fitted tail exceeds that of the largest weights that were drawn.

    The M largest weights are replaced by the mean of a generalised Pareto distribution above the next largest, u,

    .. math:: u + \frac{\sigma}{1 - k}, \qquad \sigma = \frac{k}{2^k - 1}\, \mathrm{median}(w - u) ,

    with no end, unlike the smoothed weights of Vehtari et al. (2015), which end at the largest one drawn. k is the
    fitted shape k̂ without its prior, and 0.8 at most: heavier tails cannot be extrapolated.

    Args:
        largest: log weights in descending order, ``(M + 1, B)`` or more, in nats.
        log_sum: log of the sum of all weights, ``(B,)``, in nats.
        num_samples: number K of weights, ``(B,)``; M is the tail's size for it, the same for all data.
        pareto_k: k̂ of their tails, ``(B,)``.

    Returns:
        nats, float64 of shape ``(B,)``; negative where the weights drawn are larger than the fit; zero without a tail.

    Example:
        >>> log_weights = torch.randn(1000, 1).double()
        >>> largest, k = log_weights.sort(0, descending=True).values, pareto_k(log_weights)
        >>> unseen_tail(largest, log_weights.logsumexp(0), torch.tensor([1000]), k).abs() < 0.02
        tensor([True])
    """
    M = int(tail_size(num_samples.max()))
    if len(largest) <= M:
        return torch.zeros_like(log_sum)
    shape = ((M + 10) * pareto_k - 5) / M  # as ArviZ regularises it
    shape = shape.nan_to_num(0.0, _HEAVIEST, -1.0).clamp(-10.0, _HEAVIEST)
    shape = torch.where(shape.abs() < 1e-3, 1e-3, shape)
    weights = (largest[: M + 1].double() - log_sum).exp()  # of which all together are one
    tail, border = weights[:-1], weights[-1]
    scale = (tail - border).median(0).values * shape / (2**shape - 1)
    body = (1 - tail.sum(0)).clamp(min=0)
    whole = body + M * (border + scale / (1 - shape))
    return torch.where(pareto_k.isnan(), 0.0, whole.log())
