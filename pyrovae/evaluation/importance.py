"""Importance weights of a guide's samples, for any model and guide whose sites lie in the data plate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.tracing import evaluating, is_latent, latents_of, log_prob_of, observed_of, run, values_of
from pyrovae.handlers import Arguments, Batch, Program, arguments_of, forked_rng, is_point

__all__ = ["Chunk", "log_weights", "weigh"]


class Chunk(NamedTuple):
    """Hold some of a batch's samples: ``k`` of the K, for B data.

    Attributes:
        log_weight: log p(x, z) - log q(z|x), ``(k, B)``, in nats.
        log_likelihood: log p(x|z), ``(k, B)``, in nats.
        latents: by site name, ``(k, B, *event_shape)``.
    """

    log_weight: Tensor
    log_likelihood: Tensor
    latents: dict[str, Tensor]


def log_weights(model: Program, guide: Program, x: Batch, num_samples: int = 5000, *, chunk_size: int = 2000) -> Tensor:
    r"""Draw the log importance weights :math:`\log w_k = \log p(x, z_k) - \log q(z_k|x)`, :math:`z_k \sim q(z|x)`.

    Their mean over k is the ELBO, :math:`\mathrm{logsumexp}_k \log w_k - \log K` the importance-weighted bound
    (Burda et al., 2015, arXiv:1509.00519). The programs run in evaluation mode; weights of a
    ``poutine.scale`` are left out, so that a tempered model is weighed as the model it is.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        x: data, ``(B, *data_shape)``, or the tuple ``(x, y)`` for programs that are called with labels.
        num_samples: number K of samples for each datum.
        chunk_size: how many latents go through the model at a time, which bounds the memory.

    Returns:
        nats, of shape ``(K, B)``.

    Raises:
        ValueError: if a site lies outside the data plate, or model and guide do not match.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> log_weights(vae.model, vae.guide, torch.ones(3, 4), num_samples=100).shape
        torch.Size([100, 3])
    """
    columns = []
    parts = (part.split(max(1, min(64, chunk_size))) for part in arguments_of(x, model, guide))
    for arguments in zip(*parts, strict=True):
        chunks = weigh(model, guide, arguments, num_samples, chunk_size=chunk_size)
        columns.append(torch.cat([chunk.log_weight for chunk in chunks]))  # (K, b)
    return torch.cat(columns, 1)


def weigh(model: Program, guide: Program, x: Batch, num_samples: int, *, chunk_size: int = 2000) -> Iterator[Chunk]:
    """Draw and weigh the samples of one batch, chunk by chunk; arguments as for :func:`log_weights`."""
    checks.integer("num_samples", num_samples)
    checks.integer("chunk_size", chunk_size)
    arguments = arguments_of(x, model, guide)
    if len(arguments[0]) == 0:
        raise checks.InputError("x must hold at least one datum, but is empty")
    with evaluating(model, guide):
        sampler = _Sampler(model, guide, arguments)
    size = max(1, chunk_size // len(arguments[0]))
    for start in range(0, num_samples, size):
        with evaluating(model, guide):  # anew for each chunk: a generator must not hold global state while it waits
            chunk = sampler.draw(min(size, num_samples - start))
        yield chunk


class _Sampler:
    """Draw samples of a guide, all data and many samples at a time, and weigh them under the model.

    Where both programs broadcast over a plate of samples to the left of the data plate, they run in one, and a
    guide with one latent site encodes the data once for all chunks. A program that does not broadcast (or
    not to the same numbers) sees its data repeated instead, which every program can take.
    """

    def __init__(self, model: Program, guide: Program, arguments: Arguments) -> None:
        self.model = model
        self.guide = guide
        self.arguments = arguments
        self.count = len(arguments[0])
        with pyro.validation_enabled(True):
            self.encoded = run(guide, arguments)
            self.sites = latents_of(self.encoded)
            self._check(self.encoded, run(poutine.condition(model, values_of(self.encoded)), arguments))
        self.broadcasts = self._does_broadcast()

    def draw(self, k: int) -> Chunk:
        if not self.broadcasts:
            return self._repeated(k)
        if len(self.sites) == 1:
            (name,) = self.sites
            site = self.encoded.nodes[name]
            fn = site["fn"].expand(torch.Size((k, self.count)))
            z = fn.sample()  # (k, B, *event_shape)
            return self._weigh({name: z}, scale_and_mask(fn.log_prob(z), mask=site["mask"]))
        with _samples(k):
            trace = run(self.guide, self.arguments)
        return self._weigh(values_of(trace), log_prob_of(trace, self.sites))

    def _weigh(self, latents: dict[str, Tensor], log_q: Tensor) -> Chunk:
        k = len(next(iter(latents.values())))
        with _samples(k):
            trace = run(poutine.condition(self.model, latents), self.arguments)
        return self._chunk(trace, log_q, latents, k)

    def _repeated(self, k: int) -> Chunk:
        # (k * B, *data_shape), and (k * B,) of labels
        arguments = tuple(part.repeat(k, *(1 for _ in part.shape[1:])) for part in self.arguments)
        guide_trace = run(self.guide, arguments)
        latents = values_of(guide_trace)
        trace = run(poutine.condition(self.model, latents), arguments)
        unflattened = {name: z.unflatten(0, (k, -1)) for name, z in latents.items()}
        return self._chunk(trace, log_prob_of(guide_trace, self.sites), unflattened, k)

    def _chunk(self, trace: Trace, log_q: Tensor, latents: dict[str, Tensor], k: int) -> Chunk:
        shape = k, self.count
        log_likelihood = log_prob_of(trace, observed_of(trace, self.sites))  # (k, B), (B,) or (k * B,)
        log_weight = log_likelihood + log_prob_of(trace, self.sites) - log_q
        if log_weight.dim() == 1 and len(log_weight) == k * self.count:
            return Chunk(log_weight.reshape(shape), log_likelihood.reshape(shape), latents)
        return Chunk(log_weight.expand(shape), log_likelihood.expand(shape), latents)

    def _does_broadcast(self) -> bool:
        """Compare two samples that are run one by one with the same two run in one plate."""
        with forked_rng(self.arguments[0].device):
            guides = [self.encoded, run(self.guide, self.arguments)]
        apart = [
            self._chunk(
                run(poutine.condition(self.model, values_of(trace)), self.arguments),
                log_prob_of(trace, self.sites),
                values_of(trace),
                1,
            )
            for trace in guides
        ]
        latents = {name: torch.stack([chunk.latents[name] for chunk in apart]) for name in self.sites}
        log_q = torch.stack([log_prob_of(trace, self.sites) for trace in guides])  # (2, B)
        try:
            if len(self.sites) > 1:  # else the guide is not run again
                with _samples(2):
                    log_q = log_prob_of(run(poutine.condition(self.guide, latents), self.arguments), self.sites)
            together = self._weigh(latents, log_q)
        except Exception:  # whatever a program that does not broadcast stumbles over
            return False
        log_weight = torch.cat([chunk.log_weight for chunk in apart])
        return torch.allclose(together.log_weight, log_weight, rtol=1e-4, atol=1e-4)

    def _check(self, guide_trace: Trace, trace: Trace) -> None:
        latent = {name for name, site in trace.nodes.items() if is_latent(site)} | set(self.sites)
        in_model = {name for name, site in trace.nodes.items() if site["type"] == "sample"}
        for name in sorted(latent):
            if name not in self.sites:
                raise checks.InputError(
                    f"guide must sample every latent site of the model, but does not sample {name!r}"
                )
            if name not in in_model:
                raise checks.InputError(f"guide must sample latent sites of the model only, but samples {name!r} too")
        if not self.sites:
            raise checks.InputError("guide must sample at least one latent site, but samples none")
        certain = [name for name in self.sites if is_point(guide_trace.nodes[name]["fn"])]
        if certain:
            raise checks.InputError(
                f"guide must have a density, but its site {certain[0]!r} is a point: a deterministic encoder has no "
                "marginal likelihood"
            )
        if not observed_of(trace, self.sites):
            raise checks.InputError("model must observe x, but observes no site")
        for part in (guide_trace, trace):
            for name, site in part.nodes.items():
                others = [
                    frame.name for frame in site.get("cond_indep_stack", ()) if frame.vectorized and frame.dim != -1
                ]
                if others and site["type"] == "sample":
                    raise checks.InputError(
                        f"sample site {name!r} must lie in the data plate alone, but lies in plate {others[0]!r} too"
                    )


def _samples(k: int) -> Any:
    return pyro.plate("_samples", k, dim=-2)
