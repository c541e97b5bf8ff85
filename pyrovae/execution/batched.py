"""A model and a guide on one batch, checked against each other, and run with many samples at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from torch import Tensor

from pyrovae import checks
from pyrovae.distributions.exact_density import draw, log_density
from pyrovae.distributions.log_coordinates import map_with_logs, stack_with_logs
from pyrovae.distributions.support_bounds import is_point
from pyrovae.execution import check_masks, check_sites, evaluating, latents_of, log_prob_of, observed_of, values_of
from pyrovae.execution.latent_handlers import ExactSampling, WithinSupport, scored_trace
from pyrovae.execution.observed_cells import allow_missing, check_gaps
from pyrovae.execution.support_check import check_coverage
from pyrovae.matmul import full_precision
from pyrovae.missing import has_missing
from pyrovae.programs import Arguments, PyroFunction
from pyrovae.rng import forked_rng

__all__ = ["BatchedPrograms", "Chunk", "importance_log_weight"]


class Chunk(NamedTuple):
    """Some of the samples of a batch: ``k`` of the K samples, of each of B data.

    Attributes:
        log_weight: log p(x, z) - log q(z|x), ``(k, B)``, in nats.
        log_likelihood: log p(x|z), ``(k, B)``, in nats.
        latents: samples by site name, ``(k, B, *event_shape)``.
    """

    log_weight: Tensor
    log_likelihood: Tensor
    latents: dict[str, Tensor]


def importance_log_weight(log_likelihood: Tensor, log_prior: Tensor, log_q: Tensor) -> Tensor:
    """Return log p(x|z) + log p(z) - log q(z|x), in nats: minus infinity if the prior has no density.

    Example:
        >>> importance_log_weight(torch.tensor(math.nan), torch.tensor(-math.inf), torch.tensor(-1.0))
        tensor(-inf)
    """
    return torch.where(log_prior == -math.inf, -math.inf, log_likelihood + log_prior - log_q)


class BatchedPrograms:
    """A model and a guide that can be run on B data with k samples at a time.

    If both programs broadcast over a plate of samples to the left of the data plate, they run in such a plate. If one
    does not broadcast (or gives other numbers), the data are repeated k times instead, which every program accepts.
    If x has missing values, the programs are those of its observed cells, see :func:`~pyrovae.execution.allow_missing`.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        arguments: arguments to call both with, x or x and y, of B data.
        must_cover: True if the guide must have a density wherever the model's latents have one. It need not where
            samples of the prior cover what it leaves out.

    Attributes:
        encoded: trace of one run of the guide.
        sites: names of the latent sites, in the order in which the guide samples them.
        broadcasts: True if the programs run in a plate of samples.
        num_values: number of joint values of latents that are summed over, on each of which the programs run: 1.

    Raises:
        ValueError: if the programs do not match, a site lies outside of the data plate, or the guide's support does not
            cover the model's.
    """

    num_values: int = 1

    def __init__(
        self, model: PyroFunction, guide: PyroFunction, arguments: Arguments, *, must_cover: bool = True
    ) -> None:
        gaps = has_missing(arguments[0])
        self.model, self.guide = allow_missing(model, guide) if gaps else (model, guide)
        self.arguments = arguments
        self.count = len(arguments[0])
        # In full precision, so that equal numbers are found equal and the data are encoded exactly.
        with evaluating(model, guide), full_precision():
            with pyro.validation_enabled(True):
                validated = self._trace_guide()
                self.sites = latents_of(validated)
                with forked_rng(arguments[0].device):
                    traced = self._trace_one(poutine.replay(self.model, trace=_latent_sites(validated)), validated)
                self._check(validated, traced)
                if gaps:
                    check_gaps(traced, validated, arguments[0])
            with forked_rng(arguments[0].device):
                self.encoded = self._trace_guide()  # again: its distributions must not validate the proposals of chains
            self.broadcasts = True
            self.broadcasts = self._does_broadcast([validated, self.encoded])
            if must_cover:
                self._check_cover(traced)

    @property
    def whole(self) -> BatchedPrograms:
        """The programs of all latents: these, unless discrete latents are summed over."""
        return self

    @property
    def encodes_once(self) -> bool:
        """True if one run of the guide is enough for :meth:`log_q`."""
        return self.broadcasts and len(self.sites) == 1

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Put the programs in evaluation mode, without gradients: the other methods are called there."""
        with evaluating(self.model, self.guide):
            yield

    def run(self, program: PyroFunction, k: int) -> Trace:
        """Trace one run with k samples of each datum."""
        inside = WithinSupport(self.sites)
        if self.broadcasts:
            with inside, pyro.plate("_samples", k, dim=-2):
                return scored_trace(program, self.arguments, inside)
        # (k * B, *data_shape), and (k * B,) of labels
        repeated = tuple(part.repeat(k, *(1 for _ in part.shape[1:])) for part in self.arguments)
        with inside:
            return scored_trace(program, repeated, inside)

    def flatten_samples(self, z: Tensor) -> Tensor:
        """Reshape ``(k, B, ...)`` to the shape in the programs: ``(k * B, ...)`` if data are repeated."""
        return z if self.broadcasts else map_with_logs(lambda part: part.flatten(0, 1), z)

    def unflatten_samples(self, z: Tensor) -> Tensor:
        """Reshape values of a program to ``(k, B, ...)``."""
        return z if self.broadcasts else map_with_logs(lambda part: part.unflatten(0, (-1, self.count)), z)

    def log_prob(self, trace: Trace, sites: list[str], k: int) -> Tensor:
        """Sum the log-probability of sites of a run with k samples, ``(k, B)``, in nats."""
        log_prob = log_prob_of(trace, sites)  # (k, B), (B,) or (k * B,)
        return (
            self.unflatten_samples(log_prob)
            if log_prob.dim() == 1 and not self.broadcasts
            else log_prob.expand(k, self.count)
        )

    def densities(self, latents: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return log p(x|z) and log p(z), ``(k, B)`` in nats, at latents ``(k, B, *event_shape)``."""
        k = len(next(iter(latents.values())))
        trace = self.run(
            poutine.condition(self.model, {name: self.flatten_samples(z) for name, z in latents.items()}), k
        )
        return self.log_prob(trace, observed_of(trace, self.sites), k), self.log_prob(trace, self.sites, k)

    def sample_guide(self, k: int) -> tuple[dict[str, Tensor], Tensor]:
        """Draw k samples of the guide: latents, ``(k, B, *event_shape)`` each, and their log q(z|x), ``(k, B)``."""
        if self.encodes_once:
            (name,) = self.sites
            site = self.encoded.nodes[name]
            fn = site["fn"].expand(torch.Size((k, self.count)))
            z = draw(fn)  # (k, B, *event_shape)
            return {name: z}, scale_and_mask(log_density(fn, z), mask=site["mask"])
        trace = self.run(self.guide, k)
        latents = {name: self.unflatten_samples(z) for name, z in values_of(trace).items()}
        return latents, self.log_prob(trace, self.sites, k)

    def sample_prior(self, k: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Draw k samples of the prior: latents, ``(k, B, *event_shape)`` each, log p(x|z) and log p(z), ``(k, B)``."""
        trace = self.run(self.model, k)
        latents = {name: self.unflatten_samples(trace.nodes[name]["value"]) for name in self.sites}
        log_likelihood = self.log_prob(trace, observed_of(trace, self.sites), k)
        return latents, log_likelihood, self.log_prob(trace, self.sites, k)

    def weigh(self, latents: dict[str, Tensor], log_q: Tensor) -> Chunk:
        """Return latents, ``(k, B, *event_shape)`` with log-density ``log_q``, ``(k, B)``, with their log weights."""
        log_likelihood, log_prior = self.densities(latents)
        return Chunk(importance_log_weight(log_likelihood, log_prior, log_q), log_likelihood, latents)

    def log_q(self, latents: dict[str, Tensor]) -> Tensor:
        """Return the guide's log-density, ``(k, B)`` in nats, at latents ``(k, B, *event_shape)``."""
        k = len(next(iter(latents.values())))
        if self.encodes_once:
            site = self.encoded.nodes[self.sites[0]]
            return scale_and_mask(log_density(site["fn"], latents[self.sites[0]]), mask=site["mask"])
        seen = {name: self.flatten_samples(z) for name, z in latents.items()}
        return self.log_prob(self.run(poutine.condition(self.guide, seen), k), self.sites, k)

    def add_discrete(
        self, draws: dict[str, Tensor], log_likelihood: Tensor, chunk_size: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Add the discrete latents that are summed over to posterior draws: there are none."""
        return draws, log_likelihood

    def _does_broadcast(self, guides: list[Trace]) -> bool:
        """Tell whether two samples have the same log weights in one plate as when they are run one by one."""
        values = [values_of(trace) for trace in guides]
        apart = []
        for trace, latents in zip(guides, values, strict=True):
            traced = self._trace_one(poutine.condition(self.model, latents))
            likelihood = log_prob_of(traced, observed_of(traced, self.sites))
            apart.append(
                importance_log_weight(likelihood, log_prob_of(traced, self.sites), log_prob_of(trace, self.sites))
            )
        both = {name: stack_with_logs([latents[name] for latents in values]) for name in self.sites}
        try:
            log_q = torch.stack([log_prob_of(trace, self.sites) for trace in guides])  # (2, B)
            if len(self.sites) > 1:  # with one site, the guide is never run again
                log_q = self.log_q(both)
            together = self.weigh(both, log_q).log_weight
        except Exception:  # a program that does not broadcast may raise anything
            return False
        return torch.allclose(together, torch.stack(apart).expand_as(together), rtol=1e-4, atol=1e-4)

    def _trace_guide(self) -> Trace:
        handler = ExactSampling()
        with handler:
            return scored_trace(self.guide, self.arguments, handler)

    def _trace_one(self, program: PyroFunction, guide: Trace | None = None) -> Trace:
        inside = WithinSupport(self.sites, guide)
        with inside:
            return scored_trace(program, self.arguments, inside)

    def _check_cover(self, traced: Trace) -> None:
        """Refuse a guide whose support does not cover the model's, by bounds, or else by samples of the model."""
        fns = [(name, traced.nodes[name]["fn"], self.encoded.nodes[name]["fn"]) for name in self.sites]
        if all([check_coverage(*fn) for fn in fns]):  # noqa: C419 - all are checked
            return
        k = max(4, min(64, 1024 // self.count))
        with forked_rng(self.arguments[0].device):
            drawn = self.run(self.model, k)
            values = {name: drawn.nodes[name]["value"] for name in self.sites}
            guided = self.run(poutine.condition(self.guide, values), k)
        orders = [[name for name in trace.nodes if name in self.sites] for trace in (drawn, guided)]
        for name in self.sites:
            before_in_model, before_in_guide = (set(order[: order.index(name)]) for order in orders)
            check_coverage(
                name,
                drawn.nodes[name]["fn"],
                guided.nodes[name]["fn"],
                values[name],
                definite=before_in_guide <= before_in_model,
            )

    def _check(self, guide_trace: Trace, model_trace: Trace) -> None:
        check_sites(model_trace, guide_trace)
        check_masks(model_trace, guide_trace)
        certain = [name for name in self.sites if is_point(guide_trace.nodes[name]["fn"])]
        if certain:
            raise checks.InputError(
                f"guide must have a density, but its site {certain[0]!r} is a point: a deterministic encoder has no "
                "marginal likelihood"
            )
        for part in (guide_trace, model_trace):
            for name, site in part.nodes.items():
                others = [
                    frame.name for frame in site.get("cond_indep_stack", ()) if frame.vectorized and frame.dim != -1
                ]
                if others and site["type"] == "sample":
                    raise checks.InputError(
                        f"sample site {name!r} must lie in the data plate alone, but lies in plate {others[0]!r} too"
                    )


def _latent_sites(trace: Trace) -> Trace:
    """Return a trace of the latent sites only, to replay a model against it whatever else the guide observes."""
    latents, some = latents_of(trace), trace.copy()
    for name in [name for name in some.nodes if name not in latents]:
        some.remove_node(name)
    return some
