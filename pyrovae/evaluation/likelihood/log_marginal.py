"""The marginal likelihood of test data, with its errors: ``log_marginal``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, cast

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.likelihood.annealed import Annealing, anneal, tune
from pyrovae.evaluation.likelihood.annealing_target import Target
from pyrovae.evaluation.likelihood.bias import estimated_bias
from pyrovae.evaluation.likelihood.convergence import Convergence, convergence
from pyrovae.evaluation.likelihood.diagnostics import (
    annealed_error,
    effective_sample_size,
    monte_carlo_error,
    pareto_k,
    rounding_error,
)
from pyrovae.evaluation.likelihood.importance import drawn
from pyrovae.evaluation.likelihood.proposals import Proposal
from pyrovae.evaluation.likelihood.reservoir import Resampler
from pyrovae.evaluation.likelihood.result import LogMarginal, Paths, joined
from pyrovae.execution import evaluating
from pyrovae.execution.batched import Chunk
from pyrovae.execution.chunking import Chunks
from pyrovae.programs import Arguments, Batch, PyroFunction, arguments_of
from pyrovae.tensors import is_data

__all__ = ["log_marginal"]

_WEIGHTS_HELD = 2**20  # log weights held at a time, for their tails
_TAIL = 50  # the largest weights of each datum that are kept
_CHAINED = 1024  # data whose chains go at a time
_PATHS = 50  # data whose chains' paths are kept


def log_marginal(
    model: PyroFunction,
    guide: PyroFunction,
    x: Batch | Iterable[Batch],
    num_samples: int | None = None,
    method: Literal["importance", "annealed"] = "importance",
    *,
    annealing: Annealing | None = None,
    proposal_scale: float = 1.0,
    prior_share: float = 0.0,
    num_draws: int = 10,
    chunk_size: int | None = None,
) -> LogMarginal:
    r"""Estimate log p(x) of each datum from weights whose mean is p(x), with its Monte Carlo error.

    :math:`L_K = \log \frac1K \sum_{k=1}^K w_k` bounds log p(x) from below in expectation and grows with K. The
    weights are those of importance samples, :math:`p(x, z_k) / q(z_k|x)` (Burda et al., 2015, arXiv:1509.00519), or
    of annealed chains, which cost more and lie far closer together (Neal, 2001; Wu et al., 2016, arXiv:1611.04273).
    Samples are drawn in chunks and data in batches, so that memory is bounded by ``chunk_size`` and about a million
    weights, whatever the number of data.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        x: data, ``(B, *data_shape)``, or the tuple ``(x, y)`` for programs that are called with labels, or a list or
            generator of such batches.
        num_samples: number K of weights of each datum; 5,000 importance samples or 16 annealed chains if not given.
        method: ``importance``, or ``annealed`` for programs whose latents are continuous.
        annealing: the path of annealed chains; 100 temperatures from the guide if not given.
        proposal_scale: by which the guide is widened around its centre to draw importance samples from.
        prior_share: share of the importance samples that come from the prior.
        num_draws: number S of posterior draws to keep of each datum, resampled by weight.
        chunk_size: how many latents go through the model at a time; chosen by the program's size if not given, and on a
            GPU by its free memory. The samples of a seed depend on it.

    Raises:
        ValueError: if an option is bad, a site lies outside the data plate, or model and guide do not match.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> ml = log_marginal(vae.model, vae.guide, torch.ones(3, 4), num_samples=100)
        >>> ml.log_prob.shape, ml.standard_error.shape, bool((ml.log_prob >= ml.elbo).all())
        (torch.Size([3]), torch.Size([3]), True)
        >>> short = Annealing(num_temperatures=10)
        >>> ml = log_marginal(vae.model, vae.guide, torch.ones(3, 4), method="annealed", annealing=short)
        >>> ml.acceptance.shape
        torch.Size([3])
    """
    checks.choice("method", method, ("importance", "annealed"))
    annealed = method == "annealed"
    if annealing is not None and not annealed:
        raise checks.InputError("annealing must be left out unless method is annealed, but was given")
    if annealed and (proposal_scale != 1 or prior_share != 0):
        raise checks.InputError(
            "proposal_scale and prior_share must be left out unless method is importance, whose samples they change"
        )
    K = checks.integer("num_samples", (16 if annealed else 5000) if num_samples is None else num_samples)
    checks.integer("num_draws", num_draws, minimum=0)
    chunks = Chunks(chunk_size)
    path = Annealing() if annealing is None else annealing

    def estimate(*arguments: Tensor) -> LogMarginal:
        if annealed:
            return by_annealing(model, guide, arguments, K, path, num_draws, chunks.size)
        proposal = Proposal(model, guide, arguments, K, proposal_scale, prior_share)
        return by_importance(proposal, num_draws, chunks.size)

    def at_a_time(size: int) -> int:
        return min(_CHAINED, size // max(K, 16)) if annealed else min(50, size, _WEIGHTS_HELD // K)

    parts: list[LogMarginal] = []
    for batch in [cast("Batch", x)] if is_data(x) else x:
        arguments = arguments_of(batch, model, guide)
        if len(arguments[0]) > 0:
            chunks.choose(model, arguments)
            parts += chunks.in_parts(estimate, arguments, at_a_time)
    if not parts:
        raise checks.InputError("x must hold at least one datum, but is empty")
    return joined(parts)


def by_importance(proposal: Proposal, num_draws: int, chunk_size: int) -> LogMarginal:
    """Estimate log p(x) of one batch by importance sampling."""
    K, pair = proposal.num_samples, proposal.pair
    log_weights = torch.empty(K, pair.count, dtype=torch.float64, device=pair.arguments[0].device)
    resampler = Resampler(num_draws)
    start, dtype = 0, torch.float64
    from_prior = log_weights.new_full((pair.count,), -math.inf)
    with evaluating(pair.model, pair.guide):
        for chunk in drawn(proposal, chunk_size):
            dtype = chunk.log_likelihood.dtype
            drawn_from_prior = chunk.log_likelihood[proposal.is_from_prior(start, len(chunk.log_weight))].double()
            from_prior = torch.logaddexp(from_prior, drawn_from_prior.logsumexp(0))
            log_weights[start : start + len(chunk.log_weight)] = chunk.log_weight
            start += len(chunk.log_weight)
            resampler.add(chunk.log_weight, chunk)
        of_the_guide = log_weights
        if not proposal.is_the_guide:
            of_the_guide = proposal.of_the_guide(min(K, 100), chunk_size).double()
    rounding = rounding_error(log_weights, dtype)
    shape, error = pareto_k(log_weights, rounding), monte_carlo_error(log_weights)
    curve = convergence(log_weights, shape)
    # The delta method misses what large weights do to the mean; two halves of the weights differ by it.
    halves = (2 * (curve.halved[0] - curve.halved[1]).clamp(min=0)).sqrt()
    error = torch.where(shape > 0.5, error.fmax(halves), error)
    return _result(
        log_weights,
        of_the_guide,
        resampler,
        x=pair.arguments[0],
        standard_error=error.hypot(rounding),
        curve=curve,
        pareto_k=shape,
        acceptance=torch.full_like(log_weights[0], math.nan),
        num_evaluations=K if proposal.is_the_guide else K + min(K, 100),
        method="importance",
        paths=None,
        prior_found=_share_found(from_prior - math.log(max(1, proposal.num_from_prior)), log_weights)
        if proposal.num_from_prior
        else None,
    )


def by_annealing(
    model: PyroFunction,
    guide: PyroFunction,
    arguments: Arguments,
    C: int,
    path: Annealing,
    num_draws: int,
    chunk_size: int,
) -> LogMarginal:
    """Estimate log p(x) of one batch by annealed importance sampling."""
    target = Target(model, guide, arguments, path.start)
    pair = target.pair
    resampler = Resampler(num_draws)
    with target.running():
        steps, _, spent = tune(target, path, min(C, 4))
        chunks = []
        for part in torch.empty(C).split(max(1, chunk_size // pair.count)):
            chunk = anneal(target, path, steps, target.draw(len(part)))
            point = target.at(chunk.end)
            resampler.add(chunk.log_weight, Chunk(point.log_weight, point.log_likelihood, point.latents))
            chunks.append(chunk)
        log_weights = torch.cat([chunk.log_weight for chunk in chunks])  # (C, B)
        rounding = rounding_error(log_weights, point.log_likelihood.dtype)
        if path.start == "guide":
            of_the_guide = torch.cat([chunk.start for chunk in chunks])
        else:
            of_the_guide = Proposal(model, guide, arguments, 100).of_the_guide(100, chunk_size)
            spent += 100
    share = torch.tensor([len(chunk.log_weight) / C for chunk in chunks], dtype=torch.float64, device=steps.device)
    acceptance = torch.einsum("c,ctb->tb", share, torch.stack([chunk.acceptance.double() for chunk in chunks]))
    return _result(
        log_weights,
        of_the_guide.double(),
        resampler,
        x=arguments[0],
        standard_error=annealed_error(log_weights).hypot(rounding),
        curve=convergence(log_weights),
        pareto_k=torch.full_like(log_weights[0], math.nan),
        acceptance=acceptance.mean(0) if len(acceptance) else torch.ones_like(log_weights[0]),
        num_evaluations=spent + sum(chunk.num_evaluations for chunk in chunks),
        method="annealed",
        paths=Paths(
            beta=path.betas(),
            log_weight=torch.einsum("c,ctb->tb", share, torch.stack([chunk.path for chunk in chunks]))[:, :_PATHS],
            acceptance=acceptance[:, :_PATHS],
            step_size=steps[:, :_PATHS].double(),
        ),
        prior_found=torch.ones_like(log_weights[0]) if path.start == "prior" else None,
    )


def _result(
    log_weights: Tensor,
    of_the_guide: Tensor,
    resampler: Resampler,
    *,
    x: Tensor,
    standard_error: Tensor,
    curve: Convergence,
    pareto_k: Tensor,
    acceptance: Tensor,
    num_evaluations: int,
    method: Literal["importance", "annealed"],
    paths: Paths | None,
    prior_found: Tensor | None,
) -> LogMarginal:
    if bool(log_weights.isnan().any()):
        raise checks.InputError("x and the model must be finite, but the log weights of some data are NaN")
    K, count = log_weights.shape
    total = log_weights.logsumexp(0)
    ess, num_samples = effective_sample_size(log_weights), torch.full((count,), K, device=x.device)
    return LogMarginal(
        log_prob=total - math.log(K),
        standard_error=standard_error,
        bias=estimated_bias(curve.halved, curve.unseen, ess, num_samples, ~acceptance.isnan()),
        pareto_k=pareto_k,
        ess=ess,
        elbo=of_the_guide.mean(0),
        acceptance=acceptance,
        num_samples=num_samples,
        num_evaluations=torch.full((count,), num_evaluations, device=x.device),
        method=method,
        tail=(log_weights - total).topk(min(K, _TAIL), 0).values,
        draws=resampler.draws,
        log_likelihood=resampler.log_likelihood,
        x=x,
        convergence=curve,
        paths=paths,
        prior_found=prior_found,
    )


def _share_found(log_prob: Tensor, log_weights: Tensor) -> Tensor:
    """Return what share of p(x) another estimate of it finds, at most 1, ``(B,)``."""
    return (log_prob - log_weights.logsumexp(0) + math.log(len(log_weights))).exp().nan_to_num(0.0).clamp(max=1)
