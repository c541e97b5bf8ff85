"""Errors of estimates of log p(x), from their weights."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pyrovae.evaluation.adaptive.running_statistics import NUM_GROUPS, RunningStatistics
from pyrovae.evaluation.likelihood.bias import estimated_bias, extra_annealing_bias, halved_bounds

__all__ = ["ErrorEstimates", "annealing_bias", "error_estimates", "log_normal_bias"]

_MAX_VARIANCE = 50.0  # larger variances of log weights are cut off; set by hand, far above useful ones


class ErrorEstimates(NamedTuple):
    r"""Estimates of log p(x) with their errors, in nats; each has shape ``(N,)``.

    Attributes:
        log_prob: log p(x).
        standard_error: Monte Carlo error of ``log_prob``: by the delta method, or from the difference between two
            halves of the weights if that is larger.
        bias: shortfall of ``log_prob``: the growth of the bound with the number of weights, extrapolated by the ratio
            of the last two doublings over all data of the same kind (importance samples, or chains).
    """

    log_prob: Tensor
    standard_error: Tensor
    bias: Tensor


def error_estimates(statistics: RunningStatistics) -> ErrorEstimates:
    """Estimate the errors of all data.

    The number of weights does not depend on the weights, so sums over the data are unbiased even where the error of a
    single datum is noisy.
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
        # Importance samples that are not replaced by chains have light tails, which need no extrapolation.
        bias=estimated_bias(halved, torch.zeros_like(K), statistics.ess, K, annealed),
    )


def log_normal_bias(statistics: RunningStatistics, errors: ErrorEstimates) -> Tensor:
    r"""Return the bias of log-normal weights, for importance samples with heavy tails, ``(N,)``, in nats.

    With the variance v of the log weights, twice the gap between log p(x) and the ELBO, the bias is
    :math:`\frac12 \log(1 + (e^v - 1) / K)`; the estimated bias is returned where it is larger.
    """
    v = 2 * (errors.log_prob - statistics.elbo).nan_to_num(_MAX_VARIANCE, _MAX_VARIANCE).clamp(0.0, _MAX_VARIANCE)
    return errors.bias.fmax(0.5 * (v.expm1() / statistics.num_samples).log1p())


def annealing_bias(variance: Tensor, num_chains: Tensor) -> Tensor:
    r"""Predict the bias of C annealed chains from the variance v of their log weights.

    It is the bias of log-normal weights, :math:`\frac12 \log(1 + (e^v - 1) / C)`, plus
    :func:`extra_annealing_bias`.
    """
    return 0.5 * (variance.expm1() / num_chains).log1p() + extra_annealing_bias(variance)
