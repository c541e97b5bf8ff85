"""Predictions from a pilot: the errors of each datum with more samples or chains."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pyrovae.evaluation.adaptive.error_estimates import ErrorEstimates, annealing_bias
from pyrovae.evaluation.adaptive.running_statistics import RunningStatistics
from pyrovae.evaluation.likelihood.diagnostics import pareto_threshold
from pyrovae.evaluation.likelihood.pareto_fit import tail_size

__all__ = [
    "NUM_TUNED",
    "TUNING_CHAINS",
    "Forecast",
    "forecast",
    "is_reliable",
    "predict_first",
    "sample_bias",
    "variance_at_temperatures",
]

# The following are set by hand. They predict the effect of further samples; the errors are estimated from the samples.
NUM_TUNED = 49
"""Number of tuned step sizes, at evenly spaced beta; those for other numbers of temperatures are interpolated."""

TUNING_CHAINS = 4
"""Number of chains on which step sizes are tuned."""

_VARIANCE_EXPONENT = 0.75  # the variance of annealed log weights is assumed to fall as T to minus this power
_CHAIN_NOISE_FACTOR = 2.5  # factor on the noise variance of a datum's chains, a margin against lucky chains
_MIN_ESS = 30  # effective samples needed to see the relative variance of the weights
_MAX_VARIANCE = 50.0  # larger variances of log weights are cut off
_CALIBRATION = (0.5, 4.0)  # range of the ratio of estimated to predicted errors


class Forecast(NamedTuple):
    r"""Predicted properties of the weights of each datum, ``(N,)`` each.

    Pilots are short, and data whose large weights are missing in their pilot would look best. Predictions therefore do
    not use a datum's own largest weights. The shape k̂ is shrunk towards the set's mean, or towards what the spread of
    the log weights predicts, by its share of noise (empirical Bayes), but by at most two of its standard errors
    downwards. The relative variance of the weights is :math:`e^v - 1` times a factor: v is the variance of the log
    weights, on which the large ones have little influence, and the factor is the mean ratio of the two over the set.

    Attributes:
        relative_variance: relative variance of the guide's weights.
        pareto_k: shape k̂ of the tail of the guide's weights.
        reliable: True for data whose number of importance samples suffices for a reliable estimate.
        chain_variance: variance of the log weights of chains from the guide with one temperature; with T temperatures
            it is assumed to fall as :math:`T^{-3/4}`.
        prior_variance: the same for chains from the prior.
        calibration: ratios of the estimated to the predicted bias and squared error, for importance samples, chains
            from the guide and chains from the prior, ``(3, 2)``.
    """

    relative_variance: Tensor
    pareto_k: Tensor
    reliable: Tensor
    chain_variance: Tensor
    prior_variance: Tensor
    calibration: Tensor


def forecast(statistics: RunningStatistics, errors: ErrorEstimates) -> Forecast:
    """Predict the weights of each datum from the pilot, calibrated on the estimated errors of all data."""
    K = statistics.num_samples.double()
    spread = _log_weight_variance(statistics)
    pareto_k = _pareto_k(statistics, spread)
    # The spread of log weights is not informative if weights differ by rounding only, or some are zero.
    usable = is_reliable(statistics.num_pilot.double(), pareto_k) & (spread > 1e-8)
    ratio = _mean(statistics.relative_variance / spread.expm1(), usable, 1.0)
    finite = statistics.elbo.isfinite()
    relative = torch.where(finite, ratio * spread.expm1(), statistics.relative_variance.nan_to_num(_MAX_VARIANCE))
    guide = _chain_variance(statistics, spread)
    # Four chains are too few to estimate the variance of each datum, so all data get the mean over the set.
    usual = _mean(statistics.prior_variance.clamp(max=_MAX_VARIANCE), ~statistics.prior_variance.isnan(), 1.0)
    prior = (usual * (NUM_TUNED + 1) ** _VARIANCE_EXPONENT).expand_as(guide)
    T, from_prior = statistics.num_temperatures, statistics.from_prior
    annealed = T > 0
    v = variance_at_temperatures(torch.where(from_prior, prior, guide), T)
    estimated = errors.bias, errors.standard_error.square()
    chains = annealing_bias(v, K), v.expm1() / K
    predicted = (
        (~annealed, (sample_bias(relative, K, pareto_k), relative / K)),
        (annealed & ~from_prior, chains),
        (from_prior, chains),
    )
    rows = [
        [_ratio(of, estimate, among) for of, estimate in zip(part, estimated, strict=True)] for among, part in predicted
    ]
    return Forecast(
        relative_variance=relative,
        pareto_k=pareto_k,
        reliable=annealed | is_reliable(K, pareto_k, relative),
        chain_variance=guide,
        prior_variance=prior,
        calibration=torch.stack([torch.stack(row) for row in rows]),
    )


def predict_first(statistics: RunningStatistics, num_samples: int) -> Tensor:
    """Predict the bias of the first importance samples from the pilot alone, ``(N,)``; infinite if unreliable."""
    unknown = torch.full_like(statistics.elbo, math.nan)
    predicted = forecast(statistics, ErrorEstimates(unknown, unknown, unknown))
    K = torch.full_like(unknown, num_samples)
    known = is_reliable(K, predicted.pareto_k, predicted.relative_variance)
    return torch.where(known, sample_bias(predicted.relative_variance, K, predicted.pareto_k), math.inf)


def is_reliable(num_samples: Tensor, pareto_k: Tensor, relative_variance: Tensor | float = 0.0) -> Tensor:
    """Return whether K importance samples are reliable: k̂ is small, and the effective sample size is at least 30."""
    failed = pareto_k >= pareto_threshold(num_samples)  # equal weights have no k̂
    return ~failed & (num_samples >= _MIN_ESS * (1 + relative_variance))


def sample_bias(relative_variance: Tensor, num_samples: Tensor, pareto_k: Tensor) -> Tensor:
    """Predict the bias of K importance samples: the second-order formula, increased for heavy tails."""
    return relative_variance / (2 * num_samples) / (1 - pareto_k.nan_to_num(0.0).clamp(0.0, 0.7))


def variance_at_temperatures(variance: Tensor, num_temperatures: Tensor) -> Tensor:
    """Predict the variance of annealed log weights with T temperatures from that with one."""
    return (variance * num_temperatures.clamp(min=1).double() ** -_VARIANCE_EXPONENT).clamp(max=_MAX_VARIANCE)


def _ratio(predicted: Tensor, estimated: Tensor, among: Tensor) -> Tensor:
    among = among & predicted.isfinite() & estimated.isfinite()
    if not bool(among.any()):
        return predicted.new_tensor(1.0)
    return (estimated[among].sum() / predicted[among].sum()).nan_to_num(1.0, _CALIBRATION[1]).clamp(*_CALIBRATION)


def _mean(values: Tensor, among: Tensor, otherwise: float) -> Tensor:
    chosen = values[among & values.isfinite()]
    return chosen.mean() if len(chosen) else values.new_tensor(otherwise)


class _Population(NamedTuple):
    """Distribution of a quantity over the set: its mean, or a regression line, and its variance without the noise."""

    mean: Tensor
    variance: Tensor

    @classmethod
    def fit(cls, values: Tensor, noise: Tensor, among: Tensor, by: Tensor | None = None) -> _Population:
        among = among & values.isfinite()
        if int(among.sum()) < 2:
            return cls(values.nan_to_num(0.0), values.new_tensor(math.inf))
        mean = values[among].mean().expand_as(values)
        if by is not None and int((among & by.isfinite()).sum()) > 2:
            mean = torch.where(by.isfinite(), _line(values, noise, among & by.isfinite(), by), mean)
        return cls(mean, ((values - mean)[among].var() - noise[among].mean()).clamp(min=0))

    def shrink(self, values: Tensor, noise: Tensor) -> Tensor:
        """Shrink values towards the mean by their share of noise, by at most two standard errors downwards."""
        share = 1 / (1 + noise / self.variance)
        return torch.maximum(self.mean + share * (values - self.mean), values - 2 * noise.sqrt())


def _line(values: Tensor, noise: Tensor, among: Tensor, by: Tensor) -> Tensor:
    """Return the regression line of values, by least squares weighted with their noise."""
    design = torch.stack([torch.ones_like(by), by.nan_to_num(0.0, 0.0, 0.0)], -1)  # (N, 2)
    weight = noise[among].rsqrt()[:, None]
    return design @ torch.linalg.lstsq(weight * design[among], weight[:, 0] * values[among]).solution


def _pareto_k(statistics: RunningStatistics, spread: Tensor) -> Tensor:
    """Shrink k̂ towards the set's mean, or towards what the spread of the log weights predicts if that is larger."""
    shape = statistics.pilot_k.clamp(-1.0, 3.0)
    # The noise is that at the mean: with that at its own value, a large k̂ would count less than a small one.
    usual = 1 + _mean(shape, ~shape.isnan(), 0.0)
    noise = usual.clamp(min=0.5).square() / tail_size(statistics.num_pilot)  # variance of a fitted shape (Smith, 1987)
    alike = _Population.fit(shape, noise, ~shape.isnan()).shrink(shape, noise)
    # The line fits noise if all data are equally hard; the mean hides hard data if some are harder.
    return torch.maximum(alike, _Population.fit(shape, noise, ~shape.isnan(), spread.log()).shrink(shape, noise))


def _log_weight_variance(statistics: RunningStatistics) -> Tensor:
    """Return the variance of the log weights of importance samples, shrunk."""
    own = statistics.spread.log()
    noise = 5 / statistics.num_pilot.double()  # variance of a log variance at kurtosis six
    spread = _Population.fit(own, noise, statistics.spread > 0).shrink(own, noise).exp()
    return spread.nan_to_num(_MAX_VARIANCE).clamp(max=_MAX_VARIANCE)


def _chain_variance(statistics: RunningStatistics, spread: Tensor) -> Tensor:
    """Return the variance of the log weights of annealed chains at one temperature.

    It is that of importance samples times a factor, which is estimated from the chains on which step sizes were tuned.
    """
    power = (NUM_TUNED + 1) ** _VARIANCE_EXPONENT
    tuned = ~statistics.chain_variance.isnan()
    half = torch.full_like(spread, (TUNING_CHAINS - 1) / 2)
    own = (statistics.chain_variance * power / spread).log() - half.digamma() + half.log()  # unbiased if normal
    noise = torch.polygamma(1, half)
    usual = _Population.fit(own, noise, tuned)
    if not bool(usual.variance.isfinite()):
        return spread
    half_variance = 0.5 / (1 / usual.variance + 1 / noise)  # for the mean of the exponential, which is log-normal
    shrunk = usual.shrink(own, _CHAIN_NOISE_FACTOR * noise) + half_variance
    shrunk = torch.where(tuned, shrunk, usual.mean + usual.variance / 2)
    return (shrunk.exp() * spread).nan_to_num(_MAX_VARIANCE).clamp(max=_MAX_VARIANCE * power)
