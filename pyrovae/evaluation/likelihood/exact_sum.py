"""p(x) of programs whose latents are all discrete, as the sum over their joint values."""

from __future__ import annotations

import math

import torch

from pyrovae.evaluation.likelihood.diagnostics import effective_sample_size, rounding_error
from pyrovae.evaluation.likelihood.result import LogMarginal
from pyrovae.execution.enumerated import EnumeratedPrograms

__all__ = ["exact_sum"]


def exact_sum(programs: EnumeratedPrograms, num_draws: int = 0) -> LogMarginal:
    r"""Return :math:`\log p(x) = \log \sum_y p(x, y)`, exact but for the rounding of the densities.

    The weights of the result are the J terms of the sum, times J. Draws are exact samples of p(y|x).

    Args:
        programs: model and guide on B data, without continuous latents.
        num_draws: number S of posterior draws for each datum.
    """
    J = programs.num_values
    with programs.evaluating():
        prior, observed = programs.log_probs(programs.run_on_values(programs.model, 1))  # (J, 1, B)
        log_q = programs.log_probs(programs.run_on_values(programs.guide, 1))[0][:, 0].double()
        draws, fit = programs.draw_values(*(part.expand(-1, num_draws, -1) for part in (prior, observed)))
    joint = (prior.double() + observed.double())[:, 0]  # (J, B)
    terms, x = joint + math.log(J), programs.arguments[0]
    nan, count = torch.full_like(terms[0], math.nan), torch.full((programs.count,), J, device=x.device)
    return LogMarginal(
        log_prob=joint.logsumexp(0),
        standard_error=rounding_error(joint.logsumexp(0)[None], observed.dtype),
        bias=torch.zeros_like(nan),
        pareto_k=nan,
        ess=effective_sample_size(terms),
        elbo=torch.where(log_q == -math.inf, 0.0, log_q.exp() * (joint - log_q)).sum(0),
        acceptance=nan,
        num_samples=count,
        num_evaluations=count,
        method="exact",
        tail=(joint - joint.logsumexp(0)).topk(min(J, 50), 0).values,
        draws={name: each.transpose(0, 1) for name, each in draws.items() if num_draws},
        log_likelihood=fit.T,
        x=x,
    )
