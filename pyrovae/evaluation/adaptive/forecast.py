"""Predictions, from a pilot, of the errors that more samples or chains of each datum would leave."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pyrovae.evaluation.adaptive.error_estimates import ErrorEstimates, chain_bias
from pyrovae.evaluation.adaptive.running_statistics import RunningStatistics
from pyrovae.evaluation.likelihood.diagnostics import pareto_threshold, tail_size

__all__ = ["NUM_TUNED", "TUNING_CHAINS", "Forecast", "are_reliable", "at_temperatures", "forecast", "sample_bias"]

NUM_TUNED = 49
"""Step sizes that are tuned, at evenly spaced beta, and interpolated for any number of temperatures."""

TUNING_CHAINS = 4
"""Chains that they are tuned on."""

_DECAY = 0.75  # the variance of annealed log weights falls as T to this power, or faster
_LUCK = 2.5  # as if so much less were known of each datum's chains than of all
_EFFECTIVE = 30  # samples, below which their relative variance is not seen
_LARGE = 50.0  # the largest variance of log weights that is told from a larger one
_CALIBRATION = (0.5, 4.0)  # how far the errors of the estimates may correct the predicted ones


class Forecast(NamedTuple):
    r"""Predicted properties of the weights of each datum, ``(N,)`` each.

    Pilots are short, and data whose large weights are missing in theirs look best. So no datum is judged by its own
    largest weights: k̂ is drawn towards the set's mean, or what the spread of the log weights predicts, by the share of
    it that is noise (empirical Bayes), but not below what its own fit leaves possible; and the relative variance of the
    weights is taken to be :math:`e^v - 1`, v being the variance of their logarithms, which the large ones hardly touch,
    times the mean ratio of the two over the set.

    Attributes:
        relative_variance: of the guide's weights.
        pareto_k: of the guide's weights.
        reliable: whether importance sampling can be relied on, with the samples that it has.
        chain_variance: variance of the log weights of chains from the guide with one temperature; of those with T it
            falls as :math:`T^{-3/4}`.
        prior_variance: the same of chains from the prior.
        calibration: ratio of the estimates' bias and squared error so far to the predicted ones: of importance samples,
            of chains from the guide, of chains from the prior, ``(3, 2)``.
    """

    relative_variance: Tensor
    pareto_k: Tensor
    reliable: Tensor
    chain_variance: Tensor
    prior_variance: Tensor
    calibration: Tensor


def forecast(statistics: RunningStatistics, errors: ErrorEstimates) -> Forecast:
    """Predict what each datum needs from the pilot, and calibrate that on the errors of the estimates of all data."""
    K = statistics.num_samples.double()
    spread = _spread(statistics)
    pareto_k = _pareto_k(statistics, spread)
    # Where weights differ by rounding only, or some are zero, the spread of their logarithms tells nothing.
    usable = are_reliable(statistics.num_pilot.double(), pareto_k) & (spread > 1e-8)
    ratio = _mean(statistics.relative_variance / spread.expm1(), usable, 1.0)
    finite = statistics.elbo.isfinite()
    relative = torch.where(finite, ratio * spread.expm1(), statistics.relative_variance.nan_to_num(_LARGE))
    guide = _chains_ahead(statistics, spread)
    # Four chains say little of a datum's own variance from the prior; those of all data say what is usual.
    usual = _mean(statistics.prior_variance.clamp(max=_LARGE), ~statistics.prior_variance.isnan(), 1.0)
    prior = (usual * (NUM_TUNED + 1) ** _DECAY).expand_as(guide)
    T, from_prior = statistics.num_temperatures, statistics.from_prior
    annealed = T > 0
    v = at_temperatures(torch.where(from_prior, prior, guide), T)
    told = errors.bias, errors.standard_error.square()
    chains = chain_bias(v, K), v.expm1() / K
    predicted = (
        (~annealed, (sample_bias(relative, K, pareto_k), relative / K)),
        (annealed & ~from_prior, chains),
        (from_prior, chains),
    )
    rows = [[_ratio(of, now, among) for of, now in zip(part, told, strict=True)] for among, part in predicted]
    return Forecast(
        relative_variance=relative,
        pareto_k=pareto_k,
        reliable=annealed | are_reliable(K, pareto_k, relative),
        chain_variance=guide,
        prior_variance=prior,
        calibration=torch.stack([torch.stack(row) for row in rows]),
    )


def are_reliable(num_samples: Tensor, pareto_k: Tensor, relative_variance: Tensor | float = 0.0) -> Tensor:
    """Tell whether K importance samples can be relied on: by k̂, and an effective sample size of 30."""
    failed = pareto_k >= pareto_threshold(num_samples)  # equal weights have no k̂
    return ~failed & (num_samples >= _EFFECTIVE * (1 + relative_variance))


def sample_bias(relative_variance: Tensor, num_samples: Tensor, pareto_k: Tensor) -> Tensor:
    """Predict by how much K importance samples fall short, whose tail makes it more than the second order says."""
    return relative_variance / (2 * num_samples) / (1 - pareto_k.nan_to_num(0.0).clamp(0.0, 0.7))


def at_temperatures(variance: Tensor, num_temperatures: Tensor) -> Tensor:
    """Predict the variance of annealed log weights from that at one temperature."""
    return (variance * num_temperatures.clamp(min=1).double() ** -_DECAY).clamp(max=_LARGE)


def _ratio(predicted: Tensor, told: Tensor, among: Tensor) -> Tensor:
    among = among & predicted.isfinite() & told.isfinite()
    if not bool(among.any()):
        return predicted.new_tensor(1.0)
    return (told[among].sum() / predicted[among].sum()).nan_to_num(1.0, _CALIBRATION[1]).clamp(*_CALIBRATION)


def _mean(values: Tensor, among: Tensor, otherwise: float) -> Tensor:
    chosen = values[among & values.isfinite()]
    return chosen.mean() if len(chosen) else values.new_tensor(otherwise)


class _Population(NamedTuple):
    """The mean of some values over the set, or a line, and their variance beyond that of the noise in each."""

    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, values: Tensor, noise: Tensor, among: Tensor, by: Tensor | None = None) -> _Population:
        among = among & values.isfinite()
        if int(among.sum()) < 2:
            return cls(values.nan_to_num(0.0), values.new_tensor(math.inf))
        mean = values[among].mean().expand_as(values)
        if by is not None and int((among & by.isfinite()).sum()) > 2:
            mean = torch.where(by.isfinite(), _line(values, noise, among & by.isfinite(), by), mean)
        return cls(mean, ((values - mean)[among].var() - noise[among].mean()).clamp(min=0))

    def draw(self, values: Tensor, noise: Tensor) -> Tensor:
        """Draw values towards the mean by the share of noise in their spread, two standard errors down at most."""
        share = 1 / (1 + noise / self.variance)
        return torch.maximum(self.mean + share * (values - self.mean), values - 2 * noise.sqrt())


def _line(values: Tensor, noise: Tensor, among: Tensor, by: Tensor) -> Tensor:
    """Return the line through values, by least squares that are weighed by their noise."""
    design = torch.stack([torch.ones_like(by), by.nan_to_num(0.0, 0.0, 0.0)], -1)  # (N, 2)
    weight = noise[among].rsqrt()[:, None]
    return design @ torch.linalg.lstsq(weight * design[among], weight[:, 0] * values[among]).solution


def _pareto_k(statistics: RunningStatistics, spread: Tensor) -> Tensor:
    """Draw k̂ towards the set's mean, or towards what the spread of the log weights predicts if that is larger."""
    shape = statistics.pilot_k.clamp(-1.0, 3.0)
    usual = 1 + _mean(shape, ~shape.isnan(), 0.0)  # not its own, so that a large one counts no less than a small one
    noise = usual.clamp(min=0.5).square() / tail_size(statistics.num_pilot)  # of a fit (Smith, 1987)
    alike = _Population.of(shape, noise, ~shape.isnan()).draw(shape, noise)
    # Where all data are as hard, the line follows chance; where some are harder, the mean hides them.
    return torch.maximum(alike, _Population.of(shape, noise, ~shape.isnan(), spread.log()).draw(shape, noise))


def _spread(statistics: RunningStatistics) -> Tensor:
    """Return the variance of the log weights of importance samples."""
    own = statistics.spread.log()
    noise = 5 / statistics.num_pilot.double()  # where the kurtosis is six
    return _Population.of(own, noise, statistics.spread > 0).draw(own, noise).exp().nan_to_num(_LARGE).clamp(max=_LARGE)


def _chains_ahead(statistics: RunningStatistics, spread: Tensor) -> Tensor:
    """Return the variance of the log weights of annealed chains at one temperature.

    It is in proportion to that of importance samples, by a factor that the chains on which step sizes were tuned show.
    """
    power = (NUM_TUNED + 1) ** _DECAY
    tuned = ~statistics.chain_variance.isnan()
    half = torch.full_like(spread, (TUNING_CHAINS - 1) / 2)
    own = (statistics.chain_variance * power / spread).log() - half.digamma() + half.log()  # unbiased if normal
    noise = torch.polygamma(1, half)
    usual = _Population.of(own, noise, tuned)
    if not bool(usual.variance.isfinite()):
        return spread
    drawn = usual.draw(own, _LUCK * noise) + 0.5 / (1 / usual.variance + 1 / noise)  # of the logarithm's exponential
    drawn = torch.where(tuned, drawn, usual.mean + usual.variance / 2)
    return (drawn.exp() * spread).nan_to_num(_LARGE).clamp(max=_LARGE * power)
