"""Where the next samples are worth most: what to do with each datum of a set."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pyrovae.evaluation.standing import Standing, are_trusted, at_temperatures, short_of_chains, short_of_samples
from pyrovae.evaluation.tally import Tally

__all__ = ["NUM_CHAINS", "NUM_TUNED", "TUNING_CHAINS", "Plan", "allot"]

NUM_CHAINS = 8
"""Chains that a datum is annealed with at first, at each number of temperatures."""

NUM_TUNED = 49
"""Step sizes that are tuned, at evenly spaced beta, and interpolated for any number of temperatures."""

TUNING_CHAINS = 4

_LADDER = tuple(25 * 2**j for j in range(11))  # numbers of temperatures
_DOUBLINGS = 8  # how often samples or chains may double in one round
_MOST_SAMPLES = 2**16  # importance samples of a datum that could be annealed instead
_MOST_CHAINS = 2**12
_AIM = 0.95  # of the target, so that the last round seldom falls short of it
_NEVER = 1e9  # nats


class Plan(NamedTuple):
    """Hold what to do next with some data, those first that gain most for what they cost, ``(J,)`` each.

    Attributes:
        data: which ones.
        num_temperatures: T of the chains to run, 0 for importance samples.
        num_samples: how many weights to draw.
        cost: decoder runs that this takes.
    """

    data: Tensor
    num_temperatures: Tensor
    num_samples: Tensor
    cost: Tensor

    def first(self, count: int, budget: float) -> Plan:
        """Return the first parts, so many at most and as many as the budget of decoder runs allows."""
        affordable = int((self.cost.cumsum(0) <= budget).sum())
        return Plan(*(part[: min(count, affordable)] for part in self))


def allot(
    tally: Tally, standing: Standing, target_error: float, budget: float = math.inf, annealable: bool = True
) -> Plan:
    """Choose for each datum what to do, so that the set's errors come under the target at the least cost.

    Of each datum's choices that one is taken which minimises the cost plus a price times the bias that is left, plus
    another times the squared error that is left; the prices are the least with which the set is expected to reach
    its target, or those that the budget can pay.

    Args:
        tally: the running figures.
        standing: what they say.
        target_error: the mean bias and the set's Monte Carlo error that are wanted, in nats.
        budget: decoder runs that are left.
        annealable: whether the latents can be annealed.
    """
    choices = _Choices(tally, standing, annealable)
    count = len(standing.bias)
    bias, variance = _AIM * target_error * count, (_AIM * target_error * count) ** 2

    def for_bias(other: float) -> float:
        return _bracketed(lambda price: bool(choices.left(price, other)[0] <= bias))[1]

    def for_variance(price: float) -> float:
        return _bracketed(lambda other: bool(choices.left(price, other)[1] <= variance))[1]

    price, other = for_bias(0.0), 0.0
    if choices.left(price, 0.0)[1] > variance:
        for _ in range(3):  # one price undoes choices that were made for the other
            other = for_variance(price)
            price = for_bias(other)
    if choices.spent(price, other) > budget:
        choices.bias[0] = standing.bias  # what cannot be paid for may stay as it is
        share, _ = _bracketed(lambda share: bool(choices.spent(share * price, share * other) > budget))
        price, other = share * price, share * other
    return choices.plan(price, other)


class _Choices:
    """List what can be done with each datum, the first choice being nothing, ``(J, N)``."""

    def __init__(self, tally: Tally, standing: Standing, annealable: bool) -> None:
        T, K = tally.num_temperatures, tally.num_samples
        most = _MOST_SAMPLES if annealable else 16 * _MOST_SAMPLES
        squared = standing.standard_error.square().nan_to_num(_NEVER, _NEVER)
        at_stake = standing.bias
        if annealable:
            at_stake = torch.where(standing.trusted, standing.bias, _NEVER)
        rows = [(T, torch.zeros_like(K), torch.zeros_like(K), at_stake, squared)]
        for factor in (2**j for j in range(1, _DOUBLINGS + 1)):
            more = (factor - 1) * K
            open_to = (T == 0) & (factor * K <= most) & ~tally.pareto_k.isnan()
            # By half of them already, for more of the variance comes to light with more samples.
            known = standing.trusted | are_trusted(factor * K / 2, standing.pareto_k, standing.variance)
            unknown = _NEVER if annealable else standing.bias / factor
            bias = torch.where(
                known, short_of_samples(standing.variance, factor * K.double(), standing.pareto_k), unknown
            )
            rows.append((T, more, torch.where(open_to, more, -1), bias, squared / factor))
            open_to = (T > 0) & (factor * K <= _MOST_CHAINS)
            bias = short_of_chains(standing.variance, factor * K.double())
            rows.append((T, more, torch.where(open_to, more * (2 * T - 1), -1), bias, squared / factor))
        for longer in _LADDER if annealable else ():
            aim = torch.full_like(T, longer)
            v = torch.where(T > 0, at_temperatures(standing.variance, T, aim), at_temperatures(standing.ahead, 1, aim))
            v = v.clamp(max=50.0)
            cost = NUM_CHAINS * (2 * aim - 1) + torch.where(T == 0, TUNING_CHAINS * (2 * NUM_TUNED + 1), 0)
            chains = torch.full_like(K, NUM_CHAINS)
            open_to = (aim > T) & ~tally.pareto_k.isnan() & tally.mean.isfinite()
            left = v.expm1() / NUM_CHAINS
            rows.append(
                (aim, chains, torch.where(open_to, cost, -1), short_of_chains(v, torch.tensor(NUM_CHAINS)), left)
            )
        self.num_temperatures, self.num_samples, cost, self.bias, self.variance = (
            torch.stack([row[part] for row in rows]) for part in range(5)
        )
        self.cost = cost.double()
        self.cost[cost < 0] = math.inf

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

    def plan(self, of_bias: float, of_variance: float) -> Plan:
        """Put the choices in the order of what they gain for their cost."""
        chosen = self.chosen(of_bias, of_variance)[None]
        worth = of_bias * self.bias + of_variance * self.variance
        gain = (worth[:1] - worth.gather(0, chosen)) / self.cost.gather(0, chosen).clamp(min=1)
        gain, chosen = gain[0], chosen[0]
        order = gain.argsort(descending=True, stable=True)
        index = order[chosen[order] > 0]
        chosen = chosen[index]
        parts = (table[chosen, index] for table in (self.num_temperatures, self.num_samples, self.cost))
        return Plan(index, *parts)


def _bracketed(is_enough: Callable[[float], bool]) -> tuple[float, float]:
    """Return neighbouring prices, of which the first is not enough and the second is, if any is."""
    low, high = 2.0**-50, 2.0**50
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return low, high
