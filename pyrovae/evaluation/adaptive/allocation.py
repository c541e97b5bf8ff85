"""Allocation of the next samples and chains to the data of a set, by what they gain for their cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pyrovae.evaluation.adaptive.error_estimates import ErrorEstimates, chain_bias
from pyrovae.evaluation.adaptive.forecast import (
    NUM_TUNED,
    TUNING_CHAINS,
    are_reliable,
    at_temperatures,
    forecast,
    sample_bias,
)
from pyrovae.evaluation.adaptive.running_statistics import RunningStatistics

__all__ = ["CONFIDENT", "NUM_CHAINS", "Allocation", "allocate", "misses_modes"]

NUM_CHAINS = 8
"""Chains that a datum is annealed with at first, at each number of temperatures."""

CONFIDENT = 1.645
"""Monte Carlo errors that are to lie within the target beside the bias: 95 % of one side."""

_LADDER = tuple(25 * 2**j for j in range(11))  # numbers of temperatures
_FIRST_LADDER = 400  # temperatures at most, before chains have been run; then four times as many
_DOUBLINGS = 8  # how often samples may double in one round
_FEW_DOUBLINGS = 4  # by how much chains may be multiplied in one round
_MOST_SAMPLES = 2**16  # importance samples of a datum that could be annealed instead
_MOST_CHAINS = 2**12
_SHARES = (0.1, 0.25, 0.4, 0.55)  # of the target that may be planned for the bias
_AIM = 0.95  # share of the target that is planned for bias and Monte Carlo error; the rest is for what turns out worse
_DISCREPANT = 2.5  # errors between two estimates, from which on one is taken to miss a part of the posterior
_NEVER = 1e9  # nats


class Allocation(NamedTuple):
    """The next draws of some data, those first that gain most for what they cost, ``(J,)`` each.

    Attributes:
        data: which ones.
        num_temperatures: T of the chains to run, 0 for importance samples.
        from_prior: whether these begin at the prior.
        num_samples: how many weights to draw.
        cost: decoder runs that this takes.
    """

    data: Tensor
    num_temperatures: Tensor
    from_prior: Tensor
    num_samples: Tensor
    cost: Tensor

    def first(self, count: int, budget: float) -> Allocation:
        """Return the first parts, so many at most and as many as the budget of decoder runs allows."""
        affordable = int((self.cost.cumsum(0) <= budget).sum())
        return Allocation(*(part[: min(count, affordable)] for part in self))


def allocate(
    statistics: RunningStatistics,
    errors: ErrorEstimates,
    target_error: float,
    budget: float = math.inf,
    annealable: bool = True,
) -> Allocation:
    """Choose for each datum what to do, so that the set's errors come under the target at the least cost.

    Of each datum's choices that one is taken which minimises the cost plus a price times the bias that is left, plus
    another times the squared error that is left; the prices are the least with which the set is expected to reach
    its target, or those that the budget can pay. What is left of a datum is predicted from its pilot and from the
    errors of all data together, not from the weights of its own estimate; but where the prior finds far more than the
    chains from the guide do, these are replaced.

    Args:
        statistics: of the weights so far.
        errors: their errors.
        target_error: what the mean bias and the set's Monte Carlo error are to lie within together, in nats.
        budget: decoder runs that are left.
        annealable: whether the latents can be annealed.
    """
    choices = _Choices(statistics, errors, annealable)
    prices = min((choices.prices(target_error, share) for share in _SHARES), key=lambda prices: choices.spent(*prices))
    if choices.spent(*prices) > budget:
        choices.bias[0] = choices.affordable  # what cannot be paid for may stay as it is
        share, _ = _bracketed(lambda share: bool(choices.spent(*(share * price for price in prices)) > budget))
        prices = share * prices[0], share * prices[1]
    return choices.plan(*prices)


def misses_modes(statistics: RunningStatistics, errors: ErrorEstimates) -> Tensor:
    """Tell for which data the pilot's samples from the prior find more than can be explained by errors, ``(N,)``.

    Of data whose chains begin at the guide, more than these find; of others, more than the guide's samples in the
    pilot, for their own estimate has samples of the prior too.
    """
    annealed = statistics.num_temperatures > 0
    found = torch.where(annealed, errors.log_prob, statistics.pilot_log_prob)
    error = torch.where(annealed, errors.standard_error, statistics.relative_variance.div(statistics.num_pilot).sqrt())
    exceeds = statistics.prior_log_prob - found > (_DISCREPANT * statistics.prior_error.hypot(error)).clamp(min=0.05)
    return exceeds & ~statistics.from_prior


class _Choices:
    """The possible next draws of each datum, the first of which is none, ``(J, N)``."""

    def __init__(self, statistics: RunningStatistics, errors: ErrorEstimates, annealable: bool) -> None:
        self.forecast = forecast(statistics, errors)
        self.annealable = annealable
        T, K, from_prior = statistics.num_temperatures, statistics.num_samples, statistics.from_prior
        annealed = T > 0
        # Where the guide's samples are not to be relied on, its chains are tried first.
        missing = misses_modes(statistics, errors) & self.forecast.reliable & annealable
        equal = statistics.pilot_k.isnan()  # weights, which need no more
        bias, variance = self._left(T, K, from_prior, 1)
        self.affordable = errors.bias.nan_to_num(_NEVER, _NEVER)
        self._rows = [(T, from_prior, torch.zeros_like(K), 0 * K, torch.where(missing, _NEVER, bias), variance)]
        for factor in (2**j for j in range(1, _DOUBLINGS + 1)):
            more = (factor - 1) * K
            cost = torch.where(annealed, more * (2 * T - 1), more)
            most = torch.where(annealed, _MOST_CHAINS, _MOST_SAMPLES if annealable else 16 * _MOST_SAMPLES)
            is_open = (factor * K <= most) & ~missing & ~equal & (~annealed | (factor <= _FEW_DOUBLINGS))
            cost = torch.where(is_open, cost, -1)
            self._rows.append((T, from_prior, more, cost, *self._left(T, K, from_prior, factor)))
        # Step sizes are tuned, and as many chains are run from the prior.
        tuning = torch.where(annealed, 0, 2 * TUNING_CHAINS * (2 * NUM_TUNED + 1))
        prior = missing | from_prior
        for longer in _LADDER if annealable else ():
            aim = torch.full_like(T, longer)
            chains = torch.where(prior, 2 * NUM_CHAINS, NUM_CHAINS)
            is_open = (
                (missing | (aim > T)) & (aim <= (4 * T).clamp(min=_FIRST_LADDER)) & ~equal & statistics.elbo.isfinite()
            )
            cost = torch.where(is_open, chains * (2 * aim - 1) + tuning, -1)
            self._rows.append((aim, prior, chains, cost, *self._left(aim, chains, prior, 1)))
        self.num_temperatures, self.from_prior, self.num_samples, cost, self.bias, self.variance = (
            torch.stack([row[part] for row in self._rows]) for part in range(6)
        )
        self.cost = cost.double().masked_fill(cost < 0, math.inf)
        is_open = self.cost.isfinite()
        self.bias[0] = torch.where(is_open[1:].any(0), self.bias[0], self.affordable)  # nothing can be done with these
        # What cannot be reached in one round is not bought at any price.
        self.least = [part.where(is_open, math.inf).amin(0).sum() for part in (self.bias, self.variance)]

    def _left(self, T: Tensor, K: Tensor, from_prior: Tensor, factor: int) -> tuple[Tensor, Tensor]:
        """Predict the bias and the squared error of ``factor`` times K weights with T temperatures."""
        ahead, of = self.forecast, self.forecast.calibration
        more = (factor * K).double()
        # By half of the samples already, for more of the variance comes to light with more of them.
        known = are_reliable(more if factor == 1 else more / 2, ahead.pareto_k, ahead.relative_variance)
        samples = of[0, 0] * sample_bias(ahead.relative_variance, more, ahead.pareto_k)
        if self.annealable:
            samples = torch.where(known, samples, _NEVER)
        v = at_temperatures(torch.where(from_prior, ahead.prior_variance, ahead.chain_variance), T)
        start = torch.where(from_prior, 2, 1)
        bias = torch.where(T > 0, of[start, 0] * chain_bias(v, more), samples)
        variance = torch.where(T > 0, of[start, 1] * v.expm1() / more, of[0, 1] * ahead.relative_variance / more)
        return bias.nan_to_num(_NEVER, _NEVER), variance.nan_to_num(_NEVER, _NEVER)

    def prices(self, target_error: float, share: float) -> tuple[float, float]:
        """Return the least prices of bias and squared error that keep the bias within a share of the target."""
        count = self.bias.shape[1]
        bias = max(share * target_error * count, 1.1 * float(self.least[0]))
        variance = max(((_AIM - share) * target_error * count / CONFIDENT) ** 2, 1.1 * float(self.least[1]))

        def for_bias(other: float) -> float:
            return _bracketed(lambda price: bool(self.left(price, other)[0] <= bias))[1]

        def for_variance(price: float) -> float:
            return _bracketed(lambda other: bool(self.left(price, other)[1] <= variance))[1]

        price, other = for_bias(0.0), 0.0
        if self.left(price, 0.0)[1] > variance:
            for _ in range(3):  # one price undoes choices that were made for the other
                other = for_variance(price)
                price = for_bias(other)
        return price, other

    def chosen(self, of_bias: float, of_variance: float) -> Tensor:
        """Return which choice is the cheapest at these prices, ``(N,)``."""
        return (self.cost + of_bias * self.bias + of_variance * self.variance).argmin(0)

    def left(self, of_bias: float, of_variance: float) -> tuple[Tensor, Tensor]:
        """Return the sums of the biases and of the squared errors that are expected to be left."""
        chosen = self.chosen(of_bias, of_variance)[None]
        return self.bias.gather(0, chosen).sum(), self.variance.gather(0, chosen).sum()

    def spent(self, of_bias: float, of_variance: float) -> Tensor:
        """Return what the choices cost."""
        return self.cost.gather(0, self.chosen(of_bias, of_variance)[None]).sum()

    def plan(self, of_bias: float, of_variance: float) -> Allocation:
        """Put the choices in the order of what they gain for their cost."""
        chosen = self.chosen(of_bias, of_variance)[None]
        worth = of_bias * self.bias + of_variance * self.variance
        gain = (worth[:1] - worth.gather(0, chosen)) / self.cost.gather(0, chosen).clamp(min=1)
        gain, chosen = gain[0], chosen[0]
        order = gain.argsort(descending=True, stable=True)
        index = order[chosen[order] > 0]
        chosen = chosen[index]
        tables = self.num_temperatures, self.from_prior, self.num_samples, self.cost
        return Allocation(index, *(table[chosen, index] for table in tables))


def _bracketed(is_enough: Callable[[float], bool]) -> tuple[float, float]:
    """Return neighbouring prices, of which the first is not enough and the second is, if any is."""
    low, high = 2.0**-50, 2.0**50
    for _ in range(30):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return low, high
