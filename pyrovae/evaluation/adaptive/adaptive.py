"""``Adaptive``, the estimator that reaches a target error by drawing samples where they are needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import replace

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.adaptive.allocation import allocate, misses_modes
from pyrovae.evaluation.adaptive.error_estimates import error_estimates, guessed_bias
from pyrovae.evaluation.adaptive.forecast import forecast
from pyrovae.evaluation.adaptive.result import AdaptiveResult, Stopped
from pyrovae.evaluation.adaptive.sampler import Sampler
from pyrovae.evaluation.likelihood.cross_check import cross_check
from pyrovae.evaluation.likelihood.estimator import Estimator
from pyrovae.evaluation.likelihood.result import LogMarginal
from pyrovae.execution.batched import BatchedPrograms
from pyrovae.execution.chunking import Chunks
from pyrovae.programs import Arguments, PyroFunction

__all__ = ["Adaptive"]

_FIRST_ROUND = 16  # data of the first round, which tells what others will need; then twice as many
_LARGEST_ROUND = 1000  # data of a round, at most


class Adaptive(Estimator):
    r"""Importance samples and annealed chains, allocated datum by datum until the set's mean is within a target error.

    A pilot of 128 samples from the guide and 32 from the prior says what each datum needs. The estimate itself is made
    of fresh weights: 128 importance samples of all data at first, one in eight of them from the prior. Then, round by
    round, it draws what gains most for its cost in decoder runs: more importance samples, annealed chains where k̂ says
    that importance sampling fails or where chains are cheaper, more temperatures, more chains. It ends when the set's
    estimated bias and 1.645 Monte Carlo errors :math:`\sqrt{\sum_i \mathrm{se}_i^2} / N` together lie within the
    target. No weight of a datum's estimate decides how many more it gets (two-stage sampling: Cochran, 1977), so that
    data whose large weights happen to be missing are not left as they are. At the end some data are estimated once
    more by chains from the prior, which find modes that the guide misses.

    The result's ``adaptive`` says what was reached and spent: :class:`AdaptiveResult`.

    Args:
        target_error: largest sum of the estimated bias of the set's mean and 1.645 Monte Carlo errors, in nats.
        max_seconds: wall-clock time of one call, after which no round begins; the pilot and the first 128 samples of
            each datum are always drawn.
        max_evaluations: decoder runs in all, those of earlier calls included, after which no round begins.
        num_checked: number of random data that chains from the prior estimate once more at the end, if the latents are
            continuous.

    Raises:
        ValueError: if an option is out of its range.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> ml = log_marginal(vae.model, vae.guide, torch.ones(30, 4), Adaptive(target_error=0.05))
        >>> ml.adaptive.reached, ml.monte_carlo_error < 0.05
        (True, True)
    """

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
        """Return the same estimator, which continues from the state of an earlier call on the same programs and data.

        Args:
            state: ``ml.adaptive.state`` of the earlier result ``ml``.

        Example:
            >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
            >>> x = torch.ones(30, 4)
            >>> ml = log_marginal(vae.model, vae.guide, x, Adaptive(0.1))
            >>> finer = log_marginal(vae.model, vae.guide, x, Adaptive(0.02).from_state(ml.adaptive.state))
            >>> finer.adaptive.num_evaluations >= ml.adaptive.num_evaluations
            True
        """
        continued = copy(self)
        continued._state = state
        return continued

    @property
    def label(self) -> str:
        """The method alone: a later call with a smaller target continues the same estimate."""
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
        progress: Callable[[AdaptiveResult], None] | None = None,
    ) -> LogMarginal:
        """Estimate the mean log p(x) of all batches together to within the target.

        Args:
            model: program of p(x, z).
            guide: program of q(z|x).
            batches: what the programs are called with, batch by batch.
            num_draws: number S of posterior draws to keep of each datum.
            chunks: number of latents to run the model on at a time.
            seed: of the samples, together with the number of the round; drawn from torch's generator if not given, or
                that of the state.
            state: as of :meth:`from_state`.
            progress: called after each round with the result so far, whose ``state`` may be kept.

        Raises:
            ValueError: if there is no datum, all weights of one are zero, or the state is of other data.
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
        if state is not None:
            sampler.take_up(state)
        else:
            sampler.begin()
        lost = int((sampler.statistics.log_sum == -math.inf).sum())
        if lost:
            raise checks.InputError(
                f"x must have weights above zero to come within a target, but all samples of {lost} data have weight "
                "zero"
            )
        stopped = None
        while stopped is None:
            result = self._result(sampler)
            if progress is not None:
                progress(result)
            stopped = self._draw_a_round(sampler, result)
        result = self._result(sampler, stopped)
        return (self._checked(result, sampler) if stopped in ("target", "limit") else result).marginal

    def _draw_a_round(self, sampler: Sampler, now: AdaptiveResult) -> Stopped | None:
        """Draw what gains most for its cost; return why nothing more is drawn, or None to go on."""
        if now.within_target:
            return "target"
        ends = self._time_limit
        samples_left = (math.inf if self.max_evaluations is None else self.max_evaluations) - now.num_evaluations
        in_time = sampler.clock.affordable(ends)
        errors = error_estimates(sampler.statistics)
        plan = allocate(sampler.statistics, errors, self.target_error, annealable=sampler.annealable)
        if len(plan.data) == 0:
            return "limit"
        affordable = min(samples_left, in_time)
        if plan.cost.sum() > affordable:
            plan = allocate(sampler.statistics, errors, self.target_error, affordable, sampler.annealable)
        plan = plan.first(min(_LARGEST_ROUND, _FIRST_ROUND * 2 ** (sampler.rounds - 1)), samples_left)
        if len(plan.data) == 0:
            return "max_seconds" if in_time < samples_left else "max_evaluations"
        return None if sampler.run(plan, ends) else "max_seconds"

    def _checked(self, result: AdaptiveResult, sampler: Sampler) -> AdaptiveResult:
        """Return the result with a check by chains from the prior, if there is time and the latents are continuous."""
        if self.num_checked == 0 or not sampler.annealable or sampler.clock.seconds >= self._time_limit:
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
        )
        result = replace(result, check=check, seconds=sampler.clock.seconds_before + sampler.clock.seconds)
        fell_short = result.stopped == "target" and not result.within_target
        return replace(result, stopped="limit") if fell_short else result

    def _result(self, sampler: Sampler, stopped: Stopped | None = None) -> AdaptiveResult:
        """Return the errors so far. A bias that the weights cannot tell is replaced by a guess."""
        errors = error_estimates(sampler.statistics)
        reliable = forecast(sampler.statistics, errors).reliable
        if sampler.annealable:
            reliable &= ~misses_modes(sampler.statistics, errors)
        bias = torch.where(reliable, errors.bias, guessed_bias(sampler.statistics, errors))
        return AdaptiveResult(
            target_error=self.target_error,
            stopped=stopped,
            rounds=sampler.rounds,
            seconds=sampler.clock.seconds_before + sampler.clock.seconds,
            seed=sampler.seed,
            x=sampler.arguments[0],
            statistics=sampler.statistics,
            errors=errors._replace(bias=bias),
            reliable=reliable,
        )

    @property
    def _time_limit(self) -> float:
        return math.inf if self.max_seconds is None else self.max_seconds
