"""Weighted reservoir sampling of posterior draws from a stream of samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyrovae.execution.batched import Chunk

__all__ = ["Reservoir"]


class Reservoir:
    """A reservoir of S draws of each datum, with probabilities proportional to their weights, in one pass over chunks.

    From each chunk, S samples are drawn by weight. Each replaces the present draw with a probability equal to the
    chunk's share of the total weight so far, so that each sample is kept with a probability proportional to its weight.

    Args:
        num_draws: number S of draws of each datum.
    """

    def __init__(self, num_draws: int) -> None:
        self.num_draws = num_draws
        self.draws: dict[str, Tensor] = {}
        self.log_likelihood = torch.empty(0)
        self._log_total = torch.tensor(-math.inf)

    def add(self, log_weight: Tensor, chunk: Chunk) -> None:
        """Add samples, ``(k, B)``, with their log weights."""
        log_weight = log_weight.double()
        count = log_weight.shape[1]
        if self.num_draws == 0:
            self.log_likelihood = log_weight.new_empty(count, 0)
            return
        log_chunk = log_weight.logsumexp(0)  # (B,)
        self._log_total = torch.logaddexp(self._log_total.to(log_chunk), log_chunk)
        share = (log_chunk - self._log_total).exp()
        share = share.nan_to_num(1.0)  # if all weights so far are zero, any sample is as good
        weight = log_weight.softmax(0).nan_to_num(1.0)
        chosen = torch.multinomial(weight.T, self.num_draws, replacement=True)  # (B, S)
        datum = torch.arange(count, device=log_weight.device)[:, None]
        replace = torch.rand(count, self.num_draws, device=log_weight.device) < share[:, None]  # (B, S)
        offers = {name: z[chosen, datum] for name, z in chunk.latents.items()}  # (B, S, *event_shape)
        log_likelihood = chunk.log_likelihood[chosen, datum]
        if not self.draws:
            self.draws, self.log_likelihood = offers, log_likelihood
            return
        for name, z in offers.items():
            self.draws[name] = torch.where(
                replace.reshape(*replace.shape, *(1 for _ in z.shape[2:])), z, self.draws[name]
            )
        self.log_likelihood = torch.where(replace, log_likelihood, self.log_likelihood)
