"""Bias of a bound on log p(x), estimated from its weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyrovae.evaluation.likelihood.diagnostics import effective_sample_size
from pyrovae.evaluation.likelihood.pareto_fit import tail_size

__all__ = [
    "SMALLEST_SUM",
    "estimated_bias",
    "extra_annealing_bias",
    "extrapolated_bias",
    "halved_bounds",
    "jensen_bias",
    "unseen_tail",
]

_WEIGHTS_IN_SPLITS = 2048  # smallest total number of weights in the random splits of a datum; set by hand
_MIN_RATIO = 1.1  # smaller ratios would extrapolate by more than ten times the last growth, mostly noise
_DEFAULT_RATIO = 1.5  # halfway between the heaviest tails, 1, and light ones, 2; for too few weights to estimate it
_EXTRA_ANNEALING_BIAS = (
    0.05  # empirical: scripts/benchmarks/error_calibration.py measures the coverage of the intervals
)
SMALLEST_SUM = 1e-290
"""Smallest sum of weights of which no digit is lost."""

_MAX_SHAPE = 0.8  # with 0.9, error_calibration.py found estimated biases at K = 256 that were larger by half or more


def jensen_bias(log_weights: Tensor) -> Tensor:
    r"""Estimate the shortfall of :math:`\log \frac1K \sum_k w_k` from the logarithm of the expected weight.

    To second order, half the relative variance of the mean weight (Burda et al., 2015; Nowozin, 2018):

    .. math:: (K / \mathrm{ESS} - 1) / (2 K)

    It is too small for weights with a heavy tail, unlike :func:`extrapolated_bias`.

    Args:
        log_weights: log weights in nats, ``(K, B)``.

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
        log_weights: log weights in nats, ``(K, B)``.

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
    generator = torch.Generator().manual_seed(0)  # leaves the caller's generator unchanged
    num_splits = max(1, _WEIGHTS_IN_SPLITS // K)
    orders = torch.stack([torch.randperm(K, generator=generator) for _ in range(num_splits)])  # (R, K)
    for level in range(1, min(3, K.bit_length() - 1) + 1):
        size = K >> level
        blocks = orders[:, : K // size * size].reshape(-1, size)  # (R * M, size)
        halved[level] = _log_means(log_weights, blocks.to(log_weights.device)).mean(0)
    return halved


def _log_means(log_weights: Tensor, blocks: Tensor) -> Tensor:
    """Return the log of the mean weight of each block, ``(N, B)``, for blocks of indices, ``(N, size)``."""
    highest, size = log_weights.amax(0), blocks.shape[1]
    averaging = log_weights.new_zeros(len(blocks), len(log_weights)).scatter_(1, blocks, 1 / size)
    means = averaging @ (log_weights - highest).exp()
    if bool((means > SMALLEST_SUM).all()):
        return means.log() + highest
    return log_weights[blocks].logsumexp(1) - math.log(size)


def estimated_bias(halved: Tensor, unseen: Tensor, ess: Tensor, num_samples: Tensor, annealed: Tensor) -> Tensor:
    """Estimate the bias of the bounds of some data, separately for importance samples and chains.

    Args:
        halved: result of :func:`halved_bounds`, ``(4, B)``.
        unseen: result of :func:`unseen_tail` for importance samples, ``(B,)``.
        ess: effective sample size, ``(B,)``.
        num_samples: number K of weights, ``(B,)``.
        annealed: True for data whose weights are from annealed chains, ``(B,)``.

    Returns:
        nats, float64 of shape ``(B,)``; NaN for one weight.
    """
    bias = torch.full_like(halved[0], math.nan)
    if bool(annealed.any()):
        growth = extrapolated_bias(halved[:, annealed])
        bias[annealed] = growth + extra_annealing_bias((num_samples / ess)[annealed].log())
    if not bool(annealed.all()):
        bias[~annealed] = extrapolated_bias(halved[:, ~annealed], unseen[~annealed])
    return bias


def extra_annealing_bias(variance: Tensor) -> Tensor:
    r"""Return the empirical extra bias of annealed chains, :math:`0.05\, v (2 + \min(v, 2))`, in nats.

    Chains have a bias even where their weights agree, because regions that no chain reached are missing in all of them.

    Args:
        variance: variance v of the log weights, of any shape.
    """
    return _EXTRA_ANNEALING_BIAS * variance * (2 + variance.clamp(max=2))


def extrapolated_bias(halved: Tensor, beyond: Tensor | None = None) -> Tensor:
    r"""Estimate the bias of :math:`L_K` from its growth over the last three doublings of K.

    With :math:`\Delta_1 = L_K - L_{K/2}` and :math:`\Delta_2 = L_{K/2} - L_{K/4}`, a bias that falls as a power of K
    has the remainder

    .. math:: \frac{\Delta_1}{\rho - 1}, \qquad \rho = \frac{\sum_i \Delta_{2,i}}{\sum_i \Delta_{1,i}} ,

    which is Aitken's extrapolation of the sequence. Light tails have :math:`\rho = 2`, as in the second-order formula
    of :func:`jensen_bias`; tails of shape k between 1/2 and 1 have :math:`\rho = 2^{1/k - 1}`. The ratio is estimated
    from all data together, because a single datum determines it poorly. If the mean of :func:`unseen_tail` over the
    data, where it is positive, is larger, because large weights are missing in the whole set, the biases are raised to
    it.

    Args:
        halved: result of :func:`halved_bounds`, ``(4, B)``, for data with the same number of weights.
        beyond: result of :func:`unseen_tail`, ``(B,)``.

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
    ratio = torch.tensor(_DEFAULT_RATIO, dtype=halved.dtype, device=halved.device)
    if bool(known.any()):
        ratio = (before[known].sum() / last[known].sum()).nan_to_num(2.0, 2.0)
    bias = last / (ratio.clamp(_MIN_RATIO, 2.0) - 1)
    if beyond is None:
        return bias
    # Weights that exceed their fit, as the largest of a very heavy tail do, do not make up for other data's lack.
    beyond = beyond.nan_to_num(0.0).clamp(min=0)
    lacking = beyond.sum() - bias.nan_to_num(0.0).sum()
    return bias + torch.where(lacking > 0, lacking * beyond / beyond.sum(), 0.0)


def unseen_tail(largest: Tensor, log_sum: Tensor, num_samples: Tensor, pareto_k: Tensor) -> Tensor:
    r"""Estimate the excess of the mean of the fitted tail over the mean of the largest weights drawn.

    The M largest weights are replaced by the mean of a generalised Pareto distribution above the next largest, u,

    .. math:: u + \frac{\sigma}{1 - k}, \qquad \sigma = \frac{k}{2^k - 1}\, \mathrm{median}(w - u) ,

    which is unbounded, unlike the smoothed weights of Vehtari et al. (2015), which end at the largest weight. k is the
    fitted shape k̂ without its prior, and at most 0.8, because heavier tails cannot be extrapolated.

    Args:
        largest: largest log weights in descending order, ``(M + 1, B)`` or more, in nats.
        log_sum: log of the sum of all weights, ``(B,)``, in nats.
        num_samples: number K of weights, ``(B,)``, the same for all data; M is the size of its tail.
        pareto_k: tail shapes k̂, ``(B,)``.

    Returns:
        nats, float64 of shape ``(B,)``; negative where the weights drawn exceed the fit; zero without a tail.

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
    shape = shape.nan_to_num(0.0, _MAX_SHAPE, -1.0).clamp(-10.0, _MAX_SHAPE)
    shape = torch.where(shape.abs() < 1e-3, 1e-3, shape)
    weights = (largest[: M + 1].double() - log_sum).exp()  # normalised weights
    tail, border = weights[:-1], weights[-1]
    scale = (tail - border).median(0).values * shape / (2**shape - 1)
    body = (1 - tail.sum(0)).clamp(min=0)
    whole = body + M * (border + scale / (1 - shape))
    return torch.where(pareto_k.isnan(), 0.0, whole.log())
