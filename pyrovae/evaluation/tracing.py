"""Runs of a program without gradients, and what their traces hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.infer.util import site_is_subsample
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from torch import Tensor

from pyrovae.evaluation.cover import check_kind
from pyrovae.evaluation.scores import draw, score
from pyrovae.evaluation.supports import bounds_of, contains
from pyrovae.handlers import Arguments, InDataPlate, Program, in_one_sentence, mode, modules_of, private_modules
from pyrovae.products import fast_products

__all__ = [
    "Inside",
    "Remembering",
    "evaluating",
    "frozen",
    "is_latent",
    "latents_of",
    "log_prob_of",
    "observed_of",
    "run",
    "trace",
    "values_of",
]


@contextmanager
def evaluating(*programs: Program) -> Iterator[None]:
    """Run programs in evaluation mode, without gradients or validation, and leave Pyro's store as it was.

    Their products are those of :func:`fast_products`.
    """
    with (
        private_modules(),
        mode(*programs, training=False),
        pyro.validation_enabled(False),
        torch.no_grad(),
        fast_products(),
    ):
        yield


@contextmanager
def frozen(*programs: Program) -> Iterator[None]:
    """Take the parameters of the programs' modules as constants: gradients in latents cost less without theirs."""
    learned = [part for owner in modules_of(*programs) for part in owner.parameters() if part.requires_grad]
    for part in learned:
        part.requires_grad_(False)
    try:
        yield
    finally:
        for part in learned:
            part.requires_grad_(True)


def trace(program: Program, arguments: Arguments) -> Trace:
    """Trace one run of a program on ``(x,)`` or ``(x, y)``."""
    with in_one_sentence(arguments[0]), InDataPlate(len(arguments[0])):
        return poutine.trace(program).get_trace(*arguments)


class Remembering(Messenger):
    """Draw samples that remember their logarithms, where they have some."""

    def _pyro_sample(self, msg: Message) -> None:
        if msg["value"] is None and not site_is_subsample(msg):
            msg["value"] = draw(msg["fn"])

    def score(self, trace: Trace) -> None:
        """Put the log-probabilities of the latents into a trace of what was run."""
        for name in latents_of(trace):
            _put(trace.nodes[name], score(trace.nodes[name]["fn"], trace.nodes[name]["value"]))


class Inside(Remembering):
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
        if bounds is not None and bounds.are_none:
            return
        inside = contains(fn, z)
        if not bool(inside.all()):
            self.outside[msg["name"]] = ~inside
            here = inside.reshape(*inside.shape, *[1] * len(fn.event_shape))
            drawn = draw(fn.expand(torch.broadcast_shapes(inside.shape, fn.batch_shape)))
            msg["value"] = torch.where(here, z, drawn.to(z.dtype))

    def score(self, trace: Trace) -> None:
        """Put the log-probabilities of the latents into a trace of what was run."""
        for name in self.latents & trace.nodes.keys():
            log_prob = score(trace.nodes[name]["fn"], trace.nodes[name]["value"])
            outside = self.outside.get(name)
            _put(trace.nodes[name], log_prob if outside is None else torch.where(outside, -math.inf, log_prob))


def _put(site: dict[str, Any], log_prob: Tensor) -> None:
    site["unscaled_log_prob"] = log_prob
    site["log_prob"] = scale_and_mask(log_prob, site["scale"], site["mask"])
    site["log_prob_sum"] = site["log_prob"].sum()


def run(program: Program, arguments: Arguments, inside: Remembering | None = None) -> Trace:
    """Trace one run of a program, with the log-probability of each site.

    Args:
        program: the program.
        arguments: what it is called with.
        inside: the handler of its latents that is in force, if there is one.
    """
    traced = trace(program, arguments)
    with in_one_sentence(arguments[0]):
        if inside is not None:
            inside.score(traced)
        traced.compute_log_prob()
    return traced


def is_latent(site: dict[str, Any]) -> bool:
    """Tell whether a node of a trace is a latent sample site."""
    return site["type"] == "sample" and not site["is_observed"] and not site_is_subsample(site)


def latents_of(trace: Trace) -> list[str]:
    """Name the latent sites, in the order in which they were sampled."""
    return [name for name, site in trace.nodes.items() if is_latent(site)]


def observed_of(trace: Trace, latents: Iterable[str] = ()) -> list[str]:
    """Name the observed sites, but for those of ``latents``, which were conditioned on."""
    return [
        name
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and site["is_observed"] and not site_is_subsample(site) and name not in latents
    ]


def values_of(trace: Trace) -> dict[str, Tensor]:
    """Return the values of the latent sites by name, each ``(*plates, *event_shape)``."""
    return {name: trace.nodes[name]["value"] for name in latents_of(trace)}


def log_prob_of(trace: Trace, sites: Iterable[str]) -> Tensor:
    """Sum the log-probability of sites, masked but not scaled, in nats: the shape of their plates."""
    nodes = (trace.nodes[name] for name in sites)
    terms = (scale_and_mask(site["unscaled_log_prob"], mask=site["mask"]) for site in nodes)
    return sum(terms, torch.zeros(()))
