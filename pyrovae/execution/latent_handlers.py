"""Runs of a program with the log-probability of each site, and the handlers of its latents."""

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
    """Draw samples that remember their logarithms, where they have some."""

    def _pyro_sample(self, msg: Message) -> None:
        if msg["value"] is None and not site_is_subsample(msg):
            msg["value"] = draw(msg["fn"])

    def score(self, trace: Trace) -> None:
        """Put the log-probabilities of the latents into a trace of what was run."""
        for name in latents_of(trace):
            _put(trace.nodes[name], log_density(trace.nodes[name]["fn"], trace.nodes[name]["value"]))


class WithinSupport(ExactSampling):
    """Let a program see latents only where it has a density, and give others the log-density of minus infinity.

    A latent outside its support is replaced by one that is drawn from it, for a program may stumble over the other, or
    have gradients there that are no numbers. Latents that are sampled remember their logarithms.

    Args:
        latents: names of the latent sites.
        guide: a run of the guide that the densities must be comparable with.

    Attributes:
        outside: which values were outside, by site name, in the shape of the plates.
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
        """Put the log-probabilities of the latents into a trace of what was run."""
        for name in self.latents & trace.nodes.keys():
            log_prob = log_density(trace.nodes[name]["fn"], trace.nodes[name]["value"])
            outside = self.outside.get(name)
            _put(trace.nodes[name], log_prob if outside is None else torch.where(outside, -math.inf, log_prob))


def _put(site: dict[str, Any], log_prob: Tensor) -> None:
    site["unscaled_log_prob"] = log_prob
    site["log_prob"] = scale_and_mask(log_prob, site["scale"], site["mask"])
    site["log_prob_sum"] = site["log_prob"].sum()


def scored_trace(program: PyroFunction, arguments: Arguments, inside: ExactSampling | None = None) -> Trace:
    """Trace one run of a program, with the log-probability of each site.

    Args:
        program: the program.
        arguments: what it is called with.
        inside: the handler of its latents that is in force, if there is one.
    """
    traced = trace(program, arguments)
    with concise_errors(arguments[0]):
        if inside is not None:
            inside.score(traced)
        traced.compute_log_prob()
    return traced
