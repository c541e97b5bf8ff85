"""Proposals of importance sampling: the guide, a widened guide, or a mixture with the prior."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.likelihood.annealing_target import AnnealingTarget
from pyrovae.execution.batched import BatchedPrograms, Chunk, importance_log_weight

__all__ = ["Proposal"]


class Proposal:
    r"""A proposal that draws and weights the importance samples of a batch.

    A share of the samples can come from the prior, spread evenly among the others. All samples are then weighted by
    the mixture (the balance heuristic of multiple importance sampling: Veach & Guibas, 1995; as a defensive mixture:
    Hesterberg, 1995), so that no weight exceeds p(x|z) divided by that share.

    Args:
        programs: model and guide on B data.
        num_samples: total number K of samples.
        scale: factor on the guide's noise.
        prior_share: share of the K samples that come from the prior.

    Raises:
        ValueError: if the guide cannot be widened.
    """

    def __init__(
        self, programs: BatchedPrograms, num_samples: int, scale: float = 1.0, prior_share: float = 0.0
    ) -> None:
        self.programs = programs
        self.num_samples = num_samples
        self.num_from_prior = round(prior_share * num_samples)
        self.scale = scale
        self.target = None
        if scale != 1:
            self.target = AnnealingTarget(programs)
            self._check_widening(self.target)
            self._log_volume = self.target.num_coordinates * math.log(scale)
        self._num_drawn = 0

    @property
    def is_guide(self) -> bool:
        """True if the proposal is the guide itself."""
        return self.scale == 1 and self.num_from_prior == 0

    def draw(self, k: int) -> Chunk:
        """Draw and weight the next k samples."""
        first, self._num_drawn = self._num_drawn, self._num_drawn + k
        if self.num_from_prior == 0:
            return self._from_guide(k)
        index = torch.arange(first, self._num_drawn)
        from_prior = self.is_from_prior(first, k)
        parts = []
        if not bool(from_prior.all()):
            parts.append(self._from_guide(int((~from_prior).sum())))
        if bool(from_prior.any()):
            parts.append(self._from_prior(int(from_prior.sum())))
        order = torch.cat((index[~from_prior], index[from_prior])).argsort()
        return Chunk(
            torch.cat([part.log_weight for part in parts])[order],
            torch.cat([part.log_likelihood for part in parts])[order],
            {name: torch.cat([part.latents[name] for part in parts])[order] for name in self.programs.sites},
        )

    def is_from_prior(self, first: int, k: int) -> Tensor:
        """Return which of the k samples from number ``first`` on come from the prior, ``(k,)``."""
        index, K, P = torch.arange(first, first + k), self.num_samples, self.num_from_prior
        return (index + 1) * P // K > index * P // K

    def guide_log_weights(self, k: int, chunk_size: int) -> Tensor:
        """Draw the log weights of k samples of the guide itself, ``(k, B)``, in nats."""
        sizes = torch.empty(k).split(max(1, chunk_size // self.programs.count))
        chunks = (self.programs.sample_guide(len(size)) for size in sizes)
        return torch.cat([self.programs.weigh(latents, log_q).log_weight for latents, log_q in chunks])

    def _from_guide(self, k: int) -> Chunk:
        """Draw from the guide, widened by ``scale``."""
        if self.target is None:
            latents, log_q = self.programs.sample_guide(k)
        else:
            u = self.target.draw(k)
            latents, log_q, log_start, _ = self.target.run_at(self.scale * u)
            log_q = log_q + self.target.log_start(u) - log_start - self._log_volume
        return self._weigh_by_mixture(latents, log_q, *self.programs.densities(latents))

    def _from_prior(self, k: int) -> Chunk:
        """Draw from the prior."""
        latents, log_likelihood, log_prior = self.programs.sample_prior(k)
        if self.num_from_prior == self.num_samples:
            return Chunk(log_likelihood, log_likelihood, latents)
        log_q = self.programs.log_q(latents)
        if self.target is not None:
            u = self.target.coordinates_of(latents)
            log_q = log_q + self.target.log_start(u / self.scale) - self.target.log_start(u) - self._log_volume
        return self._weigh_by_mixture(latents, log_q, log_likelihood, log_prior)

    def _weigh_by_mixture(
        self, latents: dict[str, Tensor], log_q: Tensor, log_likelihood: Tensor, log_prior: Tensor
    ) -> Chunk:
        """Weight samples by the mixture of prior and guide; ``log_q`` is their log-density under the guide."""
        share = self.num_from_prior / self.num_samples
        if share > 0:
            log_q = torch.logaddexp(log_q + math.log(1 - share), log_prior + math.log(share))
        return Chunk(importance_log_weight(log_likelihood, log_prior, log_q), log_likelihood, latents)

    def _check_widening(self, target: AnnealingTarget) -> None:
        for name, transform in target.transforms.items():
            if not transform.one_to_one:
                raise checks.InputError(
                    f"proposal_scale must be 1 where a latent is a direction or an angle, as {name!r} is, but "
                    f"{self.scale} was given"
                )
            mask = self.programs.encoded.nodes[name]["mask"]
            if not (mask is None or mask is True):
                raise checks.InputError(
                    f"proposal_scale must be 1 where a latent is masked, as {name!r} is, but {self.scale} was given"
                )
