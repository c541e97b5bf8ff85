"""``Adaptive``, an estimator that draws samples where they are needed until a target error is reached."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import replace

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.adaptive.allocation import allocate, misses_modes
from pyrovae.evaluation.adaptive.error_estimates import error_estimates, log_normal_bias
from pyrovae.evaluation.adaptive.forecast import forecast
from pyrovae.evaluation.adaptive.result import AdaptiveResult, Stopped
from pyrovae.evaluation.adaptive.sampler import Sampler
from pyrovae.evaluation.likelihood.cross_check import cross_check
from pyrovae.evaluation.likelihood.estimator import Estimator
from pyrovae.evaluation.likelihood.result import LogMarginal
from pyrovae.execution.batched import BatchedPrograms
from pyrovae.execution.chunking import Chunks
from pyrovae.programs import Arguments, PyroFunction
from pyrovae.rng import forked_rng

__all__ = ["Adaptive"]

# Set by hand: small first rounds, because later ones know more.
_FIRST_ROUND = 16  # number of data in the first round; each later round has twice as many
_LARGEST_ROUND = 1000  # largest number of data in a round


class Adaptive(Estimator):
    r"""Importance samples and annealed chains, allocated to each datum until the set's mean is within a target error.

    A pilot of 128 samples from the guide and 32 from the prior predicts the needs of each datum. The estimate uses
    fresh weights only, at first 128 importance samples of each datum, one in eight of them from the prior. Each round
    then draws whatever reduces the error most for its cost in decoder runs: more importance samples; annealed chains,
    where k̂ is too large for importance sampling or where chains are cheaper; more temperatures; more chains. It stops
    when the set's estimated bias plus 1.645 Monte Carlo errors :math:`\sqrt{\sum_i \mathrm{se}_i^2} / N` is within
    the target. The weights in a datum's estimate do not decide how many more it gets (two-stage sampling: Cochran,
    1977), because that would leave data whose large weights happen to be missing with too few samples. At the end,
    chains from the prior estimate some of the data again, to find modes that the guide misses.

    Annealed chains sum over discrete latents, as in :class:`Annealed`; importance samples draw them. If all latents are
    discrete, p(x) is their sum, and nothing is sampled.

    Target, errors and effort are in the result's ``adaptive``, an :class:`AdaptiveResult`.

    Args:
        target_error: largest allowed sum of the estimated bias of the set's mean and 1.645 Monte Carlo errors, in nats.
        max_seconds: wall-clock time of one call after which no new round starts; the pilot and the first 128 samples of
            each datum are always drawn.
        max_evaluations: total number of decoder runs, including earlier calls, after which no new round starts.
        num_checked: number of random data that chains from the prior estimate again at the end, if the latents can be
            annealed.

    Raises:
        ValueError: if an option is out of its range.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> ml = log_marginal(vae.model, vae.guide, torch.ones(30, 4), Adaptive(target_error=0.05))
        >>> ml.adaptive.reached, ml.monte_carlo_error < 0.05
        (True, True)
    """

    sum_discrete = True

    def __init__(
        self,
        target_error: float = 0.02,
        max_seconds: float | None = None,
        max_evaluations: int | None = None,
        num_checked: int = 10,
    ) -> None:
        self.target_error = checks.number("target_error", target_error, open_below=True)
        self.max_seconds = None if max_seconds is None else checks.number("max_seconds", max_seconds)
        self.max_evaluations = None if max_evaluations is None else checks.integer("max_evaluations", max_evaluations)
        self.num_checked = checks.integer("num_checked", num_checked, minimum=0)
        self._state: Mapping[str, Tensor] | None = None

    def from_state(self, state: Mapping[str, Tensor]) -> Adaptive:
        """Return a copy that continues from the state of an earlier call on the same programs and data.

        Args:
            state: ``ml.adaptive.state`` of the earlier result ``ml``.

        Example:
            >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
            >>> x = torch.ones(30, 4)
            >>> ml = log_marginal(vae.model, vae.guide, x, Adaptive(0.1, num_checked=0))
            >>> estimator = Adaptive(0.02, num_checked=0).from_state(ml.adaptive.state)
            >>> finer = log_marginal(vae.model, vae.guide, x, estimator)
            >>> finer.adaptive.num_evaluations >= ml.adaptive.num_evaluations
            True
        """
        continued = copy(self)
        continued._state = state
        return continued

    @property
    def label(self) -> str:
        """The method without options, so that a later call with a smaller target continues the same estimate."""
        return self.method

    def estimate(self, programs: BatchedPrograms, *, num_draws: int = 0, chunk_size: int = 2000) -> LogMarginal:
        """Estimate the mean log p(x) of one batch to within the target."""
        batch, chunks = [programs.arguments], Chunks(chunk_size)
        return self.estimate_batches(programs.model, programs.guide, batch, num_draws=num_draws, chunks=chunks)

    def estimate_batches(
        self,
        model: PyroFunction,
        guide: PyroFunction,
        batches: Iterable[Arguments],
        *,
        num_draws: int = 0,
        chunks: Chunks,
        seed: int | None = None,
        state: Mapping[str, Tensor] | None = None,
        callback: Callable[[AdaptiveResult], None] | None = None,
    ) -> LogMarginal:
        """Estimate the mean log p(x) of all batches together to within the target.

        Args:
            model: program of p(x, z).
            guide: program of q(z|x).
            batches: arguments of the programs, batch by batch.
            num_draws: number S of posterior draws to keep of each datum.
            chunks: number of latents to run the model on at a time.
            seed: seed of the samples, combined with the number of the round; if not given, the seed of the state, or
                else a seed from torch's generator.
            state: state of an earlier call, see :meth:`from_state`.
            callback: called after each round with the result so far, whose ``state`` can be saved.

        Raises:
            ValueError: if there are no data, all weights of a datum are zero, or the state belongs to other data.
        """
        checks.integer("num_draws", num_draws, minimum=0)
        state = self._state if state is None else state
        kept = [arguments for arguments in batches if len(arguments[0]) > 0]
        if not kept:
            raise checks.InputError("x must hold at least one datum, but is empty")
        arguments = kept[0] if len(kept) == 1 else tuple(torch.cat(parts) for parts in zip(*kept, strict=True))
        chunks.choose(model, arguments)
        if seed is None:
            seed = int(state["seed"]) if state is not None and "seed" in state else int(torch.randint(2**32, ()))
        sampler = Sampler(model, guide, arguments, checks.seed(seed), num_draws, chunks)
        if sampler.is_exact:
            with forked_rng(arguments[0].device):
                torch.manual_seed(seed)
                return super().estimate_batches(model, guide, [arguments], num_draws=num_draws, chunks=chunks)
        if state is not None:
            sampler.resume(state)
        else:
            sampler.start()
        lost = int((sampler.statistics.log_sum == -math.inf).sum())
        if lost:
            raise checks.InputError(
                f"x must have weights above zero to reach a target error, but all samples of {lost} data have weight "
                "zero"
            )
        stopped = None
        while stopped is None:
            result = self._result(sampler)
            if callback is not None:
                callback(result)
            if chunks.bar is not None:
                chunks.bar.set_postfix_str(result.progress, refresh=False)
            stopped = self._draw_round(sampler, result)
        result = self._result(sampler, stopped)
        return (self._checked(result, sampler) if stopped in ("target", "limit") else result).marginal

    def _draw_round(self, sampler: Sampler, result: AdaptiveResult) -> Stopped | None:
        """Draw the samples that reduce the error most for their cost; return a reason to stop, or None to continue."""
        if result.within_target:
            return "target"
        deadline = self._time_limit
        samples_left = (math.inf if self.max_evaluations is None else self.max_evaluations) - result.num_evaluations
        in_time = sampler.timer.affordable(deadline)
        errors = error_estimates(sampler.statistics)
        allocation = allocate(sampler.statistics, errors, self.target_error, num_values=sampler.num_values)
        if len(allocation.data) == 0:
            return "limit"
        affordable = min(samples_left, in_time)
        if allocation.cost.sum() > affordable:
            allocation = allocate(sampler.statistics, errors, self.target_error, affordable, sampler.num_values)
        allocation = allocation.first(min(_LARGEST_ROUND, _FIRST_ROUND * 2 ** (sampler.rounds - 1)), samples_left)
        if len(allocation.data) == 0:
            return "max_seconds" if in_time < samples_left else "max_evaluations"
        return None if sampler.run(allocation, deadline) else "max_seconds"

    def _checked(self, result: AdaptiveResult, sampler: Sampler) -> AdaptiveResult:
        """Return the result with a check by chains from the prior, if time remains and the latents can be annealed."""
        if self.num_checked == 0 or not sampler.annealable or sampler.timer.seconds >= self._time_limit:
            return result
        x = sampler.arguments if len(sampler.arguments) > 1 else sampler.arguments[0]
        count = min(self.num_checked, len(result.x))
        check = cross_check(
            sampler.model,
            sampler.guide,
            x,
            result.marginal,
            count,
            seed=sampler.seed,
            chunk_size=sampler.chunks.size,
            progress=False,
        )
        result = replace(result, check=check, seconds=sampler.timer.seconds_before + sampler.timer.seconds)
        fell_short = result.stopped == "target" and not result.within_target
        return replace(result, stopped="limit") if fell_short else result

    def _result(self, sampler: Sampler, stopped: Stopped | None = None) -> AdaptiveResult:
        """Return the result so far. Where the weights cannot show the bias, that of log-normal weights is used."""
        errors = error_estimates(sampler.statistics)
        reliable = forecast(sampler.statistics, errors).reliable
        if sampler.annealable:
            reliable &= ~misses_modes(sampler.statistics, errors)
        bias = torch.where(reliable, errors.bias, log_normal_bias(sampler.statistics, errors))
        return AdaptiveResult(
            target_error=self.target_error,
            stopped=stopped,
            rounds=sampler.rounds,
            seconds=sampler.timer.seconds_before + sampler.timer.seconds,
            seed=sampler.seed,
            streams=torch.tensor(sorted(sampler.streams)),
            x=sampler.arguments[0],
            statistics=sampler.statistics,
            errors=errors._replace(bias=bias),
            reliable=reliable,
        )

    @property
    def _time_limit(self) -> float:
        return math.inf if self.max_seconds is None else self.max_seconds
