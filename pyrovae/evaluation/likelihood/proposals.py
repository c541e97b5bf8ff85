"""What importance samples are drawn from: the guide, a widened one, a mixture of it with the prior."""

from __future__ import annotations

import math

import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from pyrovae import checks
from pyrovae.distributions.exact_density import draw, log_density
from pyrovae.evaluation.likelihood.annealing_target import Target
from pyrovae.execution import evaluating, observed_of, values_of
from pyrovae.execution.batched import BatchedPrograms, Chunk, importance_log_weight
from pyrovae.programs import Arguments, PyroFunction

__all__ = ["Proposal"]


class Proposal:
    r"""Draw importance samples of a batch, and weigh them.

    A share of the samples may come from the prior, spread evenly over the others, all being weighed by the mixture
    that they are from (the balance heuristic of multiple importance sampling: Veach & Guibas, 1995; as a defensive
    mixture: Hesterberg, 1995), so that no weight exceeds p(x|z) over that share.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        arguments: what they are called with.
        num_samples: number K of samples that will be drawn in all.
        scale: by which the guide is widened around its centre: its noise is multiplied by it.
        prior_share: share of the K samples that come from the prior.

    Raises:
        ValueError: if an option is out of its range, or the programs do not match; without samples of the prior, also
            if the guide's support does not cover the model's.
    """

    def __init__(
        self,
        model: PyroFunction,
        guide: PyroFunction,
        arguments: Arguments,
        num_samples: int,
        scale: float = 1.0,
        prior_share: float = 0.0,
    ) -> None:
        checks.number("proposal_scale", scale, open_below=True)
        checks.number("prior_share", prior_share, maximum=1.0)
        self.num_samples = num_samples
        self.num_from_prior = round(prior_share * num_samples)
        self.scale = scale
        must_cover = self.num_from_prior == 0  # else the prior's samples cover what the guide does not
        self.target = Target(model, guide, arguments, must_cover=must_cover) if scale != 1 else None
        if self.target is None:
            with evaluating(model, guide):
                self.pair = BatchedPrograms(model, guide, arguments, must_cover=must_cover)
        else:
            self.pair = self.target.pair
            self._check_widening(self.target)
            self._log_volume = self.target.num_coordinates * math.log(scale)
        self._drawn = 0

    @property
    def is_the_guide(self) -> bool:
        """Whether the samples are the guide's own."""
        return self.scale == 1 and self.num_from_prior == 0

    def draw(self, k: int) -> Chunk:
        """Draw and weigh the next k samples."""
        first, self._drawn = self._drawn, self._drawn + k
        if self.num_from_prior == 0:
            return self._from_guide(k)
        index = torch.arange(first, self._drawn)
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
            {name: torch.cat([part.latents[name] for part in parts])[order] for name in self.pair.sites},
        )

    def is_from_prior(self, first: int, k: int) -> Tensor:
        """Tell which of the next k samples after the first ones come from the prior, ``(k,)``: spread evenly."""
        index, K, P = torch.arange(first, first + k), self.num_samples, self.num_from_prior
        return (index + 1) * P // K > index * P // K

    def of_the_guide(self, k: int, chunk_size: int) -> Tensor:
        """Draw the log weights of k samples of the guide as it is, ``(k, B)``, in nats."""
        sizes = torch.empty(k).split(max(1, chunk_size // self.pair.count))
        chunks = (self._own(len(size)) for size in sizes)
        return torch.cat([self.pair.weigh(latents, log_q).log_weight for latents, log_q in chunks])

    def _from_guide(self, k: int) -> Chunk:
        """Draw from the guide, widened by ``scale``."""
        if self.target is None:
            latents, log_q = self._own(k)
        else:
            u = self.target.draw(k)
            latents, log_q, log_start, _ = self.target.placed(self.scale * u)
            log_q = log_q + self.target.log_start(u) - log_start - self._log_volume
        return self._mixed(latents, log_q, *self.pair.densities(latents))

    def _from_prior(self, k: int) -> Chunk:
        """Draw from the prior."""
        trace = self.pair.run(self.pair.model, k)
        latents = {name: self.pair.unflatten_samples(trace.nodes[name]["value"]) for name in self.pair.sites}
        log_likelihood = self.pair.log_prob(trace, observed_of(trace, self.pair.sites), k)
        if self.num_from_prior == self.num_samples:
            return Chunk(log_likelihood, log_likelihood, latents)
        log_q = self.pair.log_q(latents)
        if self.target is not None:
            u = self.target.of(latents)
            log_q = log_q + self.target.log_start(u / self.scale) - self.target.log_start(u) - self._log_volume
        return self._mixed(latents, log_q, log_likelihood, self.pair.log_prob(trace, self.pair.sites, k))

    def _mixed(self, latents: dict[str, Tensor], log_q: Tensor, log_likelihood: Tensor, log_prior: Tensor) -> Chunk:
        """Weigh samples by the mixture of prior and guide, whose log-density of them is ``log_q``."""
        share = self.num_from_prior / self.num_samples
        if share > 0:
            log_q = torch.logaddexp(log_q + math.log(1 - share), log_prior + math.log(share))
        return Chunk(importance_log_weight(log_likelihood, log_prior, log_q), log_likelihood, latents)

    def _own(self, k: int) -> tuple[dict[str, Tensor], Tensor]:
        """Draw from the guide as it is; return its log-density of the samples too, ``(k, B)``."""
        pair = self.pair
        if len(pair.sites) == 1 and pair.broadcasts:
            (name,) = pair.sites
            site = pair.encoded.nodes[name]
            fn = site["fn"].expand(torch.Size((k, pair.count)))
            z = draw(fn)  # (k, B, *event_shape)
            return {name: z}, scale_and_mask(log_density(fn, z), mask=site["mask"])
        trace = pair.run(pair.guide, k)
        latents = {name: pair.unflatten_samples(z) for name, z in values_of(trace).items()}
        return latents, pair.log_prob(trace, pair.sites, k)

    def _check_widening(self, target: Target) -> None:
        for name, transform in target.transforms.items():
            if not transform.one_to_one:
                raise checks.InputError(
                    f"proposal_scale must be 1 where a latent is a direction or an angle, as {name!r} is, but "
                    f"{self.scale} was given"
                )
            mask = self.pair.encoded.nodes[name]["mask"]
            if not (mask is None or mask is True):
                raise checks.InputError(
                    f"proposal_scale must be 1 where a latent is masked, as {name!r} is, but {self.scale} was given"
                )
