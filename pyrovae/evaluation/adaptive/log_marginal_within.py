"""The marginal likelihood of a set to within a wanted error, with samples where they are needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.adaptive.allocation import allocate, misses_modes
from pyrovae.evaluation.adaptive.error_estimates import error_estimates, guessed_bias
from pyrovae.evaluation.adaptive.forecast import forecast
from pyrovae.evaluation.adaptive.result import Effort, Stopped
from pyrovae.evaluation.adaptive.sampler import Sampler
from pyrovae.evaluation.likelihood.cross_check import cross_check
from pyrovae.execution.chunking import Chunks
from pyrovae.programs import Batch, PyroFunction, arguments_of

__all__ = ["log_marginal_within"]

_PILOTS = 16  # data of the first round, which tells what others will need; then twice as many
_MOST = 1000  # data of any round


def log_marginal_within(
    model: PyroFunction,
    guide: PyroFunction,
    x: Batch,
    target_error: float,
    *,
    max_seconds: float | None = None,
    max_samples: int | None = None,
    state: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    num_checked: int = 10,
    num_draws: int = 10,
    chunk_size: int | None = None,
    progress: Callable[[Effort], None] | None = None,
) -> Effort:
    r"""Estimate the mean of log p(x) of a set to within a wanted error, spending samples datum by datum.

    A pilot of 128 samples from the guide and 32 from the prior says what each datum needs. The estimate itself is made
    of fresh weights: 128 importance samples of all data at first, one in eight of them from the prior, and then, round
    by round, what brings most for its cost in decoder runs: more importance samples, annealed chains where k̂ says that
    importance sampling fails or where they are cheaper, more temperatures, more chains. It ends when the set's
    estimated bias and 1.645 Monte Carlo errors :math:`\sqrt{\sum_i \mathrm{se}_i^2} / N` lie within the target
    together. No weight of a datum's estimate decides how many more it gets (two-stage sampling: Cochran, 1977), so that
    those whose large weights happen to be missing are not left as they are. At the end some data are estimated once
    more by chains from the prior, which see modes that the guide misses. See :class:`Effort` for what it tells. Samples
    do not depend on torch's generators, which are left as they are.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        x: all data, ``(N, *data_shape)``, or the tuple ``(x, y)`` for programs that are called with labels.
        target_error: what the bias of the set's mean and 1.645 Monte Carlo errors are to lie within together, in nats.
        max_seconds: wall-clock time of this call after which no more is begun, but the pilot and the first 128
            samples of each.
        max_samples: decoder runs in all, earlier calls included, after which no more is begun.
        state: of an earlier call on the same programs and data, to go on from.
        seed: of the samples; together with the number of the round it decides them all.
        num_checked: how many random data are estimated once more by chains from the prior at the end, if the latents
            are continuous.
        num_draws: number S of posterior draws to keep of each datum, resampled by weight.
        chunk_size: how many latents go through the model at a time; chosen by the program's size if not given, and on a
            GPU by its free memory. The samples of a seed depend on it.
        progress: called with what is reached after each round, whose ``state`` may be kept.

    Raises:
        ValueError: if an option is bad, or the state is one of other data.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> effort = log_marginal_within(vae.model, vae.guide, torch.ones(30, 4), target_error=0.05)
        >>> effort.reached, effort.marginal.monte_carlo_error < 0.05
        (True, True)
        >>> finer = log_marginal_within(vae.model, vae.guide, torch.ones(30, 4), 0.02, state=effort.state)
        >>> finer.reached, finer.rounds >= effort.rounds
        (True, True)
    """
    arguments = arguments_of(x, model, guide)
    if len(arguments[0]) == 0:
        raise checks.InputError("x must hold at least one datum, but is empty")
    checks.number("target_error", target_error, open_below=True)
    ends = math.inf if max_seconds is None else checks.number("max_seconds", max_seconds)
    budget = math.inf if max_samples is None else checks.integer("max_samples", max_samples)
    checks.integer("num_draws", num_draws, minimum=0)
    checks.integer("num_checked", num_checked, minimum=0)
    chunks = Chunks(chunk_size)
    chunks.choose(model, arguments)
    sampler = Sampler(model, guide, arguments, checks.seed(seed), num_draws, chunks)

    def told(stopped: Stopped | None = None) -> Effort:
        errors = error_estimates(sampler.statistics)
        reliable = forecast(sampler.statistics, errors).reliable
        if sampler.annealable:
            reliable &= ~misses_modes(sampler.statistics, errors)
        told_errors = errors._replace(bias=torch.where(reliable, errors.bias, guessed_bias(sampler.statistics, errors)))
        return Effort(
            target_error=target_error,
            stopped=stopped,
            rounds=sampler.rounds,
            seconds=sampler.clock.seconds_before + sampler.clock.seconds,
            seed=seed,
            x=arguments[0],
            statistics=sampler.statistics,
            errors=told_errors,
            reliable=reliable,
        )

    def ended(stopped: Stopped) -> Effort:
        now = told(stopped)
        if num_checked == 0 or not sampler.annealable or sampler.clock.seconds >= ends:
            return now
        check = cross_check(
            model, guide, x, now.marginal, min(num_checked, len(arguments[0])), seed=seed, chunk_size=chunks.size
        )
        now = replace(now, check=check, seconds=sampler.clock.seconds_before + sampler.clock.seconds)
        return replace(now, stopped="limit") if stopped == "target" and not now.within_target else now

    if state is not None:
        sampler.take_up(state)
    else:
        sampler.begin()
    lost = int((sampler.statistics.log_sum == -math.inf).sum())
    if lost:
        raise checks.InputError(
            f"x must have weights above zero to come within a target, but all samples of {lost} data have weight zero"
        )
    while True:
        now = told()
        if progress is not None:
            progress(now)
        if now.within_target:
            return ended("target")
        samples_left = budget - now.num_evaluations
        in_time = sampler.clock.affordable(ends)
        errors = error_estimates(sampler.statistics)
        wanted = allocate(sampler.statistics, errors, target_error, annealable=sampler.annealable)
        if len(wanted.data) == 0:
            return ended("limit")
        plan = wanted
        if wanted.cost.sum() > min(samples_left, in_time):
            affordable = min(samples_left, in_time)
            plan = allocate(sampler.statistics, errors, target_error, affordable, sampler.annealable)
        plan = plan.first(min(_MOST, _PILOTS * 2 ** (sampler.rounds - 1)), samples_left)
        if len(plan.data) == 0:
            return told("max_seconds" if in_time < samples_left else "max_samples")
        if not sampler.run(plan, ends):
            return told("max_seconds")
