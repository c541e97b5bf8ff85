"""Errors of the estimates of N data, from the weights that the estimates are made of."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pyrovae.evaluation.adaptive.running_statistics import NUM_GROUPS, RunningStatistics
from pyrovae.evaluation.likelihood.bias import chain_excess, estimated_bias, halved_bounds

__all__ = ["ErrorEstimates", "chain_bias", "error_estimates", "guessed_bias"]

_LARGE = 50.0  # the largest variance of log weights that is told from a larger one


class ErrorEstimates(NamedTuple):
    r"""Estimates of log p(x) with their errors, in nats; each has shape ``(N,)``.

    Attributes:
        log_prob: log p(x).
        standard_error: its Monte Carlo error: by the delta method, or by the difference of two halves of the weights
            if that is larger.
        bias: by how much ``log_prob`` falls short. The growth of the bound with the number of weights is extrapolated,
            by the ratio of the last two doublings over all data of the same kind (importance samples, or chains).
    """

    log_prob: Tensor
    standard_error: Tensor
    bias: Tensor


def error_estimates(statistics: RunningStatistics) -> ErrorEstimates:
    """Estimate the errors of all data.

    None of the weights decided how many there are, so that sums over the data are unbiased where each datum's own
    error is noisy.
    """
    K = statistics.num_samples.double()
    annealed = statistics.num_temperatures > 0
    log_sum = statistics.log_sum
    halved = halved_bounds(statistics.group_sums - (K / NUM_GROUPS).log())
    relative = (K / statistics.ess - 1).clamp(min=0)
    relative = torch.where(relative.isnan(), K, relative)  # where no weight is above zero
    halves = 2 * (halved[0] - halved[1]).clamp(min=0)
    squared = (relative / (K - 1)).fmax(torch.where(annealed | (statistics.pareto_k > 0.5), halves, 0.0))
    return ErrorEstimates(
        log_prob=log_sum - K.log(),
        standard_error=squared.sqrt().hypot(statistics.rounding),
        # Importance samples that are not annealed have light tails, which need no extrapolation.
        bias=estimated_bias(halved, torch.zeros_like(K), statistics.ess, K, annealed),
    )


def guessed_bias(statistics: RunningStatistics, errors: ErrorEstimates) -> Tensor:
    r"""Guess the bias of importance samples whose tail is too heavy for their own to be believed, ``(N,)``, in nats.

    As of log-normal weights whose variance v is twice the gap between log p(x) and the ELBO,
    :math:`\frac12 \log(1 + (e^v - 1) / K)`, or the estimated one if that is larger.
    """
    v = 2 * (errors.log_prob - statistics.elbo).nan_to_num(_LARGE, _LARGE).clamp(0.0, _LARGE)
    return errors.bias.fmax(0.5 * (v.expm1() / statistics.num_samples).log1p())


def chain_bias(variance: Tensor, num_chains: Tensor) -> Tensor:
    r"""Predict by how much C annealed chains fall short, given the variance v of their log weights.

    That of log-normal weights, :math:`\frac12 \log(1 + (e^v - 1) / C)`, and :func:`chain_excess`.
    """
    return 0.5 * (variance.expm1() / num_chains).log1p() + chain_excess(variance)
