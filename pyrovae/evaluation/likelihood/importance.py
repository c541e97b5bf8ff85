"""``Importance``, the estimator by importance sampling from the guide, and ``log_weights``, its weights."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.likelihood.convergence import convergence
from pyrovae.evaluation.likelihood.diagnostics import monte_carlo_error, pareto_k, rounding_error
from pyrovae.evaluation.likelihood.estimator import Estimator
from pyrovae.evaluation.likelihood.proposal import Proposal
from pyrovae.evaluation.likelihood.reservoir import Reservoir
from pyrovae.evaluation.likelihood.result import LogMarginal
from pyrovae.execution.batched import BatchedPrograms, Chunk
from pyrovae.execution.chunking import Chunks
from pyrovae.programs import Batch, PyroFunction, arguments_of

__all__ = ["Importance", "log_weights", "sample_in_chunks"]

_WEIGHTS_IN_MEMORY = 2**20  # largest number of log weights per batch, all of which are needed for the tail
_ELBO_SAMPLES = 100  # samples of the guide for the ELBO if the proposal is not the guide


class Importance(Estimator):
    r"""Importance sampling: the mean of K weights :math:`p(x, z_k) / q(z_k|x)`, :math:`z_k \sim q(z|x)`.

    :math:`L_K = \log \frac1K \sum_k w_k` bounds log p(x) from below in expectation and grows with K (Burda et al.,
    2015, arXiv:1509.00519). A share of the samples can come from the prior, as a defensive mixture (Hesterberg, 1995);
    all samples are then weighted by the mixture (the balance heuristic: Veach & Guibas, 1995).

    Args:
        num_samples: number K of samples for each datum.
        proposal_scale: factor on the guide's noise, for a wider proposal. A factor slightly above 1 often helps if the
            guide is too narrow.
        prior_share: share of the samples that come from the prior, between 0 and 1.
        sum_discrete: True to sum over discrete latents instead of sampling them. The weights then are
            :math:`\sum_y p(x, y, z_k) / \sum_y q(y, z_k|x)`, whose variance is no larger (Rao-Blackwell), and the model
            runs on each joint value of y, of which there may be 256. If all latents are discrete, p(x) is exact.

    Raises:
        ValueError: if an option is out of its range; when run, if latents cannot be summed over.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> ml = log_marginal(vae.model, vae.guide, torch.ones(3, 4), Importance(1000, prior_share=0.1))
        >>> int(ml.num_samples[0]), bool(ml.prior_found.mean() > 0.5)
        (1000, True)
    """

    unbiased = True

    def __init__(
        self,
        num_samples: int = 5000,
        proposal_scale: float = 1.0,
        prior_share: float = 0.0,
        sum_discrete: bool = False,
    ) -> None:
        self.num_samples = checks.integer("num_samples", num_samples)
        self.proposal_scale = checks.number("proposal_scale", proposal_scale, open_below=True)
        self.prior_share = checks.number("prior_share", prior_share, maximum=1.0)
        self.sum_discrete = checks.instance("sum_discrete", sum_discrete, bool)

    @property
    def must_cover(self) -> bool:  # type: ignore[override]
        """True if no sample comes from the prior."""
        return round(self.prior_share * self.num_samples) == 0

    def batch_size(self, chunk_size: int) -> int:
        """Return the number of data whose samples fill a chunk, at least 50, if their weights fit into memory."""
        return min(max(50, chunk_size // self.num_samples), chunk_size, _WEIGHTS_IN_MEMORY // self.num_samples)

    @property
    def label(self) -> str:
        """The method, K, and the other options that are not at their defaults."""
        label = f"{self.method}-{self.num_samples}"
        label += f"-scale{self.proposal_scale:g}" if self.proposal_scale != 1 else ""
        label += f"-share{self.prior_share:g}" if self.prior_share else ""
        return label + ("-sum" if self.sum_discrete else "")

    def estimate(self, programs: BatchedPrograms, *, num_draws: int = 0, chunk_size: int = 2000) -> LogMarginal:
        """Draw and weight K samples for each datum of a batch."""
        proposal = Proposal(programs, self.num_samples, self.proposal_scale, self.prior_share)
        K, x = self.num_samples, programs.arguments[0]
        log_weights = torch.empty(K, programs.count, dtype=torch.float64, device=x.device)
        resampler = Reservoir(num_draws)
        from_prior = log_weights.new_full((programs.count,), -math.inf)
        start, dtype = 0, torch.float64
        elbo_weights, num_evaluations = log_weights, K * programs.num_values
        with programs.evaluating():
            for chunk in sample_in_chunks(proposal, chunk_size):
                dtype = chunk.log_likelihood.dtype
                of_prior = chunk.log_likelihood[proposal.is_from_prior(start, len(chunk.log_weight))].double()
                from_prior = torch.logaddexp(from_prior, of_prior.logsumexp(0))
                log_weights[start : start + len(chunk.log_weight)] = chunk.log_weight
                start += len(chunk.log_weight)
                resampler.add(chunk.log_weight, chunk)
            if not (proposal.is_guide and programs.whole is programs):
                few = min(K, _ELBO_SAMPLES)
                elbo_weights = Proposal(programs.whole, few).guide_log_weights(few, chunk_size).double()
                num_evaluations += few
            draws, log_likelihood = programs.add_discrete(resampler.draws, resampler.log_likelihood, chunk_size)
        rounding = rounding_error(log_weights, dtype)
        shape, error = pareto_k(log_weights, rounding), monte_carlo_error(log_weights)
        curve = convergence(log_weights, shape)
        # With heavy tails the delta method is too small; the difference between two halves of the weights is better.
        halves = (2 * (curve.halved[0] - curve.halved[1]).clamp(min=0)).sqrt()
        error = torch.where(shape > 0.5, error.fmax(halves), error)
        prior_found = None
        if proposal.num_from_prior:
            prior_found = _share_found(from_prior - math.log(proposal.num_from_prior), log_weights)
        return LogMarginal.from_log_weights(
            log_weights,
            x,
            method=self.method,
            elbo=elbo_weights.mean(0),
            standard_error=error.hypot(rounding),
            pareto_k=shape,
            num_evaluations=num_evaluations,
            curve=curve,
            draws=draws,
            log_likelihood=log_likelihood,
            prior_found=prior_found,
        )


def _share_found(log_prob: Tensor, log_weights: Tensor) -> Tensor:
    """Return another estimate of p(x) over that of the weights, at most 1, ``(B,)``."""
    return (log_prob - log_weights.logsumexp(0) + math.log(len(log_weights))).exp().nan_to_num(0.0).clamp(max=1)


def log_weights(
    model: PyroFunction,
    guide: PyroFunction,
    x: Batch,
    num_samples: int = 5000,
    *,
    proposal_scale: float = 1.0,
    prior_share: float = 0.0,
    chunk_size: int | None = None,
) -> Tensor:
    r"""Draw the log importance weights :math:`\log w_k = \log p(x, z_k) - \log q(z_k|x)`, :math:`z_k \sim q(z|x)`.

    Their mean over k is the ELBO, :math:`\mathrm{logsumexp}_k \log w_k - \log K` the importance-weighted bound
    (Burda et al., 2015, arXiv:1509.00519). The programs run in evaluation mode. The factor of a ``poutine.scale`` is
    ignored, so that the weights of a tempered model are those of the model itself.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        x: data, ``(B, *data_shape)``, or the tuple ``(x, y)`` for programs that are called with labels.
        num_samples: number K of samples for each datum.
        proposal_scale: factor on the guide's noise, for a wider proposal.
        prior_share: share of the samples that come from the prior, spread evenly; all samples are weighted by the
            mixture (the balance heuristic).
        chunk_size: number of latents to run the model on at a time, which bounds the memory. Chosen by the program's
            size if not given, and on a GPU by its free memory. The weights of a seed depend on it.

    Returns:
        nats, of shape ``(K, B)``.

    Raises:
        ValueError: if a site lies outside the data plate, or model and guide do not match.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> log_weights(vae.model, vae.guide, torch.ones(3, 4), num_samples=100).shape
        torch.Size([100, 3])
    """
    estimator = Importance(num_samples, proposal_scale, prior_share)
    chunks = Chunks(chunk_size)
    arguments = arguments_of(x, model, guide)
    if len(arguments[0]) == 0:
        raise checks.InputError("x must hold at least one datum, but is empty")
    chunks.choose(model, arguments)

    def weigh(*part: Tensor) -> Tensor:
        programs = BatchedPrograms(model, guide, part, must_cover=estimator.must_cover)
        with programs.evaluating():
            proposal = Proposal(programs, num_samples, proposal_scale, prior_share)
            return torch.cat([chunk.log_weight for chunk in sample_in_chunks(proposal, chunks.size)])  # (K, b)

    return torch.cat(chunks.in_parts(weigh, arguments, lambda size: min(64, size)), 1)


def sample_in_chunks(proposal: Proposal, chunk_size: int) -> Iterator[Chunk]:
    """Draw all samples of a proposal, chunk by chunk; its programs must be in evaluation mode."""
    size = max(1, chunk_size // proposal.programs.count)
    for start in range(0, proposal.num_samples, size):
        yield proposal.draw(min(size, proposal.num_samples - start))
