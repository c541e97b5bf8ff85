"""Handlers of latent sites, and traces with accurate log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer.util import site_is_subsample
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from torch import Tensor

from pyrovae.distributions.exact_density import draw, log_density
from pyrovae.distributions.support_bounds import bounds_of, in_support
from pyrovae.execution import latents_of, trace
from pyrovae.execution.support_check import check_kind
from pyrovae.programs import Arguments, PyroFunction, concise_errors

__all__ = ["ExactSampling", "WithinSupport", "scored_trace"]


class ExactSampling(Messenger):
    """A handler that draws samples which keep their logarithms, where their distribution is bounded."""

    def _pyro_sample(self, msg: Message) -> None:
        if msg["value"] is None and not site_is_subsample(msg):
            msg["value"] = draw(msg["fn"])

    def score(self, trace: Trace) -> None:
        """Store the log-probabilities of the latents in a trace."""
        for name in latents_of(trace):
            _store(trace.nodes[name], log_density(trace.nodes[name]["fn"], trace.nodes[name]["value"]))


class WithinSupport(ExactSampling):
    """A handler that replaces latents outside of the support; their log-density is minus infinity.

    A latent outside of its support is replaced by a sample, because the program might raise an error or have NaN
    gradients there. Sampled latents keep their logarithms.

    Args:
        latents: names of the latent sites.
        guide: trace of the guide, whose densities must be of the same kind.

    Attributes:
        outside: by site name, which values were outside, in the shape of the plates.
    """

    def __init__(self, latents: Iterable[str], guide: Trace | None = None) -> None:
        super().__init__()
        self.latents = set(latents)
        self.guide = guide
        self.outside: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Message) -> None:
        if msg["name"] not in self.latents:
            return
        super()._pyro_sample(msg)
        fn, z = msg["fn"], msg["value"]
        if self.guide is not None:
            check_kind(msg["name"], fn, self.guide.nodes[msg["name"]]["fn"])
        bounds = bounds_of(fn)
        if bounds is not None and bounds.is_unbounded:
            return
        inside = in_support(fn, z)
        if not bool(inside.all()):
            self.outside[msg["name"]] = ~inside
            here = inside.reshape(*inside.shape, *[1] * len(fn.event_shape))
            drawn = draw(fn.expand(torch.broadcast_shapes(inside.shape, fn.batch_shape)))
            msg["value"] = torch.where(here, z, drawn.to(z.dtype))

    def score(self, trace: Trace) -> None:
        """Store the log-probabilities of the latents in a trace."""
        for name in self.latents & trace.nodes.keys():
            log_prob = log_density(trace.nodes[name]["fn"], trace.nodes[name]["value"])
            outside = self.outside.get(name)
            _store(trace.nodes[name], log_prob if outside is None else torch.where(outside, -math.inf, log_prob))


def _store(site: dict[str, Any], log_prob: Tensor) -> None:
    site["unscaled_log_prob"] = log_prob
    site["log_prob"] = scale_and_mask(log_prob, site["scale"], site["mask"])
    site["log_prob_sum"] = site["log_prob"].sum()


def scored_trace(program: PyroFunction, arguments: Arguments, inside: ExactSampling | None = None) -> Trace:
    """Return the trace of one run of a program, with the log-probability of each site.

    Args:
        program: the program.
        arguments: its arguments.
        inside: the active handler of its latents, if there is one.
    """
    traced = trace(program, arguments)
    with concise_errors(arguments[0]):
        if inside is not None:
            inside.score(traced)
        traced.compute_log_prob()
    return traced
