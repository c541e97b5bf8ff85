"""Runs of a program without gradients, and what their traces hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.infer.util import site_is_subsample
from pyro.poutine import Trace
from torch import Tensor

from pyrovae.handlers import Arguments, InDataPlate, Program, in_one_sentence, mode, modules_of, private_modules
from pyrovae.products import fast_products

__all__ = ["evaluating", "frozen", "is_latent", "latents_of", "log_prob_of", "observed_of", "run", "trace", "values_of"]


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


def run(program: Program, arguments: Arguments) -> Trace:
    """Trace one run of a program, with the log-probability of each site."""
    traced = trace(program, arguments)
    with in_one_sentence(arguments[0]):
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
