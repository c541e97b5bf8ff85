"""A model run without data: what it makes, and whether that is what its weights are of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.tracing import Remembering, evaluating, is_latent, log_prob_of, observed_of, run, trace
from pyrovae.handlers import Arguments, Batch, Program, arguments_of
from pyrovae.tensors import as_tensor

__all__ = [
    "check_simulation",
    "datum_site",
    "run_freely",
    "simulate",
    "unobserved",
    "unseen",
    "validating",
    "was_observed",
]


def simulate(model: Program, num_samples: int, like: Batch) -> tuple[dict[str, Tensor], Arguments]:
    """Draw data from the model together with their latents.

    Args:
        model: program of p(x, z).
        num_samples: how many.
        like: data whose shape, type and device the new ones have, ``(*, *data_shape)``; or the tuple ``(x, y)`` with
            the labels to draw for, which are gone through again and again.

    Returns:
        the latents by site name, ``(num_samples, *event_shape)``, and what the programs are to be called with: ``(x,)``
        or ``(x, y)``.

    Raises:
        ValueError: if the model observes x at several sites.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> latents, (x,) = simulate(vae.model, 5, torch.zeros(1, 4))
        >>> latents["z"].shape, x.shape
        (torch.Size([5, 2]), torch.Size([5, 4]))
    """
    site, latents, (x, *labels) = run_freely(model, num_samples, like)
    if site["value"].numel() != x.numel():
        raise checks.InputError(
            f"model must observe x at one site to be simulated, but its last one, {site['name']!r}, has the shape "
            f"{tuple(site['value'].shape)} for x of the shape {tuple(x.shape)}"
        )
    return latents, (site["value"].reshape(x.shape).to(x.dtype), *labels)


def check_simulation(model: Program, latents: dict[str, Tensor], simulated: Arguments) -> None:
    """Refuse a model that weighs other data than it makes, whose simulated data therefore tell nothing.

    Args:
        model: program of p(x, z).
        latents: of two simulated data or more, by site name.
        simulated: these data, and their labels.

    Raises:
        ValueError: if x is observed as something else than itself, if its distribution depends on x, or if something
            else that is observed (a label, a factor) depends on the latents.
    """
    x, *labels = simulated
    with evaluating(model):
        traced = run(poutine.condition(model, latents), simulated)
        name = _datum_name(traced, list(latents))
        value = traced.nodes[name]["value"]
        if value.numel() != x.numel() or not torch.equal(value.reshape(x.shape).to(x.dtype), x):
            raise checks.InputError(
                f"model must observe x as it is to be simulated, but its site {name!r} observes something else"
            )
        others = [other for other in observed_of(traced, latents) if other != name]
        rolled = run(poutine.condition(model, {site: z.roll(1, 0) for site, z in latents.items()}), simulated)
        if not torch.allclose(log_prob_of(traced, others), log_prob_of(rolled, others), equal_nan=True):
            raise checks.InputError(
                "model must observe nothing but x that depends on the latents to be simulated, but observes "
                f"{', '.join(map(repr, others))} too"
            )
        told = run(poutine.condition(unobserved(model), {**latents, name: value}), (torch.ones_like(x), *labels))
        if not torch.allclose(log_prob_of(told, [name]), log_prob_of(traced, [name]), equal_nan=True):
            raise checks.InputError(
                "model must give x a distribution that does not depend on x to be simulated, but that of its site "
                f"{name!r} does"
            )


def run_freely(model: Program, num_samples: int, like: Batch) -> tuple[dict[str, Any], dict[str, Tensor], Arguments]:
    """Run a model without data: the site of the data, the latents, and what the model was called with."""
    checks.integer("num_samples", num_samples)
    x, *labels = (as_tensor(*part) for part in zip("xy", like if isinstance(like, tuple) else (like,), strict=False))
    if any(len(y) == 0 for y in labels):
        raise checks.InputError("y must hold at least one label to draw data for, but is empty")
    told = [y[torch.arange(num_samples, device=y.device) % len(y)] for y in labels]
    arguments = arguments_of((unseen(x, num_samples, tuple(x.shape[1:])), *told), model)
    with validating(model), Remembering():
        traced = trace(unobserved(model), arguments)
    sites = {name: site for name, site in traced.nodes.items() if is_latent(site) and not was_observed(site)}
    return datum_site(traced), {name: site["value"] for name, site in sites.items()}, arguments


@contextmanager
def validating(*programs: Program) -> Iterator[None]:
    """Evaluate with validation: a run or two are worth a sentence for labels out of range, say."""
    with evaluating(*programs), pyro.validation_enabled(True):
        yield


def unobserved(model: Program) -> Program:
    """Return the model that samples what it observes, and has no factors."""
    return poutine.block(poutine.uncondition(model), hide_fn=_is_factor)


def datum_site(traced: Trace) -> dict[str, Any]:
    """Return the site that is observed in training: the last one that was, before it was unconditioned."""
    sites = [site for site in traced.nodes.values() if was_observed(site)]
    if not sites:
        raise checks.InputError("model must observe x, but observes no site")
    return sites[-1]


def was_observed(site: dict[str, Any]) -> bool:
    """Tell whether a site of an unobserved model would have observed something."""
    return site["type"] == "sample" and bool(site["infer"].get("was_observed"))


def unseen(like: Tensor, count: int, data_shape: tuple[int, ...]) -> Tensor:
    """Return data to call a model with that does not observe them."""
    return torch.zeros(count, *data_shape, dtype=like.dtype, device=like.device)


def _is_factor(site: dict[str, Any]) -> bool:
    return site["type"] == "sample" and isinstance(site["fn"], dist.Unit)


def _datum_name(traced: Trace, latents: list[str]) -> str:
    return [name for name in observed_of(traced, latents) if not _is_factor(traced.nodes[name])][-1]
