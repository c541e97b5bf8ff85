"""Running statistics of weights that are drawn in batches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.adaptive.certified_sums import NUM_ALTERNATIVES, add_draw
from pyrovae.evaluation.likelihood.diagnostics import effective_sample_size, monte_carlo_error, pareto_k
from pyrovae.evaluation.likelihood.pareto_fit import tail_size
from pyrovae.evaluation.likelihood.reservoir import Reservoir

__all__ = ["NUM_GROUPS", "RunningStatistics"]

NUM_GROUPS = 8
"""Number of groups of equal size into which the weights of each datum are divided, to see the bound grow with K."""

_NUM_LARGEST = 50  # number of largest weights kept, at least
_DRAWS = "draws/"


@dataclass
class RunningStatistics:
    """Statistics of all weights of N data so far; each has shape ``(N,)`` unless stated otherwise.

    The weights of the pilot decide how many samples a datum needs. They are not part of its estimate, because that
    would leave data whose large weights happen to be missing with an estimate that is too small.

    Attributes:
        num_pilot: number of importance samples from the guide in the pilot.
        elbo: mean of the log weights of the pilot's samples from the guide, in nats.
        pilot_log_prob: log of the mean weight of the pilot's samples from the guide, in nats.
        spread: variance of the log weights of the pilot's samples from the guide.
        relative_variance: relative variance of the weights of the pilot's samples from the guide.
        pilot_k: Pareto shape k̂ of the tail of the weights of the pilot's samples from the guide.
        prior_log_prob: log p(x) by the pilot's samples from the prior, or by chains from the prior, in nats.
        prior_error: Monte Carlo error of ``prior_log_prob``, in nats.
        prior_variance: variance of the log weights of the chains from the prior; NaN without such chains.
        chain_variance: variance of the log weights of the chains on which step sizes were tuned; NaN without such
            chains.
        step_sizes: step sizes of the chains, at beta evenly spaced between 0 and 1, ``(G, N)``; NaN if not tuned.
        num_evaluations: number of decoder runs, including those of discarded weights.
        num_temperatures: number T of temperatures of the chains in the estimate; 0 for importance samples.
        from_prior: True for data whose chains start from the prior.
        num_samples: number K of weights in the estimate.
        group_sums: log of the sum of the weights of each group, ``(NUM_GROUPS, N)``, in nats.
        log_sum_squares: log of the sum of the squares of the weights in the estimate.
        rounding: largest effect of rounding on log p(x), in nats.
        acceptance: mean acceptance of the chains; NaN for importance samples.
        pareto_k: Pareto shape k̂ of the tail of the weights in the estimate.
        largest: largest log weights in descending order, ``(M, N)``; -inf where there are fewer.
        certified: log of the sums that are certified, ``(NUM_ALTERNATIVES, N)``, in nats; see :func:`add_draw`.
        unspent: what is left of the weights of these sums, ``(NUM_ALTERNATIVES, N)``.
        log_likelihood: log p(x|z) at the posterior draws, ``(N, S)``.
        draws: posterior draws by site name, ``(N, S, *event_shape)``.
    """

    num_pilot: Tensor
    elbo: Tensor
    pilot_log_prob: Tensor
    spread: Tensor
    relative_variance: Tensor
    pilot_k: Tensor
    prior_log_prob: Tensor
    prior_error: Tensor
    prior_variance: Tensor
    chain_variance: Tensor
    step_sizes: Tensor
    num_evaluations: Tensor
    num_temperatures: Tensor
    from_prior: Tensor
    num_samples: Tensor
    group_sums: Tensor
    log_sum_squares: Tensor
    rounding: Tensor
    acceptance: Tensor
    pareto_k: Tensor
    largest: Tensor
    certified: Tensor
    unspent: Tensor
    log_likelihood: Tensor
    draws: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def empty(cls, count: int, num_draws: int, num_step_sizes: int) -> RunningStatistics:
        """Make statistics of N data without any weights."""

        def unknown(*shape: int, value: float = math.nan) -> Tensor:
            return torch.full((*shape, count), value, dtype=torch.float64)

        counts = torch.zeros(4, count, dtype=torch.int64).unbind()
        return cls(
            num_pilot=counts[0],
            elbo=unknown(),
            pilot_log_prob=unknown(),
            spread=unknown(),
            relative_variance=unknown(),
            pilot_k=unknown(),
            prior_log_prob=unknown(),
            prior_error=unknown(),
            prior_variance=unknown(),
            chain_variance=unknown(),
            step_sizes=torch.full((num_step_sizes, count), math.nan),
            num_evaluations=counts[1],
            num_temperatures=counts[2],
            from_prior=torch.zeros(count, dtype=torch.bool),
            num_samples=counts[3],
            group_sums=unknown(NUM_GROUPS, value=-math.inf),
            log_sum_squares=unknown(value=-math.inf),
            rounding=unknown(value=0.0),
            acceptance=unknown(),
            pareto_k=unknown(),
            largest=unknown(_NUM_LARGEST, value=-math.inf),
            certified=unknown(NUM_ALTERNATIVES, value=-math.inf),
            unspent=unknown(NUM_ALTERNATIVES, value=1.0),
            log_likelihood=torch.zeros(count, num_draws),
        )

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> RunningStatistics:
        """Make statistics from the result of :meth:`tensors`.

        Raises:
            ValueError: if a statistic is missing.
        """
        plain = [part.name for part in fields(cls) if part.name != "draws"]
        if "certified" not in tensors and "elbo" in tensors:  # of a version without certificates
            none = torch.zeros(NUM_ALTERNATIVES, len(tensors["elbo"]), dtype=torch.float64)
            tensors = {**tensors, "certified": none - math.inf, "unspent": none}
        missing = [name for name in plain if name not in tensors]
        if missing:
            raise checks.InputError(f"state must be that of an earlier call, but {missing[0]} is missing")
        draws = {name.removeprefix(_DRAWS): z.clone() for name, z in tensors.items() if name.startswith(_DRAWS)}
        figures: dict[str, Any] = {name: tensors[name].clone() for name in plain}
        return cls(**figures, draws=draws)

    def tensors(self) -> dict[str, Tensor]:
        """Return copies of all statistics, by name."""
        plain = {part.name: getattr(self, part.name).clone() for part in fields(self) if part.name != "draws"}
        return plain | {_DRAWS + name: z.clone() for name, z in self.draws.items()}

    @property
    def log_sum(self) -> Tensor:
        """Log of the sum of the weights in the estimate, in nats."""
        return self.group_sums.logsumexp(0)

    @property
    def ess(self) -> Tensor:
        """Effective sample size of the weights in the estimate."""
        return (2 * self.log_sum - self.log_sum_squares).exp()

    def add_pilot(self, index: Tensor, log_weights: Tensor, from_prior: Tensor, rounding: Tensor) -> None:
        """Add the pilot's importance samples of some data.

        Args:
            index: indices of the data, ``(B,)``.
            log_weights: log weights of samples from the guide, in nats, ``(k, B)``.
            from_prior: log weights of samples from the prior, log p(x|z), in nats, ``(m, B)``.
            rounding: largest effect of rounding on the log weights, in nats, ``(B,)``.
        """
        _refuse_nan(log_weights, from_prior)
        weights, others = log_weights.double().cpu(), from_prior.double().cpu()
        k = len(weights)
        self.num_pilot[index] = k
        self.elbo[index] = weights.mean(0)
        self.pilot_log_prob[index] = weights.logsumexp(0) - math.log(k)
        self.spread[index] = weights.var(0)
        self.relative_variance[index] = (k / effective_sample_size(weights) - 1).clamp(min=0)
        self.pilot_k[index] = pareto_k(weights, rounding.cpu())
        self.prior_log_prob[index] = others.logsumexp(0) - math.log(len(others))
        self.prior_error[index] = monte_carlo_error(others)

    def add_prior_chains(self, index: Tensor, log_weights: Tensor) -> None:
        """Add log weights of chains from the prior, ``(C, B)``, which replace its samples where they find more."""
        _refuse_nan(log_weights)
        weights = log_weights.double().cpu()
        found, error = weights.logsumexp(0) - math.log(len(weights)), monte_carlo_error(weights)
        self.prior_variance[index] = weights.var(0)
        more = ~(self.prior_log_prob[index] > found)
        self.prior_error[index] = torch.where(more, error, self.prior_error[index])
        self.prior_log_prob[index] = torch.where(more, found, self.prior_log_prob[index])

    def restart(self, index: Tensor, num_temperatures: int, from_prior: bool = False) -> None:
        """Discard the estimate of some data, to begin it again with chains of another number of temperatures."""
        self.num_temperatures[index] = num_temperatures
        self.from_prior[index] = from_prior
        self.num_samples[index] = 0
        self.acceptance[index] = 0.0
        self.pareto_k[index] = math.nan
        for figure in (self.group_sums, self.largest):
            figure[:, index] = -math.inf
        self.log_sum_squares[index] = -math.inf

    def add(
        self,
        index: Tensor,
        log_weights: Tensor,
        reservoir: Reservoir,
        rounding: Tensor,
        predicted_bias: Tensor,
        acceptance: Tensor | None = None,
    ) -> None:
        """Add weights to the estimates of some data.

        Args:
            index: indices of the data, ``(B,)``.
            log_weights: log weights in nats, ``(k, B)``; k is a multiple of ``NUM_GROUPS``.
            reservoir: posterior draws, resampled from these samples.
            rounding: largest effect of rounding on the log weights, in nats, ``(B,)``.
            predicted_bias: bias of the estimates with these weights, predicted before they were drawn, in nats,
                ``(B,)``.
            acceptance: mean acceptance of annealed chains, ``(B,)``; None for importance samples.
        """
        _refuse_nan(log_weights)
        new = log_weights.double().cpu()
        k, before = len(new), self.num_samples[index]
        total = before + k
        log_mean = new.logsumexp(0) - math.log(k)
        self.certified[:, index], self.unspent[:, index] = add_draw(
            self.certified[:, index], self.unspent[:, index], log_mean, predicted_bias
        )
        self._merge_draws(index, new.logsumexp(0), reservoir)
        # Consecutive blocks are fair groups, because samples from the prior are spread evenly among the others.
        sums = new.unflatten(0, (NUM_GROUPS, -1)).logsumexp(1)  # (G, B)
        self.group_sums[:, index] = torch.logaddexp(self.group_sums[:, index], sums)
        self.log_sum_squares[index] = torch.logaddexp(self.log_sum_squares[index], (2 * new).logsumexp(0))
        self.num_samples[index] = total
        self.rounding[index] = self.rounding[index].fmax(rounding.cpu().double())
        if acceptance is not None:
            self.acceptance[index] += (acceptance.double().cpu() - self.acceptance[index]) * k / total
        self._merge_largest(index, new, total)
        if acceptance is None:
            self.pareto_k[index] = self._pareto_k(index)

    def _merge_largest(self, index: Tensor, new: Tensor, total: Tensor) -> None:
        keep = _NUM_LARGEST
        if not bool(self.num_temperatures[index].any()):
            keep = max(keep, int(tail_size(total).max()) + 1)  # the tail, and the largest weight below it
        if keep > len(self.largest):
            more = self.largest.new_full((keep - len(self.largest), self.largest.shape[1]), -math.inf)
            self.largest = torch.cat([self.largest, more])
        merged = torch.cat([self.largest[:, index], new]).sort(0, descending=True).values
        self.largest[:, index] = merged[: len(self.largest)]

    def _merge_draws(self, index: Tensor, log_sum: Tensor, reservoir: Reservoir) -> None:
        """Replace each draw with a probability equal to the share of the new weights in the sum."""
        if reservoir.num_draws == 0:
            return
        if not self.draws:
            count = len(self.num_samples)
            self.draws = {name: z.new_zeros(count, *z.shape[1:], device="cpu") for name, z in reservoir.draws.items()}
            self.log_likelihood = reservoir.log_likelihood.new_zeros(count, reservoir.num_draws, device="cpu")
        share = (log_sum - torch.logaddexp(log_sum, self.log_sum[index])).exp().nan_to_num(1.0)
        replace = torch.rand(len(index), reservoir.num_draws, dtype=torch.float64) < share[:, None]  # (B, S)
        for name, z in reservoir.draws.items():
            chosen = replace.reshape(*replace.shape, *(1 for _ in z.shape[2:]))
            self.draws[name][index] = torch.where(chosen, z.cpu(), self.draws[name][index])
        offered = reservoir.log_likelihood.cpu()
        self.log_likelihood[index] = torch.where(replace, offered, self.log_likelihood[index])

    def _pareto_k(self, index: Tensor) -> Tensor:
        """Fit the tails of data with the same K; the weights below the tail only need to be smaller."""
        (K,) = self.num_samples[index].unique().tolist()
        tail = self.largest[: min(K, int(tail_size(torch.tensor(K))) + 1), index]
        return pareto_k(torch.cat([tail, tail[-1:].expand(K - len(tail), -1)]), self.rounding[index])


def _refuse_nan(*log_weights: Tensor) -> None:
    if any(bool(part.isnan().any()) for part in log_weights):
        raise checks.InputError("x and the model must be finite, but the log weights of some data are NaN")
