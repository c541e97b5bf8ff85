"""Allocation of the next samples and chains to data, by the reduction of error for their cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pyrovae.evaluation.adaptive.error_estimates import ErrorEstimates, annealing_bias
from pyrovae.evaluation.adaptive.forecast import (
    NUM_TUNED,
    TUNING_CHAINS,
    forecast,
    is_reliable,
    sample_bias,
    variance_at_temperatures,
)
from pyrovae.evaluation.adaptive.running_statistics import RunningStatistics

__all__ = ["NUM_CHAINS", "QUANTILE_95", "Allocation", "allocate", "misses_modes"]

NUM_CHAINS = 8
"""Initial number of annealed chains of a datum, at each number of temperatures."""

QUANTILE_95 = 1.645
"""One-sided 95 % quantile of the standard normal distribution: number of Monte Carlo errors in the total error."""

_TEMPERATURES = tuple(25 * 2**j for j in range(11))  # the numbers of temperatures to choose from
# The following are set by hand. They decide which samples are drawn next, not the errors that are estimated from these.
_MAX_FIRST_TEMPERATURES = 400  # largest T of a datum's first chains; later at most four times the current T
_MAX_DOUBLINGS = 8  # largest number of doublings of a datum's samples in one round
_MAX_CHAIN_FACTOR = 4  # largest growth factor of a datum's chains in one round
_MAX_SAMPLES = 2**16  # largest number of importance samples of a datum that can be annealed instead
_MAX_CHAINS = 2**12  # largest number of annealed chains of a datum
_BIAS_SHARES = (0.1, 0.25, 0.4, 0.55)  # shares of the target that are tried as the planned bias
_PLANNED_SHARE = 0.95  # planned bias and Monte Carlo error over the target; the rest is a margin for bad luck
_MODE_ERRORS = 2.5  # standard errors by which the prior must exceed an estimate for that to count as missing a mode
_PROHIBITIVE = 1e9  # nats; the bias of choices that must not be taken


class Allocation(NamedTuple):
    """The next draws of J data, sorted by the reduction of error for their cost; each field has shape ``(J,)``.

    Attributes:
        data: indices of the data.
        num_temperatures: number T of temperatures of the chains; 0 for importance samples.
        from_prior: True for data whose chains start from the prior.
        num_samples: number of weights to draw.
        cost: number of decoder runs.
        bias: predicted bias of the estimates with these draws, in nats.
    """

    data: Tensor
    num_temperatures: Tensor
    from_prior: Tensor
    num_samples: Tensor
    cost: Tensor
    bias: Tensor

    def first(self, count: int, budget: float) -> Allocation:
        """Return the first ``count`` draws, or as many of them as the budget of decoder runs allows."""
        affordable = int((self.cost.cumsum(0) <= budget).sum())
        return Allocation(*(part[: min(count, affordable)] for part in self))


def allocate(
    statistics: RunningStatistics,
    errors: ErrorEstimates,
    target_error: float,
    budget: float = math.inf,
    num_values: int = 1,
) -> Allocation:
    """Choose the next draws of each datum so that the set reaches the target error at the lowest cost.

    For each datum, the chosen option minimises the cost, plus a price times the remaining bias, plus another price
    times the remaining squared error (Lagrange multipliers). The prices are the lowest ones at which the set is
    expected to reach its target, or the highest ones that the budget allows. The remaining errors of a datum are
    predicted from its pilot and from the errors of all data together, not from the weights of its own estimate.
    Chains from the guide are replaced by chains from the prior where the latter find far more.

    Args:
        statistics: statistics of the weights so far.
        errors: errors of the estimates so far.
        target_error: largest allowed sum of the mean bias and 1.645 Monte Carlo errors of the set, in nats.
        budget: remaining number of decoder runs.
        num_values: number of decoder runs of each gradient of an annealed chain, one for each joint value of discrete
            latents; 0 if the latents cannot be annealed.
    """
    choices = _Choices(statistics, errors, num_values)
    prices = min(
        (choices.prices(target_error, share) for share in _BIAS_SHARES), key=lambda prices: choices.total_cost(*prices)
    )
    if choices.total_cost(*prices) > budget:
        choices.bias[0] = choices.affordable  # drawing nothing is no longer prohibitive
        share, _ = _bisect_price(lambda share: bool(choices.total_cost(*(share * price for price in prices)) > budget))
        prices = share * prices[0], share * prices[1]
    return choices.allocation(*prices)


def misses_modes(statistics: RunningStatistics, errors: ErrorEstimates) -> Tensor:
    """Return for which data samples from the prior find significantly more of p(x) than those from the guide, ``(N,)``.

    For data with chains from the guide, the comparison is with these chains. For the others it is with the guide's
    samples in the pilot, because their estimate itself contains samples from the prior.
    """
    annealed = statistics.num_temperatures > 0
    found = torch.where(annealed, errors.log_prob, statistics.pilot_log_prob)
    error = torch.where(annealed, errors.standard_error, statistics.relative_variance.div(statistics.num_pilot).sqrt())
    exceeds = statistics.prior_log_prob - found > (_MODE_ERRORS * statistics.prior_error.hypot(error)).clamp(min=0.05)
    return exceeds & ~statistics.from_prior


class _Choices:
    """The J options of N data, ``(J, N)``: next draws, their cost and the predicted errors; option 0 draws nothing."""

    def __init__(self, statistics: RunningStatistics, errors: ErrorEstimates, num_values: int) -> None:
        self.forecast = forecast(statistics, errors)
        self.annealable, runs = num_values > 0, num_values
        T, K, from_prior = statistics.num_temperatures, statistics.num_samples, statistics.from_prior
        annealed = T > 0
        # Where the guide's samples are unreliable, chains from the guide are tried first.
        missing = misses_modes(statistics, errors) & self.forecast.reliable & self.annealable
        equal = statistics.pilot_k.isnan()  # equal weights need no more samples
        bias, variance = self._predict(T, K, from_prior, 1)
        self.affordable = errors.bias.nan_to_num(_PROHIBITIVE, _PROHIBITIVE)
        self._rows = [(T, from_prior, torch.zeros_like(K), 0 * K, torch.where(missing, _PROHIBITIVE, bias), variance)]
        for factor in (2**j for j in range(1, _MAX_DOUBLINGS + 1)):
            more = (factor - 1) * K
            cost = torch.where(annealed, more * (2 * runs * T - runs), more)
            most = torch.where(annealed, _MAX_CHAINS, _MAX_SAMPLES if self.annealable else 16 * _MAX_SAMPLES)
            is_open = (factor * K <= most) & ~missing & ~equal & (~annealed | (factor <= _MAX_CHAIN_FACTOR))
            cost = torch.where(is_open, cost, -1)
            self._rows.append((T, from_prior, more, cost, *self._predict(T, K, from_prior, factor)))
        # The first chains include tuning the step sizes, and as many chains from the prior.
        tuning = torch.where(annealed, 0, 2 * TUNING_CHAINS * (2 * NUM_TUNED + 1) * runs)
        prior = missing | from_prior
        for longer in _TEMPERATURES if self.annealable else ():
            aim = torch.full_like(T, longer)
            chains = torch.where(prior, 2 * NUM_CHAINS, NUM_CHAINS)
            is_open = (
                (missing | (aim > T))
                & (aim <= (4 * T).clamp(min=_MAX_FIRST_TEMPERATURES))
                & ~equal
                & statistics.elbo.isfinite()
            )
            cost = torch.where(is_open, chains * (2 * runs * aim - runs) + tuning, -1)
            self._rows.append((aim, prior, chains, cost, *self._predict(aim, chains, prior, 1)))
        self.num_temperatures, self.from_prior, self.num_samples, cost, self.bias, self.variance = (
            torch.stack([row[part] for row in self._rows]) for part in range(6)
        )
        self.cost = cost.double().masked_fill(cost < 0, math.inf)
        is_open = self.cost.isfinite()
        self.bias[0] = torch.where(is_open[1:].any(0), self.bias[0], self.affordable)  # of data without another option
        # Prices cannot bring the errors below what one round can reach.
        self.least = [part.where(is_open, math.inf).amin(0).sum() for part in (self.bias, self.variance)]

    def _predict(self, T: Tensor, K: Tensor, from_prior: Tensor, factor: int) -> tuple[Tensor, Tensor]:
        """Predict the bias and the squared error with ``factor`` times K weights and T temperatures."""
        forecast, calibration = self.forecast, self.forecast.calibration
        more = (factor * K).double()
        # Half of the samples must suffice already, because larger samples reveal more variance.
        known = is_reliable(more if factor == 1 else more / 2, forecast.pareto_k, forecast.relative_variance)
        samples = calibration[0, 0] * sample_bias(forecast.relative_variance, more, forecast.pareto_k)
        if self.annealable:
            samples = torch.where(known, samples, _PROHIBITIVE)
        v = variance_at_temperatures(torch.where(from_prior, forecast.prior_variance, forecast.chain_variance), T)
        start = torch.where(from_prior, 2, 1)
        bias = torch.where(T > 0, calibration[start, 0] * annealing_bias(v, more), samples)
        variance = torch.where(
            T > 0, calibration[start, 1] * v.expm1() / more, calibration[0, 1] * forecast.relative_variance / more
        )
        return bias.nan_to_num(_PROHIBITIVE, _PROHIBITIVE), variance.nan_to_num(_PROHIBITIVE, _PROHIBITIVE)

    def prices(self, target_error: float, share: float) -> tuple[float, float]:
        """Return the lowest prices of bias and squared error that keep the bias within a share of the target."""
        count = self.bias.shape[1]
        bias = max(share * target_error * count, 1.1 * float(self.least[0]))
        variance = max(((_PLANNED_SHARE - share) * target_error * count / QUANTILE_95) ** 2, 1.1 * float(self.least[1]))

        def for_bias(other: float) -> float:
            return _bisect_price(lambda price: bool(self.remaining(price, other)[0] <= bias))[1]

        def for_variance(price: float) -> float:
            return _bisect_price(lambda other: bool(self.remaining(price, other)[1] <= variance))[1]

        price, other = for_bias(0.0), 0.0
        if self.remaining(price, 0.0)[1] > variance:
            for _ in range(3):  # each price changes the options that the other one selects
                other = for_variance(price)
                price = for_bias(other)
        return price, other

    def best_options(self, bias_price: float, variance_price: float) -> Tensor:
        """Return the best option of each datum at these prices, ``(N,)``."""
        return (self.cost + bias_price * self.bias + variance_price * self.variance).argmin(0)

    def remaining(self, bias_price: float, variance_price: float) -> tuple[Tensor, Tensor]:
        """Return the predicted sums of the remaining biases and of the remaining squared errors."""
        chosen = self.best_options(bias_price, variance_price)[None]
        return self.bias.gather(0, chosen).sum(), self.variance.gather(0, chosen).sum()

    def total_cost(self, bias_price: float, variance_price: float) -> Tensor:
        """Return the total cost of the best options."""
        return self.cost.gather(0, self.best_options(bias_price, variance_price)[None]).sum()

    def allocation(self, bias_price: float, variance_price: float) -> Allocation:
        """Return the best options, sorted by their gain for their cost."""
        chosen = self.best_options(bias_price, variance_price)[None]
        worth = bias_price * self.bias + variance_price * self.variance
        gain = (worth[:1] - worth.gather(0, chosen)) / self.cost.gather(0, chosen).clamp(min=1)
        gain, chosen = gain[0], chosen[0]
        order = gain.argsort(descending=True, stable=True)
        index = order[chosen[order] > 0]
        chosen = chosen[index]
        tables = self.num_temperatures, self.from_prior, self.num_samples, self.cost, self.bias
        return Allocation(index, *(table[chosen, index] for table in tables))


def _bisect_price(is_enough: Callable[[float], bool]) -> tuple[float, float]:
    """Bisect for the lowest price that is enough; return a price just below it and one just above it."""
    low, high = 2.0**-50, 2.0**50
    for _ in range(30):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return low, high
