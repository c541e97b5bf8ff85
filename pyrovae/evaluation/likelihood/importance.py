"""Importance weights of a guide's samples, for any model and guide whose sites lie in the data plate."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.likelihood.proposals import Proposal
from pyrovae.execution import evaluating
from pyrovae.execution.batched import Chunk
from pyrovae.execution.chunking import Chunks
from pyrovae.programs import Batch, PyroFunction, arguments_of

__all__ = ["drawn", "log_weights"]


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
    (Burda et al., 2015, arXiv:1509.00519). The programs run in evaluation mode; weights of a
    ``poutine.scale`` are left out, so that a tempered model is weighed as the model it is.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        x: data, ``(B, *data_shape)``, or the tuple ``(x, y)`` for programs that are called with labels.
        num_samples: number K of samples for each datum.
        proposal_scale: by which the guide is widened around its centre to draw from; a tenth more often helps a
            guide that is too narrow.
        prior_share: share of the samples that come from the prior, evenly spread among the others; all are weighed
            by the mixture (the balance heuristic).
        chunk_size: how many latents go through the model at a time, which bounds the memory; chosen by the program's
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
    checks.integer("num_samples", num_samples)
    chunks = Chunks(chunk_size)
    arguments = arguments_of(x, model, guide)
    if len(arguments[0]) == 0:
        raise checks.InputError("x must hold at least one datum, but is empty")
    chunks.choose(model, arguments)

    def weigh(*part: Tensor) -> Tensor:
        proposal = Proposal(model, guide, part, num_samples, proposal_scale, prior_share)
        with evaluating(model, guide):
            return torch.cat([chunk.log_weight for chunk in drawn(proposal, chunks.size)])  # (K, b)

    return torch.cat(chunks.in_parts(weigh, arguments, lambda size: min(64, size)), 1)


def drawn(proposal: Proposal, chunk_size: int) -> Iterator[Chunk]:
    """Draw all of a proposal's samples, chunk by chunk; to be called where its programs are :func:`evaluating`."""
    size = max(1, chunk_size // proposal.pair.count)
    for start in range(0, proposal.num_samples, size):
        yield proposal.draw(min(size, proposal.num_samples - start))
