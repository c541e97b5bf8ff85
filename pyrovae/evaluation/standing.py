"""What the weights so far say of each datum of a set, and of what more of them would bring."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pyrovae.evaluation.diagnostics import pareto_threshold
from pyrovae.evaluation.tally import Tally, tail_size

__all__ = ["Standing", "are_trusted", "at_temperatures", "short_of_chains", "short_of_samples", "standing_of"]

_DECAY = 0.75  # the variance of annealed log weights falls as T to this power, or faster
_BEYOND = 0.05  # by this times v (2 + v), as measured, which chains fall short even where log-normal weights would not
_LUCK = 2.5  # as if so much less were known of each datum's chains than of all
_EFFECTIVE = 30  # samples, below which their relative variance is not seen
_LARGE = 50.0  # the largest variance of log weights that is told from a larger one


class Standing(NamedTuple):
    r"""Hold what the weights so far say of each datum, ``(N,)`` each.

    Data whose large weights happen to be missing look best. If samples went to the others only, they would be left as
    they are, and the set's mean far below what its errors say. So no datum is judged by its own largest weights:
    k̂ is drawn towards the set's mean, or what the spread of the log weights foretells, by the share of it that is
    noise (empirical Bayes), but not below what its own fit leaves possible; and the relative variance of the weights is
    taken to be :math:`e^v - 1`, v being the variance of their logarithms, which the large ones hardly touch, times
    the mean ratio of the two over the set.

    Attributes:
        log_prob: log p(x), in nats.
        standard_error: its Monte Carlo error, in nats.
        bias: by how much it falls short, in nats. Of K importance samples, half their relative variance over K, times
            :math:`1 / (1 - \hat k)`; of C chains whose log weights have the variance v,
            :math:`\frac12 \log(1 + (e^v - 1) / C) + v (2 + \min(v, 2)) / 20`.
        pareto_k: k̂ of the guide's weights, drawn towards the mean.
        trusted: whether the bias can be believed: annealed, or of enough importance samples with a small k̂.
        variance: of annealed log weights, or the relative one of importance weights.
        ahead: variance of the log weights of chains with one temperature, by which those with T are foretold.
    """

    log_prob: Tensor
    standard_error: Tensor
    bias: Tensor
    pareto_k: Tensor
    trusted: Tensor
    variance: Tensor
    ahead: Tensor


def standing_of(tally: Tally) -> Standing:
    """Read off the running figures how well each datum is known."""
    K = tally.num_samples.double()
    annealed = tally.num_temperatures > 0
    relative = (K.log() + tally.log_sum_squares - 2 * tally.log_sum).exp().sub(1).clamp(min=0)  # K / ESS - 1
    relative = torch.where(relative.isnan(), K, relative)  # where no weight is above zero

    spread = _spread(tally)
    pareto_k = _pareto_k(tally, spread)
    # Where weights differ by rounding only, or some are zero, the spread of their logarithms tells nothing.
    ratio = _mean(relative / spread.expm1(), ~annealed & are_trusted(K, pareto_k) & (spread > 1e-8), 1.0)
    of_samples = torch.where(tally.mean.isfinite(), ratio * spread.expm1(), relative)
    trusted = annealed | are_trusted(K, pareto_k, of_samples)
    jensen = short_of_samples(of_samples, K, pareto_k)
    gap = 2 * (tally.log_sum - K.log() - tally.mean).nan_to_num(_LARGE, _LARGE).clamp(max=_LARGE)
    guess = torch.maximum(short_of_samples(relative, K, pareto_k), 0.5 * (gap.expm1() / K).log1p())

    of_chains, ahead = _of_chains(tally, spread)
    squared = torch.where(trusted, of_samples, relative) / (K - 1)
    return Standing(
        log_prob=tally.log_sum - K.log(),
        standard_error=torch.where(annealed, of_chains.expm1() / K, squared).sqrt(),
        bias=torch.where(annealed, short_of_chains(of_chains, K), torch.where(trusted, jensen, guess)),
        pareto_k=pareto_k,
        trusted=trusted,
        variance=torch.where(annealed, of_chains, of_samples),
        ahead=ahead,
    )


def are_trusted(num_samples: Tensor, pareto_k: Tensor, relative_variance: Tensor | float = 0.0) -> Tensor:
    """Tell whether the bias of K importance samples can be believed: by k̂, and an effective sample size of 30."""
    failed = pareto_k >= pareto_threshold(num_samples)  # equal weights have no k̂
    return ~failed & (num_samples >= _EFFECTIVE * (1 + relative_variance))


def short_of_samples(relative_variance: Tensor, num_samples: Tensor, pareto_k: Tensor) -> Tensor:
    """Foretell by how much K importance samples fall short, whose tail makes it more than the second order says."""
    return relative_variance / (2 * num_samples) / (1 - pareto_k.nan_to_num(0.0).clamp(0.0, 0.7))


def short_of_chains(variance: Tensor, num_chains: Tensor) -> Tensor:
    """Foretell by how much C annealed chains fall short, given the variance of their log weights."""
    return 0.5 * (variance.expm1() / num_chains).log1p() + _BEYOND * variance * (2 + variance.clamp(max=2))


def at_temperatures(variance: Tensor, before: Tensor | int, after: Tensor) -> Tensor:
    """Foretell the variance of annealed log weights at another number of temperatures."""
    return variance * (before / after.double()) ** _DECAY


def _mean(values: Tensor, among: Tensor, otherwise: float) -> Tensor:
    chosen = values[among & values.isfinite()]
    return chosen.mean() if len(chosen) else values.new_tensor(otherwise)


class _Population(NamedTuple):
    """Hold the mean of some values over the set, or a line, and their variance beyond that of the noise in each."""

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


def _pareto_k(tally: Tally, spread: Tensor) -> Tensor:
    """Draw k̂ towards the set's mean, or towards what the spread of the log weights foretells if that is larger."""
    shape = tally.pareto_k.clamp(-1.0, 3.0)
    usual = 1 + _mean(shape, ~shape.isnan(), 0.0)  # not its own, so that a large one counts no less than a small one
    noise = usual.clamp(min=0.5).square() / tail_size(tally.num_from_guide)  # of a fit (Smith, 1987)
    alike = _Population.of(shape, noise, ~shape.isnan()).draw(shape, noise)
    # Where all data are as hard, the line follows chance; where some are harder, the mean hides them.
    return torch.maximum(alike, _Population.of(shape, noise, ~shape.isnan(), spread.log()).draw(shape, noise))


def _spread(tally: Tally) -> Tensor:
    """Return the variance of the log weights of importance samples."""
    own = tally.spread.log()
    noise = 5 / tally.num_from_guide.double()  # where the kurtosis is six
    return _Population.of(own, noise, tally.spread > 0).draw(own, noise).exp().nan_to_num(_LARGE).clamp(max=_LARGE)


def _of_chains(tally: Tally, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Return the variance of the log weights of annealed chains, and what it would be at one temperature."""
    annealed = tally.num_temperatures > 0
    power = tally.num_temperatures.double() ** _DECAY
    half = (tally.num_samples.double() - 1) / 2
    own = (tally.squares * power / spread).log() - half.digamma() - math.log(2)  # unbiased if they are normal
    noise = torch.polygamma(1, half)
    usual = _Population.of(own, noise, annealed)
    mean = usual.draw(own, _LUCK * noise)
    ahead = spread
    if bool(usual.variance.isfinite()):
        mean = mean + 0.5 / (1 / usual.variance + 1 / noise)  # of the logarithm's exponential
        ahead = (usual.mean + usual.variance / 2).exp() * spread
    return (mean.exp() * spread / power).nan_to_num(_LARGE).clamp(max=_LARGE), ahead
